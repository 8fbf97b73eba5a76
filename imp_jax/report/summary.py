"""The summary a run prints: accuracy per level, and the verdicts."""

import numpy as np
import pandas as pd
from rich.table import Table

from imp_jax.report.figures import test_accuracy
from imp_jax.settings import ClaimSettings
from imp_jax.statistics import (
  holm_intervals,
  matching_levels,
  rewinding_verdict,
)


def accuracy_matrix(results: pd.DataFrame, experiment: str) -> pd.DataFrame:
  """Returns test accuracy, replicates by levels; NaN where there is none."""
  rows = test_accuracy(results).query("experiment == @experiment")
  return rows.pivot(index="replicate", columns="level", values="value")


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
  results: pd.DataFrame, layers: pd.DataFrame, claims: ClaimSettings
) -> list[str]:
  """Returns the lines below the table: verdicts, matching, warnings."""
  return [
    *rewinding_lines(results, claims),
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


def rewinding_lines(results: pd.DataFrame, claims: ClaimSettings) -> list[str]:
  """Returns one line per comparison of claim 0, with its verdict."""
  claim = claims.rewinding
  if claim is None:
    return []
  baseline = accuracy_matrix(results, claim.baseline)
  samples, lines = {}, []
  for name in claim.treatments:
    treated = accuracy_matrix(results, name)
    paired = []
    if claim.level in treated and claim.level in baseline:
      paired = (treated[claim.level] - baseline[claim.level]).dropna()
    if len(paired):
      samples[name] = np.asarray(paired)
    else:
      lines.append(
        f"claim 0, rewinding matters, at level {claim.level}: {name} - "
        f"{claim.baseline}: no replicate has both: undecided"
      )
  intervals = holm_intervals(
    samples, confidence=claims.confidence, resamples=claims.resamples
  )
  for name, interval in intervals.items():
    verdict = rewinding_verdict(interval, claims.margin)
    compared = results[
      results.experiment.isin([name, claim.baseline])
      & (results.level == claim.level)
    ]
    lines.append(
      f"claim 0, rewinding matters, at level {claim.level} "
      f"({100 * compared.density.mean():.1f} % of weights): "
      f"{name} - {claim.baseline} = {100 * interval.mean:+.2f} points, "
      f"{100 * interval.confidence:g} % interval "
      f"[{100 * interval.low:+.2f}, {100 * interval.high:+.2f}], "
      f"{interval.count} replicates: {verdict}"
    )
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
