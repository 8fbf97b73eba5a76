"""Tickets on trial: everything that is compared with a ticket, at one table.

Each control against IMP's ticket of its own experiment, and each experiment
against one that was declared.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.results.accuracy import accuracy_matrix, paired_differences
from imp_jax.results.claims import ClaimSettings
from imp_jax.statistics.intervals import Interval, holm_intervals

TRIAL_COLUMNS = (
  "study",
  "name",
  "baseline",
  "level",
  "density",
  "accuracy",
  "difference",
  "low",
  "high",
  "confidence",
  "replicates",
  "found",
)
FOUND = ("better", "as good", "not told apart", "worse")
BETTER, ALIKE, OPEN, WORSE = FOUND


def trial_table(
  study: str, results: pd.DataFrame, claims: ClaimSettings
) -> pd.DataFrame:
  """Returns what differs from the tickets that are on trial, and how much.

  Args:
    study: its name.
    results: rows of results.csv.
    claims: `trial` declares the baseline of experiments and the levels; without
      it there are controls alone, at all their levels. `margin` is the
      difference that counts as none.

  Returns:
    A row per control and experiment ("name": as in results.csv), with what
    "baseline", and level: its mean density and test accuracy, the mean paired
    difference from the baseline's with its interval by Student's t, which at
    each level holds for all rows together (Holm), and what was found: "better"
    or "worse" (the interval excludes 0), "as good" (it lies within the margin)
    or "not told apart". Fractions.
  """
  rows = []
  pairs = list(_pairs(results, claims))
  for level in sorted({level for *_, level in pairs}):
    at = {name: base for name, base, where in pairs if where == level}
    samples = {
      name: paired_differences(results, name, base, level)
      for name, base in at.items()
    }
    found = holm_intervals(samples, confidence=claims.confidence)
    for name, interval in found.items():
      if not interval.count:
        continue
      own: Any = results.query("experiment == @name and level == @level")
      rows.append(
        (
          study,
          name,
          at[name],
          level,
          float(own["density"].mean()),
          float(np.mean(accuracy_matrix(results, name)[level])),
          interval.mean,
          interval.low,
          interval.high,
          interval.confidence,
          interval.count,
          _found(interval, claims.margin),
        )
      )
  return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))


def trial_lines(table: pd.DataFrame) -> list[str]:
  """Returns a line per baseline and level: what was found of how many."""
  lines = []
  rows: Any
  for _, rows in table.groupby(["baseline", "level"], sort=False):
    baseline, level = rows[["baseline", "level"]].iloc[0]
    names = {kind: rows[rows["found"] == kind]["name"] for kind in FOUND}
    told = "; ".join(
      f"{kind}: {', '.join(_short(name, baseline) for name in own)}"
      for kind, own in names.items()
      if len(own)
    )
    lines.append(
      f"against {baseline}'s ticket at level {level} "
      f"({100 * rows['density'].median():.1f} % of weights), {told}"
    )
  return lines


def _short(name: str, baseline: str) -> str:
  parent, _, control = name.partition(":")
  return control if parent == baseline else name


def _pairs(
  results: pd.DataFrame, claims: ClaimSettings
) -> Iterator[tuple[str, str, int]]:
  """(name, baseline, level) of what is compared, in the table's order."""
  levels = claims.trial.levels if claims.trial else None
  places: Any = results[["experiment", "level"]].drop_duplicates()
  for name, level in places.itertuples(index=False):
    if not level or (levels and level not in levels):
      continue
    parent, _, control = name.partition(":")
    if control:
      yield name, parent, int(level)
    elif claims.trial and name != claims.trial.baseline:
      yield name, claims.trial.baseline, int(level)


def _found(interval: Interval, margin: float) -> str:
  if interval.low > 0:
    return BETTER
  if interval.high < 0:
    return WORSE
  if -margin < interval.low and interval.high < margin:
    return ALIKE
  return OPEN
