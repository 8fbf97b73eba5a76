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
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike

from imp_jax.core.devices import EXAMPLES, REPLICATES
from imp_jax.engine import hosts
from imp_jax.engine.memory import (
  bytes_bound,
  bytes_of,
  free_bytes,
  working_bytes,
)

PyTree = Any
# Positional arguments of a program, a tree each.
Trees = tuple[PyTree, ...]

# Of what a device has free: the rest is for libraries' scratch memory and what
# no program accounts for.
_SAFE = 0.8

# Data that lie on the devices of several processes: the latest few, which are
# a training split's and those it is evaluated on.
_LARGE, _KEPT = 2**20, 6
_lying: dict[tuple[int, Mesh], tuple[Any, jax.Array]] = {}

EXECUTIONS = ("auto", "threads", "unroll", "map", "vmap")


def stack_trees(trees: Sequence[PyTree]) -> PyTree:
  """Returns one tree whose leaves have a new first axis, the replicates.

  Leaves on the host stay there; a program that takes them sends them itself.
  """

  return jax.tree.map(_stacked, *trees)


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
    ValueError: unknown execution, or "threads" of one of several processes.
  """
  if execution not in EXECUTIONS:
    raise ValueError(
      f"unknown execution.mode {execution!r}; known: {', '.join(EXECUTIONS)}"
    )
  if execution == "threads" and hosts.are_several():
    raise ValueError(
      "execution.mode='threads' runs in one process alone; unroll, map and "
      "vmap run in several"
    )
  if execution != "auto":
    return execution
  one_cpu = backend == "cpu" and not hosts.are_several()
  return "threads" if one_cpu else "vmap"


def resolve_devices(devices: int, execution: str) -> int:
  """Returns over how many devices replicates are sharded.

  Args:
    devices: or 0, for all of them, but one where `execution` takes no more.
    execution: resolved.

  Raises:
    ValueError: there are not so many, or "threads" on several, or several
      processes would not have all of theirs.
  """
  there = jax.device_count()
  if execution == "threads":
    if devices > 1:
      raise ValueError(
        f"execution.devices is {devices}, but execution.mode='threads' runs on "
        "one; unroll, map and vmap run on several"
      )
    return 1
  if devices > there:
    raise ValueError(f"execution.devices is {devices}, but there are {there}")
  if hosts.are_several() and devices not in (0, there):
    raise ValueError(
      f"execution.devices is {devices}, but several processes use all that "
      f"they have, {there}"
    )
  return devices or there


def resolve_devices_each(
  devices_each: int, devices: int, replicates: int, batch_size: int
) -> int:
  """Returns how many devices share each replicate's batches.

  Args:
    devices_each: or 0, for as many as each replicate can have for itself.
    devices: in all.
    replicates: of the study.
    batch_size: of training, which they divide among them.

  Raises:
    ValueError: they do not come out even.
  """
  if devices_each:
    for name, whole in (
      ("execution.devices", devices),
      ("data.batch_size", batch_size),
    ):
      if whole % devices_each:
        raise ValueError(
          f"execution.devices_each is {devices_each}, which does not divide "
          f"{name}, {whole}"
        )
    return devices_each
  fitting = range(max(devices // replicates, 1), 0, -1)
  return next(n for n in fitting if devices % n == batch_size % n == 0)


def spread(tree: PyTree, devices: int) -> PyTree:
  """Returns a tree with its arrays on the device, or on each of several.

  Of several processes on one of its own, to be laid over all by a program.
  """
  if devices == 1 or hosts.are_several():
    return jax.tree.map(jnp.asarray, tree)
  return jax.device_put(tree, NamedSharding(_mesh(devices, 1), P()))


def replicated(
  fn: Callable[..., PyTree],
  execution: str,
  *,
  shared: int = 0,
  memory_gib: float = 0.0,
  devices: int = 1,
  devices_each: int = 1,
) -> Callable[..., PyTree]:
  """Returns a compiled `fn` over stacked replicates.

  Only so many replicates are in progress at once as memory holds, by XLA's
  account of the program; the others wait. The arguments and results of all are
  held throughout. "Bit-identical" is by test on a CPU.

  Args:
    fn: written for one replicate.
    execution: how the replicates are run:
      "threads": the one-replicate program, dispatched once per replicate from
        as many threads as there are cores. Compile time does not grow with the
        replicates; each is bit-identical alone and in company.
      "unroll": one program with a copy of `fn` per replicate; bit-identical to
        "threads".
      "map": one program that runs the replicates in turn; bit-identical alone
        and in company, but in a loop more the compiler may round otherwise.
      "vmap": one program with batched operations: equal to 1e-5 over the first
        steps and in distribution, no more.
    shared: how many of the last positional arguments every replicate shares
      (data, numbers); all others carry the replicate axis first.
    memory_gib: what programs and their arguments may take on each device, or 0
      for what it has; at least one replicate runs there.
    devices: over which replicates are sharded, in one program; where they do
      not come out even some devices repeat the last one. Not for "threads".
    devices_each: how many of them share each replicate, of which they divide
      what `fn` puts through `core.devices.over_devices`; divides `devices`.

  Returns:
    A function of the same arguments whose outputs carry the replicate axis
    first.
  """
  one = jax.jit(fn)
  mesh = _mesh(devices, devices_each)
  rows = devices // devices_each
  together = jax.jit(
    _sharded(functools.partial(_together, fn, execution), mesh)
  )
  whole = jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, P()))
  known: dict[tuple, int] = {}

  def fitting(own: Trees, common: Trees, count: int) -> int:
    """How many replicates are in progress at once, of each device's."""
    each = -(-count // rows)
    wanted = min(each, os.cpu_count() or 1) if execution == "threads" else each
    if wanted == 1 or execution == "map":
      return 1
    key = tuple(
      (np.shape(leaf), getattr(leaf, "dtype", type(leaf)))
      for leaf in jax.tree.leaves((own, common))
    )
    if key not in known:
      alone = one.trace(*replicate_slice(own, 0), *common)
      held = bytes_of(own) + count * bytes_of(alone.jaxpr.out_avals)
      room = (
        memory_gib * 2**30 - bytes_of(common)
        if memory_gib
        else _SAFE * free_bytes(devices)  # in which they lie already
      ) - held / rows
      if hosts.are_several():  # what follows is then the same on all
        room = hosts.least(max(int(room), 0))
      taken = wanted * bytes_bound(alone.jaxpr.jaxpr)
      if taken > room:  # the bound is loose: ask XLA
        taken = (
          wanted * working_bytes(alone)
          if execution == "threads"
          else working_bytes(together.trace(_placed(own, mesh), common))
        )
      known[key] = int(np.clip(wanted * room // max(taken, 1), 1, wanted))
    return known[key]

  def part(own: Trees, common: Trees, start: int, stop: int) -> PyTree:
    placed = _placed(_replicates(own, start, stop), mesh)
    out = together(placed, common)
    if hosts.are_several():
      out = hosts.from_devices(whole(out))
    return _replicates(out, 0, stop - start)

  def run(*args: PyTree) -> PyTree:
    own, common = args[: len(args) - shared], args[len(args) - shared :]
    count = len(jax.tree.leaves(own)[0])
    if hosts.are_several():
      common = jax.tree.map(lambda leaf: _laid(leaf, mesh), common)
    elif devices > 1:
      common = spread(common, devices)
    size = fitting(own, common, count)
    if execution == "threads":
      return _in_threads(one, own, common, size)
    if execution == "map" or size * rows >= count:
      return part(own, common, 0, count)
    parts = [
      part(own, common, indices[0], indices[-1] + 1)
      for indices in chunks(range(count), size * rows)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

  return run


def _stacked(*leaves: ArrayLike) -> ArrayLike:
  on_host = isinstance(leaves[0], np.ndarray)
  return np.stack(leaves) if on_host else jnp.stack(leaves)


def _together(
  fn: Callable[..., PyTree], execution: str, own: Trees, common: Trees
) -> PyTree:
  """One program for all replicates."""
  if execution == "vmap":
    return jax.vmap(lambda a: fn(*a, *common))(own)
  if execution == "map":
    return jax.lax.map(lambda a: fn(*a, *common), own)
  count = len(jax.tree.leaves(own)[0])
  return stack_trees(
    [fn(*replicate_slice(own, r), *common) for r in range(count)]
  )


def _laid(leaf: Any, mesh: Mesh) -> jax.Array:
  """Shared data on the devices of all processes; what is large stays there."""
  if getattr(leaf, "nbytes", 0) < _LARGE:
    return hosts.to_devices(leaf, mesh, P())
  key = (id(leaf), mesh)
  known, there = _lying.pop(key, (None, None))
  if known is not leaf or there is None:
    there = hosts.to_devices(leaf, mesh, P())
  _lying[key] = leaf, there
  while len(_lying) > _KEPT:
    del _lying[next(iter(_lying))]
  return there


def _mesh(devices: int, devices_each: int) -> Mesh:
  """Rows of devices: each row has replicates of its own, and their batches."""
  rows = np.array(jax.devices()[:devices]).reshape(-1, devices_each)
  return Mesh(rows, (REPLICATES, EXAMPLES))


def _sharded(
  program: Callable[[Trees, Trees], PyTree], mesh: Mesh
) -> Callable[[Trees, Trees], PyTree]:
  """A program of (own, common) on several devices, each with its replicates."""
  if mesh.size == 1:
    return program
  rows = P(REPLICATES)
  return jax.shard_map(
    program,
    mesh=mesh,
    in_specs=(rows, P()),
    out_specs=rows,
    axis_names={REPLICATES},  # the compiler divides what is over the other
    check_vma=False,  # replicates have nothing to do with each other
  )


def _placed(own: Trees, mesh: Mesh) -> Trees:
  """Replicates on their devices, the last one repeated until they come even."""
  if mesh.size == 1:
    return own
  count, rows = len(jax.tree.leaves(own)[0]), mesh.shape[REPLICATES]
  index = np.minimum(np.arange(-(-count // rows) * rows), count - 1)
  if len(index) > count:
    own = jax.tree.map(lambda leaf: leaf[index], own)
  if hosts.are_several():
    return hosts.to_devices(own, mesh, P(REPLICATES))
  return jax.device_put(own, NamedSharding(mesh, P(REPLICATES)))


def _replicates(tree: PyTree, start: int, stop: int) -> PyTree:
  if (start, stop) == (0, len(jax.tree.leaves(tree)[0])):
    return tree
  return jax.tree.map(lambda leaf: leaf[start:stop], tree)


def chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
  """Returns the items in as few chunks of at most `size`, as even as can be."""
  count = -(-len(items) // size)
  bounds = [len(items) * i // max(count, 1) for i in range(count + 1)]
  return [items[a:b] for a, b in itertools.pairwise(bounds)]


def _in_threads(
  one: Callable[..., PyTree], own: Trees, common: Trees, workers: int
) -> PyTree:
  """Runs the one-replicate program on every replicate, in a thread each."""
  own = jax.tree.map(_host_view, own)
  count = len(jax.tree.leaves(own)[0])
  wide = jax.config.jax_enable_x64  # pyright: ignore

  def run(index: int) -> PyTree:
    with jax.enable_x64(wide):  # it is of each thread's own
      out = one(*replicate_slice(own, index), *common)
    return jax.tree.map(_host_view, out)

  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    return stack_trees(list(pool.map(run, range(count))))


def _host_view(leaf: ArrayLike) -> ArrayLike:
  """A NumPy view where there is one (a CPU's memory), so slices are free."""
  if isinstance(leaf, jax.Array) and (
    jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    or any(d.platform != "cpu" for d in leaf.devices())
  ):
    return leaf
  return np.asarray(leaf)
