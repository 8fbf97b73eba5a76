"""The smallest stable t_r: bisection over the steps of pre-training."""

import dataclasses
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class StableStep:
  """The result of `smallest_stable_step`.

  Attributes:
    step: the smallest stable t_r, or None if none in the range is stable.
    unstable: the largest t_r below it that was tried and is not, at most the
      tolerance away; None if the search's lowest is stable.
    tried: instability by t_r.
  """

  step: int | None
  unstable: int | None
  tried: Mapping[int, float]


def smallest_stable_step(
  instability: Callable[[int], float],
  *,
  low: int,
  high: int,
  tolerance: int,
  threshold: float,
) -> StableStep:
  """Returns the smallest t_r whose instability is below the threshold.

  By bisection: it takes for granted that instability falls with t_r, as far as
  the steps that it does not try are concerned.

  Args:
    instability: of a t_r, e.g. the error barrier between its children, a
      fraction; called once for each t_r that is tried.
    low, high: the range, in steps, 0 <= low < high.
    tolerance: the result is at most so many steps above the true one, >= 1.
    threshold: what is stable lies below; 0.02 of error in Frankle et al. 2020
      (arXiv 1912.05671).

  Raises:
    ValueError: an argument is out of its range.
  """
  check_search(low=low, high=high, tolerance=tolerance, threshold=threshold)
  tried: dict[int, float] = {}

  def is_stable(step: int) -> bool:
    tried[step] = instability(step)
    return tried[step] < threshold

  if is_stable(low):
    return StableStep(low, None, tried)
  if not is_stable(high):
    return StableStep(None, high, tried)
  while high - low > tolerance:
    middle = (low + high) // 2
    if is_stable(middle):
      high = middle
    else:
      low = middle
  return StableStep(high, low, tried)


def check_search(
  *, low: int, high: int, tolerance: int, threshold: float
) -> None:
  """Refuses what `smallest_stable_step` cannot search with.

  Raises:
    ValueError: an argument is out of its range.
  """
  if not 0 <= low < high:
    raise ValueError(f"need 0 <= low < high, got low {low} and high {high}")
  if tolerance < 1:
    raise ValueError(f"tolerance must be at least 1 step, got {tolerance}")
  if not 0 < threshold < 1:
    raise ValueError(f"threshold must be in (0, 1), got {threshold}")
