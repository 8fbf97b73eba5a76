"""Contrasts: declared paired differences between tickets and controls."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.probes.fields import STATISTICS
from imp_jax.results.accuracy import PLACE, paired, test_accuracy
from imp_jax.results.claims import ACCURACY, BARRIER, ClaimSettings
from imp_jax.results.trial import OPEN, what_is_found
from imp_jax.statistics.intervals import (
  LEAST_REPLICATES,
  Interval,
  mean_interval,
)

CONTRAST_COLUMNS = (
  "study",
  "treatment",
  "baseline",
  "quantity",
  "level",
  "difference",
  "low",
  "high",
  "confidence",
  "replicates",
  "found",
)
_PLACE = list(PLACE)
_RISE = "error_rise_above_mean_"
# Series of values by experiment, level and replicate.
Quantities = Mapping[str, Any]


def quantities(
  results: pd.DataFrame,
  barriers: pd.DataFrame | None = None,
  fields: pd.DataFrame | None = None,
  children: Mapping[str, tuple[str, int]] | None = None,
) -> Quantities:
  """Returns all that may be compared, by its name.

  Args:
    results: rows of results.csv.
    barriers: rows of barriers.csv; a ticket's barrier is the mean over pairs
      of its children, of the test error's largest rise above the ends' mean;
      there is none where a pair's is missing.
    fields: rows of fields.csv.
    children: by experiment, of which of BatchNorm's ways the barrier is (the
      first), and how many pairs it is of.
  """
  found = {ACCURACY: test_accuracy(results).set_index(_PLACE)["value"]}
  if barriers is not None:
    known = children or {}
    own: Any = {name: _RISE + way for name, (way, _) in known.items()}
    rows: Any = barriers[
      barriers["kind"].eq("children")
      & barriers["split"].eq("test")
      & barriers["metric"].eq(barriers["experiment"].map(own))
    ]
    grouped: Any = rows.groupby(_PLACE)["value"].agg(["mean", "count"])
    pairs: Any = {name: count for name, (_, count) in known.items()}
    wanted = grouped.index.get_level_values("experiment").map(pairs)
    found[BARRIER] = grouped["mean"][grouped["count"] == wanted]
  if fields is not None:
    placed = fields.set_index(_PLACE)
    found |= {name: placed[name].dropna() for name in STATISTICS}
  return {name: series.sort_index() for name, series in found.items()}


def contrasts_table(
  study: str, values: Quantities, claims: ClaimSettings
) -> pd.DataFrame:
  """Returns a row per declared contrast and level.

  Args:
    study: its name.
    values: from `quantities`.
    claims: `contrasts` declares what is compared; `margin` is the difference
      of accuracy that counts as none.

  Returns:
    The mean paired difference, of accuracy and barriers a fraction, with its
    interval by Student's t, which holds for all rows together (Bonferroni).
    Of accuracy what was found is as in `trial_table`; of others "higher",
    "lower", or "not told apart". Of what is not there, or not yet, there are
    0 replicates.
  """
  claim, rows = claims.contrasts, []
  declared = [
    (comparison, level)
    for comparison in (claim.comparisons if claim else ())
    for level in (claim.levels if claim else ())
  ]
  for (treatment, baseline, *named), level in declared:
    quantity = named[0] if named else ACCURACY
    apart = np.zeros(0)
    if quantity in values:
      apart = paired(values[quantity], treatment, baseline, level)
    confidence = 1 - (1 - claims.confidence) / len(declared)
    nothing = Interval(math.nan, math.nan, math.nan, 0, confidence)
    interval = (
      mean_interval(apart, confidence=confidence) if len(apart) else nothing
    )
    rows.append(
      (
        study,
        treatment,
        baseline,
        quantity,
        level,
        interval.mean,
        interval.low,
        interval.high,
        interval.confidence,
        interval.count,
        what_is_found(interval, claims.margin)
        if quantity == ACCURACY
        else _direction(interval),
      )
    )
  return pd.DataFrame(rows, columns=list(CONTRAST_COLUMNS))


def _direction(interval: Interval) -> str:
  if interval.count < LEAST_REPLICATES:
    return OPEN
  if interval.low > 0:
    return "higher"
  return "lower" if interval.high < 0 else OPEN


def contrast_lines(table: pd.DataFrame) -> list[str]:
  """Returns a line per row of the table."""
  rows: Any = table.itertuples(index=False)
  return [
    f"contrast at level {row.level}{_named(row.quantity)}: {row.treatment} "
    f"less {row.baseline} {_told(row)} over {row.replicates} replicates, "
    f"{row.found}"
    for row in rows
  ]


def _named(quantity: str) -> str:
  return "" if quantity == ACCURACY else f", {quantity}"


def _told(row: Any) -> str:
  if not row.replicates:
    return "has nothing to compare,"
  numbers = row.difference, row.low, row.high
  if row.quantity in (ACCURACY, BARRIER):
    return points(*numbers)
  mean, low, high = (f"{number:+.3f}" for number in numbers)
  return f"{mean} [{low}, {high}]"


def points(mean: float, low: float, high: float) -> str:
  """Returns an interval of fractions as text: "+1.2 [+0.3, +2.1] points"."""
  return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points"
