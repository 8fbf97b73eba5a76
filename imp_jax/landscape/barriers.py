"""Barriers along a straight path between two networks, each under its name.

A path's values lie on the first axis, one entry per alpha; what follows
(examples, or nothing for a mean curve) is kept.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped

FORMS = ("midpoint", "rise_above_mean", "rise_above_line")


def check_alphas(alphas: Sequence[float], *, extrapolate: bool = False) -> None:
  """Refuses alphas that are no path.

  Raises:
    ValueError: they do not increase, lack 0 or 1, are not finite, or lie
      outside [0, 1] without `extrapolate`.
  """
  if not np.isfinite(alphas).all() or list(alphas) != sorted(set(alphas)):
    raise ValueError(f"alphas must be increasing numbers, got {tuple(alphas)}")
  outside = [a for a in alphas if not 0 <= a <= 1]
  if outside and not extrapolate:
    raise ValueError(
      f"alphas must be in [0, 1] unless extrapolation is allowed, got {outside}"
    )
  if not {0, 1} <= set(alphas):
    raise ValueError(
      f"alphas must have the ends 0 and 1 among them, got {tuple(alphas)}"
    )


def midpoint(
  values: Shaped[np.ndarray, " alphas *rest"], alphas: Sequence[float]
) -> Float[np.ndarray, " *rest"]:
  """Returns the value at alpha = 1/2 less the mean of the ends.

  The per-example barrier of Paul et al. 2022; it can be negative.

  Raises:
    ValueError: 1/2 is not among the alphas.
  """
  if 0.5 not in alphas:
    raise ValueError(f"the midpoint needs alpha 0.5, got {tuple(alphas)}")
  # An array also where it is a single number.
  return np.asarray(_at(values, alphas, 0.5) - _mean_of_ends(values, alphas))


def rise_above_mean(
  values: Shaped[np.ndarray, " alphas *rest"], alphas: Sequence[float]
) -> Float[np.ndarray, " *rest"]:
  """Returns the largest value on the path less the mean of the ends.

  Frankle et al. 2020 (arXiv 1912.05671), section 2, of the error. The ends
  belong to the path, so it is at least half of their difference. Alphas outside
  [0, 1] are left out.
  """
  highest = _between(values, alphas).max(axis=0)
  return np.asarray(highest - _mean_of_ends(values, alphas))


def rise_above_line(
  values: Shaped[np.ndarray, " alphas *rest"], alphas: Sequence[float]
) -> Float[np.ndarray, " *rest"]:
  """Returns the largest rise above the straight line between the ends, >= 0.

  Entezari et al. 2022 (arXiv 2110.06296), definition 1. Alphas outside [0, 1]
  are left out.
  """
  inside = np.asarray([a for a in alphas if 0 <= a <= 1])
  inside = inside.reshape(-1, *(1,) * (values.ndim - 1))
  start, end = _at(values, alphas, 0), _at(values, alphas, 1)
  line = (1 - inside) * start + inside * end
  return np.asarray((_between(values, alphas) - line).max(axis=0))


def barriers(
  values: Shaped[np.ndarray, " alphas *rest"], alphas: Sequence[float]
) -> dict[str, Float[np.ndarray, " *rest"]]:
  """Returns every form of barrier; the midpoint's only where 1/2 is there."""
  forms = {
    "rise_above_mean": rise_above_mean(values, alphas),
    "rise_above_line": rise_above_line(values, alphas),
  }
  if 0.5 in alphas:
    forms["midpoint"] = midpoint(values, alphas)
  return forms


def connected_share(
  barrier: Float[np.ndarray, " examples"], threshold: float
) -> float:
  """Returns the share of examples whose barrier is below a threshold.

  Args:
    barrier: of each example's loss, in nats.
    threshold: in nats, > 0: on a flat path every example is connected.

  Raises:
    ValueError: the threshold is not above 0.
  """
  if not threshold > 0:
    raise ValueError(f"threshold must be > 0 nats, got {threshold}")
  return float((barrier < threshold).mean())


class PathFold:
  """Barriers of a path whose points come one at a time.

  It keeps a few numbers per example however many alphas there are, and gives
  what `barriers` gives of them all at once.

  Attributes:
    curve: "alpha", mean "loss" (nats) and "error" of the points so far.
  """

  def __init__(
    self,
    start: Mapping[str, np.ndarray],
    end: Mapping[str, np.ndarray],
  ):
    """Takes the ends: "loss" and "correct" of each example."""
    first, last = (p["loss"].astype(np.float64) for p in (start, end))
    self._ends = (first, last)
    self._highest = np.maximum(first, last)
    self._above_line = np.zeros_like(first)
    self._right = start["correct"] & end["correct"]
    self._middle: np.ndarray | None = None
    self.curve: dict[str, list[float]] = {"alpha": [], "loss": [], "error": []}

  def add(self, alpha: float, point: Mapping[str, np.ndarray]) -> None:
    """Takes one point; those outside [0, 1] stand in the curve alone."""
    self.curve["alpha"].append(alpha)
    self.curve["loss"].append(float(point["loss"].mean(dtype=np.float64)))
    self.curve["error"].append(float((~point["correct"]).mean()))
    if not 0 <= alpha <= 1:
      return
    loss, (first, last) = point["loss"].astype(np.float64), self._ends
    self._highest = np.maximum(self._highest, loss)
    line = (1 - alpha) * first + alpha * last
    self._above_line = np.maximum(self._above_line, loss - line)
    self._right = self._right & point["correct"]
    if alpha == 0.5:
      self._middle = loss

  def barriers(self) -> dict[str, Float[np.ndarray, " examples"]]:
    """Returns each form of barrier of each example's loss, in nats."""
    mean = (self._ends[0] + self._ends[1]) / 2
    forms = {
      "rise_above_mean": self._highest - mean,
      "rise_above_line": self._above_line,
    }
    if self._middle is not None:
      forms["midpoint"] = self._middle - mean
    return forms

  @property
  def right_throughout(self) -> Bool[np.ndarray, " examples"]:
    """Whether each example's prediction is right along the whole path."""
    return self._right


def _at(
  values: np.ndarray, alphas: Sequence[float], alpha: float
) -> np.ndarray:
  return np.asarray(values[list(alphas).index(alpha)], np.float64)


def _between(values: np.ndarray, alphas: Sequence[float]) -> np.ndarray:
  inside = [i for i, a in enumerate(alphas) if 0 <= a <= 1]
  return np.asarray(values, np.float64)[inside]


def _mean_of_ends(
  values: np.ndarray, alphas: Sequence[float]
) -> np.ndarray | np.float64:
  return (_at(values, alphas, 0) + _at(values, alphas, 1)) / 2
