"""The tables a run prints: accuracy, and the smallest matching t_r."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.table import Table

from imp_jax.results.accuracy import test_accuracy


def accuracy_table(results: pd.DataFrame) -> Table:
  """Returns the table experiment x level: mean ± std of test accuracy in %."""
  rows = test_accuracy(results)
  replicates = rows.replicate.nunique()

  def cell(name: str, level: int) -> str:
    values: Any = rows.query("experiment == @name and level == @level")["value"]
    return _mean_and_std(100 * values, replicates)

  return _level_table(
    "test accuracy (%), mean ± std over replicates",
    "experiment",
    list(dict.fromkeys(rows.experiment)),
    _densities_by_level(rows),
    cell,
  )


def matching_step_table(matching: pd.DataFrame, margin: float) -> Table:
  """Returns the table variant x level: the smallest t_r that is matching.

  Args:
    matching: rows of matching.csv.
    margin: of matching, a fraction.
  """

  def cell(variant: str, level: int) -> str:
    rows = matching.query("variant == @variant and level == @level")
    if rows.empty:
      return ""
    step, tried = rows[["smallest_matching_step", "steps_tried"]].iloc[0]
    return f"none of {tried}" if pd.isna(step) else str(step)

  return _level_table(
    f"smallest t_r at which tickets match the dense network (margin "
    f"{100 * margin:g} points)",
    "pre-trained on",
    list(dict.fromkeys(matching.variant)),
    _densities_by_level(matching),
    cell,
  )


def _level_table(
  title: str,
  corner: str,
  names: Sequence[str],
  densities: Mapping[int, str],
  cell: Callable[[str, int], str],
) -> Table:
  """A table of names by levels; the more numerous stand below each other."""
  table = Table(title=title)
  if len(names) > len(densities):
    table.add_column(corner)
    for level, density in densities.items():
      table.add_column(f"level {level}\n{density}", justify="right")
    for name in names:
      table.add_row(name, *(cell(name, level) for level in densities))
    return table
  for column in ("level", "density", *names):
    table.add_column(column, justify="right")
  for level, density in densities.items():
    table.add_row(str(level), density, *(cell(n, level) for n in names))
  return table


def _mean_and_std(values: pd.Series, replicates: int) -> str:
  if not len(values):
    return ""
  spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
  missing = f" (n={len(values)})" if len(values) < replicates else ""
  return f"{values.mean():.1f}{spread}{missing}"


def _densities_by_level(rows: pd.DataFrame) -> dict[int, str]:
  levels = sorted(set(rows.level))
  return {k: _densities(rows.query("level == @k")) for k in levels}


def _densities(rows: pd.DataFrame) -> str:
  low, high = 100 * rows.density.min(), 100 * rows.density.max()
  if high - low > 1:  # experiments with schedules of their own
    return f"{low:.1f}-{high:.1f} %"
  return f"{100 * rows.density.mean():.1f} %"
