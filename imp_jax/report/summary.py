"""The summary a run prints: accuracy per level, and the verdicts."""

import collections

import pandas as pd
from rich.table import Table

from imp_jax.report.accuracy import accuracy_matrix, test_accuracy
from imp_jax.report.matching import matching_step_lines
from imp_jax.report.verdicts import verdict_lines
from imp_jax.settings import ClaimSettings
from imp_jax.statistics import matching_levels


def accuracy_table(results: pd.DataFrame) -> Table:
  """Returns the table experiment x level: mean ± std of test accuracy in %.

  Whichever there are more of, experiments or levels, stand below each other.
  """
  rows = test_accuracy(results)
  names = list(dict.fromkeys(rows.experiment))
  levels = sorted(set(rows.level))
  replicates = rows.replicate.nunique()
  table = Table(title="test accuracy (%), mean ± std over replicates")

  def cell(name, level):
    values = rows.query("experiment == @name and level == @level")["value"]
    return _mean_and_std(100 * values, replicates)

  if len(names) > len(levels):
    table.add_column("experiment")
    for level in levels:
      density = _densities(rows.query("level == @level"))
      table.add_column(f"level {level}\n{density}", justify="right")
    for name in names:
      table.add_row(name, *(cell(name, level) for level in levels))
    return table
  for title in ("level", "density", *names):
    table.add_column(title, justify="right")
  for level in levels:
    density = _densities(rows.query("level == @level"))
    table.add_row(str(level), density, *(cell(n, level) for n in names))
  return table


def _mean_and_std(values, replicates) -> str:
  if not len(values):
    return ""
  spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
  missing = f" (n={len(values)})" if len(values) < replicates else ""
  return f"{values.mean():.1f}{spread}{missing}"


def _densities(rows) -> str:
  low, high = 100 * rows.density.min(), 100 * rows.density.max()
  if high - low > 1:  # experiments with schedules of their own
    return f"{low:.1f}-{high:.1f} %"
  return f"{100 * rows.density.mean():.1f} %"


def summary_lines(
  results: pd.DataFrame,
  layers: pd.DataFrame,
  matching: pd.DataFrame,
  claims: ClaimSettings,
) -> list[str]:
  """Returns the lines below the table: verdicts, matching, warnings.

  Args:
    results, layers, matching: rows of results.csv, layers.csv, matching.csv.
    claims: what the study declared.
  """
  return [
    *verdict_lines(results, claims),
    *matching_step_lines(matching, claims),
    *matching_lines(results, claims),
    *emptied_lines(layers),
  ]


def emptied_lines(layers: pd.DataFrame) -> list[str]:
  """Returns a warning per experiment whose masks empty a layer or a channel.

  Each layer is named with the first level at which it happens in any
  replicate; layers.csv has every count.
  """
  lines = []
  for what, rows in (
    ("layers emptied", layers.query("kept == 0")),
    ("channels emptied", layers.query("emptied_channels > 0")),
  ):
    for name, group in rows.groupby("experiment", sort=False):
      first = group.sort_values("level").drop_duplicates("layer")
      named = ", ".join(
        f"{layer} from level {level}"
        for layer, level in zip(first["layer"], first["level"], strict=True)
      )
      lines.append(f"warning: {name}: {what}: {named}")
  return lines


def matching_lines(results: pd.DataFrame, claims: ClaimSettings) -> list[str]:
  """Returns each experiment's smallest matching density, and per replicate."""
  lines = []
  for name in dict.fromkeys(results.experiment):
    accuracy = accuracy_matrix(results, name)
    if ":" in name or 0 not in accuracy:
      continue
    densities = (
      results[results.experiment == name].groupby("level").density.mean()
    )
    together, alone = matching_levels(
      accuracy.to_numpy(),
      margin=claims.margin,
      confidence=claims.confidence,
      resamples=claims.resamples,
    )
    lines.append(
      f"smallest matching density of {name} (margin "
      f"{100 * claims.margin:g} points): {100 * densities[together]:.1f} %; "
      f"{_per_replicate(alone, 100 * densities)}"
    )
  return lines


def _per_replicate(levels, percents) -> str:
  """Each replicate's smallest matching density, or of many their counts."""
  found = [
    "failed" if level is None else f"{percents[level]:.1f} %"
    for level in levels
  ]
  if len(found) <= 8:
    return f"per replicate {', '.join(found)}"
  counts = collections.Counter(found).most_common()
  return "replicates: " + ", ".join(f"{n} at {value}" for value, n in counts)
