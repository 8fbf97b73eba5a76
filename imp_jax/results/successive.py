"""Successive levels: are those connected that match the dense network?

Paul et al. 2023 (arXiv 2210.03044): at high sparsity two successive levels of
IMP are linearly connected if and only if both match.
"""

from typing import Any

import pandas as pd

from imp_jax.results.accuracy import test_accuracy
from imp_jax.results.landscape import STABLE

SUCCESSIVE_COLUMNS = (
  "study",
  "experiment",
  "replicate",
  "level",
  "density",
  "batch_stats",
  "barrier",
  "connected",
  "gap",
  "matching",
)
_METRIC = "error_rise_above_mean_"
_KINDS = ("successive", "matrix")
_ROUNDING = 2.0**-40  # of differences between shares of the examples


def successive_table(
  study: str, barriers: pd.DataFrame, results: pd.DataFrame, margin: float
) -> pd.DataFrame:
  """Returns one row per step from a level to the next, of each replicate.

  Args:
    study: its name.
    barriers: rows of barriers.csv.
    results: rows of results.csv.
    margin: by which a level's test accuracy may be below the dense network's of
      its replicate and still match it; a fraction.

  Returns:
    "level" and density of the sparser one; its "barrier", the largest rise of
    test error above the mean of the ends, and whether that is at most 2 %
    ("connected"); its accuracy less the dense network's ("gap"), and whether
    both levels match ("matching"); for each way that BatchNorm's statistics
    were got. Fractions.
  """
  rows = barriers[
    barriers["kind"].isin(_KINDS)
    & (barriers["split"] == "test")
    & barriers["metric"].str.startswith(_METRIC)
  ]
  own: Any = test_accuracy(results).set_index(
    ["experiment", "replicate", "level"]
  )
  accuracy, density = own["value"].to_dict(), own["density"].to_dict()
  found: dict[tuple, tuple] = {}
  row: Any
  for row in rows.itertuples(index=False):
    lower, upper = (int(level) for level in row.pair.split("-"))
    place = (row.experiment, int(row.replicate))
    ends = [(*place, k) for k in (0, lower, upper)]
    if upper != lower + 1 or any(end not in accuracy for end in ends):
      continue
    dense, before, after = (accuracy[end] for end in ends)
    found[(*place, upper, row.metric)] = (
      study,
      *place,
      upper,
      density[ends[-1]],
      row.metric.removeprefix(_METRIC),
      row.value,
      bool(row.value <= STABLE),
      after - dense,
      bool(min(before, after) - dense >= -margin - _ROUNDING),
    )
  return pd.DataFrame(found.values(), columns=list(SUCCESSIVE_COLUMNS))


def successive_counts(table: pd.DataFrame) -> pd.DataFrame:
  """Returns the 2 x 2 table: rows matching or not, columns connected or not."""
  counts = pd.crosstab(table["matching"], table["connected"])
  return counts.reindex(
    index=[True, False], columns=[True, False], fill_value=0
  )


def successive_lines(table: pd.DataFrame) -> list[str]:
  """Returns a line per way to get BatchNorm's statistics."""
  lines = []
  rows: Any
  for mode, rows in table.groupby("batch_stats", sort=False):
    (a, b), (c, d) = successive_counts(rows).to_numpy().tolist()
    rho = rows["barrier"].corr(rows["gap"], method="spearman")
    lines.append(
      f"successive levels (BatchNorm: {mode}): of {len(rows)} steps "
      f"{a + b} match at both ends, {a} of them connected (error barrier at "
      f"most {100 * STABLE:g} %); of the other {c + d}, {c} are; Spearman rho "
      f"of barrier and accuracy less the dense one's {rho:+.2f}"
    )
  return lines
