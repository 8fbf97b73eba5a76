"""Power: how many replicates it takes to decide a difference."""

import numpy as np

from imp_jax.statistics.intervals import LEAST_REPLICATES, MOST_REPLICATES


def power(
  effect: float, std: float, replicates: int, *, confidence: float = 0.95
) -> float:
  """Returns how often an interval's lower bound lies above 0.

  Exact for independent normal differences and Student's t interval of their
  mean: the noncentral t distribution.

  Args:
    effect: the true mean difference.
    std: the true standard deviation of one difference, > 0, in the same unit.
    replicates: at least 2.
    confidence: two-sided level in (0, 1) of the interval.

  Returns:
    A probability.
  """
  free = replicates - 1
  from scipy import stats  # slow to import

  bound = stats.t.ppf((1 + confidence) / 2, free)
  shift = effect / std * np.sqrt(replicates)
  return float(stats.nct.sf(bound, free, shift))


def powered_replicates(
  effect: float,
  std: float,
  *,
  least: int = LEAST_REPLICATES,
  probability: float = 0.95,
  confidence: float = 0.95,
) -> float:
  """Returns with how many replicates a difference is decided, if it is true.

  Args:
    effect: the mean difference; its sign does not matter. To be sure of more
      than a margin, give what is beyond the margin.
    std: the standard deviation of one difference, in the same unit.
    least: never fewer.
    probability: of excluding 0.
    confidence: two-sided level of the interval.

  Returns:
    The smallest number, from `least` on, or infinity beyond MOST_REPLICATES;
    NaN of NaN.
  """
  if np.isnan(effect) or np.isnan(std):
    return float("nan")
  if not std > 0:
    return float(least) if effect else np.inf
  few, many = least, MOST_REPLICATES
  if power(abs(effect), std, many, confidence=confidence) < probability:
    return np.inf
  while few < many:  # power rises with the number
    middle = (few + many) // 2
    enough = power(abs(effect), std, middle, confidence=confidence)
    few, many = (few, middle) if enough >= probability else (middle + 1, many)
  return float(few)
