"""Differences between variants, of studies and of the paper, side by side.

Absolute accuracies of two settings cannot be compared; how variants differ can,
in sign, in order, and as shares of what rewinding gains there.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.special

from imp_jax.results.accuracy import (
  mean_density,
  paired_differences,
  test_accuracy,
)
from imp_jax.results.published import load_published
from imp_jax.results.variants import variants
from imp_jax.statistics.intervals import Interval, mean_interval

# (treatment, baseline) kinds, in the order of the paper's claims.
PAIRS = (
  ("all", "none"),
  ("random", "all"),
  ("easy", "random"),
  ("easy", "hard"),
)
RHO = "rho of connected share and accuracy"
COLUMNS = (
  "where",
  "what",
  "rewind_step",
  "rewind_share",
  "level",
  "density",
  "estimate",
  "low",
  "high",
  "replicates",
  "paired",
  "share_of_gain",
  "agrees",
)
ORDER_COLUMNS = ("where", "rewind_step", "level", "density", "order")

# Of the paper: T, t_r and the size that its figures compare, its primary level.
_STEPS, _REWIND, _SIZE, _LEVEL, _REPLICATES = 62_400, 200, 3200, 10, 4
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Setting:
  """Variants of one setting at one rewind step.

  Attributes:
    where: which study, for readers.
    rewind_step, steps: t_r and T.
    level, density: at which they are compared.
    means: of test accuracy, fractions, by kind.
    differences: by pair of kinds, as far as both are there.
    paired: whether replicates are.
  """

  where: str
  rewind_step: int
  steps: int
  level: int
  density: float
  means: dict[str, float]
  differences: dict[tuple[str, str], Interval]
  paired: bool


def study_settings(
  where: str, results: pd.DataFrame, experiments: pd.DataFrame, level: int
) -> list[Setting]:
  """Returns a study's settings: each t_r with "all" in it, each size of subset.

  Experiments that differ in more than their subset are left out.

  Args:
    where: its name for readers; the size is added where there are several.
    results, experiments: rows of the CSV files of those names.
    level: of the comparisons.

  Raises:
    ValueError: no experiment without pre-training, or none on all examples; or
      two that cannot be told apart.
  """
  table: Any = variants(experiments)
  table = table[table["diet"] == table["kind"]]
  named: dict[tuple[int, str, int], str] = {}
  for row in table.to_dict("records"):
    size = 0 if row["kind"] in ("none", "all") else row["size"]
    key = (row["rewind_step"], row["kind"], size)
    if key in named:
      raise ValueError(
        f"{where} has two experiments of one kind and t_r: {named[key]}, "
        f"{row['experiment']}"
      )
    named[key] = row["experiment"]
  steps = sorted(t for t, kind, _ in named if kind == "all")
  if not steps or (0, "none", 0) not in named:
    raise ValueError(
      f'{where} has no experiments "none" and "all" to compare; it has: '
      f"{', '.join(experiments['experiment'])}"
    )
  total = int(experiments["steps"].iloc[0])
  found = []
  for t_r in steps:
    both = {"none": named[0, "none", 0], "all": named[t_r, "all", 0]}
    sizes = sorted({n for t, _, n in named if t == t_r and n}) or [0]
    for size in sizes:
      told = where if len(sizes) == 1 else f"{where}, {size} examples"
      by_kind = both | {
        kind: name
        for (t, kind, n), name in named.items()
        if (t, n) == (t_r, size)
      }
      found.append(_setting(told, t_r, total, level, results, by_kind))
  return found


def _setting(
  where: str,
  rewind_step: int,
  steps: int,
  level: int,
  results: pd.DataFrame,
  by_kind: dict[str, str],
) -> Setting:
  """A study's setting; experiments by their kind."""
  rows: Any = test_accuracy(results).query("level == @level")
  means = rows.groupby("experiment")["value"].mean().to_dict()
  run = {kind: name for kind, name in by_kind.items() if name in means}
  return Setting(
    where,
    rewind_step,
    steps,
    level,
    mean_density(results, list(run.values()), level),
    {kind: means[name] for kind, name in run.items()},
    {
      (a, b): mean_interval(
        paired_differences(results, run[a], run[b], level),
        confidence=_CONFIDENCE,
      )
      for a, b in PAIRS
      if a in run and b in run
    },
    paired=True,
  )


