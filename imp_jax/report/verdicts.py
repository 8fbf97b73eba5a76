"""The verdicts a run prints: one line per comparison that was declared."""

import functools
from collections.abc import Callable, Sequence

import pandas as pd

from imp_jax.report.accuracy import mean_density, paired_differences
from imp_jax.settings import ClaimSettings
from imp_jax.statistics import (
  MOST_REPLICATES,
  Interval,
  easy_data_verdict,
  holm_intervals,
  little_data_verdict,
  replicates_needed,
  rewinding_verdict,
)

Pair = tuple[str, str]  # (treatment, baseline)


def verdict_lines(results: pd.DataFrame, claims: ClaimSettings) -> list[str]:
  """Returns the lines of every declared claim, in the claims' order.

  Each says the difference in points of test accuracy, its interval (with
  Holm's correction over all of the claim's differences), the number of paired
  replicates, the margin and the verdict. "undecided" is followed by how many
  replicates would decide, going by the spread that was seen.
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
  intervals = _intervals(results, pairs, claim.level, claims, (0.0,))
  rule = functools.partial(rewinding_verdict, margin=claims.margin)
  for pair, interval in intervals.items():
    start = _start("claim 0, rewinding matters", results, pair, claim.level)
    if not interval.count:
      lines.append(f"{start}: {_missing(pair)}: undecided")
      continue
    lines.append(
      f"{start}: {_difference(pair, interval)}; {_margin(claims.margin)}: "
      f"{told_verdict(rule, interval)}"
    )
  return lines


def little_data_lines(
  results: pd.DataFrame, claims: ClaimSettings
) -> list[str]:
  """Returns one line per comparison of claim 1, with its verdict."""
  claim = claims.little_data
  if claim is None:
    return []
  intervals = _intervals(
    results, claim.comparisons, claim.level, claims, (-claim.margin,)
  )
  rule = functools.partial(little_data_verdict, margin=claim.margin)
  lines = []
  for pair, interval in intervals.items():
    start = _start("claim 1, little data suffices", results, pair, claim.level)
    if not interval.count:
      lines.append(f"{start}: {_missing(pair)}: undecided")
      continue
    lines.append(
      f"{start}: {_difference(pair, interval)}; {_margin(claim.margin)}: "
      f"{told_verdict(rule, interval)}"
    )
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
  intervals = _intervals(
    results, pairs, claim.level, claims, (0.0, claim.margin)
  )
  rule = functools.partial(easy_data_verdict, margin=claim.margin)
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
      verdict = told_verdict(rule, *(intervals[pair] for pair in two))
    margin = "" if missing else _margin(claim.margin)
    said = "; ".join(filter(None, (told, *missing, margin)))
    lines.append(f"{start}: {said}: {verdict}")
  return lines


def told_verdict(rule: Callable[..., str], *intervals: Interval) -> str:
  """Returns the verdict; of "undecided", how many replicates would decide.

  Args:
    rule: the intervals -> the verdict.
    *intervals: of means, each of at least one value.
  """
  verdict = rule(*intervals)
  if verdict != "undecided":
    return verdict
  count = min(i.count for i in intervals)
  told = f"undecided: {count} replicate{'s' if count > 1 else ''}"
  if any(i.std is None for i in intervals):  # one has no spread to go by
    return told
  needed = replicates_needed(rule, *intervals)
  if needed is None:
    return f"{told}; more than {MOST_REPLICATES:,} would be needed"
  return f"{told}; about {needed} would decide"


def _intervals(
  results: pd.DataFrame,
  pairs,
  level: int,
  claims: ClaimSettings,
  thresholds: Sequence[float],
) -> dict[Pair, Interval]:
  """Intervals of paired differences, with Holm's correction over them all."""
  names = {pair: _name(pair) for pair in pairs}
  intervals = holm_intervals(
    {
      name: paired_differences(results, pair[0], pair[1], level)
      for pair, name in names.items()
    },
    thresholds=dict.fromkeys(names.values(), thresholds),
    confidence=claims.confidence,
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


def _margin(margin: float) -> str:
  return f"margin {100 * margin:g} points"


def _missing(pair: Pair) -> str:
  return f"no replicate has both {pair[0]} and {pair[1]}"
