"""Evaluation of one network over a whole split, ragged last batch included."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from imp_jax.data.augment import normalise
from imp_jax.models import Model
from imp_jax.training.step import Metrics, metric_sums

PyTree = Any


def evaluate(
  params: PyTree,
  batch_stats: PyTree,
  inputs: jax.Array,
  labels: Int[Array, " examples"],
  *,
  model: Model,
  mean: Sequence[float],
  std: Sequence[float],
  batch_size: int,
) -> Metrics:
  """Returns sums over all examples: "loss" (nats), "correct", "count".

  Args:
    params, batch_stats: one replicate's network, evaluated as it is: no mask
      is applied, BatchNorm uses these running statistics.
    inputs, labels: a split on the device; no augmentation.
    model: the network.
    mean, std: normalisation constants.
    batch_size: examples at a time. It does not change what is summed.
  """
  num = len(labels)
  batch_size = min(batch_size, num)
  whole = num - num % batch_size

  def batch_sums(x, y):
    x = normalise(x, mean, std)
    return metric_sums(model.apply(params, batch_stats, x), y)

  def body(i, sums):
    x = jax.lax.dynamic_slice_in_dim(inputs, i * batch_size, batch_size)
    y = jax.lax.dynamic_slice_in_dim(labels, i * batch_size, batch_size)
    return jax.tree.map(jnp.add, sums, batch_sums(x, y))

  zeros = {name: jnp.zeros(()) for name in ("loss", "correct", "count")}
  sums = jax.lax.fori_loop(0, whole // batch_size, body, zeros)
  if whole < num:
    rest = batch_sums(inputs[whole:], labels[whole:])
    sums = jax.tree.map(jnp.add, sums, rest)
  return sums
