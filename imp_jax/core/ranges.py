"""What an option may hold: ranges that check, describe and normalise a value.

A check raises ValueError with the field, the rule and the value.
"""

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Collection
from typing import Any

from imp_jax.core.files import NAME, NAME_BYTES, shown

# More digits are nobody's, and more than a few thousand no int's.
DURATION = r"(\d{1,15})(\.\d{1,15}(?=ep))?(step|ep|ex)s?"
MANY = 2**31 - 1  # counts are int32 somewhere
HUGE = 2**53  # nobody's, and an estimate refuses much less


@dataclasses.dataclass(frozen=True)
class Range:
  """What an option may hold.

  Attributes:
    words: for people; or a function that returns them.
    check: (field, value) -> None; refuses what it may not hold.
    kind: of a placeholder's value.
    normal: a checked value -> the value that is compared and hashed.
  """

  words: str | Callable[[], str]
  check: Callable[[str, Any], None]
  kind: type = str
  normal: Callable[[Any], Any] = lambda value: value

  @property
  def told(self) -> str:
    """In words, for people."""
    return self.words if isinstance(self.words, str) else self.words()

  def __call__(self, field: str, value: Any) -> None:
    """Refuses a value that is out of the range.

    Raises:
      ValueError: names the field, the rule and the value.
    """
    self.check(field, value)


def whole(low: int, high: int = MANY) -> Range:
  """Returns the range of whole numbers in low..high."""

  def check(field: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
      raise ValueError(f"{field} must be a whole number, got {shown(value)}")
    if high in (MANY, HUGE) and value < low:
      at_least(field, value, low)
    in_range(field, value, low, high)

  least = high in (MANY, HUGE)
  told = f"whole, at least {low}" if least else f"whole, {low}..{high}"
  return Range(told, check, int)


def number(low: float) -> Range:
  """Returns the range of finite numbers from `low` on."""

  def check(field: str, value: Any) -> None:
    at_least(field, value, low)

  return Range(f"at least {low}", check, float, float)


def between(low: str, high: str) -> Range:
  """Returns the range of numbers in an interval, like "(0" and "1]"."""
  least, most = float(low[1:]), float(high[:-1])

  def check(field: str, value: Any) -> None:
    inside = (
      is_number(value)
      and (least < value or (low[0] == "[" and value == least))
      and (value < most or (high[-1] == "]" and value == most))
    )
    if not inside:
      raise ValueError(f"{field} must be in {low}, {high}, got {shown(value)}")

  return Range(f"in {low}, {high}", check, float, float)


def above(low: float, unit: str = "", most: float = math.inf) -> Range:
  """Returns the range of finite numbers above `low`, at most `most`."""

  def check(field: str, value: Any) -> None:
    if not (is_number(value) and low < value < float("inf")):
      raise ValueError(f"{field} must be > {low}{unit}, got {shown(value)}")
    if value > most:
      raise ValueError(f"{field} must be at most {most}, got {value}")

  return Range(f"> {low}{unit}", check, float, float)


def choice(known: Collection[str]) -> Range:
  """Returns the range of the known texts; a registry may gain some."""

  def check(field: str, value: Any) -> None:
    text(field, value)
    one_of(field, value, known)

  return Range(lambda: " | ".join(known), check)


def several(each: Range) -> Range:
  """Returns the range of tuples whose entries are in another one."""

  def check(field: str, value: Any) -> None:
    if not isinstance(value, (tuple, list)):
      raise ValueError(f"{field} must be a tuple, got {shown(value)}")
    for entry in value:
      each(field, entry)

  def normal(value: Any) -> tuple[Any, ...]:
    return tuple(each.normal(entry) for entry in value)

  return Range(lambda: f"tuple of: {each.told}", check, tuple, normal)


def unset_or(range_: Range) -> Range:
  """Returns the range of a field that may be a placeholder."""

  def check(field: str, value: Any) -> None:
    if value is not None:
      range_(field, value)

  def normal(value: Any) -> Any:
    return None if value is None else range_.normal(value)

  told = lambda: f"{range_.told}, or unset"
  return Range(told, check, range_.kind, normal)


def steps_before(value: Any) -> Any:
  """Returns the steps of a duration that needs no data to be known."""
  if isinstance(value, str) and (m := re.fullmatch(r"(\d+)steps?", value)):
    return int(m[1])
  return value


def _flag(field: str, value: Any) -> None:
  if not isinstance(value, bool):
    raise ValueError(f"{field} must be True or False, got {shown(value)}")


def _text(field: str, value: Any) -> None:
  if not isinstance(value, str):
    raise ValueError(f"{field} must be text, got {shown(value)}")


def _numbers(field: str, value: Any) -> None:
  whole_tuple = isinstance(value, (tuple, list))
  if not whole_tuple or not all(is_number(x) for x in value):
    raise ValueError(f"{field} must hold numbers, got {shown(value)}")


def _duration(field: str, value: Any) -> None:
  if not isinstance(value, str) or not re.fullmatch(DURATION, value):
    raise ValueError(
      f'{field} must be a duration like "200step", "2ep" or "25600ex", got '
      f"{shown(value)}"
    )


def _name(field: str, value: Any) -> None:
  if not isinstance(value, str) or not re.fullmatch(NAME, value):
    raise ValueError(
      f"{field} must be letters, digits, . + = - _, got {shown(value)}"
    )
  if len(value.encode()) > NAME_BYTES:
    raise ValueError(
      f"{field} must have at most {NAME_BYTES} bytes, for it names files too; "
      f"got {len(value.encode())}: {shown(value)}"
    )


def _floats(value: Any) -> tuple[float, ...]:
  return tuple(float(x) for x in value)


flag = Range("True | False", _flag, bool)
text = Range("text", _text)
numbers = Range("tuple of numbers", _numbers, tuple, _floats)
duration = Range('"200step", "2ep" or "25600ex"', _duration, str, steps_before)
# Of a study or an experiment, which names files too.
name = Range("letters, digits, . + = - _", _name)


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


def one_of(field: str, value: str, known: Collection[str]) -> str:
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
