"""The replicate axis: how stacked replicates are executed, and how many."""

import concurrent.futures
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PyTree = Any

EXECUTIONS = ("auto", "threads", "unroll", "map", "vmap")


def stack_trees(trees: Sequence[PyTree]) -> PyTree:
  """Returns one tree whose leaves have a new first axis, the replicates.

  Leaves on the host stay there; a program that takes them sends them itself.
  """

  def stack(*leaves):
    on_host = isinstance(leaves[0], np.ndarray)
    return np.stack(leaves) if on_host else jnp.stack(leaves)

  return jax.tree.map(stack, *trees)


def replicate_slice(tree: PyTree, index: int) -> PyTree:
  """Returns one replicate of a stacked tree."""
  return jax.tree.map(lambda leaf: leaf[index], tree)


def resolve_execution(execution: str, backend: str) -> str:
  """Returns the execution mode that "auto" means on a backend.

  On a CPU "threads": of four replicates of the MNIST-1D network it has twice
  one's throughput, the others at most 1.2 times; of ResNet-8 it is within 3 %
  of the fastest (`python -m benchmarks executions`). It is bit-identical to a
  replicate alone. Elsewhere "vmap", which no measurement has chosen yet.

  Raises:
    ValueError: unknown execution.
  """
  if execution not in EXECUTIONS:
    raise ValueError(
      f"unknown execution {execution!r}; known: {', '.join(EXECUTIONS)}"
    )
  if execution != "auto":
    return execution
  return "threads" if backend == "cpu" else "vmap"


def replicated(
  fn: Callable[..., PyTree], execution: str, *, shared: int = 0
) -> Callable[..., PyTree]:
  """Returns a compiled `fn` over stacked replicates.

  Args:
    fn: written for one replicate.
    execution: how the replicates are run:
      "threads": the one-replicate program, dispatched once per replicate from
        as many threads as there are cores. Compile time does not grow with the
        replicates; each is bit-identical alone and in company.
      "unroll": one program with a copy of `fn` per replicate; bit-identical.
      "map": one program that runs the replicates in turn; bit-identical.
      "vmap": one program with batched operations: equal to 1e-5 over the first
        steps and in distribution, no more.
    shared: how many of the last positional arguments every replicate shares
      (data, numbers); all others carry the replicate axis first.

  Returns:
    A function of the same arguments whose outputs carry the replicate axis
    first.
  """
  split = lambda args: (args[: len(args) - shared], args[len(args) - shared :])
  if execution == "threads":
    return functools.partial(_in_threads, jax.jit(fn), split)

  def batched(*args):
    own, common = split(args)
    if execution == "vmap":
      return jax.vmap(lambda *a: fn(*a, *common))(*own)
    if execution == "map":
      return jax.lax.map(lambda a: fn(*a, *common), own)
    count = len(jax.tree.leaves(own)[0])
    return stack_trees(
      [fn(*replicate_slice(own, r), *common) for r in range(count)]
    )

  return jax.jit(batched)


def chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
  """Returns the items in as few chunks of at most `size`, as even as can be."""
  count = -(-len(items) // size)
  bounds = [len(items) * i // max(count, 1) for i in range(count + 1)]
  return [items[a:b] for a, b in itertools.pairwise(bounds)]


def _in_threads(jitted, split, *args):
  own, common = split(args)
  own = jax.tree.map(_host_view, own)
  count = len(jax.tree.leaves(own)[0])

  def run(index):
    out = jitted(*replicate_slice(own, index), *common)
    return jax.tree.map(_host_view, out)

  workers = min(count, os.cpu_count() or 1)
  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    return stack_trees(list(pool.map(run, range(count))))


def _host_view(leaf):
  """A NumPy view where there is one (a CPU's memory), so slices are free."""
  is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
  return leaf if is_key else np.asarray(leaf)
