"""Statistics: paired differences, Student's intervals, verdicts on claims."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
import scipy.special
from jaxtyping import Float

# Fewer never decide a claim: they say too little of their own spread.
LEAST_REPLICATES = 4
# Nobody runs more, so no larger number is worth telling.
MOST_REPLICATES = 1000


@dataclasses.dataclass(frozen=True)
class Interval:
  """A mean and its confidence interval, in the data's unit.

  Attributes:
    mean, low, high: the estimate and its bounds.
    count: of values, e.g. replicates.
    confidence: two-sided level of the bounds, in (0, 1).
    std: the sample standard deviation (ddof = 1); None of fewer than two
      values, and of what is no mean.
  """

  mean: float
  low: float
  high: float
  count: int
  confidence: float
  std: float | None = None


def mean_interval(
  values: Float[np.ndarray, " replicates"], *, confidence: float = 0.95
) -> Interval:
  """Returns the mean and its interval by Student's t: mean ± t s / √n.

  Args:
    values: n numbers, one per replicate, e.g. paired differences.
    confidence: two-sided level in (0, 1).

  Returns:
    The interval; s has ddof = 1 and t has n - 1 degrees of freedom (Student
    1908). Fewer than two values have none, (-inf, inf); equal ones (to 2^-40)
    have one of width 0.

  How far to trust it: of 20,000 simulated samples of each kind, so many percent
  had the upper bound below the true mean, where 2.5 is nominal (a standard
  error is 0.1 to 0.2; `python -m launch.coverage`, results/coverage/mean.csv):

    values                      3     4     6     8    12    16    24
    normal                    2.5   2.6   2.5   2.8   2.5   2.4   2.4
    t, 5 degrees of freedom   2.1   2.2   2.4   2.2   2.4   2.3   2.4
    Laplace                   1.6   1.6   2.0   2.1   2.2   2.3   2.1
    skewness 0.5              3.7   3.7   3.8   3.7   3.4   3.5   3.3
    skewness 1                5.3   5.9   5.5   5.4   5.1   5.0   4.5
    skewness 2               10.7  11.5  11.1   9.9   8.7   7.9   6.9

  The lower bound errs alike on symmetric values, less than is nominal on
  positively skewed ones (0.4 to 1.8 %), and as in the table on the mirrored.
  """
  values = np.asarray(values, np.float64)
  count = len(values)
  mean = float(values.mean()) if count else float("nan")
  if count < 2:
    return Interval(mean, -np.inf, np.inf, count, confidence)
  values = _stepped(values)  # else rounding would be a spread
  if np.ptp(values) == 0:
    return Interval(mean, mean, mean, count, confidence, 0.0)
  std = float(np.std(values, ddof=1))
  centre, half = float(values.mean()), _half_width(std, count, confidence)
  return Interval(mean, centre - half, centre + half, count, confidence, std)


def replicates_needed(
  rule: Callable[..., str], *intervals: Interval
) -> int | None:
  """Returns how many replicates would decide, were the spread as it was seen.

  The smallest number from LEAST_REPLICATES on at which the same means and
  standard deviations would give a verdict other than "undecided", each at its
  own confidence (by Holm's correction, as far as that had come).

  Args:
    rule: the intervals -> the verdict.
    *intervals: of means, each of at least two values.

  Returns:
    The number; None where more than MOST_REPLICATES would be needed.

  Raises:
    ValueError: an interval without a standard deviation.
  """
  if any(i.std is None for i in intervals):
    raise ValueError("replicates_needed needs intervals with a std, got None")
  for count in range(LEAST_REPLICATES, MOST_REPLICATES + 1):
    if rule(*(_at(i, count) for i in intervals)) != "undecided":
      return count
  return None


def holm_intervals(
  samples: Mapping[str, np.ndarray],
  *,
  thresholds: Mapping[str, Sequence[float]] | None = None,
  confidence: float = 0.95,
) -> dict[str, Interval]:
  """Returns one interval per comparison, with Holm's step-down correction.

  While m comparisons remain, each is held against its thresholds at level
  1 - alpha / m; those whose interval excludes all of their thresholds are
  decided at that level, and the rest go on with a smaller m (Holm 1979, in the
  form of intervals). All, since a comparison whose true value is one of its
  thresholds must not step down on another: it would free a level for the rest
  without having been decided.

  Args:
    samples: one number per replicate, e.g. paired differences, by comparison.
      One with fewer values than LEAST_REPLICATES counts among the m and stays
      undecided: what was declared is corrected for, whether or not it could be
      measured.
    thresholds: the values that each comparison's tests are against, in the
      data's unit: -margin for non-inferiority; 0 where there are none.
    confidence: of the comparisons together, in (0, 1).
  """
  thresholds = thresholds or {}
  decided: dict[str, Interval] = {}
  remaining = dict(samples)
  while remaining:
    level = 1 - (1 - confidence) / len(remaining)
    intervals = {
      name: mean_interval(v, confidence=level) for name, v in remaining.items()
    }
    away = {
      name: i
      for name, i in intervals.items()
      if i.count >= LEAST_REPLICATES
      and all(i.low > t or i.high < t for t in thresholds.get(name, (0.0,)))
    }
    decided |= away or intervals
    remaining = {n: v for n, v in remaining.items() if n not in decided}
  return {name: decided[name] for name in samples}


def rewinding_verdict(interval: Interval, margin: float) -> str:
  """Returns claim 0's verdict on acc(all, t_r) - acc(none).

  Args:
    interval: of the paired differences, accuracy as a fraction.
    margin: differences within it count as none.

  Returns:
    "holds" (lower bound > 0), "does not hold" (upper bound < 0, or the
    interval lies within the margin of 0) or "undecided", which fewer than
    LEAST_REPLICATES always are.
  """
  if interval.count < LEAST_REPLICATES:
    return "undecided"
  if interval.low > 0:
    return "holds"
  if interval.high < 0 or (-margin <= interval.low and interval.high <= margin):
    return "does not hold"
  return "undecided"


def little_data_verdict(interval: Interval, margin: float) -> str:
  """Returns claim 1's verdict on acc(random, t_r) - acc(all, t_r).

  Args:
    interval: of the paired differences, accuracy as a fraction.
    margin: the loss that counts as none (non-inferiority).

  Returns:
    "holds" (lower bound > -margin), "does not hold" (upper bound < -margin) or
    "undecided", which fewer than LEAST_REPLICATES always are.
  """
  if interval.count < LEAST_REPLICATES:
    return "undecided"
  if interval.low > -margin:
    return "holds"
  return "does not hold" if interval.high < -margin else "undecided"


def easy_data_verdict(
  over_random: Interval, over_all: Interval, margin: float
) -> str:
  """Returns claim 2's verdict on acc(easy) - acc(random) and - acc(all).

  Args:
    over_random, over_all: of the paired differences, after Holm's correction
      against 0 and the margin.
    margin: a smaller gain is too small to matter; accuracy as a fraction.

  Returns:
    "does not hold" (an upper bound < margin), else "holds" (both lower bounds
    > 0), else "undecided", which fewer than LEAST_REPLICATES of either always
    are. A gain surely above 0 and surely below the margin does not hold: with
    ever more replicates the verdict is then "holds" where both gains are larger
    than the margin, and "does not hold" where one is smaller.
  """
  both = (over_random, over_all)
  if any(i.count < LEAST_REPLICATES for i in both):
    return "undecided"
  if any(i.high < margin for i in both):
    return "does not hold"
  return "holds" if all(i.low > 0 for i in both) else "undecided"


def rank_correlation(
  a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]
) -> float:
  """Returns Spearman's rank correlation, in [-1, 1].

  Ties share their mean rank and infinities rank last, as never-learned
  examples do in forgetting scores. NaN where one side is constant.
  """
  from scipy.stats import rankdata  # slow to import

  ranks = [rankdata(x) for x in (a, b)]
  if any(np.ptp(r) == 0 for r in ranks):
    return float("nan")
  return float(np.corrcoef(*ranks)[0, 1])


def is_matching(interval: Interval, margin: float) -> bool:
  """Returns whether sparse - dense accuracy lies above -margin, surely."""
  return bool(_stepped(interval.low) > _stepped(-margin))


def smallest_matching_level(matching: Sequence[bool]) -> int:
  """Returns the last level down to which every level is matching.

  Args:
    matching: of levels 0, 1, ...; level 0 is the dense network itself.
  """
  level = 0
  while level + 1 < len(matching) and matching[level + 1]:
    level += 1
  return level


def matching_levels(
  accuracy: Float[np.ndarray, "replicates levels"],
  *,
  margin: float,
  confidence: float = 0.95,
) -> tuple[int, list[int | None]]:
  """Returns the smallest matching level of an experiment and per replicate.

  Args:
    accuracy: test accuracy as a fraction; column 0 is the dense level. NaN
      where a replicate failed.
    margin: as a fraction.
    confidence: of the intervals.

  Returns:
    (level, levels of each replicate). The experiment's is by the interval of
    the paired differences over the replicates that have both; a replicate's is
    by its own difference > -margin (to 2^-40), or None where it has no dense
    level.
  """
  differences = _stepped(accuracy - accuracy[:, :1])
  above = differences > _stepped(-margin)
  together = [True]
  for column in differences.T[1:]:
    values = column[np.isfinite(column)]
    interval = mean_interval(values, confidence=confidence)
    together.append(is_matching(interval, margin))
  alone = [
    None if np.isnan(row[0]) else smallest_matching_level([True, *matching[1:]])
    for row, matching in zip(differences, above.tolist(), strict=True)
  ]
  return smallest_matching_level(together), alone


def _at(interval: Interval, count: int) -> Interval:
  """The interval that so many values of this mean and spread would have."""
  std = cast(float, interval.std)  # `replicates_needed` refuses None
  half = _half_width(std, count, interval.confidence)
  low, high = interval.mean - half, interval.mean + half
  return dataclasses.replace(interval, low=low, high=high, count=count)


def _half_width(std: float, count: int, confidence: float) -> float:
  t = scipy.special.stdtrit(count - 1, (1 + confidence) / 2)
  return float(t * std / np.sqrt(count))


def _stepped(values: np.ndarray | float):
  """The values in steps of 2^-40: what is equal but for rounding is equal."""
  return np.round(np.asarray(values) * 2.0**40) / 2.0**40
