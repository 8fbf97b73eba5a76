"""The verdicts a run prints: one line per comparison that was declared."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from imp_jax.results.accuracy import mean_density, paired_differences
from imp_jax.results.claims import ClaimSettings
from imp_jax.statistics.intervals import (
  MOST_REPLICATES,
  Interval,
  easy_data_verdict,
  holm_intervals,
  little_data_verdict,
  replicates_needed,
  rewinding_verdict,
)

Pair = tuple[str, str]  # (treatment, baseline)
STATEMENTS = (
  "rewinding matters",
  "little data suffices",
  "easy data needs fewer steps",
  "connected examples predict success",
)
VERDICT_COLUMNS = (
  "study",
  "claim",
  "what",
  "level",
  "density",
  "estimate",
  "low",
  "high",
  "confidence",
  "margin",
  "replicates",
  "verdict",
  "seconds",
)


@dataclasses.dataclass(frozen=True)
class Verdict:
  """The verdict on one comparison that a claim declared.

  Attributes:
    claim: its number.
    level, density: where; the density is a mean over experiments, a fraction,
      NaN where none of them is there.
    differences: intervals of paired differences in test accuracy, fractions,
      by (treatment, baseline); two of claim 2. One without any replicate has
      count 0.
    margin: as a fraction.
    verdict: "holds", "does not hold" or "undecided".
    told: the same, with how many replicates would decide.
  """

  claim: int
  level: int
  density: float
  differences: Mapping[Pair, Interval]
  margin: float
  verdict: str
  told: str


def verdict_lines(results: pd.DataFrame, claims: ClaimSettings) -> list[str]:
  """Returns a line for every declared comparison, in the claims' order.

  Each says the difference in points of test accuracy, its interval (with
  Holm's correction over all of the claim's differences), the number of paired
  replicates, the margin and the verdict. "undecided" is followed by how many
  replicates would decide, going by the spread that was seen.
  """
  return [_line(verdict) for verdict in study_verdicts(results, claims)]


def verdicts_table(
  study: str,
  results: pd.DataFrame,
  claims: ClaimSettings,
  connected: Mapping[str, Any] | None = None,
  seconds: float = float("nan"),
) -> pd.DataFrame:
  """Returns the rows of verdicts.csv, one per difference or correlation.

  Args:
    study: its name.
    results: rows of results.csv.
    claims: what was declared.
    connected: claim 3's row, from `predictors.connected_verdict_row`.
    seconds: that everything of the study took to compute.

  Returns:
    Columns study, claim (its number), what ("all-100 - none"), level, density,
    estimate with its interval low..high at a confidence (after Holm's
    correction), margin, replicates, verdict, seconds. Accuracies and margins
    are fractions. Both differences of claim 2 have its one verdict.
  """
  rows = [
    (
      study,
      v.claim,
      _name(pair),
      v.level,
      v.density,
      interval.mean,
      interval.low,
      interval.high,
      interval.confidence,
      v.margin,
      interval.count,
      v.verdict,
      seconds,
    )
    for v in study_verdicts(results, claims)
    for pair, interval in v.differences.items()
  ]
  if connected:
    row = {**connected, "study": study, "claim": 3, "seconds": seconds}
    rows.append(tuple(row[column] for column in VERDICT_COLUMNS))
  return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


def study_verdicts(
  results: pd.DataFrame, claims: ClaimSettings
) -> list[Verdict]:
  """Returns the verdicts on claims 0 to 2, as far as they were declared."""
  verdicts = []
  if claim := claims.rewinding:
    groups = [[(name, claim.baseline)] for name in claim.treatments]
    rule = functools.partial(rewinding_verdict, margin=claims.margin)
    given = (claim.level, claims.margin, (0.0,), rule)
    verdicts += _verdicts(0, groups, results, claims, *given)
  if claim := claims.little_data:
    groups = [[pair] for pair in claim.comparisons]
    rule = functools.partial(little_data_verdict, margin=claim.margin)
    given = (claim.level, claim.margin, (-claim.margin,), rule)
    verdicts += _verdicts(1, groups, results, claims, *given)
  if claim := claims.easy_data:
    groups = [
      [(easy, other) for other in others] for easy, *others in claim.comparisons
    ]
    rule = functools.partial(easy_data_verdict, margin=claim.margin)
    given = (claim.level, claim.margin, (0.0, claim.margin), rule)
    verdicts += _verdicts(2, groups, results, claims, *given)
  return verdicts


def _verdicts(
  number: int,
  groups: Sequence[Sequence[Pair]],
  results: pd.DataFrame,
  claims: ClaimSettings,
  level: int,
  margin: float,
  thresholds: Sequence[float],
  rule: Callable[..., str],
) -> list[Verdict]:
  """One verdict per group of differences, by a rule on their intervals."""
  pairs = [pair for group in groups for pair in group]
  intervals = _intervals(results, pairs, level, claims, thresholds)
  verdicts = []
  for group in groups:
    differences = {pair: intervals[pair] for pair in group}
    there = all(interval.count for interval in differences.values())
    names = tuple(dict.fromkeys(name for pair in group for name in pair))
    verdicts.append(
      Verdict(
        claim=number,
        level=level,
        density=mean_density(results, names, level),
        differences=differences,
        margin=margin,
        verdict=rule(*differences.values()) if there else "undecided",
        told=told_verdict(rule, *differences.values())
        if there
        else "undecided",
      )
    )
  return verdicts


def _line(v: Verdict) -> str:
  """The line of one verdict, differences in points of test accuracy."""
  weights = ""
  if v.density == v.density:
    weights = f" ({100 * v.density:.1f} % of weights)"
  there = {p: i for p, i in v.differences.items() if i.count}
  parts = [_difference(pair, interval) for pair, interval in there.items()]
  parts += [_missing(pair) for pair in v.differences if pair not in there]
  if len(there) == len(v.differences):
    parts.append(f"margin {100 * v.margin:g} points")
  return (
    f"claim {v.claim}, {STATEMENTS[v.claim]}, at level {v.level}{weights}: "
    f"{'; '.join(parts)}: {v.told}"
  )


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
  line = f"undecided: {count} replicate{'s' if count > 1 else ''}"
  if any(i.std is None for i in intervals):  # one has no spread to go by
    return line
  needed = replicates_needed(rule, *intervals)
  if needed is None:
    return f"{line}; more than {MOST_REPLICATES:,} would be needed"
  return f"{line}; about {needed} would decide"


def _intervals(
  results: pd.DataFrame,
  pairs: Sequence[Pair],
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


def _difference(pair: Pair, interval: Interval) -> str:
  return (
    f"{_name(pair)} = {100 * interval.mean:+.2f} points, "
    f"{100 * interval.confidence:g} % interval "
    f"[{100 * interval.low:+.2f}, {100 * interval.high:+.2f}], "
    f"{interval.count} replicates"
  )


def _missing(pair: Pair) -> str:
  return f"no replicate has both {pair[0]} and {pair[1]}"
