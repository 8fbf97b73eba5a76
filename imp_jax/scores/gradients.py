"""Scores of one example from gradients: GraNd, its last layer's, VoG.

They want a model whose convolution is by patches: per-example gradients of
another kind become grouped convolutions.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, Shaped

PyTree = Any
# (params, batch_stats, inputs [batch, ...]) -> logits [batch, classes]
Apply = Callable[[PyTree, PyTree, jax.Array], jax.Array]


def grand(
  params: PyTree,
  batch_stats: PyTree,
  x: Float[Array, "..."],
  label: Int[Array, ""],
  *,
  apply_fn: Apply,
) -> jax.Array:
  """Returns GraNd, the norm of the loss gradient of all parameters.

  In [0, inf); larger is harder. Paul et al. 2021 (arXiv 2107.07075),
  definition 2, in evaluation mode: BatchNorm uses its running statistics, so
  that the example's gradient is its own.

  Args:
    params, batch_stats: one network.
    x: one normalised input.
    label: its class.
    apply_fn: the network in evaluation mode.
  """
  gradients = jax.grad(_loss)(params, batch_stats, x, label, apply_fn)
  return optax.tree.norm(gradients)


def grand_last_layer(
  params: PyTree,
  batch_stats: PyTree,
  x: Float[Array, "..."],
  label: Int[Array, ""],
  *,
  apply_fn: Apply,
) -> jax.Array:
  """Returns the norm of the loss gradient of the head's parameters alone.

  In [0, inf); larger is harder. It equals ||p - onehot(y)||_2 times
  sqrt(||h||_2^2 + 1) with the head's input h. A cheap stand-in for GraNd under
  its own name. Arguments as of `grand`.
  """

  def head_loss(head):
    whole = params | {"head": head}
    return _loss(whole, batch_stats, x, label, apply_fn)

  return optax.tree.norm(jax.grad(head_loss)(params["head"]))


def gradient_variance(
  params: PyTree,
  batch_stats: PyTree,
  x: Float[Array, "..."],
  label: Int[Array, ""],
  *,
  apply_fn: Apply,
) -> jax.Array:
  """Returns the variance of dz_y/dx over checkpoints, averaged over inputs.

  In [0, inf); larger is harder. VoG before its classes are standardised;
  Agarwal et al. 2022 (arXiv 2008.11600), section 2: gradients of the label's
  logit by each entry of the normalised input; variance with ddof = 0. Their
  public code averages the variance's root instead, which ranks differently.

  Args:
    params, batch_stats: networks, stacked: every leaf has the checkpoints as
      its first axis.
    x: one normalised input.
    label: its class.
    apply_fn: the network in evaluation mode.
  """

  def logit(x, params, batch_stats):
    return apply_fn(params, batch_stats, x[None])[0][label]

  gradients = jax.vmap(jax.grad(logit), (None, 0, 0))(x, params, batch_stats)
  return gradients.var(axis=0).mean()


def standardised_by_class(
  values: Shaped[np.ndarray, " examples"],
  labels: Shaped[np.ndarray, " examples"],
) -> Float32[np.ndarray, " examples"]:
  """Returns (v - mean) / std of each value within its class, ddof = 0.

  On the host, in float64. A class without spread scores 0.
  """
  found = np.zeros(len(values))
  for c in np.unique(labels):
    own = values[labels == c].astype(np.float64)
    if np.ptp(own) > 0:
      found[labels == c] = (own - own.mean()) / own.std()
  return found.astype(np.float32)


def _loss(params, batch_stats, x, label, apply_fn):
  logits = apply_fn(params, batch_stats, x[None])
  return optax.softmax_cross_entropy_with_integer_labels(logits[0], label)
