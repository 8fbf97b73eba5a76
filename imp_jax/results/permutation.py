"""Barriers between replicates, before and after their units are matched."""

from typing import Any

import numpy as np
import pandas as pd

from imp_jax.probes.permutation import UNMATCHED
from imp_jax.results.claims import ClaimSettings
from imp_jax.statistics.intervals import LEAST_REPLICATES, mean_interval

PERMUTATION_COLUMNS = (
  "study",
  "experiment",
  "level",
  "step",
  "matched",
  "batch_stats",
  "quantity",
  "pairs",
  "barrier",
  "change",
  "low",
  "high",
  "confidence",
  "found",
)
_FORM = "_rise_above_line_"
_BY = ["experiment", "level", "pair", "batch_stats", "quantity"]


def permutation_table(
  study: str, barriers: pd.DataFrame, claims: ClaimSettings, declared: int
) -> pd.DataFrame:
  """Returns a row per kind of matching, level or step, and quantity.

  Args:
    study: its name.
    barriers: rows of barriers.csv.
    claims: whose confidence the intervals have.
    declared: how many matched barriers of a quantity the study has, those that
      failed among them.

  Returns:
    "matched": "replicates" (without a permutation), or by what, and on which
    networks it was found. The mean over disjoint pairs of replicates, each
    there and back, of the "barrier" of test error (a fraction) or mean loss
    (nats): the largest rise above the line between the ends. Its "change" by
    matching, with an interval by Student's t over pairs that holds for all rows
    of one quantity (Bonferroni), and what was found: "lower" or "higher" (the
    interval excludes 0), else "not told apart", as always of fewer than four
    pairs.
  """
  rows: Any = barriers[
    barriers["kind"].map(is_of_pairs)
    & barriers["split"].eq("test")
    & barriers["metric"].str.match(f"(error|loss){_FORM}")
  ].copy()
  if not len(rows):
    return pd.DataFrame(columns=list(PERMUTATION_COLUMNS))
  rows["pair"] = rows["pair"].fillna("")  # as a CSV file gives it back
  parts = rows["metric"].str.split(_FORM, expand=True)
  rows["quantity"], rows["batch_stats"] = parts[0], parts[1]
  indexed: Any = rows.set_index([*_BY, "kind", "replicate"])["value"]
  table: Any = indexed.unstack("replicate")
  found = []
  confidence = 1 - (1 - claims.confidence) / max(declared, 1)
  for place in dict.fromkeys(indexed.index.droplevel("replicate")):
    experiment, level, step, mode, quantity, kind = place
    own, plain = table.loc[place], (*place[:-1], UNMATCHED)
    interval = None
    if kind != UNMATCHED and plain in table.index:
      apart = _pairs(own - table.loc[plain])
      if len(apart):
        interval = mean_interval(apart, confidence=confidence)
    values = _pairs(own)
    found.append(
      (
        study,
        experiment,
        level,
        step,
        kind,
        mode,
        quantity,
        len(values),
        float(values.mean()) if len(values) else np.nan,
        *(
          (interval.mean, interval.low, interval.high, interval.confidence)
          if interval
          else (np.nan,) * 4
        ),
        _found(interval) if interval else "",
      )
    )
  return pd.DataFrame(found, columns=list(PERMUTATION_COLUMNS))


def is_of_pairs(kind: str) -> bool:
  """Returns whether a path of that kind is between partners."""
  return kind == UNMATCHED or ", " in kind


def _pairs(values: Any) -> np.ndarray:
  """Means over there and back: they know the same networks, and are one."""
  both: Any = values.groupby(values.index // 2)
  return np.asarray(both.mean()[both.count() == 2], np.float64)


def _found(interval: Any) -> str:
  if interval.count < LEAST_REPLICATES or interval.low <= 0 <= interval.high:
    return "not told apart"
  return "lower" if interval.high < 0 else "higher"


def permutation_lines(table: pd.DataFrame) -> list[str]:
  """Returns a line per experiment, level or step, and way of BatchNorm's."""
  lines = []
  name: Any
  rows: Any
  error: Any = table[table["quantity"] == "error"]
  keys = ["experiment", "level", "step", "batch_stats"]
  for (name, level, step, mode), rows in error.groupby(keys, sort=False):
    told = [
      f"matched by {row.matched} {100 * row.barrier:.1f} %"
      f"{f' ({row.found})' if row.found else ''}"
      for row in rows.itertuples(index=False)
      if row.matched != UNMATCHED
    ]
    plain = rows[rows["matched"] == UNMATCHED]
    before = 100 * plain["barrier"].mean()  # of one row, or of none that failed
    lines.append(
      f"pairs of replicates of {name} at {step or f'level {level}'} "
      f"(BatchNorm: {mode}), {rows['pairs'].max()} pairs: error barrier "
      f"{before:.1f} %; {'; '.join(told)}"
    )
  return lines
