"""How many replicates a device's memory holds at once."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.extend import core

# Of what a device has free: the rest is for libraries' scratch memory and what
# no program accounts for.
_SHARE = 0.8


def free_bytes() -> int:
  """Returns the bytes that this process may still take on its device.

  A GPU's or TPU's own account of its memory; on a CPU what the system has
  available, or what a control group leaves of its limit if that is less.
  """
  device = jax.local_devices()[0]
  stats = device.memory_stats() if device.platform != "cpu" else None
  if stats and "bytes_limit" in stats:
    return stats["bytes_limit"] - stats["bytes_in_use"]
  rest = [_available(), _left_of_limit()]
  return min((r for r in rest if r is not None), default=2**33)


def at_once(
  traced: Any, own: Any, *, count: int, wanted: int, budget: int
) -> int:
  """Returns how many replicates may be in progress at once, at least 1.

  A bound from the program's text decides where it is enough: no more is
  compiled. Otherwise XLA says what the compiled program of one takes.

  Args:
    traced: one replicate's program, from `jax.jit(fn).trace`.
    own: one replicate's own arguments, arrays.
    count: replicates, whose arguments and results are held throughout.
    wanted: how many would be in progress if memory were no matter.
    budget: bytes, or 0 for the share of `free_bytes` that is safe.
  """
  budget = budget or int(_SHARE * free_bytes())
  kept = (*jax.tree.leaves(own), *traced.jaxpr.out_avals)
  held = count * sum(map(_bytes_of, kept))
  if held + wanted * _bytes_bound(traced.jaxpr.jaxpr) <= budget:
    return wanted
  used = traced.lower().compile().memory_analysis()
  each = max(used.temp_size_in_bytes, 1)
  return min(max((budget - held) // each, 1), wanted)


def _bytes_bound(jaxpr: core.Jaxpr) -> int:
  """Bytes of all values of a program, as if none were ever freed."""
  return sum(
    sum(_bytes_of(v.aval) for v in equation.outvars)
    + sum(map(_bytes_bound, _inner(equation)))
    for equation in jaxpr.eqns
  )


def _inner(equation) -> Iterator[core.Jaxpr]:
  kinds = (core.Jaxpr, core.ClosedJaxpr)
  is_program = lambda leaf: isinstance(leaf, kinds)
  for value in equation.params.values():
    for leaf in jax.tree.leaves(value, is_leaf=is_program):
      if is_program(leaf):
        yield leaf.jaxpr if isinstance(leaf, core.ClosedJaxpr) else leaf


def _bytes_of(array) -> int:
  """Bytes of what has a shape and a dtype, an array or the type of one."""
  return math.prod(array.shape) * array.dtype.itemsize


def _available() -> int | None:
  info = Path("/proc/meminfo")
  if not info.exists():
    return None
  for line in info.read_text().splitlines():
    if line.startswith("MemAvailable:"):
      return int(line.split()[1]) * 1024
  return None


def _left_of_limit(group: Path = Path("/sys/fs/cgroup")) -> int | None:
  """What a control group (version 2) leaves of its limit, if it has one."""
  limit, used = group / "memory.max", group / "memory.stat"
  if not limit.exists() or limit.read_text().strip() == "max":
    return None
  counts = dict(line.split() for line in used.read_text().splitlines())
  return max(int(limit.read_text()) - int(counts["anon"]), 0)
