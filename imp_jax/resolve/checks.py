"""Checks that name the field, the rule and the value."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any


def steps_of(duration: str, field: str, per_epoch: int, batch_size: int) -> int:
  """Returns a duration in steps: "200step", "2ep" or "25600ex".

  Fractions of an epoch are rounded to the nearest step; examples are rounded
  up to whole batches.

  Raises:
    ValueError: no such form.
  """
  match = re.fullmatch(r"(\d+(?:\.\d+)?)(step|ep|ex)s?", str(duration))
  if not match or (match[2] != "ep" and "." in match[1]):
    raise ValueError(
      f'{field} must be a duration like "200step", "2ep" or "25600ex", '
      f"got {duration!r}"
    )
  if match[2] == "step":
    steps = int(match[1])
  elif match[2] == "ep":
    steps = round(float(match[1]) * per_epoch)
  else:
    steps = -(-int(match[1]) // batch_size)
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
  if not (is_number(value) and value >= low and math.isfinite(value)):
    raise ValueError(f"{field} must be at least {low}, got {value}")


def in_range(field: str, value: Any, low: int, high: int) -> int:
  """Returns the value, which must be a whole number in low..high."""
  whole = isinstance(value, int) and not isinstance(value, bool)
  if not whole or not low <= value <= high:
    raise ValueError(
      f"{field} must be a whole number in {low}..{high}, got {value!r}"
    )
  return value


def is_number(value: Any) -> bool:
  """Returns whether the value is an int or a float, not a bool."""
  return isinstance(value, (int, float)) and not isinstance(value, bool)
