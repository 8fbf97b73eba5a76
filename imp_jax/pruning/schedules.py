"""Density schedules: how many survivors of each group a level removes.

Counts are Python integers: float32 `round(n * density)` is off by one at
ResNet sizes.
"""

import math
from collections.abc import Sequence
from fractions import Fraction


def drop_counts(
  alive: Sequence[int],
  totals: Sequence[int],
  *,
  fraction: float,
  density: float | None = None,
  excluded: int = 0,
) -> tuple[int, ...]:
  """Returns q per group, the count that `select_masks` takes.

  Args:
    alive: surviving weights of each group before this level.
    totals: all weights of each group.
    fraction: in (0, 1), the fraction of the survivors that goes at each level:
      q = ceil(fraction * alive), the paper's rule.
    density: if given, it replaces `fraction`: the density wanted of each
      group, so q = alive - round(density * total), halves rounded up.
    excluded: weights left out of pruning whose fraction the one group gives up
      in their place: q = ceil(fraction * (alive + excluded)).

  Returns:
    One q >= 0 per group. Decimals are taken as written (0.2 is 1/5 exactly).

  Raises:
    ValueError: the wanted density is above the present one.
  """
  if density is None:
    share = Fraction(str(fraction))
    return tuple(math.ceil(share * (n + excluded)) for n in alive)
  wanted = Fraction(str(density))
  counts = tuple(
    n - math.floor(wanted * total + Fraction(1, 2))
    for n, total in zip(alive, totals, strict=True)
  )
  if min(counts) < 0:
    raise ValueError(f"density {density} is above what is left")
  return counts
