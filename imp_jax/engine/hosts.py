"""Several processes that run one program: a TPU pod's, or a SLURM job's.

Each holds some of the devices, and all of the arrays between two programs. What
goes from one to another here has to be asked for by all of them, in one order.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

PyTree = Any

# Seconds without a sign of life after which the others end a process.
LEASE_SECONDS = 30


def join(
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
) -> None:
  """Makes this process one of several; before any other use of JAX.

  Args:
    coordinator: HOST:PORT of process 0; None where JAX finds all three itself,
      on a TPU pod, under SLURM, Open MPI or Kubernetes.
    processes: how many there are.
    process: this one's number, from 0.

  Raises:
    ValueError: they cannot be found, some are given and others not, or the
      others were not met.
  """
  given = [value is not None for value in (coordinator, processes, process)]
  if any(given) and not all(given):
    raise ValueError(
      "--coordinator_address, --num_processes and --process_id are given "
      "together, or none of them"
    )
  if coordinator and not re.fullmatch(r".+:\d+", coordinator):
    raise ValueError(
      f"--coordinator_address must be HOST:PORT, got {coordinator!r}"
    )
  try:
    jax.distributed.initialize(
      coordinator, processes, process, heartbeat_timeout_seconds=LEASE_SECONDS
    )
  except RuntimeError as error:
    reason = " ".join(str(error).split())[:200]
    raise ValueError(
      f"--distributed: the other processes were not met ({reason})"
    ) from None


def have_joined() -> bool:
  """Returns whether `join` has succeeded in this process."""
  return jax.distributed.is_initialized()


def are_several() -> bool:
  """Returns whether this process is one of several."""
  return jax.process_count() > 1


def leads() -> bool:
  """Returns whether this process decides and writes, for all of them."""
  return jax.process_index() == 0


def gathered(text: str) -> list[str]:
  """Returns every process's text, in their order."""
  data = np.frombuffer(text.encode(), np.uint8)
  sizes = _from_all(np.array([len(data)], np.int32))[:, 0]
  rows = _from_all(_padded(data, int(sizes.max())))
  return [
    row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)
  ]


def told(data: bytes | None = None) -> bytes:
  """Returns what the leader says to all.

  Args:
    data: of the leader; of others it does not matter.
  """
  mine = np.frombuffer(data or b"", np.uint8) if leads() else np.array([])
  (size,) = _from_leader(np.array([len(mine)], np.int32))
  return _from_leader(_padded(mine, int(size)))[:size].tobytes()


def least(number: int) -> int:
  """Returns the least of all processes' numbers, each below 2**62."""
  parts = np.array([number >> 31, number & (2**31 - 1)], np.int32)
  return min((int(a) << 31) + int(b) for a, b in _from_all(parts))


def to_devices(tree: PyTree, mesh: Mesh, spec: PartitionSpec) -> PyTree:
  """Returns arrays that all processes have alike, laid over their devices."""
  sharding = NamedSharding(mesh, spec)

  def laid(leaf: Any) -> jax.Array:
    is_array = isinstance(leaf, jax.Array)
    if is_array and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      words = laid(jax.random.key_data(leaf))
      return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(
      host.shape, sharding, lambda index: host[index]
    )

  return jax.tree.map(laid, tree)


def from_devices(tree: PyTree) -> PyTree:
  """Returns arrays laid over devices that every process has a whole copy of."""
  return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def _padded(data: np.ndarray, size: int) -> np.ndarray:
  """Bytes in an array of one of few sizes: each is a program of its own."""
  array = np.zeros(1 << max(size - 1, 63).bit_length(), np.uint8)
  array[: len(data)] = data
  return array


def _from_all(array: np.ndarray) -> np.ndarray:
  from jax.experimental import multihost_utils

  return np.asarray(multihost_utils.process_allgather(array))


def _from_leader(array: np.ndarray) -> np.ndarray:
  from jax.experimental import multihost_utils

  return np.asarray(multihost_utils.broadcast_one_to_all(array))
