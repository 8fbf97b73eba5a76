"""The verdicts a run prints: one line per comparison that was declared."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from imp_jax.report.accuracy import mean_density, paired_differences
from imp_jax.settings import ClaimSettings
from imp_jax.statistics import (
  LEAST_MARGIN,
  Interval,
  easy_data_verdict,
  holm_intervals,
  little_data_margin,
  little_data_verdict,
  rewinding_verdict,
)

Pair = tuple[str, str]  # (treatment, baseline)


def verdict_lines(results: pd.DataFrame, claims: ClaimSettings) -> list[str]:
  """Returns the lines of every declared claim, in the claims' order.

  Each says the difference in points of test accuracy, its interval (with
  Holm's correction over all of the claim's differences), the number of paired
  replicates and the verdict.
  """
  return [
    *rewinding_lines(results, claims),
    *little_data_lines(results, claims),
    *easy_data_lines(results, claims),
  ]


def rewinding_lines(results: pd.DataFrame, claims: ClaimSettings) -> list[str]:
  """Returns one line per comparison of claim 0, with its verdict."""
  claim = claims.rewinding
  if claim is None:
    return []
  pairs = [(name, claim.baseline) for name in claim.treatments]
  lines = []
  for pair, interval in _intervals(results, pairs, claim.level, claims).items():
    start = _start("claim 0, rewinding matters", results, pair, claim.level)
    if not interval.count:
      lines.append(f"{start}: {_missing(pair)}: undecided")
      continue
    verdict = rewinding_verdict(interval, claims.margin)
    lines.append(f"{start}: {_difference(pair, interval)}: {verdict}")
  return lines


def little_data_lines(
  results: pd.DataFrame, claims: ClaimSettings
) -> list[str]:
  """Returns one line per comparison of claim 1: its margin and its verdict.

  The margin is a quarter of what the baseline gains over no pre-training at
  the same level, at least 0.25 points.
  """
  claim = claims.little_data
  if claim is None:
    return []
  effects = {
    baseline: paired_differences(results, baseline, claim.none, claim.level)
    for _, baseline in claim.comparisons
  }
  margins = {
    pair: little_data_margin(float(effects[pair[1]].mean()))
    for pair in claim.comparisons
    if len(effects[pair[1]])
  }
  intervals = _intervals(
    results,
    claim.comparisons,
    claim.level,
    claims,
    # NaN decides nothing: without a margin there is nothing to step down on.
    thresholds={p: -margins.get(p, np.nan) for p in claim.comparisons},
  )
  lines = []
  for pair, interval in intervals.items():
    start = _start("claim 1, little data suffices", results, pair, claim.level)
    gain = (pair[1], claim.none)
    if not interval.count:
      lines.append(f"{start}: {_missing(pair)}: undecided")
      continue
    told = f"{start}: {_difference(pair, interval)}"
    if pair not in margins:
      lines.append(f"{told}; no margin, as {_missing(gain)}: undecided")
      continue
    margin, effect = margins[pair], float(effects[pair[1]].mean())
    rule = f"a quarter of {_name(gain)} = {100 * effect:+.2f}"
    if margin == LEAST_MARGIN:
      rule = f"the least, as {rule} is no more"
    verdict = little_data_verdict(interval, margin)
    lines.append(f"{told}; margin {100 * margin:.2f} points, {rule}: {verdict}")
  return lines


def easy_data_lines(results: pd.DataFrame, claims: ClaimSettings) -> list[str]:
  """Returns one line per comparison of claim 2, with its verdict.

  A comparison is of two differences, easy - random and easy - all.
  """
  claim = claims.easy_data
  if claim is None:
    return []
  pairs = [
    (easy, other) for easy, *others in claim.comparisons for other in others
  ]
  intervals = _intervals(results, pairs, claim.level, claims)
  lines = []
  for easy, *others in claim.comparisons:
    two = [(easy, other) for other in others]
    start = _start(
      "claim 2, easy data needs fewer steps",
      results,
      (easy, *others),
      claim.level,
    )
    missing = [_missing(pair) for pair in two if not intervals[pair].count]
    told = "; ".join(
      _difference(pair, intervals[pair])
      for pair in two
      if intervals[pair].count
    )
    verdict = "undecided"
    if not missing:
      verdict = easy_data_verdict(*(intervals[pair] for pair in two))
    said = "; ".join(filter(None, (told, *missing)))
    lines.append(f"{start}: {said}: {verdict}")
  return lines


def _intervals(
  results: pd.DataFrame,
  pairs,
  level: int,
  claims: ClaimSettings,
  thresholds: Mapping[Pair, float] | None = None,
) -> dict[Pair, Interval]:
  """Intervals of paired differences, with Holm's correction over them all."""
  names = {pair: _name(pair) for pair in pairs}
  intervals = holm_intervals(
    {
      name: paired_differences(results, pair[0], pair[1], level)
      for pair, name in names.items()
    },
    thresholds={names[p]: bar for p, bar in (thresholds or {}).items()},
    confidence=claims.confidence,
    resamples=claims.resamples,
  )
  return {pair: intervals[name] for pair, name in names.items()}


def _name(pair: Pair) -> str:
  return f"{pair[0]} - {pair[1]}"


def _start(claim, results, experiments, level) -> str:
  density = mean_density(results, experiments, level)
  weights = f" ({100 * density:.1f} % of weights)" if density == density else ""
  return f"{claim}, at level {level}{weights}"


def _difference(pair: Pair, interval: Interval) -> str:
  return (
    f"{_name(pair)} = {100 * interval.mean:+.2f} points, "
    f"{100 * interval.confidence:g} % interval "
    f"[{100 * interval.low:+.2f}, {100 * interval.high:+.2f}], "
    f"{interval.count} replicates"
  )


def _missing(pair: Pair) -> str:
  return f"no replicate has both {pair[0]} and {pair[1]}"
