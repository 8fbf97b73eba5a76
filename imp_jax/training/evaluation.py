"""Evaluation of one network on every example, in bounded memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from imp_jax.core.devices import over_devices
from imp_jax.models import Model

PyTree = Any


def evaluate(
  params: PyTree,
  batch_stats: PyTree,
  inputs: jax.Array,
  labels: Int[Array, " examples"],
  *,
  model: Model,
  batch_size: int = 500,
) -> dict[str, jax.Array]:
  """Returns one network's loss on each example, and whether it is right.

  The one evaluation there is: networks after training, points of a path and of
  a plane all go through it.

  Args:
    params, batch_stats: one network, evaluated as it is: no mask is applied,
      BatchNorm uses these running statistics.
    inputs, labels: a split on the device; no augmentation.
    model: the network.
    batch_size: examples at a time; it moves the losses by rounding only.

  Returns:
    "loss" f32[examples], the cross-entropy in nats, and "correct"
    bool[examples], in the examples' order.
  """

  def batch_metrics(x: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
    logits = model.apply(params, batch_stats, x)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return {"loss": losses, "correct": jnp.argmax(logits, axis=-1) == y}

  return map_batches(batch_metrics, (inputs, labels), batch_size)


def recomputed_batch_stats(
  params: PyTree,
  batch_stats: PyTree,
  inputs: jax.Array,
  *,
  model: Model,
  batch_size: int,
) -> PyTree:
  """Returns BatchNorm's statistics estimated anew for one network.

  Each is the mean over batches of the batch's mean or unbiased variance, as
  PyTorch's running averages are with momentum=None.

  Args:
    params: the network's.
    batch_stats: any statistics near the result; they enter by rounding only.
    inputs: training examples without augmentation. What is beyond whole
      batches is left out.
    model: the network.
    batch_size: examples at a time, at most len(inputs); a part of the number's
      definition, for deeper layers see batches normalised by themselves.
  """
  count, model = len(inputs) // batch_size, model.with_batch_statistics()

  def body(i: jax.Array, sums: PyTree) -> PyTree:
    x = jax.lax.dynamic_slice_in_dim(inputs, i * batch_size, batch_size)
    x = over_devices(x)
    _, new = model.apply_train(params, batch_stats, x, None)
    return jax.tree.map(jnp.add, sums, new)

  zeros = jax.tree.map(jnp.zeros_like, batch_stats)
  sums = jax.lax.fori_loop(0, count, body, zeros)
  return jax.tree.map(lambda s: s / count, sums)


def map_batches(
  fn: Callable[..., PyTree], arrays: tuple[PyTree, ...], batch_size: int
) -> PyTree:
  """Returns fn of the arrays, batch by batch in one compiled loop.

  Args:
    fn: (batch of each array) -> a tree with the batch as its first axis.
    arrays: trees with the examples as their first axis.
    batch_size: examples at a time. The last batch is a whole one too: it goes
      back over examples of the one before. Where fn treats each example alone
      they come out the same; in batch mode it is the last batch that counts.
  """
  num = len(jax.tree.leaves(arrays)[0])
  size = min(batch_size, num)

  def batch(i: jax.Array | int) -> tuple[jax.Array, PyTree]:
    start = jnp.minimum(i * size, num - size)
    rows = jax.tree.map(
      lambda a: jax.lax.dynamic_slice_in_dim(a, start, size), arrays
    )
    return start, fn(*over_devices(rows))

  def body(i: jax.Array, out: PyTree) -> PyTree:
    start, new = batch(i)
    return jax.tree.map(
      lambda o, n: jax.lax.dynamic_update_slice_in_dim(o, n, start, 0), out, new
    )

  shapes = jax.eval_shape(lambda: batch(0)[1])
  out = jax.tree.map(lambda s: jnp.zeros((num, *s.shape[1:]), s.dtype), shapes)
  return jax.lax.fori_loop(0, -(-num // size), body, out)
