"""Tables of connection and instability, beside the accuracy of tickets.

Whether connection predicts accuracy is for `results.predictors`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from imp_jax.results.accuracy import test_accuracy
from imp_jax.results.variants import variants
from imp_jax.statistics.intervals import mean_interval

# Frankle et al. 2020 call a network stable whose error rises by less.
STABLE = 0.02
LANDSCAPE_COLUMNS = (
  "study",
  "experiment",
  "variant",
  "rewind_step",
  "replicate",
  "level",
  "density",
  "connected",
  "mean_barrier",
  "pretrained_accuracy",
  "accuracy",
  "distance",
  "diet",
  "base",
)
INSTABILITY_COLUMNS = (
  "study",
  "experiment",
  "variant",
  "rewind_step",
  "mean",
  "low",
  "high",
  "replicates",
  "stable",
  "base",
)
_EACH = ["experiment", "replicate"]


def landscape_table(
  barriers: pd.DataFrame,
  results: pd.DataFrame,
  experiments: pd.DataFrame,
  geometry: pd.DataFrame,
  *,
  threshold: float,
  form: str = "midpoint",
  batch_stats: str = "average",
  split: str = "train",
) -> pd.DataFrame:
  """Returns how connected W_r's dense children are, beside sparse accuracy.

  Args:
    barriers, results, experiments, geometry: rows of the CSV files of those
      names.
    threshold: in nats; an example is connected whose loss barrier is below.
    form: "midpoint" (the paper's), "rise_above_mean" or "rise_above_line".
    batch_stats: "average" (the paper's), "recompute" or "endpoint".
    split: whose examples the barriers are of.

  Returns:
    One row per experiment, replicate and sparse level with both children of
    level 0 and a sparse accuracy: study, experiment, variant, rewind_step,
    replicate, level, density, connected (share of examples, mean over pairs of
    children), mean_barrier (of the loss, in nats, likewise),
    pretrained_accuracy (W_r's own) and accuracy (sparse), both on test data,
    as fractions; distance (L2 over all parameters between two children, mean
    over pairs; not the relative one, whose unit is the norm of one of the two),
    diet ("none" at t_r = 0) and base, as of `variants`.

  Raises:
    ValueError: children were compared, but not by this threshold, form and
      batch_stats.
  """
  rows = barriers.query("kind == 'children' and level == 0 and split == @split")
  wanted = {
    f"connected_{form}_{threshold:g}_{batch_stats}": "connected",
    f"loss_{form}_{batch_stats}": "mean_barrier",
  }
  if absent := sorted(set(wanted) - set(rows["metric"])):
    if len(rows):
      raise ValueError(
        f"barriers must have the metric {absent[0]!r}, has "
        f"{sorted(set(rows['metric']))}"
      )
    return pd.DataFrame(columns=list(LANDSCAPE_COLUMNS))
  measured = _means(rows, list(wanted)).rename(columns=wanted)
  before = _means(results.query("split == 'test'"), ["pretrained_accuracy"])
  # "between" is a kind and a pair.
  apart = geometry[geometry["between"].str.startswith("children ")]
  apart = apart.query("level == 0").rename(columns={"quantity": "metric"})
  sparse = test_accuracy(results).query("level >= 1")
  table = (
    sparse.rename(columns={"value": "accuracy"})
    .merge(measured.reset_index(), on=_EACH)
    .merge(before.reset_index(), on=_EACH, how="left")
    .merge(_means(apart, ["distance"]).reset_index(), on=_EACH, how="left")
    .merge(variants(experiments), on="experiment")
  )
  table = table.dropna(subset=["connected", "accuracy"])
  return table.reset_index(drop=True).reindex(columns=list(LANDSCAPE_COLUMNS))


def instability_table(
  barriers: pd.DataFrame,
  experiments: pd.DataFrame,
  *,
  threshold: float = STABLE,
  split: str = "test",
  level: int = 0,
) -> pd.DataFrame:
  """Returns each experiment's error barrier between children of its ticket.

  Args:
    barriers, experiments: rows of the CSV files of those names.
    threshold: of error, a fraction; below it an experiment is stable.
    split, level: of the children.

  Returns:
    One row per experiment with children at that level: study, experiment,
    variant, rewind_step, mean with low and high (the 95 % interval over
    replicates of the largest rise of error above the mean of the ends, a
    fraction, BatchNorm averaged; Frankle et al. 2020), replicates, stable, and
    base, which tells of which variants a "none" is the t_r = 0.
  """
  rows = barriers.query(
    "kind == 'children' and level == @level and split == @split"
  )
  if not len(rows):
    return pd.DataFrame(columns=list(INSTABILITY_COLUMNS))
  metric = "error_rise_above_mean_average"
  values = _means(rows, [metric])[metric].dropna()
  names = values.index.get_level_values("experiment")
  summaries = []
  for one in variants(experiments).to_dict("records"):
    rises = values[names == one["experiment"]]
    if not len(rises):
      continue
    interval = mean_interval(np.asarray(rises, np.float64))
    summaries.append(
      {
        "study": rows["study"].iloc[0],
        **one,
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "replicates": interval.count,
        "stable": interval.mean < threshold,
      }
    )
  return pd.DataFrame(summaries, columns=list(INSTABILITY_COLUMNS))


def variant_paths(instability: pd.DataFrame) -> dict[str, pd.DataFrame]:
  """Returns each variant's rows of increasing t_r.

  Those without pre-training are the t_r = 0 of every variant of their base,
  and stand for themselves where there is no such variant.
  """
  none = instability.query("rewind_step == 0")
  trained = instability.query("rewind_step > 0")
  alone = none.query("base not in @trained.base")
  paths = {str(v): rows for v, rows in alone.groupby("variant", sort=False)}
  for variant, rows in trained.groupby("variant", sort=False):
    start = none.query("base in @rows.base")
    paths[str(variant)] = pd.concat([start, rows.sort_values("rewind_step")])
  return paths


def instability_lines(
  table: pd.DataFrame, *, threshold: float = STABLE
) -> list[str]:
  """Returns each variant's instability against t_r, in percent of test error.

  Args:
    table: from `instability_table`, on test data.
    threshold: below it a mean is stable; a fraction.

  Returns:
    One line per variant, which ends with the smallest tried t_r from which on
    all that were tried are stable.
  """
  lines = []
  bar = f"< {100 * threshold:g} %"
  for variant, rows in variant_paths(table).items():
    steps, means = rows["rewind_step"].tolist(), rows["mean"].tolist()
    told = ", ".join(
      f"{100 * mean:.1f} % at {'t_r = ' if i == 0 else ''}{step}"
      for i, (step, mean) in enumerate(zip(steps, means, strict=True))
    )
    unstable = [s for s, m in zip(steps, means, strict=True) if m >= threshold]
    stable = [s for s in steps if s > max(unstable, default=-1)]
    end = f"not stable ({bar}) at t_r = {steps[-1]}, the largest tried"
    if stable:
      end = f"stable ({bar}) from t_r = {stable[0]} on"
    lines.append(
      f"instability of {variant} (largest rise of test error above the mean "
      f"of the ends): {told}; {end}"
    )
  return lines


def _means(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
  """Means over pairs: a column per metric, rows by experiment, replicate."""
  return (
    rows[rows["metric"].isin(metrics)]
    .pivot_table("value", _EACH, "metric", aggfunc="mean")
    .reindex(columns=metrics)
  )
