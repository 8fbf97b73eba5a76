"""Tickets on trial: everything that is compared with a ticket, at one table.

Each control against IMP's ticket of its own experiment, and each experiment
against one that was declared.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.results.accuracy import accuracy_matrix
from imp_jax.results.claims import ClaimSettings
from imp_jax.stages.controls import DISPLACED
from imp_jax.statistics.intervals import (
  LEAST_REPLICATES,
  Interval,
  mean_interval,
)

TRIAL_COLUMNS = (
  "study",
  "name",
  "baseline",
  "level",
  "baseline_level",
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
    each level holds for all rows together (Bonferroni), and what was found:
    "better" or "worse" (the interval excludes 0), "as good" (it lies within the
    margin) or "not told apart", as always of fewer than four replicates. The
    baseline's level is the row's, but that of "displaced" the one before, whose
    mask it has. Fractions.
  """
  rows = []
  pairs = list(_pairs(results, claims))
  for level in sorted({level for *_, level in pairs}):
    at = {name: base for name, base, where in pairs if where == level}
    confidence = 1 - (1 - claims.confidence) / len(at)
    for name, base in at.items():
      # Under its ticket's mask of the level before: as many weights.
      other = level - name.endswith(f":{DISPLACED}")
      one, two = (accuracy_matrix(results, n) for n in (name, base))
      if level not in one or other not in two:
        continue
      apart = np.asarray((one[level] - two[other]).dropna(), np.float64)
      if not len(apart):
        continue
      interval = mean_interval(apart, confidence=confidence)
      own: Any = results.query("experiment == @name and level == @level")
      rows.append(
        (
          study,
          name,
          base,
          level,
          other,
          float(own["density"].mean()),
          float(np.mean(accuracy_matrix(results, name)[level])),
          interval.mean,
          interval.low,
          interval.high,
          interval.confidence,
          interval.count,
          what_is_found(interval, claims.margin),
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


def what_is_found(interval: Interval, margin: float) -> str:
  """Returns which of `FOUND` an interval of differences shows.

  Args:
    interval: of a difference from a baseline.
    margin: the difference that counts as none.
  """
  if interval.count < LEAST_REPLICATES:
    return OPEN
  if interval.low > 0:
    return BETTER
  if interval.high < 0:
    return WORSE
  if -margin < interval.low and interval.high < margin:
    return ALIKE
  return OPEN
