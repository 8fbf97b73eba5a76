"""What lies at and beside the ends of a range, read from what it tells.

`--describe` tells people the same words. Of a range with words that are not
known here, `sides` has nothing to say, and its test fails.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

NUMBER = r"-?\d+(?:\.\d+)?"
HUGE = 10**400  # no float holds it


def sides(told: str) -> tuple[list[Any], list[tuple[Any, str]]]:
  """Returns (values that a range takes, (value, the rule it is refused by))."""
  if told.endswith(", or unset"):
    taken, refused = sides(told.removesuffix(", or unset"))
    refused = [(value, rule) for value, rule in refused if value is not None]
    return [None, *taken], refused
  if told.startswith("tuple of: "):
    taken, refused = sides(told.removeprefix("tuple of: "))
    return (
      [(), *((value,) for value in taken), tuple(taken)],
      [
        *(((*taken[:1], value), rule) for value, rule in refused),
        *((value, r"must be a tuple, got") for value in ("x", 3, None)),
      ],
    )
  for pattern, read in _KINDS.items():
    if match := re.fullmatch(pattern, told):
      return read(*match.groups())
  return [], []


def _whole(low, high):
  least, most = int(low), int(high)
  rule = rf"must be a whole number in {low}\.\.{high}, got"
  return [least, most], [
    *((value, rule) for value in (least - 1, most + 1, HUGE)),
    *_no_whole(least),
  ]


def _whole_from(low):
  least = int(low)
  return [least, least + 1], [
    (least - 1, f"must be at least {low}, got {least - 1}"),
    (-HUGE, f"must be at least {low}, got a number of"),
    (HUGE, rf"must be a whole number in {low}\.\.\d+, got a number of"),
    *_no_whole(least),
  ]


def _no_whole(least):
  rule = "must be a whole number, got"
  for value in (float(least), least + 0.5, math.nan, str(least), True, None):
    yield value, rule


def _from(low):
  least = float(low)
  rule = f"must be at least {low}, got"
  return [least, int(least) + 1], [
    *((v, rule) for v in (math.nextafter(least, -math.inf), least - 1)),
    *((v, rule) for v in _no_numbers()),
  ]


def _above(low, unit):
  least = float(low)
  rule = f"must be > {low}{unit}, got"
  return [math.nextafter(least, math.inf), least + 1], [
    *((v, rule) for v in (least, least - 1, -0.0)),
    *((v, rule) for v in _no_numbers()),
  ]


def _between(opening, low, high, closing):
  least, most = float(low), float(high)
  rule = re.escape(f"must be in {opening}{low}, {high}{closing}, got")
  at_low, at_high = opening == "[", closing == "]"
  inside = [math.nextafter(least, most), math.nextafter(most, least)]
  outside = [math.nextafter(least, -math.inf), math.nextafter(most, math.inf)]
  for end, taken in ((least, at_low), (most, at_high)):
    (inside if taken else outside).append(end)
  return inside, [(v, rule) for v in (*outside, *_no_numbers())]


def _no_numbers() -> Iterator[Any]:
  yield from (math.nan, math.inf, -math.inf, HUGE, "0.5", True, None)


def _flag():
  rule = "must be True or False, got"
  return [True, False], [(value, rule) for value in (1, 0, "True", None)]


def _text():
  return ["", "x"], [
    (value, "must be text, got") for value in (0, None, ("x",))
  ]


def _numbers():
  return [(), (0.5, -1, 1e30)], [
    *(((0.5, v), "must hold numbers, got") for v in _no_numbers()),
    *((v, "must hold numbers, got") for v in (1.0, "0.5", None)),
  ]


def _duration():
  rule = "must be a duration like"
  bad = ("200", "-1step", "1.5step", "2 ep", "", "step", "late", 3, None)
  return ["0step", "1.5ep", "25ex"], [
    (value, rule) for value in (*bad, "9" * 5000 + "step")
  ]


def _name():
  rule = r"must be letters, digits, \. \+ = - _, got"
  return ["a", "a.b+c=d-e_f", "é1"], [
    *((value, rule) for value in ("a/b", "..", "", " ", 3, None)),
    ("x" * 101, "must have at most 100 bytes.*got 101"),
  ]


def _choice(words):
  known = words.split(" | ")
  taken = [word for word in known if "(" not in word]
  return taken, [
    *(
      (word, f"'{word}'; known: {re.escape(', '.join(known))}")
      for word in (f"{taken[0]}x", taken[0].upper(), "")
    ),
    *((value, "must be text, got") for value in (0, None)),
  ]


_KINDS = {
  rf"whole, ({NUMBER})\.\.({NUMBER})": _whole,
  rf"whole, at least ({NUMBER})": _whole_from,
  rf"at least ({NUMBER})": _from,
  rf"> ({NUMBER})( nats)?": lambda low, unit: _above(low, unit or ""),
  rf"in ([\[(])({NUMBER}), ({NUMBER})([\])])": _between,
  r"True \| False": _flag,
  "text": _text,
  "tuple of numbers": _numbers,
  r'"200step", "2ep" or "25600ex"': _duration,
  r"letters, digits, \. \+ = - _": _name,
  r"(\w+(?: \| .+)+)": _choice,
}
