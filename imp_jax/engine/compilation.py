"""A cache of compiled programs, for the entry points to turn on.

Importing the package sets nothing.
"""

import hashlib
import os
import platform
from pathlib import Path

import jax


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
