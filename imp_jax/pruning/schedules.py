"""Density schedules: how many survivors of each group a level removes.

Counts are Python integers: float32 `round(n * density)` is off by one at
ResNet sizes.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from imp_jax.pruning.allocate import Shapes, erk_counts, excluded_count


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


def level_drops(
  kept: Mapping[str, int],
  shapes: Shapes,
  groups: Sequence[Sequence[str]],
  *,
  allocation: str,
  rule: str,
  fraction: float,
  density: float | None = None,
) -> tuple[int, ...]:
  """Returns what each group of layers gives up at a level.

  Args:
    kept: weights that each prunable layer has before it.
    shapes: of all their kernels.
    groups: of `leaf_groups`.
    allocation, rule: of pruning. Under "erk" the fraction or density is of all
      groups together, and each layer keeps its share.
    fraction, density: as of `drop_counts`.

  Raises:
    ValueError: the wanted density is above the present one.
  """
  totals = {path: math.prod(shape) for path, shape in shapes.items()}
  alive = [sum(kept[path] for path in group) for group in groups]
  whole = [sum(totals[path] for path in group) for group in groups]
  if allocation != "erk":
    excluded = excluded_count(kept, groups, allocation=allocation, rule=rule)
    return drop_counts(
      alive, whole, fraction=fraction, density=density, excluded=excluded
    )
  (drop,) = drop_counts(
    [sum(alive)], [sum(whole)], fraction=fraction, density=density
  )
  paths = [path for (path,) in groups]
  left = erk_counts(
    {path: shapes[path] for path in paths},
    {path: kept[path] for path in paths},
    sum(alive) - drop,
  )
  return tuple(kept[path] - left[path] for path in paths)


def round_drops(
  alive: Sequence[int], drops: Sequence[int], rounds: int
) -> list[tuple[int, ...]]:
  """Returns what each round of several takes of what a level takes.

  Each leaves the same share of what was there, to whole weights, so that after
  t of T rounds the density is d^(t / T) of the last one's d.

  Args:
    alive: weights of each group before the level.
    drops: that the level takes of each.
    rounds: at least 1.
  """
  shares = [
    (n - q) / n if n else 0.0 for n, q in zip(alive, drops, strict=True)
  ]
  left = [
    [
      *(round(n * share ** (t / rounds)) for t in range(rounds)),
      n - q,
    ]
    for n, q, share in zip(alive, drops, shares, strict=True)
  ]
  return [tuple(own[t] - own[t + 1] for own in left) for t in range(rounds)]
