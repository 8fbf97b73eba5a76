"""Scores from gradients: GraNd, its last layer's, VoG."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Int, Shaped

from imp_jax.models import Model
from imp_jax.models.gradient_norms import squared_gradient_norms

PyTree = Any


def grand(
  params: PyTree,
  batch_stats: PyTree,
  x: Float[Array, " batch *shape"],
  labels: Int[Array, " batch"],
  *,
  model: Model,
) -> Float[Array, " batch"]:
  """Returns GraNd, the norm of the loss gradient of all parameters.

  In [0, inf); larger is harder. Paul et al. 2021 (arXiv 2107.07075),
  definition 2, in evaluation mode: BatchNorm uses its running statistics, so
  that the example's gradient is its own.

  Args:
    params, batch_stats: one network.
    x: inputs, as the model takes them: normalised.
    labels: their classes.
    model: the network.
  """
  squares = squared_gradient_norms(params, batch_stats, x, labels, model=model)
  return jnp.sqrt(sum(squares.values()))


def grand_last_layer(
  params: PyTree,
  batch_stats: PyTree,
  x: Float[Array, " batch *shape"],
  labels: Int[Array, " batch"],
  *,
  model: Model,
) -> Float[Array, " batch"]:
  """Returns the norm of the loss gradient of the head's parameters alone.

  In [0, inf); larger is harder. It equals ||p - onehot(y)||_2 times
  sqrt(||h||_2^2 + 1) with the head's input h. A cheap stand-in for GraNd under
  its own name. Arguments as of `grand`.
  """
  squares = squared_gradient_norms(params, batch_stats, x, labels, model=model)
  head = [s for leaf, s in squares.items() if leaf.startswith("head/")]
  return jnp.sqrt(sum(head))


def gradient_variance(
  params: PyTree,
  batch_stats: PyTree,
  x: Float[Array, " batch *shape"],
  labels: Int[Array, " batch"],
  *,
  model: Model,
) -> Float[Array, " batch"]:
  """Returns the variance of dz_y/dx over checkpoints, averaged over inputs.

  In [0, inf); larger is harder. VoG before its classes are standardised;
  Agarwal et al. 2022 (arXiv 2008.11600), section 2: gradients of the label's
  logit by each entry of the normalised input; variance with ddof = 0. Their
  public code averages the variance's root instead, which ranks differently.

  Args:
    params, batch_stats: networks, stacked: every leaf has the checkpoints as
      its first axis.
    x, labels, model: as of `grand`.
  """

  def gradient(network: tuple[PyTree, PyTree]) -> jax.Array:
    params, batch_stats = network

    def labels_logits(x: jax.Array) -> jax.Array:
      logits = model.apply(params, batch_stats, x)
      return jnp.take_along_axis(logits, labels[:, None], 1).sum()

    return jax.grad(labels_logits)(x)

  gradients = lax.map(gradient, (params, batch_stats))
  return gradients.var(axis=0).reshape(len(x), -1).mean(axis=1)


def standardised_by_class(
  values: Shaped[np.ndarray, " examples"],
  labels: Shaped[np.ndarray, " examples"],
) -> Float32[np.ndarray, " examples"]:
  """Returns (v - mean) / std of each value within its class, ddof = 0.

  On the host, in float64. A class without spread scores 0.
  """
  standardised = np.zeros(len(values))
  for c in np.unique(labels):
    members = values[labels == c].astype(np.float64)
    if np.ptp(members) > 0:
      deviations = members - members.mean()
      standardised[labels == c] = deviations / members.std()
  return standardised.astype(np.float32)
