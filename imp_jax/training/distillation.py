"""Distilled examples: gradient matching, pure and for one replicate.

Zhao, Mopuri and Bilen 2021 (arXiv 2006.05929): a few examples of each class are
moved until, in networks drawn anew and trained a little on them, the gradients
of the loss on them point where those on real examples do.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from imp_jax.core.masks import flat_leaves
from imp_jax.models import Model

PyTree = Any
Members = tuple[Int[Array, "classes most"], Int[Array, " classes"]]
_MOMENTUM = 0.5  # of the examples, the authors'


def gradient_distance(
  one: PyTree, other: PyTree, leaves: tuple[str, ...]
) -> Float[Array, ""]:
  """Returns the sum over units of 1 - cos of the angle between gradients.

  Args:
    one, other: gradients by all parameters.
    leaves: kernels that count, whose last axis are the units.
  """
  a, b = flat_leaves(one), flat_leaves(other)
  total = jnp.float32(0)
  for leaf in leaves:
    x, y = (g[leaf].reshape(-1, g[leaf].shape[-1]) for g in (a, b))
    total += (1 - (_directions(x) * _directions(y)).sum(axis=0)).sum()
  return total


def _directions(
  columns: Float[Array, "rows units"],
) -> Float[Array, "rows units"]:
  """Columns of norm 1; those of a unit that never fires stay 0.

  Without the authors' 1e-6 beside the norms, which where gradients are small
  would draw examples to where they are larger.
  """
  squares = (columns**2).sum(axis=0)
  there = squares > 0
  return jnp.where(there, columns * jax.lax.rsqrt(squares + ~there), 0.0)


def distil_in_a_network(
  examples: Float[Array, "classes per_class *shape"],
  velocity: Float[Array, "classes per_class *shape"],
  key: jax.Array,
  inputs: Float[Array, " n *shape"],
  members: Members,
  rates: Float[Array, " 2"],
  *,
  model: Model,
  matchings: int,
  network_steps: int,
  batch_size: int,
) -> tuple[jax.Array, jax.Array, Float[Array, ""]]:
  """Returns the examples, and their momentum, after one more network.

  Args:
    examples, velocity: so far; of class c at index c.
    key: of the network's initialisation and of the real batches.
    inputs: of the training data.
    members: positions of each class's inputs, padded at the end, and how many.
    rates: learning rates of the examples and of the network.
    model: the network. BatchNorm has the statistics of all classes' real
      examples together, in both gradients.
    matchings: steps of the examples.
    network_steps: of plain gradient descent on all the examples, in between.
    batch_size: real examples of each class, drawn with replacement.

  Returns:
    (examples, velocity, mean distance of the gradients before each step).
  """
  classes, per_class = examples.shape[:2]
  labels = jnp.arange(classes)
  of_all = jnp.repeat(labels, per_class)
  own_statistics = model.with_batch_statistics()
  start, data = jax.random.split(key)
  params, batch_stats = model.init(start)
  leaves = model.prunable(params)

  def loss(
    params: PyTree, stats: PyTree, x: jax.Array, label: jax.Array
  ) -> jax.Array:
    """Of examples of one class, in evaluation mode."""
    logits = model.apply(params, stats, x)
    found = jnp.full(len(x), label)
    return optax.softmax_cross_entropy_with_integer_labels(logits, found).mean()

  def on_examples(
    params: PyTree, stats: PyTree, examples: jax.Array
  ) -> tuple[jax.Array, PyTree]:
    """Of all of them, in training mode."""
    x = examples.reshape(-1, *examples.shape[2:])
    logits, stats = model.apply_train(params, stats, x, None)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, of_all)
    return losses.mean(), stats

  def trained(state: tuple[PyTree, PyTree], examples: jax.Array) -> Any:
    def step(state: Any, _: None) -> tuple[Any, None]:
      params, stats = state
      gradient, stats = jax.grad(on_examples, has_aux=True)(
        params, stats, examples
      )
      params = jax.tree.map(lambda p, g: p - rates[1] * g, params, gradient)
      return (params, stats), None

    return jax.lax.scan(step, state, None, network_steps)[0]

  def matching(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
    examples, velocity, network = state
    params, batch_stats = network
    places, counts = members
    drawn = jax.random.uniform(key, (classes, batch_size))
    chosen = jnp.minimum(drawn * counts[:, None], counts[:, None] - 1)
    real = inputs[jnp.take_along_axis(places, chosen.astype(jnp.int32), 1)]
    _, stats = own_statistics.apply_train(
      params, batch_stats, real.reshape(-1, *real.shape[2:]), None
    )
    gradients = jax.vmap(jax.grad(loss), (None, None, 0, 0))
    wanted = gradients(params, stats, real, labels)

    def apart(examples: jax.Array) -> jax.Array:
      found = gradients(params, stats, examples, labels)
      distances = jax.vmap(lambda a, b: gradient_distance(a, b, leaves))(
        found, wanted
      )
      return distances.sum()

    distance, slope = jax.value_and_grad(apart)(examples)
    velocity = _MOMENTUM * velocity + slope
    examples = examples - rates[0] * velocity
    return (examples, velocity, trained(network, examples)), distance

  state = examples, velocity, (params, batch_stats)
  keys = jax.random.split(data, matchings)
  (examples, velocity, _), distances = jax.lax.scan(matching, state, keys)
  return examples, velocity, distances.mean()
