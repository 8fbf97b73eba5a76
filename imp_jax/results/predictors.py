"""Claim 3: what of W_r correlates with sparse accuracy: a table, and lines.

Correlations of the share of connected examples, and of plain predictors, with
accuracy: over every variant and within each data diet.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.results.claims import ClaimSettings, ConnectedClaim
from imp_jax.statistics.correlation import (
  LEAST_VARIANTS,
  cluster_correlation,
  connected_verdict,
)
from imp_jax.statistics.intervals import LEAST_REPLICATES

PREDICTOR_COLUMNS = (
  "study",
  "predictor",
  "scope",
  "level",
  "method",
  "rho",
  "low",
  "high",
  "variants",
  "replicates",
  "points",
)
# Columns of landscape.csv, and what lines and legends call them.
PREDICTORS = {
  "connected": "the share of connected examples",
  "pretrained_accuracy": "W_r's own test accuracy",
  "mean_barrier": "the mean midpoint barrier",
  "distance": "the L2 distance between W_r's dense children",
}
# These fall as connection grows.
NEGATIVE = ("mean_barrier", "distance")
# A diet has a correlation of its own from so many experiments on.
LEAST_EXPERIMENTS = 3
# Lines and figures show that of so many means: of 3, one order in 6 is perfect
# by chance, of 5 one in 120.
LEAST_MEANS = 5


def predictors_table(
  landscape: pd.DataFrame,
  level: int,
  claims: ClaimSettings,
  experiments: tuple[str, ...] = (),
) -> pd.DataFrame:
  """Returns how each predictor correlates with sparse accuracy.

  Args:
    landscape: from `results.landscape.landscape_table`.
    level: of the sparse networks; its neighbours are looked at too, for the
      connected share.
    claims: for confidence and resamples.
    experiments: those looked at; () = all.

  Returns:
    One row per predictor (a key of `PREDICTORS`), scope, level and method, of
    those with any points. The scope is "all" or "within DIET": that diet's
    experiments, whatever their t_r and size, and those without pre-training of
    their base, which are the t_r = 0 of each of its diets; a diet needs three.
    The method is "spearman" or, of the connected share at the level itself,
    "pearson", over variants × replicates (with low and high from
    `cluster_correlation`), "means", Spearman's between the variants' means over
    replicates (the paper's kind of plot), or "partial", Spearman's of connected
    given pretrained_accuracy. Signs are as found: mean_barrier and distance are
    expected to be negative. Of means low and high are missing: over replicates
    they have no spread left, and variants are too few to resample alone
    (`cluster_correlation` says how its bounds fare with three or four: too
    narrow). variants, replicates and points count experiments, replicates, and
    pairs that have data (of means: experiments).
  """
  rows = landscape
  if experiments:
    rows = rows[rows["experiment"].isin(experiments)]
  correlations = []
  for near in (level - 1, level, level + 1):
    here = rows.query("level == @near")
    for scope, own in (_scopes(here) if len(here) else {}).items():
      # Bootstraps take long: beside the claim's level, of the claim alone.
      for predictor in PREDICTORS if near == level else ("connected",):
        where = {"predictor": predictor, "scope": scope, "level": near}
        methods = ["spearman", "means"]
        if predictor == "connected" and near == level:
          methods += ["pearson", "partial"]
        correlations += [
          where | one
          for method in methods
          if (one := _row(own, predictor, method, claims))["points"]
        ]
  table = pd.DataFrame(correlations, columns=list(PREDICTOR_COLUMNS))
  return table.assign(
    study=landscape["study"].iloc[0] if correlations else None
  )


def connected_lines(
  landscape: pd.DataFrame,
  predictors: pd.DataFrame,
  claim: ConnectedClaim,
  claims: ClaimSettings,
) -> list[str]:
  """Returns claim 3's line with its verdict, then lines of related numbers.

  The other lines, marked "also", decide nothing: by Pearson's correlation,
  within each diet, by each plain predictor, at the neighbouring levels.
  Experiments are the clusters beside replicates.

  Args:
    landscape: from `landscape_table`, by the claim's threshold at midpoints.
    predictors: from `predictors_table`, of the claim's level and experiments;
      without rows there is no "also".
    claim: it is undecided as long as an experiment that it names is missing.
    claims: for confidence and resamples.
  """
  rows, level = landscape, claim.level
  if claim.experiments:
    rows = rows.loc[rows["experiment"].isin(claim.experiments)]
  here = rows.query("level == @level")
  row = _row(here, "connected", "spearman", claims)
  told = (
    "Spearman rho between the share of examples with midpoint barrier < "
    f"{claim.threshold:g} nats and sparse accuracy"
  )
  told += _told(row, claims) if row["points"] else ": no replicate has them"
  missing = _missing(here, claim)
  verdict = "undecided" if missing else connected_verdict(row["found"])
  if missing and len(here):
    told += f", but none of {', '.join(missing)}"
  elif row["points"] and row["found"].deep < LEAST_VARIANTS:
    verdict += (
      f": fewer than {LEAST_VARIANTS} variants of {LEAST_REPLICATES} "
      "replicates never decide"
    )
  places = {k: _place(rows, k) for k in (level, level - 1, level + 1)}
  return [
    f"claim 3, connected examples predict success, at {places[level]}: {told}: "
    f"{verdict}",
    *(f"claim 3, also {said}" for said in _beside(predictors, places, claims)),
  ]


def whole_claim(
  claim: ConnectedClaim, experiments: Mapping[str, Mapping[str, Any]]
) -> ConnectedClaim:
  """Returns the claim with every experiment that it is about named.

  Args:
    claim: which may name none, and so be of all whose W_r has children.
    experiments: settings by name, as config.json has them.
  """
  if claim.experiments:
    return claim
  names = [
    name
    for name, settings in experiments.items()
    if (c := settings["probes"]["connectivity"])["children"]
    and 0 in c["levels"]
  ]
  return dataclasses.replace(claim, experiments=tuple(names))


def connected_verdict_row(
  landscape: pd.DataFrame, claim: ConnectedClaim, claims: ClaimSettings
) -> dict[str, Any]:
  """Returns claim 3's correlation and verdict, in the columns of verdicts.csv.

  Without study, claim and seconds; it has no margin.

  Args:
    landscape, claim, claims: as of `connected_lines`.
  """
  here = landscape.query("level == @claim.level")
  if claim.experiments:
    here = here.loc[here["experiment"].isin(claim.experiments)]
  row = _row(here, "connected", "spearman", claims)
  return {
    "what": "rho of connected share and accuracy",
    "level": claim.level,
    "density": float(np.mean(here["density"])) if len(here) else np.nan,
    "estimate": row["rho"],
    "low": row["low"],
    "high": row["high"],
    "confidence": claims.confidence,
    "margin": np.nan,
    "replicates": row["replicates"],
    "verdict": "undecided"
    if _missing(here, claim)
    else connected_verdict(row["found"]),
  }


def _missing(here: pd.DataFrame, claim: ConnectedClaim) -> list[str]:
  """The claim's experiments that have no row."""
  return [n for n in claim.experiments if n not in set(here["experiment"])]


def _beside(
  predictors: pd.DataFrame, places: Mapping[int, str], claims: ClaimSettings
) -> list[str]:
  """Lines of the correlations that are related to claim 3's own.

  Args:
    predictors: from `predictors_table`.
    places: what each level is called, the claim's first.
    claims: for confidence.
  """
  level, *neighbours = places
  known: dict[tuple, dict[str, Any]] = {
    (row["predictor"], row["scope"], row["level"], row["method"]): row
    for row in predictors.to_dict("records")
  }
  here = f"at {places[level]}"
  share, rho = "that share and sparse accuracy", "Spearman rho between"
  said = []
  if pearson := known.get(("connected", "all", level, "pearson")):
    told = _told(pearson, claims) + _of_means(known, "all", level)
    said.append(f"{here}: Pearson r between {share}{told}")
  for (predictor, scope, near, method), row in known.items():
    if (predictor, near, method) != ("connected", level, "spearman"):
      continue
    # A study of one diet has said it already.
    if row["variants"] < known[predictor, "all", near, method]["variants"]:
      told = _told(row, claims) + _of_means(known, scope, level)
      said.append(f"{scope}, {here}: {rho} {share}{told}")
  for predictor, name in PREDICTORS.items():
    plain = known.get((predictor, "all", level, "spearman"))
    if predictor == "connected" or not plain:
      continue
    sign = " (expected to be negative)" if predictor in NEGATIVE else ""
    told = f"{rho} {name} and sparse accuracy{sign}{_told(plain, claims)}"
    partial = known.get(("connected", "all", level, "partial"))
    if predictor == "pretrained_accuracy" and partial:
      told += "; partial rho of that share given it"
      told += _estimate(partial, claims)
    said.append(f"{here}: {told}")
  for near in neighbours:
    if there := known.get(("connected", "all", near, "spearman")):
      said.append(f"at {places[near]}: {rho} {share}{_told(there, claims)}")
  return said


def _scopes(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
  """The rows of each scope; t_r = 0 starts every diet of its base."""
  scopes = {"all": rows}
  for diet, trained in rows.query("rewind_step > 0").groupby(
    "diet", sort=False
  ):
    start = rows.query("rewind_step == 0 and base in @trained.base")
    whole = pd.concat([start, trained])
    if len(set(whole["experiment"])) >= LEAST_EXPERIMENTS:
      scopes[f"within {diet}"] = whole
  return scopes


def _row(
  rows: pd.DataFrame, predictor: str, method: str, claims: ClaimSettings
) -> dict[str, Any]:
  """A correlation with sparse accuracy: the table's columns, and "found"."""
  columns = [predictor, "accuracy"]
  if method == "partial":
    columns.append("pretrained_accuracy")
  rows = rows.dropna(subset=columns)
  names, replicates = rows["experiment"], rows["replicate"]
  counts = {"variants": names.nunique(), "replicates": replicates.nunique()}
  if method == "means":
    # Rounded, so that equal means tie whatever order they are added in.
    means: Any = rows.groupby("experiment")[columns].mean()
    rows = means.round(12)
    names, replicates = rows.index, np.zeros(len(rows))
  numbers = [rows[c].to_numpy(np.float64) for c in columns]
  interval = cluster_correlation(
    numbers[0],
    numbers[1],
    names.to_numpy(),
    np.asarray(replicates),
    given=numbers[2] if method == "partial" else None,
    method="pearson" if method == "pearson" else "spearman",
    confidence=claims.confidence,
    resamples=claims.resamples,
  )
  bounds = (interval.low, interval.high)
  low, high = bounds if method != "means" else (np.nan, np.nan)
  return {
    "method": method,
    "rho": interval.mean,
    "low": low,
    "high": high,
    **counts,
    "points": interval.count,
    "found": interval,
  }


def _told(row: Mapping[str, Any], claims: ClaimSettings) -> str:
  """A correlation with its interval and counts, as a line ends with it."""
  return (
    f"{_estimate(row, claims)}, {row['variants']} variants x "
    f"{row['replicates']} replicates ({row['points']} points)"
  )


def _estimate(row: Mapping[str, Any], claims: ClaimSettings) -> str:
  if np.isnan(row["rho"]):
    return " is undefined"
  return (
    f" = {row['rho']:+.2f}, {100 * claims.confidence:g} % interval "
    f"[{row['low']:+.2f}, {row['high']:+.2f}]"
  )


def _of_means(
  known: Mapping[tuple, Mapping[str, Any]], scope: str, level: int
) -> str:
  row = known.get(("connected", scope, level, "means"))
  if row is None or row["points"] < LEAST_MEANS or np.isnan(row["rho"]):
    return ""
  return f"; Spearman {row['rho']:+.2f} between the variants' means"


def _place(rows: pd.DataFrame, level: int) -> str:
  """A level in words, with its mean density where there are rows."""
  rows = rows.query("level == @level")
  if not len(rows):
    return f"level {level}"
  return f"level {level} ({100 * rows['density'].mean():.1f} % of weights)"
