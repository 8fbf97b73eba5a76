"""What adaptive pruning costs, beside pruning a fixed fraction."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.core.index import Entry
from imp_jax.results.accuracy import accuracy_matrix, test_accuracy
from imp_jax.results.claims import ClaimSettings
from imp_jax.results.trial import what_is_found
from imp_jax.statistics.intervals import mean_interval

COST_COLUMNS = (
  "study",
  "experiment",
  "replicate",
  "level",
  "density",
  "fraction",
  "error",
  "projected_error",
  "trainings",
  "fixed_trainings",
  "accuracy",
  "baseline",
  "baseline_accuracy",
)

# (entry of a ticket, density of its masks, the record of the masks)
Adapted = Sequence[tuple[Entry, float, Mapping[str, Any]]]


def cost_table(
  study: str,
  adapted: Adapted,
  fixed: Mapping[str, float],
  results: pd.DataFrame,
  claims: ClaimSettings,
) -> pd.DataFrame:
  """Returns one row per level of each replicate that was pruned adaptively.

  Args:
    study: its name.
    adapted: tickets whose masks' fraction was chosen.
    fixed: prune.fraction of each experiment; none of those that leave layers
      out, whose density is no power of 1 - f.
    results: rows of results.csv.
    claims: `cost` may declare the baseline, of a fixed fraction.

  Returns:
    The fraction that was taken; training error before, and of the projection;
    trainings up to this level's, the dense one counted; and how many pruning
    the fixed fraction f (the baseline's, else the experiment's own) needs to
    the same density d, 1 + ln d / ln(1 - f), which need not be whole. The test
    accuracy, and the baseline's of the same replicate at the same density:
    between its levels on a straight line in ln d, beyond them NaN. Fractions.
  """
  baseline = claims.cost.baseline if claims.cost else ""
  accuracies = {
    name: accuracy_matrix(results, name)
    for name in {entry.experiment for entry, *_ in adapted}
  }
  rows = []
  for entry, density, record in adapted:
    chosen = record["fraction"]
    errors = dict(
      zip(record["fractions"], record["projected_errors"], strict=True)
    )
    f, needed = fixed.get(entry.experiment), math.nan
    if f and baseline:
      f = fixed[baseline]
    if f:
      needed = 1 + math.log(density) / math.log(1 - f) if density else math.inf
    rows.append(
      (
        study,
        entry.experiment,
        entry.replicate,
        entry.level,
        density,
        chosen,
        record["error"],
        errors[chosen],
        entry.level + 1,
        needed,
        accuracies[entry.experiment][entry.level][entry.replicate],
        baseline,
        accuracy_at(results, baseline, entry.replicate, density),
      )
    )
  return pd.DataFrame(rows, columns=list(COST_COLUMNS))


def accuracy_at(
  results: pd.DataFrame, experiment: str, replicate: int, density: float
) -> float:
  """Returns one replicate's test accuracy at a density, between its levels'.

  Args:
    results: rows of results.csv.
    experiment, replicate: whose.
    density: of its masks; beyond its levels', and of none, NaN.
  """
  own = test_accuracy(results).query(
    "experiment == @experiment and replicate == @replicate and density > 0"
  )
  if not len(own) or not density:
    return math.nan
  own = own.sort_values("density")
  return float(
    np.interp(
      math.log(density),
      np.log(own["density"]),
      own["value"],
      left=math.nan,
      right=math.nan,
    )
  )


def cost_lines(table: pd.DataFrame, claims: ClaimSettings) -> list[str]:
  """Returns lines per experiment: trainings to its last level's density.

  Args:
    table: from `cost_table`.
    claims: whose confidence and margin the comparison with a baseline has.
  """
  lines = []
  rows: Any
  for name, rows in table.groupby("experiment", sort=False):
    last = rows[rows["level"] == rows["level"].max()]
    lines.append(
      f"adaptive pruning of {name} took {last['trainings'].mean():.0f} "
      f"trainings to {100 * last['density'].mean():.1f} % of the weights, the "
      f"fixed fraction {last['fixed_trainings'].mean():.1f}, mean over "
      f"{len(last)} replicates"
    )
    apart = last["accuracy"] - last["baseline_accuracy"]
    if len(apart := np.asarray(apart.dropna(), np.float64)):
      lines.append(_difference_line(last["baseline"].iloc[0], apart, claims))
  return lines


def _difference_line(
  baseline: str, apart: np.ndarray, claims: ClaimSettings
) -> str:
  interval = mean_interval(apart, confidence=claims.confidence)
  mean, low, high = (
    f"{100 * x:+.1f}" for x in (interval.mean, interval.low, interval.high)
  )
  return (
    f"its accuracy there less {baseline}'s at the same density: {mean} "
    f"[{low}, {high}] points over {interval.count} replicates, "
    f"{what_is_found(interval, claims.margin)}"
  )
