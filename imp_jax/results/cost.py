"""What adaptive pruning costs, beside pruning a fixed fraction."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.core.index import Entry
from imp_jax.results.accuracy import accuracy_matrix, test_accuracy
from imp_jax.results.claims import ClaimSettings
from imp_jax.results.contrasts import points
from imp_jax.results.trial import OPEN, what_is_found
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
    # By the bound on pruning no error is looked at.
    errors = dict(
      zip(record["fractions"], record.get("projected_errors", ()), strict=False)
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
        record.get("error", math.nan),
        errors.get(chosen, math.nan),
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
    claims: whose confidence and margin the comparison with a baseline has;
      intervals hold for all experiments together (Bonferroni).
  """
  lines = []
  rows: Any
  count = len(set(table["experiment"]))
  confidence = 1 - (1 - claims.confidence) / max(count, 1)
  for name, rows in table.groupby("experiment", sort=False):
    last = rows[rows["level"] == rows["level"].max()]
    lines.append(
      f"adaptive pruning of {name} took {last['trainings'].mean():.0f} "
      f"trainings to {100 * last['density'].mean():.1f} % of the weights, the "
      f"fixed fraction {last['fixed_trainings'].mean():.1f}, mean over "
      f"{len(last)} replicates"
    )
    apart = (last["accuracy"] - last["baseline_accuracy"]).to_numpy(np.float64)
    beyond = int(np.isnan(apart).sum())
    if beyond < len(apart):
      interval = mean_interval(apart[~np.isnan(apart)], confidence=confidence)
      # Those that were pruned furthest would be left out: no verdict.
      found = OPEN if beyond else what_is_found(interval, claims.margin)
      told = points(interval.mean, interval.low, interval.high)
      lines.append(
        f"its accuracy there less {last['baseline'].iloc[0]}'s at the same "
        f"density: {told} over {interval.count} replicates, {found}"
        + (f" ({beyond} beyond its last level)" if beyond else "")
      )
  return lines
