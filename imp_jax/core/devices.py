"""The mesh's second axis: devices that share each replicate's batches."""

from typing import Any

import jax
from jax.sharding import PartitionSpec

PyTree = Any

REPLICATES, EXAMPLES = "replicates", "examples"  # the axes' names


def over_devices(examples: PyTree) -> PyTree:
  """Returns examples, each device with its part of them where several share.

  Values stay what they are: what is summed over the examples is summed over
  the devices, BatchNorm's statistics and gradients among it. Only rounding
  differs. Outside a program of several devices, and where the examples do not
  come out even, nothing is done.

  Args:
    examples: arrays with the batch as their first axis.
  """
  sharing = jax.sharding.get_abstract_mesh().shape.get(EXAMPLES, 1)

  def split(leaf: jax.Array) -> jax.Array:
    if sharing == 1 or leaf.shape[0] % sharing:
      return leaf
    return jax.lax.with_sharding_constraint(leaf, PartitionSpec(EXAMPLES))

  return jax.tree.map(split, examples)