def published_setting() -> Setting:
  """Returns the paper's CIFAR-10 / ResNet-20 at t_r = 200 and 3,200 examples.

  Its replicates are not published: intervals are Welch's, of means and standard
  deviations of four each.
  """
  table: Any = load_published().set_index(
    ["kind", "size", "rewind_step", "level"]
  )
  sizes = {"none": (0, 0), "all": (50_000, _REWIND)}
  rows = {
    kind: table.loc[(kind, *sizes.get(kind, (_SIZE, _REWIND)), _LEVEL)]
    for kind in ("none", "all", "random", "easy", "hard")
  }
  return Setting(
    "the paper",
    _REWIND,
    _STEPS,
    _LEVEL,
    0.8**_LEVEL,
    {kind: float(row["mean"]) for kind, row in rows.items()},
    {
      (a, b): welch_interval(
        (float(rows[a]["mean"]), float(rows[b]["mean"])),
        (float(rows[a]["std"]), float(rows[b]["std"])),
        _REPLICATES,
      )
      for a, b in PAIRS
    },
    paired=False,
  )


def welch_interval(
  means: tuple[float, float],
  stds: tuple[float, float],
  count: int,
  confidence: float = _CONFIDENCE,
) -> Interval:
  """Returns the difference of two means of `count` values each, by Welch's t.

  Args:
    means, stds: of the treatment and the baseline (ddof = 1).
    count: of values, of each.
    confidence: two-sided, in (0, 1).
  """
  squares = [std**2 / count for std in stds]
  difference, error = means[0] - means[1], math.sqrt(sum(squares))
  if not error:
    return Interval(difference, difference, difference, count, confidence)
  freedom = sum(squares) ** 2 * (count - 1) / sum(s**2 for s in squares)
  half = error * float(scipy.special.stdtrit(freedom, (1 + confidence) / 2))
  low, high = difference - half, difference + half
  return Interval(difference, low, high, count, confidence)


def side_by_side(
  settings: Sequence[Setting], correlations: pd.DataFrame | None = None
) -> pd.DataFrame:
  """Returns one row for each setting and difference, the first being the paper.

  Args:
    settings: the first is what the others are held against.
    correlations: rows of verdicts.csv on claim 3; the paper gives no number.

  Returns:
    Columns COLUMNS: estimates are fractions of accuracy with 95 % intervals
    (no correction: nothing is decided here), `share_of_gain` is the estimate
    over all - none of the same setting, NaN where that is not above 0, and
    `agrees` says whether the sign is the first setting's: "same sign", "other
    sign", or "not told apart" where either interval holds 0.
  """
  first = settings[0].differences
  signs = {pair: _sign(i.low, i.high) for pair, i in first.items()}
  rows = []
  for s in settings:
    gain = s.differences.get(("all", "none"))
    for pair, interval in s.differences.items():
      share = interval.mean / gain.mean if gain and gain.low > 0 else np.nan
      bounds = interval.low, interval.high
      rows.append(
        (
          s.where,
          " - ".join(pair),
          s.rewind_step,
          s.rewind_step / s.steps,
          s.level,
          s.density,
          interval.mean,
          interval.low,
          interval.high,
          interval.count,
          s.paired,
          share,
          "" if s is settings[0] else _agreement(_sign(*bounds), signs[pair]),
        )
      )
  table = pd.DataFrame(rows, columns=list(COLUMNS))
  if correlations is None or not len(correlations):
    return table
  more = [
    row
    | {
      "where": row["study"],
      "what": RHO,
      # The paper's statement is a positive one.
      "agrees": _agreement(_sign(row["low"], row["high"]), 1),
    }
    for row in correlations.to_dict("records")
  ]
  columns = [c for c in COLUMNS if c in more[0]]
  return pd.concat(
    [table, pd.DataFrame(more, columns=columns)], ignore_index=True
  )


def orders(settings: Sequence[Setting]) -> pd.DataFrame:
  """Returns each setting's variants by mean accuracy, the worst first.

  Columns: where, rewind_step, level, density, order ("none < hard < all").
  """
  return pd.DataFrame(
    [
      (
        s.where,
        s.rewind_step,
        s.level,
        s.density,
        " < ".join(sorted(s.means, key=lambda kind: s.means[kind])),
      )
      for s in settings
    ],
    columns=list(ORDER_COLUMNS),
  )


def _sign(low: float, high: float) -> int:
  """Of an interval's values; 0 if it holds 0."""
  return 1 if low > 0 else -1 if high < 0 else 0


def _agreement(sign: int, other: int) -> str:
  if not sign or not other:
    return "not told apart"
  return "same sign" if sign == other else "other sign"
