"""Studies beside each other: experiments of one name, by replicate."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.results.accuracy import accuracy_matrix
from imp_jax.results.load import Results
from imp_jax.statistics.intervals import holm_intervals

COMPARED_COLUMNS = (
  "experiment",
  "level",
  "density",
  "first",
  "second",
  "difference",
  "low",
  "high",
  "confidence",
  "replicates",
)
_APART = "; "


def compared(first: Results, second: Results) -> pd.DataFrame:
  """Returns how two studies' tickets of one name and level differ.

  Replicates are paired: of one seed, replicate i has the same draws in both.

  Args:
    first, second: of which the first declares the confidence.

  Returns:
    A row per experiment (controls too) and level that both have, in the first's
    order: mean test accuracies over the replicates that both have, the mean of
    second - first with its interval by Student's t after Holm's correction over
    all rows, and how many replicates are paired. Fractions.

  Raises:
    ValueError: the studies have other seeds, so that nothing is paired; or no
      experiment of one name.
  """
  seeds = [study.tables.meaning["seed"] for study in (first, second)]
  if seeds[0] != seeds[1]:
    raise ValueError(
      f"{first.study} has seed {seeds[0]} and {second.study} {seeds[1]}: their "
      "replicates are not pairs, and are not compared"
    )
  tables = [study.table for study in (first, second)]
  rows, samples = [], {}
  for name in dict.fromkeys(tables[0]["experiment"]):
    one, other = (accuracy_matrix(table, name) for table in tables)
    for level in one.columns.intersection(other.columns):
      both = pd.concat([one[level], other[level]], axis=1, join="inner")
      pairs = both.dropna().to_numpy(np.float64)
      if not len(pairs):
        continue
      samples[f"{name}{_APART}{level}"] = pairs[:, 1] - pairs[:, 0]
      rows.append((name, int(level), *pairs.mean(axis=0)))
  if not rows:
    raise ValueError(
      f"{first.study} and {second.study} have no experiment of one name in "
      "which a level is finished in both"
    )
  confidence = first.tables.claims.confidence
  found = holm_intervals(samples, confidence=confidence)
  densities: Any = tables[0].groupby(["experiment", "level"])["density"].mean()
  return pd.DataFrame(
    [
      (
        name,
        level,
        float(densities[(name, level)]),
        *means,
        interval.mean,
        interval.low,
        interval.high,
        interval.confidence,
        interval.count,
      )
      for (name, level, *means), interval in zip(
        rows, found.values(), strict=True
      )
    ],
    columns=list(COMPARED_COLUMNS),
  )


def settings_apart(studies: Sequence[Results]) -> pd.DataFrame:
  """Returns the settings in which studies' experiments of one name differ.

  Returns:
    A row per experiment and setting: its value in each study, a column each,
    "" where it has none. Columns experiment, setting, and the studies' numbers.
  """
  each = [
    study.tables.get("experiments")
    .set_index("experiment")
    .fillna("")
    .astype(str)
    for study in studies
  ]
  common = [n for n in each[0].index if all(n in table.index for table in each)]
  columns = list(dict.fromkeys(c for table in each for c in table))
  rows = []
  for name in common:
    for column in columns:
      values = [str(t[column][name]) if column in t else "" for t in each]
      if len(set(values)) > 1:
        rows.append((name, column, *values))
  numbers = [str(i + 1) for i in range(len(studies))]
  return pd.DataFrame(rows, columns=["experiment", "setting", *numbers])
