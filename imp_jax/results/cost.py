"""What adaptive pruning costs, beside pruning a fixed fraction."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from imp_jax.core.index import Entry

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
)

# (entry of a ticket, density of its masks, the record of the masks)
Adapted = Sequence[tuple[Entry, float, Mapping[str, Any]]]


def cost_table(
  study: str, adapted: Adapted, fixed: Mapping[str, float]
) -> pd.DataFrame:
  """Returns one row per level of each replicate that was pruned adaptively.

  Args:
    study: its name.
    adapted: tickets whose masks' fraction was chosen.
    fixed: prune.fraction of each experiment that it is compared with; none of
      those that leave layers out, whose density is no power of 1 - f.

  Returns:
    The fraction that was taken; training error before, and of the projection;
    trainings up to this level's, the dense one counted; and how many pruning
    the fixed fraction f needs to the same density d, 1 + ln d / ln(1 - f),
    which need not be whole.
  """
  rows = []
  for entry, density, record in adapted:
    chosen = record["fraction"]
    errors = dict(
      zip(record["fractions"], record["projected_errors"], strict=True)
    )
    needed = math.nan
    if f := fixed.get(entry.experiment):
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
      )
    )
  return pd.DataFrame(rows, columns=list(COST_COLUMNS))


def cost_lines(table: pd.DataFrame) -> list[str]:
  """Returns a line per experiment: trainings to its last level's density."""
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
  return lines
