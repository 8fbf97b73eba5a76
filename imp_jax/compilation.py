"""How a process compiles: XLA's library for a CPU, and a cache of programs.

Both are for the entry points to call before JAX starts; importing the package
sets nothing.
"""

import hashlib
import os
import platform
from pathlib import Path

import jax
import jaxlib.version

CPU_LIBRARIES = ("auto", "eigen", "ynn")
# Products and reductions go to YNNPACK instead of Eigen, and with the products
# convolutions of 32 channels or more. Experimental in XLA: set only for the
# releases it was tested with (an unknown flag ends the process), and only where
# it was measured to be faster (benchmarks/README.md).
_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_TESTED = ((0, 10), (0, 11))


def choose_cpu_library(choice: str, *, images: bool) -> None:
  """Sets XLA's flags for this process; it must not have used JAX yet.

  Args:
    choice: "eigen", "ynn", or "auto": "ynn" for networks of images where this
      release is known to take it. A flag that the user set in XLA_FLAGS stays.
    images: whether the inputs are images.
  """
  flags = os.environ.get("XLA_FLAGS", "")
  tested = jaxlib.version.__version_info__[:2] in _TESTED
  if choice == "auto":
    choice = "ynn" if images and tested else "eigen"
  if choice == "ynn" and _FLAG not in flags:
    os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}=dot,reduce".strip()


def cpu_library() -> str:
  """Returns the library that this process was told to use: "eigen" or "ynn"."""
  return "ynn" if _FLAG in os.environ.get("XLA_FLAGS", "") else "eigen"


def check_cpu_library(choice: str) -> None:
  """Refuses a choice that came too late for this process.

  Raises:
    ValueError: the process was told to use another one.
  """
  if choice not in ("auto", cpu_library()):
    raise ValueError(
      f"execution.cpu_library is {choice!r}, but this process compiles with "
      f"{cpu_library()!r}: it is chosen before JAX starts, by launch.main or "
      f"by XLA_FLAGS={_FLAG}=dot,reduce"
    )


def use_program_cache() -> None:
  """Keeps compiled programs between runs, in ~/.cache/imp_jax/programs.

  In $XDG_CACHE_HOME if that is set; a JAX_COMPILATION_CACHE_DIR of the user's
  own stays. Machines of other kinds have folders of their own, since a CPU's
  programs use all that this CPU can do.
  """
  if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    return
  cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  folder = Path(cache).expanduser() / "imp_jax" / "programs" / _machine()
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _machine() -> str:
  """A short name of this kind of CPU."""
  info = Path("/proc/cpuinfo")
  lines = info.read_text().splitlines() if info.exists() else []
  kind = {line for line in lines if line.startswith(("flags", "model name"))}
  text = "\n".join([platform.machine(), platform.processor(), *sorted(kind)])
  return hashlib.sha256(text.encode()).hexdigest()[:12]
