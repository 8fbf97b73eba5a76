"""Checks that name the field, the rule and the value."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from imp_jax.files import shown

# More digits are nobody's, and more than a few thousand no int's.
DURATION = r"(\d{1,15})(\.\d{1,15}(?=ep))?(step|ep|ex)s?"


def steps_of(duration: str, field: str, per_epoch: int, batch_size: int) -> int:
  """Returns a duration in steps: "200step", "2ep" or "25600ex".

  Fractions of an epoch are rounded to the nearest step; examples are rounded
  up to whole batches.

  Raises:
    ValueError: no such form.
  """
  match = re.fullmatch(DURATION, duration)
  if not match:
    raise ValueError(
      f'{field} must be a duration like "200step", "2ep" or "25600ex", '
      f"got {duration!r}"
    )
  whole, part, unit = match.groups(default="")
  if unit == "step":
    steps = int(whole)
  elif unit == "ep":
    steps = round(float(whole + part) * per_epoch)
  else:
    steps = -(-int(whole) // batch_size)
  if steps >= 2**31 - 1:  # steps are int32
    raise ValueError(f"{field} must be below 2^31 steps, got {duration!r}")
  return steps


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns {"a.b": value} of a mapping nested, dotted, or both."""
  flat = {}
  for key, value in tree.items():
    if hasattr(value, "items"):
      flat |= flatten(value, f"{prefix}{key}.")
    else:
      flat[f"{prefix}{key}"] = value
  return flat


def one_of(field: str, value: str, known: Sequence[str]) -> str:
  """Returns the value, which must be among the known ones."""
  if value not in known:
    near = difflib.get_close_matches(str(value), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
      f"unknown {field} {value!r}; known: {', '.join(known)}{hint}"
    )
  return value


def at_least(field: str, value: Any, low: float) -> None:
  """Refuses what is no finite number from `low` on."""
  if not (is_number(value) and value >= low):
    raise ValueError(f"{field} must be at least {low}, got {shown(value)}")


def in_range(field: str, value: Any, low: int, high: int) -> int:
  """Returns the value, which must be a whole number in low..high."""
  whole = isinstance(value, int) and not isinstance(value, bool)
  if not whole or not low <= value <= high:
    raise ValueError(
      f"{field} must be a whole number in {low}..{high}, got {shown(value)}"
    )
  return value


def is_number(value: Any) -> bool:
  """Returns whether the value is an int or a float, finite, and no bool."""
  if not isinstance(value, (int, float)) or isinstance(value, bool):
    return False
  try:
    return math.isfinite(value)
  except OverflowError:  # an int that no float holds
    return False
