"""Contrasts: declared paired differences between tickets and controls."""

from typing import Any

import pandas as pd

from imp_jax.results.accuracy import paired_differences
from imp_jax.results.claims import ClaimSettings
from imp_jax.results.trial import what_is_found
from imp_jax.statistics.intervals import mean_interval

CONTRAST_COLUMNS = (
  "study",
  "treatment",
  "baseline",
  "level",
  "difference",
  "low",
  "high",
  "confidence",
  "replicates",
  "found",
)


def contrasts_table(
  study: str, results: pd.DataFrame, claims: ClaimSettings
) -> pd.DataFrame:
  """Returns a row per declared contrast and level.

  Args:
    study: its name.
    results: rows of results.csv.
    claims: `contrasts` declares what is compared; `margin` is the difference
      that counts as none.

  Returns:
    The mean paired difference of test accuracy, a fraction, with its interval
    by Student's t, which holds for all rows together (Bonferroni); and what was
    found, as in `trial_table`.
  """
  claim, rows = claims.contrasts, []
  declared = [
    (*pair, level)
    for pair in (claim.comparisons if claim else ())
    for level in (claim.levels if claim else ())
  ]
  for treatment, baseline, level in declared:
    apart = paired_differences(results, treatment, baseline, level)
    if not len(apart):
      continue
    interval = mean_interval(
      apart, confidence=1 - (1 - claims.confidence) / len(declared)
    )
    rows.append(
      (
        study,
        treatment,
        baseline,
        level,
        interval.mean,
        interval.low,
        interval.high,
        interval.confidence,
        interval.count,
        what_is_found(interval, claims.margin),
      )
    )
  return pd.DataFrame(rows, columns=list(CONTRAST_COLUMNS))


def contrast_lines(table: pd.DataFrame) -> list[str]:
  """Returns a line per row of the table."""
  rows: Any = table.itertuples(index=False)
  return [
    f"contrast at level {row.level}: {row.treatment} less {row.baseline} "
    f"{points(row.difference, row.low, row.high)} over {row.replicates} "
    f"replicates, {row.found}"
    for row in rows
  ]


def points(mean: float, low: float, high: float) -> str:
  """Returns an interval of fractions as text: "+1.2 [+0.3, +2.1] points"."""
  return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points"
