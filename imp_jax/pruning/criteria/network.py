"""What a criterion is given, and what it is."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from imp_jax.core.masks import flat_leaves, nested_leaves
from imp_jax.models import Model

PyTree = Any


class Network(NamedTuple):
  """What a criterion scores the weights of, and may look at.

  Attributes:
    params: exactly 0 where the present masks are False.
    batch_stats: BatchNorm's running statistics.
    key: of what a criterion draws; another one in each round.
    inputs, labels: training examples as in the data set; None unless the
      criterion needs them.
    initial: the replicate's weights as they were drawn, dense; likewise.
    masks: the present ones, of all parameters.
    movement: the sum over training's steps of -w dL/dw; likewise as `inputs`.
  """

  params: PyTree
  batch_stats: PyTree
  key: jax.Array
  inputs: jax.Array | None = None
  labels: Int[Array, " examples"] | None = None
  initial: PyTree = None
  masks: PyTree = None
  movement: PyTree = None


@dataclasses.dataclass(frozen=True)
class Criterion:
  """How weights are scored.

  Attributes:
    scores: (network, its model) -> one score per weight; those of removed
      weights are not looked at.
    needs_examples: it is given training examples.
    needs_initial: it is given the weights at initialisation.
    needs_movement: it is given what training's steps moved.
    convolution: how its model's are computed; "" = as the study says. "patches"
      can be differentiated twice, "plain" is for float64.
    rescored: its scores are others once some weights are gone.
    wide: it is computed where there is float64.
  """

  scores: Callable[[Network, Model], PyTree]
  needs_examples: bool = False
  needs_initial: bool = False
  needs_movement: bool = False
  convolution: str = ""
  rescored: bool = True
  wide: bool = False


def mean_loss(
  params: PyTree, network: Network, model: Model, temperature: float = 1.0
) -> jax.Array:
  """Returns the mean cross-entropy over a network's examples, in nats.

  BatchNorm normalises by these examples, as in training: a network that was
  never trained has no running statistics.

  Args:
    params: in place of the network's.
    network: with examples.
    model: its model.
    temperature: that the logits are divided by.
  """
  assert network.inputs is not None and network.labels is not None
  logits, _ = model.apply_train(
    params, network.batch_stats, network.inputs, None
  )
  return optax.softmax_cross_entropy_with_integer_labels(
    logits / temperature, network.labels
  ).mean()


def only(masks: PyTree, paths: Sequence[str]) -> PyTree:
  """Returns masks as numbers, 0 for parameters at none of the paths."""
  return nested_leaves(
    {
      path: jnp.float32(leaf) * (path in paths)
      for path, leaf in flat_leaves(masks).items()
    }
  )
