"""Lottery tickets on a data diet, in JAX."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from imp_jax.results.load import load as load
  from imp_jax.study.options import get_defaults as get_defaults


def __getattr__(name: str) -> Any:
  """Imports what is asked for: a program pays for what it uses."""
  if name == "load":
    from imp_jax.results.load import load

    return load
  if name == "get_defaults":
    from imp_jax.study.options import get_defaults

    return get_defaults
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
