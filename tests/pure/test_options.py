"""What a study may be extended in, by what its options declare."""

import dataclasses

import pytest

from imp_jax.core.options import extends, merged, option
from imp_jax.core.ranges import number, whole


@dataclasses.dataclass(frozen=True)
class Settings:
  """A probe's: it looks at `count`, in a way that `norm` says."""

  levels: tuple[int, ...] = option((), whole(0), "which", where=True)
  count: int = option(0, whole(0), "how many", looks=True)
  norm: float = option(1.0, number(0), "of each", needs="count")
  batch_size: int = option(8, whole(1), "of them")


WAS = {"levels": [1], "count": 2, "norm": 1.0, "batch_size": 8}


@pytest.mark.parametrize(
  "now,extended",
  [
    ({}, True),
    ({"levels": [1, 2], "count": 5}, True),  # where, and how much
    ({"batch_size": 9}, False),
    ({"norm": 2.0}, False),
    ({"count": 0, "batch_size": 9, "norm": 2.0}, True),  # it does not look
  ],
)
def test_what_extends_a_study(now, extended):
  assert extends(Settings, WAS, WAS | now) == extended
  assert extends(Settings, WAS | now, WAS) == extended


@pytest.mark.parametrize("missing", ["levels", "norm", "batch_size"])
def test_an_option_may_be_younger_than_a_study(missing):
  """What a study did before there was the option is the default."""
  old = {name: value for name, value in WAS.items() if name != missing}
  other = {"levels": [3], "norm": 2.0, "batch_size": 9}[missing]
  assert extends(Settings, old, WAS)
  assert extends(Settings, old, WAS | {missing: other}) == (missing == "levels")


def test_not_looking_keeps_what_was_looked_at():
  off = {"levels": [], "count": 0, "norm": 1.0, "batch_size": 8}
  assert merged(Settings, WAS, off) == WAS
  assert merged(Settings, off, WAS) == WAS
  more = WAS | {"levels": [1, 2]}
  assert merged(Settings, WAS, more) == more
