"""Pruning criteria: one score per weight; the smallest scores are removed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
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
    twice: its model can be differentiated twice.
  """

  scores: Callable[[Network, Model], PyTree]
  needs_examples: bool = False
  needs_initial: bool = False
  needs_movement: bool = False
  twice: bool = False


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


def sanh_movement_scores(network: Network, model: Model) -> PyTree:
  """Returns the sum over training's steps of -w dL/dw of each weight.

  Movement pruning's score (Sanh et al. 2020, arXiv 2005.07683, section 4), less
  its learning rate: what moves away from 0 stays. The loss is without weight
  decay; they prune while they train, here it is at the end.
  """
  del model
  return network.movement


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


def grasp_scores(network: Network, model: Model) -> PyTree:
  """Returns w (H g) of each weight: by how much it raises the gradient's norm.

  GraSP (Wang et al. 2020, arXiv 2002.07376, eq. 8), whose weights with the
  most negative products go first. g and H are the gradient and the Hessian, in
  the prunable weights that are left, of the mean cross-entropy at a temperature
  of 200.
  """
  used = _only(network.masks, model.prunable(network.params))

  def gradient(params: PyTree) -> PyTree:
    found = jax.grad(mean_loss)(params, network, model, _TEMPERATURE)
    return jax.tree.map(jnp.multiply, found, used)

  fixed = jax.lax.stop_gradient(gradient(network.params))
  product = jax.grad(lambda params: optax.tree.vdot(fixed, gradient(params)))
  return jax.tree.map(jnp.multiply, network.params, product(network.params))


_TEMPERATURE = 200.0  # of the logits, as in its authors' code


def synflow_scores(network: Network, model: Model) -> PyTree:
  """Returns |w| dR/d|w| / R, each weight's share in what flows through.

  SynFlow (Tanaka et al. 2020, arXiv 2006.05467, eq. 4): R is the sum of the
  outputs for an input of ones, of the network with the absolute value of every
  parameter and running statistic, in evaluation mode. No data enter. Dividing
  by R changes no ranking and keeps the scores from overflowing; where R itself
  is too large for float32, they are no numbers, and the masks are refused. Its
  authors prune in 100 rounds (`prune.rounds`).
  """
  ones = jnp.ones((1, *model.input_shape))
  stats = jax.tree.map(jnp.abs, network.batch_stats)

  def flow(params: PyTree) -> jax.Array:
    return jnp.log(model.of_prepared().apply(params, stats, ones).sum())

  positive = jax.tree.map(jnp.abs, network.params)
  return jax.tree.map(jnp.multiply, positive, jax.grad(flow)(positive))


def ntk_sap_scores(network: Network, model: Model) -> PyTree:
  """Returns |d/dm of the sum over x of |f(x; m w') - f(x; m (w' + e))|^2|.

  NTK-SAP (Wang et al. 2023, arXiv 2304.02840, eq. 5 and algorithm 1): the trace
  of the neural tangent kernel by finite differences, at weights w' drawn anew,
  for inputs x drawn from a standard normal, as many as the criterion has
  examples. e is normal with a standard deviation of 0.01, in prunable weights.
  Both networks normalise by their own batch, as in training.
  """
  assert network.inputs is not None
  for_weights, for_noise, for_inputs = jax.random.split(network.key, 3)
  params, stats = model.init(for_weights)
  shape = (len(network.inputs), *model.input_shape)
  inputs = jax.random.normal(for_inputs, shape)
  noise = optax.tree.random_like(for_noise, params, jax.random.normal)
  noise = jax.tree.map(
    jnp.multiply, noise, _only(network.masks, model.prunable(params))
  )
  moved = jax.tree.map(lambda w, e: w + _EPSILON * e, params, noise)

  def change(masks: PyTree) -> jax.Array:
    first, second = (
      model.of_prepared().apply_train(
        jax.tree.map(jnp.multiply, weights, masks), stats, inputs, None
      )[0]
      for weights in (params, moved)
    )
    return jnp.square(first - second).sum()

  present = jax.tree.map(jnp.float32, network.masks)
  return jax.tree.map(jnp.abs, jax.grad(change)(present))


_EPSILON = 0.01  # of the finite differences


def _only(masks: PyTree, paths: Sequence[str]) -> PyTree:
  """Masks as numbers, 0 for parameters that are at none of the paths."""
  return nested_leaves(
    {
      path: jnp.float32(leaf) * (path in paths)
      for path, leaf in flat_leaves(masks).items()
    }
  )


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


# A new criterion is a function of its own, and one more line.
CRITERIA: Mapping[str, Criterion] = {
  "magnitude": Criterion(magnitude_scores),
  "grasp": Criterion(grasp_scores, needs_examples=True, twice=True),
  "magnitude_increase": Criterion(
    magnitude_increase_scores, needs_initial=True
  ),
  "movement": Criterion(movement_scores, needs_initial=True),
  "ntk_sap": Criterion(ntk_sap_scores, needs_examples=True),
  "random": Criterion(random_scores),
  "sanh_movement": Criterion(sanh_movement_scores, needs_movement=True),
  "snip": Criterion(snip_scores, needs_examples=True),
  "synflow": Criterion(synflow_scores),
}
