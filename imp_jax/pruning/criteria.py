"""Pruning criteria: one score per weight; the smallest scores are removed."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from imp_jax.models import Model

PyTree = Any


class Network(NamedTuple):
  """What a criterion scores the weights of, and may look at.

  Attributes:
    params: exactly 0 where the present masks are False.
    batch_stats: BatchNorm's running statistics.
    key: of what a criterion draws.
    inputs, labels: training examples as in the data set; None unless the
      criterion needs them.
    initial: the replicate's weights as they were drawn, dense; likewise.
  """

  params: PyTree
  batch_stats: PyTree
  key: jax.Array
  inputs: jax.Array | None = None
  labels: Int[Array, " examples"] | None = None
  initial: PyTree = None


@dataclasses.dataclass(frozen=True)
class Criterion:
  """How weights are scored.

  Attributes:
    scores: (network, its model) -> one score per weight; those of removed
      weights are not looked at.
    needs_examples: it is given training examples.
    needs_initial: it is given the weights at initialisation.
  """

  scores: Callable[[Network, Model], PyTree]
  needs_examples: bool = False
  needs_initial: bool = False


def magnitude_scores(network: Network, model: Model) -> PyTree:
  """Returns |w| of each weight (Han et al. 2015; the paper's criterion)."""
  del model
  return jax.tree.map(jnp.abs, network.params)


def magnitude_increase_scores(network: Network, model: Model) -> PyTree:
  """Returns |w| - |w_0|, how much each weight has grown since it was drawn.

  Zhou et al. 2019 (arXiv 1905.01067), section 2, "magnitude increase".
  """
  del model
  return jax.tree.map(
    lambda w, drawn: jnp.abs(w) - jnp.abs(drawn),
    network.params,
    network.initial,
  )


def movement_scores(network: Network, model: Model) -> PyTree:
  """Returns |w - w_0|, how far each weight has moved since it was drawn.

  Zhou et al. 2019 (arXiv 1905.01067), section 2, "movement"; not the criterion
  of that name of Sanh et al. 2020, which sums products with gradients.
  """
  del model
  return jax.tree.map(
    lambda w, drawn: jnp.abs(w - drawn), network.params, network.initial
  )


def random_scores(network: Network, model: Model) -> PyTree:
  """Returns an independent uniform score in [0, 1) for each weight."""
  del model
  leaves, treedef = jax.tree.flatten(network.params)
  keys = jax.random.split(network.key, len(leaves))
  return treedef.unflatten(
    [
      jax.random.uniform(k, leaf.shape)
      for k, leaf in zip(keys, leaves, strict=True)
    ]
  )


def snip_scores(network: Network, model: Model) -> PyTree:
  """Returns |w dL/dw|, the connection sensitivity (Lee et al. 2019, eq. 6).

  arXiv 1810.02340. L is the mean cross-entropy over the examples. Theirs is
  divided by its sum, which no ranking sees. Of a trained network it is the
  first-order estimate of what a weight's removal does to the loss.
  """
  gradients = jax.grad(mean_loss)(network.params, network, model)
  return jax.tree.map(lambda w, g: jnp.abs(w * g), network.params, gradients)


def mean_loss(params: PyTree, network: Network, model: Model) -> jax.Array:
  """Returns the mean cross-entropy over a network's examples, in nats.

  BatchNorm normalises by these examples, as in training: a network that was
  never trained has no running statistics.

  Args:
    params: in place of the network's.
    network: with examples.
    model: its model.
  """
  assert network.inputs is not None and network.labels is not None
  logits, _ = model.apply_train(
    params, network.batch_stats, network.inputs, None
  )
  return optax.softmax_cross_entropy_with_integer_labels(
    logits, network.labels
  ).mean()


# A new criterion is a function of its own, and one more line.
CRITERIA: Mapping[str, Criterion] = {
  "magnitude": Criterion(magnitude_scores),
  "magnitude_increase": Criterion(
    magnitude_increase_scores, needs_initial=True
  ),
  "movement": Criterion(movement_scores, needs_initial=True),
  "random": Criterion(random_scores),
  "snip": Criterion(snip_scores, needs_examples=True),
}
