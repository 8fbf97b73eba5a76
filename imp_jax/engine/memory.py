"""Free memory of a device, and the memory that programs need."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.extend import core

_UNKNOWN = 2**33  # what a device is taken to have that does not say


def free_bytes(devices: int = 1) -> int:
  """Returns the bytes that this process may still take on a device.

  A GPU's or TPU's own account of its memory; on a CPU what the system has
  available, or what a control group leaves of its limit if that is less.

  Args:
    devices: that are used; those of a CPU share its memory.
  """
  device = jax.local_devices()[0]
  if device.platform != "cpu":
    stats = device.memory_stats() or {}
    left = stats.get("bytes_limit", _UNKNOWN) - stats.get("bytes_in_use", 0)
    return max(left, 0)
  return host_free_bytes() // devices


def host_free_bytes() -> int:
  """Returns the bytes that this process may still take of the host's memory.

  What the system has available, or what a control group leaves of its limit if
  that is less.
  """
  rest = [_available(), _left_of_limit()]
  return min((r for r in rest if r is not None), default=_UNKNOWN)


def bytes_of(tree: Any) -> int:
  """Returns the bytes of a tree's arrays, or of what they would be."""
  return sum(
    math.prod(leaf.shape) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
    if hasattr(leaf, "shape")  # not a plain number
  )


def bytes_bound(jaxpr: core.Jaxpr) -> int:
  """Returns the bytes of all values of a program, as if none were ever freed.

  Args:
    jaxpr: of the program; a loop's body counts once.
  """
  return sum(
    bytes_of([v.aval for v in equation.outvars])
    + sum(map(bytes_bound, _inner(equation)))
    for equation in jaxpr.eqns
  )


def working_bytes(traced: Any) -> int:
  """Returns the bytes of a program's temporary values, by XLA's account.

  The program is compiled to know them. Scratch memory of libraries is not in
  it: on a CPU XLA's own convolutions ("fast", "plain") took up to 0.8 times as
  much again, oneDNN's 18 MiB at most (benchmarks/README.md).

  Args:
    traced: from `jax.jit(fn).trace`.
  """
  return traced.lower().compile().memory_analysis().temp_size_in_bytes


def _inner(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
  """The programs inside an equation: a loop's body, a called function."""
  kinds = (core.Jaxpr, core.ClosedJaxpr)
  is_program = lambda leaf: isinstance(leaf, kinds)
  for value in equation.params.values():
    for leaf in jax.tree.leaves(value, is_leaf=is_program):
      if is_program(leaf):
        yield leaf.jaxpr if isinstance(leaf, core.ClosedJaxpr) else leaf


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
