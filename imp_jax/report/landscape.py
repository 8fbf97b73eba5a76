"""The loss landscape beside the lottery: claim 3 and instability, as tables."""

import numpy as np
import pandas as pd

from imp_jax.correlation import (
  Correlation,
  cluster_correlation,
  connected_verdict,
)
from imp_jax.report.accuracy import test_accuracy
from imp_jax.report.variants import variants
from imp_jax.settings import ClaimSettings, ConnectedClaim
from imp_jax.statistics import mean_interval

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
  *,
  threshold: float,
  form: str = "midpoint",
  batch_stats: str = "average",
  split: str = "train",
) -> pd.DataFrame:
  """Returns how connected W_r's dense children are, beside what it became.

  Args:
    barriers, results, experiments: rows of the CSV files of those names.
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
    as fractions.

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
  sparse = test_accuracy(results).query("level >= 1")
  table = (
    sparse.rename(columns={"value": "accuracy"})
    .merge(measured.reset_index(), on=_EACH)
    .merge(before.reset_index(), on=_EACH, how="left")
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
  found = []
  for one in variants(experiments).to_dict("records"):
    own = values[names == one["experiment"]]
    if not len(own):
      continue
    interval = mean_interval(np.asarray(own, np.float64))
    found.append(
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
  return pd.DataFrame(found, columns=list(INSTABILITY_COLUMNS))


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


def connected_lines(
  landscape: pd.DataFrame, claim: ConnectedClaim, claims: ClaimSettings
) -> list[str]:
  """Returns claim 3's line with its verdict, and what else bears on it.

  The other lines, marked "also", decide nothing: Pearson's correlation, the
  partial one given W_r's own accuracy, that of the mean barrier, and the same
  at the neighbouring levels. Experiments are the clusters beside replicates.

  Args:
    landscape: from `landscape_table`, by the claim's threshold at midpoints.
    claim: it is undecided as long as an experiment that it names is missing.
    claims: for confidence and resamples.
  """
  rows, level = landscape, claim.level
  if claim.experiments:
    rows = rows[rows["experiment"].isin(claim.experiments)]
  here = rows.query("level == @level")
  what = (
    "Spearman rho between the share of examples with midpoint barrier < "
    f"{claim.threshold:g} nats and sparse accuracy"
  )
  told, interval = _correlation(what, here, "connected", claims)
  missing = [n for n in claim.experiments if n not in set(here["experiment"])]
  verdict = "undecided" if missing else connected_verdict(interval)
  if missing and len(here):
    told += f", but none of {', '.join(missing)}"
  place = _place(here, level)
  lines = [
    f"claim 3, connected examples predict success, at {place}: {told}: "
    f"{verdict}"
  ]
  share = "rho between that share and sparse accuracy"
  barrier = (
    "rho between the mean midpoint barrier and sparse accuracy (the opposite "
    "sign is expected)"
  )
  also = [
    _correlation(
      f"Pearson {share.replace('rho', 'r')}",
      here,
      "connected",
      claims,
      method="pearson",
    ),
    _correlation(
      f"partial Spearman {share} given W_r's own test accuracy",
      here,
      "connected",
      claims,
      given="pretrained_accuracy",
    ),
    _correlation(f"Spearman {barrier}", here, "mean_barrier", claims),
  ]
  if len(here):
    lines += [f"claim 3, also at {place}: {said}" for said, _ in also]
  for beside in (level - 1, level + 1):
    near = rows.query("level == @beside")
    if len(near):
      said, _ = _correlation(f"Spearman {share}", near, "connected", claims)
      lines.append(f"claim 3, also at {_place(near, beside)}: {said}")
  return lines


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


def _means(rows, metrics) -> pd.DataFrame:
  """Means over pairs: a column per metric, rows by experiment, replicate."""
  return (
    rows[rows["metric"].isin(metrics)]
    .pivot_table("value", _EACH, "metric", aggfunc="mean")
    .reindex(columns=metrics)
  )


def _correlation(
  what: str,
  rows: pd.DataFrame,
  column: str,
  claims: ClaimSettings,
  *,
  given: str | None = None,
  method: str = "spearman",
) -> tuple[str, Correlation]:
  """What a line says of a correlation with sparse accuracy; its interval."""
  columns = [column, "accuracy", *([given] if given else [])]
  rows = rows.dropna(subset=columns)
  numbers = [rows[c].to_numpy(np.float64) for c in columns]
  names, replicates = (rows[c].to_numpy() for c in _EACH)
  interval = cluster_correlation(
    numbers[0],
    numbers[1],
    names,
    replicates,
    given=numbers[2] if given else None,
    method=method,
    confidence=claims.confidence,
    resamples=claims.resamples,
  )
  if not interval.count:
    return f"{what}: no replicate has them", interval
  found = "is undefined"
  if not np.isnan(interval.mean):
    found = (
      f"= {interval.mean:+.2f}, {100 * interval.confidence:g} % interval "
      f"[{interval.low:+.2f}, {interval.high:+.2f}]"
    )
  counts = (
    f"{len(set(names))} variants x {len(set(replicates))} replicates "
    f"({interval.count} points)"
  )
  return f"{what} {found}, {counts}", interval


def _place(rows, level) -> str:
  """The level, and the density where there are rows."""
  if not len(rows):
    return f"level {level}"
  return f"level {level} ({100 * rows['density'].mean():.1f} % of weights)"
