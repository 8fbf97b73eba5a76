"""Matching the dense network: the smallest t_r, and the smallest density."""

from typing import Any

import pandas as pd

from imp_jax.results.accuracy import accuracy_matrix, mean_density
from imp_jax.results.claims import ClaimSettings
from imp_jax.results.variants import variants
from imp_jax.statistics.intervals import (
  is_matching,
  matching_levels,
  mean_interval,
)

MATCHING_COLUMNS = (
  "study",
  "variant",
  "level",
  "density",
  "smallest_matching_step",
  "steps_tried",
)


def matching_table(
  results: pd.DataFrame, experiments: pd.DataFrame, claims: ClaimSettings
) -> pd.DataFrame:
  """Returns the smallest matching t_r of each variant at each level.

  A variant's experiments differ in the number of pre-training steps only; one
  without any counts as the t_r = 0 of every variant. Matching: the lower bound
  of acc(sparse) - acc(dense), paired with the same replicate's level 0, lies
  above -margin.

  Args:
    results, experiments: rows of results.csv and experiments.csv.
    claims: for the margin and the confidence.

  Returns:
    One row per variant and level from 1 on: study, variant, level, density
    (mean fraction), smallest_matching_step (Int64; missing where no tried t_r
    matches) and steps_tried, e.g. "0 20 100": those with results there.
  """
  if not len(results):  # nothing ran yet, or nothing but scores
    return pd.DataFrame(columns=list(MATCHING_COLUMNS))
  table = variants(experiments)
  none = table.query("kind == 'none'")
  matching = {
    name: _matching(results, name, claims) for name in table["experiment"]
  }
  rows = []
  trained = table.query("kind != 'none'")
  for variant, group in trained.groupby("variant", sort=False):
    same_base = none.query("base in @group.base")
    members = pd.concat([same_base, group])
    levels = {k for name in members["experiment"] for k in matching[name]}
    for level in sorted(levels):
      steps = {
        name: step
        for name, step in zip(
          members["experiment"], members["rewind_step"], strict=True
        )
        if level in matching[name]
      }
      matched = [s for name, s in steps.items() if matching[name][level]]
      rows.append(
        (
          results["study"].iloc[0],
          variant,
          level,
          mean_density(results, tuple(steps), level),
          min(matched, default=None),
          " ".join(map(str, sorted(set(steps.values())))),
        )
      )
  return pd.DataFrame(rows, columns=list(MATCHING_COLUMNS)).astype(
    {"smallest_matching_step": "Int64"}
  )


def smallest_density_table(
  results: pd.DataFrame, claims: ClaimSettings
) -> pd.DataFrame:
  """Returns each experiment's smallest matching density, and its replicates'.

  Matching at every level down to it: an experiment by the interval of its
  paired differences (see `matching_table`), a replicate by its own difference.

  Args:
    results: rows of results.csv.
    claims: for the margin and the confidence.

  Returns:
    Columns study, experiment, replicate (Int64; missing of the row of all of
    them) and density: a fraction, missing where the replicate's dense network
    is; controls and experiments without dense networks have no row.
  """
  rows = []
  for name in dict.fromkeys(results["experiment"]):
    accuracy = accuracy_matrix(results, name)
    if ":" in name or 0 not in accuracy:
      continue
    own: Any = results[results["experiment"] == name]
    densities = own.groupby("level")["density"].mean()
    together, alone = matching_levels(
      accuracy.to_numpy(), margin=claims.margin, confidence=claims.confidence
    )
    found = [(None, together), *zip(accuracy.index, alone, strict=True)]
    for replicate, place in found:
      level = None if place is None else accuracy.columns[place]
      density = None if level is None else densities[level]
      rows.append((own["study"].iloc[0], name, replicate, density))
  columns = ["study", "experiment", "replicate", "density"]
  return pd.DataFrame(rows, columns=columns).astype(
    {"replicate": "Int64", "density": "float64"}
  )


def _matching(
  results: pd.DataFrame, experiment: str, claims: ClaimSettings
) -> dict[int, bool]:
  """Whether each level from 1 on is matching, where it can be compared."""
  accuracy = accuracy_matrix(results, experiment)
  if 0 not in accuracy:
    return {}
  by_level = {}
  for level in set(accuracy.columns) - {0}:
    differences = (accuracy[level] - accuracy[0]).dropna()
    if len(differences):
      interval = mean_interval(
        differences.to_numpy(), confidence=claims.confidence
      )
      by_level[int(level)] = is_matching(interval, claims.margin)
  return by_level
