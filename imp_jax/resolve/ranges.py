"""What a field of a config may hold, each kind as a check of (field, value).

A check raises ValueError with the field, the rule and the value.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from imp_jax.files import shown
from imp_jax.models.registry import MODELS, RESNET_NAME, RESNETS
from imp_jax.resolve.checks import (
  DURATION,
  at_least,
  in_range,
  is_number,
  one_of,
)
from imp_jax.settings import NAME, NAME_BYTES

Check = Callable[[str, Any], None]

MANY = 2**31 - 1  # counts are int32 somewhere
HUGE = 2**53  # nobody's, and an estimate refuses much less (`extent`)


def whole(low: int, high: int = MANY) -> Check:
  """Returns the check of a whole number in low..high."""

  def check(field, value):
    if isinstance(value, bool) or not isinstance(value, int):
      raise ValueError(f"{field} must be a whole number, got {shown(value)}")
    if high in (MANY, HUGE) and value < low:
      at_least(field, value, low)
    in_range(field, value, low, high)

  return check


def number(low: float) -> Check:
  """Returns the check of a finite number from `low` on."""
  return lambda field, value: at_least(field, value, low)


def between(low: str, high: str) -> Check:
  """Returns the check of a number in an interval, like "(0" and "1]"."""
  least, most = float(low[1:]), float(high[:-1])

  def check(field, value):
    inside = (
      is_number(value)
      and (least < value or (low[0] == "[" and value == least))
      and (value < most or (high[-1] == "]" and value == most))
    )
    if not inside:
      raise ValueError(f"{field} must be in {low}, {high}, got {shown(value)}")

  return check


def above(low: float, unit: str = "") -> Check:
  """Returns the check of a finite number above `low`."""

  def check(field, value):
    if not (is_number(value) and low < value < float("inf")):
      raise ValueError(f"{field} must be > {low}{unit}, got {shown(value)}")

  return check


def choice(known: Sequence[str]) -> Check:
  """Returns the check of a text among the known ones."""

  def check(field, value):
    text(field, value)
    one_of(field, value, known)

  return check


def several(each: Check) -> Check:
  """Returns the check of a tuple whose entries pass another one."""

  def check(field, value):
    if not isinstance(value, (tuple, list)):
      raise ValueError(f"{field} must be a tuple, got {shown(value)}")
    for entry in value:
      each(field, entry)

  return check


def unset_or(check: Check) -> Check:
  """Returns the check of a field that may be a placeholder."""
  return lambda field, value: None if value is None else check(field, value)


def flag(field: str, value: Any) -> None:
  """True or False."""
  if not isinstance(value, bool):
    raise ValueError(f"{field} must be True or False, got {shown(value)}")


def text(field: str, value: Any) -> None:
  """Any text."""
  if not isinstance(value, str):
    raise ValueError(f"{field} must be text, got {shown(value)}")


def numbers(field: str, value: Any) -> None:
  """A tuple of finite numbers."""
  whole_tuple = isinstance(value, (tuple, list))
  if not whole_tuple or not all(is_number(x) for x in value):
    raise ValueError(f"{field} must hold numbers, got {shown(value)}")


def duration(field: str, value: Any) -> None:
  """Steps, epochs or examples."""
  if not isinstance(value, str) or not re.fullmatch(DURATION, value):
    raise ValueError(
      f'{field} must be a duration like "200step", "2ep" or "25600ex", got '
      f"{shown(value)}"
    )


def name(field: str, value: Any) -> None:
  """A name of a study or an experiment, which names files too."""
  if not isinstance(value, str) or not re.fullmatch(NAME, value):
    raise ValueError(
      f"{field} must be letters, digits, . + = - _, got {shown(value)}"
    )
  if len(value.encode()) > NAME_BYTES:
    raise ValueError(
      f"{field} must have at most {NAME_BYTES} bytes, for it names files too; "
      f"got {len(value.encode())}: {shown(value)}"
    )


def comparisons(field: str, value: Any) -> None:
  """Tuples of experiments; what else is text is for a claim to complain of."""

  def each(field, names):
    if not isinstance(names, str):
      several(text)(field, names)

  if not isinstance(value, str):
    several(each)(field, value)


def width(field: str, value: Any) -> None:
  """A factor of channels, which are counted in int32."""
  above(0)(field, value)
  if value > MANY:
    raise ValueError(f"{field} must be at most {MANY}, got {value}")


def model_name(field: str, value: Any) -> None:
  """A registered model, or "resnetN" or "resnet1dN"."""
  text(field, value)
  if not RESNET_NAME.fullmatch(value):  # its depth is the model's to check
    one_of(field.removesuffix(".name"), value, (*MODELS, *RESNETS))
