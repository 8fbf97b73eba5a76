"""The summary a run prints: accuracy per level, and the verdicts."""

import pandas as pd
from rich.table import Table

from imp_jax.report.accuracy import accuracy_matrix, test_accuracy
from imp_jax.report.matching import matching_step_lines
from imp_jax.report.verdicts import verdict_lines
from imp_jax.settings import ClaimSettings
from imp_jax.statistics import matching_levels


def accuracy_table(results: pd.DataFrame) -> Table:
  """Returns the table experiment x level: mean ± std of test accuracy in %."""
  rows = test_accuracy(results)
  names = list(dict.fromkeys(rows.experiment))
  replicates = rows.replicate.nunique()
  table = Table(title="test accuracy (%), mean ± std over replicates")
  table.add_column("level", justify="right")
  table.add_column("density", justify="right")
  for name in names:
    table.add_column(name, justify="right")
  for level, group in rows.groupby("level"):
    cells = []
    for name in names:
      values = 100 * group.loc[group.experiment == name, "value"]
      spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
      if len(values) < replicates:
        spread += f" (n={len(values)})"
      cells.append(f"{values.mean():.1f}{spread}" if len(values) else "")
    low, high = 100 * group.density.min(), 100 * group.density.max()
    density = f"{100 * group.density.mean():.1f} %"
    if high - low > 1:  # experiments with schedules of their own
      density = f"{low:.1f}-{high:.1f} %"
    table.add_row(str(level), density, *cells)
  return table


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
    each = ", ".join(
      "failed" if level is None else f"{100 * densities[level]:.1f}"
      for level in alone
    )
    lines.append(
      f"smallest matching density of {name} (margin "
      f"{100 * claims.margin:g} points): {100 * densities[together]:.1f} %; "
      f"per replicate {each} %"
    )
  return lines
