"""Does training come back: barriers to what was displaced, or pruned."""

from typing import Any

import numpy as np
import pandas as pd

from imp_jax.probes.displacement import PRUNED
from imp_jax.results.claims import ClaimSettings
from imp_jax.results.landscape import STABLE
from imp_jax.statistics.intervals import LEAST_REPLICATES, mean_interval

DISPLACEMENT_COLUMNS = (
  "study",
  "experiment",
  "level",
  "moved",
  "batch_stats",
  "replicates",
  "barrier",
  "low",
  "high",
  "confidence",
  "found",
)
_METRIC = "error_rise_above_mean_"
RETURNS, LEAVES, OPEN = "comes back", "does not", "not told apart"


def displacement_table(
  study: str, barriers: pd.DataFrame, claims: ClaimSettings, declared: int
) -> pd.DataFrame:
  """Returns a row per level and what was done to W_r before it was trained.

  Args:
    study: its name.
    barriers: rows of barriers.csv.
    claims: whose confidence the intervals have.
    declared: how many rows the study has, those that failed among them.

  Returns:
    "moved": "pruned" (this level's mask) or "displaced C" (at random, C times
    as far). The mean over replicates of the test error's "barrier" on the way
    to where the level before had come to, its largest rise above the mean of
    the ends, with an interval by Student's t that holds for all rows together
    (Bonferroni). Found is "comes back" (the interval is below 2 %), "does not"
    (above), or "not told apart", as always of fewer than four replicates.
    Fractions.
  """
  rows: Any = barriers[
    barriers["kind"].map(is_of_displaced)
    & barriers["split"].eq("test")
    & barriers["metric"].str.startswith(_METRIC)
  ]
  keys = ["experiment", "level", "kind", "metric"]
  groups = list(rows.groupby(keys, sort=False)["value"])
  confidence = 1 - (1 - claims.confidence) / max(declared, 1)
  found = []
  for (experiment, level, kind, metric), values in groups:
    own = mean_interval(np.asarray(values, np.float64), confidence=confidence)
    word = OPEN
    if own.count >= LEAST_REPLICATES and own.high <= STABLE:
      word = RETURNS
    elif own.count >= LEAST_REPLICATES and own.low > STABLE:
      word = LEAVES
    mode = metric.removeprefix(_METRIC)
    found.append(
      (
        *(study, experiment, level, kind, mode, own.count),
        *(own.mean, own.low, own.high, own.confidence, word),
      )
    )
  return pd.DataFrame(found, columns=list(DISPLACEMENT_COLUMNS))


def is_of_displaced(kind: str) -> bool:
  """Returns whether a path of that kind is to what was pruned or displaced."""
  return kind == PRUNED or kind.startswith("displaced ")


def displacement_lines(table: pd.DataFrame) -> list[str]:
  """Returns a line per experiment, level, and way of BatchNorm's."""
  lines = []
  name: Any
  rows: Any
  grouped: Any = table.groupby(
    ["experiment", "level", "batch_stats"], sort=False
  )
  for (name, level, mode), rows in grouped:
    told = "; ".join(
      f"{row.moved} {100 * row.barrier:.1f} % ({row.found})"
      for row in rows.itertuples(index=False)
    )
    lines.append(
      f"error barrier from level {level - 1} of {name} to what is trained "
      f"after level {level}'s pruning, or W_r was moved (BatchNorm: {mode}): "
      f"{told}"
    )
  return lines
