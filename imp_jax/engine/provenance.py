"""How a number was made: recorded beside it, and part of no identity."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import jax

from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.flags import recorded

_PLAIN = "the backend's default"


def version() -> str:
  """Returns this package's version."""
  try:
    return importlib.metadata.version("imp_jax")
  except importlib.metadata.PackageNotFoundError:  # run from its sources
    return "unknown"


def made_with(execution: ExecutionSettings) -> dict[str, Any]:
  """Returns what is recorded beside the numbers of a run."""
  device = jax.devices()[0]
  precision = jax.config.values["jax_default_matmul_precision"]
  return {
    "jax": jax.__version__,
    "backend": device.platform,
    "device": device.device_kind,
    "matmul_precision": precision or _PLAIN,
    "flags": recorded(),
    "execution": execution.mode,
    "devices": execution.devices,
    "devices_each": execution.devices_each,
    "processes": jax.process_count(),
    "convolution": execution.convolution,
  }


def way_of(made: Mapping[str, Any]) -> dict[str, str]:
  """Returns the part of `made_with` that says how numbers were rounded.

  Equal ways may be mixed; modes that are bit-identical to each other are one.
  """
  mode, backend = made["execution"], made["backend"]
  # By test on a CPU; other backends have not been tried.
  exact = mode in ("threads", "unroll") and backend == "cpu"
  flags = made.get("flags")
  if flags is None:  # of before there were any, but for this one
    precision = made["matmul_precision"]
    plain = precision == _PLAIN
    flags = {} if plain else {"jax_default_matmul_precision": precision}
  words = ["exact" if exact else mode, backend, made["convolution"]]
  if (sharing := made.get("devices_each", 1)) > 1:
    words.append(f"devices_each={sharing}")
  return {
    "execution": "/".join(words),
    "jax": made["jax"],
    "device": made["device"],
    **flags,
  }


def told_apart(*ways: Mapping[str, str]) -> list[str]:
  """Returns each way in words: its execution, and what else differs."""
  names = list(dict.fromkeys(name for way in ways for name in way))
  unlike = [n for n in names[1:] if len({way.get(n) for way in ways}) > 1]
  lines = []
  for way in ways:
    rest = ", ".join(f"{name} {way.get(name, 'unset')}" for name in unlike)
    lines.append(way["execution"] + (f" ({rest})" if rest else ""))
  return lines
