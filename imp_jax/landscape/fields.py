"""Receptive fields: where the units of a first dense layer look.

After Ingrosso and Goldt 2022 (arXiv 2202.00565) and Redman et al. 2024 (arXiv
2412.06545), in NumPy and float64; the formulas are stated at each function.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

_LITTLE = 1e-4  # of the variance that a weight brings


def participation(
  weights: Float[np.ndarray, "units inputs"],
) -> Float[np.ndarray, " units"]:
  """Returns each unit's inverse participation ratio, sum v^4 / (sum v^2)^2.

  1 = one weight, 1 / inputs = all of one size; NaN of a unit without weights.

  Args:
    weights: of each unit, 0 where pruned.
  """
  squares = np.square(weights, dtype=np.float64)
  norm = squares.sum(axis=1)
  with np.errstate(invalid="ignore"):
    return np.square(squares).sum(axis=1) / norm**2


def adjacency(masks: Bool[np.ndarray, " units *shape"], run: int) -> float:
  """Returns how often neighbouring inputs are kept, as a ratio to chance.

  Of all units, the runs of so many neighbours along any spatial axis that are
  kept, over the expected number if each unit's weights lay anywhere: of n
  weights among d inputs each run is kept with n (n - 1) ... / (d (d - 1) ...).
  NaN if none is expected.

  Args:
    masks: of each unit, (length,) or (height, width, channels).
    run: inputs in a row, 2 = pairs.
  """
  seen, windows = 0, 0
  for axis, size in _spatial(masks):
    rows = np.moveaxis(masks, axis, -1)
    kept = np.ones((*rows.shape[:-1], max(size - run + 1, 0)), bool)
    for shift in range(run if size >= run else 0):
      kept &= rows[..., shift : shift + size - run + 1]
    seen += int(kept.sum())
    windows += kept[0].size
  own = masks.reshape(len(masks), -1)
  count = own.sum(axis=1)
  chance = [
    np.maximum(count - i, 0) / (own.shape[1] - i)
    for i in range(run if own.shape[1] >= run else 0)
  ]
  expected = windows * float(np.prod(chance, axis=0).sum())
  return seen / expected if expected else math.nan


def neighbours(masks: Bool[np.ndarray, " units *shape"]) -> float:
  """Returns how often neighbours are kept, beyond which inputs are kept at all.

  As `adjacency` of pairs, but two inputs are expected together in proportion to
  how many units keep the one and the other: that units leave out the same
  inputs, those at an edge for instance, is no locality. With every input kept
  equally often both are the same. NaN if none is expected.

  Args:
    masks: of each unit, (length,) or (height, width, channels).
  """
  profile = masks.sum(axis=0, dtype=np.float64)
  count = masks.reshape(len(masks), -1).sum(axis=1, dtype=np.float64)
  seen, likely = 0, 0.0
  for axis, size in _spatial(masks):
    rows, often = (
      np.moveaxis(masks, axis, -1),
      np.moveaxis(profile, axis - 1, -1),
    )
    seen += int((rows[..., 1:] & rows[..., : size - 1]).sum())
    likely += float((often[..., 1:] * often[..., : size - 1]).sum())
  apart = profile.sum() ** 2 - (profile**2).sum()  # of two different inputs
  expected = (count * (count - 1)).sum() * likely / apart if apart else 0.0
  return seen / expected if expected else math.nan


def _spatial(masks: np.ndarray) -> list[tuple[int, int]]:
  """The axes along which inputs have neighbours, and their sizes."""
  last = 3 if masks.ndim == 4 else 2
  return list(enumerate(masks.shape[1:last], start=1))


def kurtosis(
  weights: Float[np.ndarray, "units inputs"],
  inputs: Float[np.ndarray, "examples inputs"],
) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, "units inputs"]]:
  """Returns the excess kurtosis of each unit's pre-activation, and without.

  Of h = v . x over the examples: E (h - E h)^4 / Var(h)^2 - 3, which no bias
  and no scale changes; 0 of a Gaussian.

  Args:
    weights: of each unit, 0 where pruned.
    inputs: as the layer takes them.

  Returns:
    (of each unit; of each unit without one of its weights). NaN of a unit
    without weights, and of one without its only weight.
  """
  v = np.asarray(weights, np.float64)
  x = np.asarray(inputs, np.float64)
  x = x - x.mean(axis=0)
  h = v @ x.T
  # E h^p x^q of every unit with every input, by products: powers are slow.
  x2, h2 = x * x, h * h
  h1_x1, h1_x3 = h @ x / len(x), h @ (x2 * x) / len(x)
  h2_x2, h3_x1 = h2 @ x2 / len(x), (h2 * h) @ x / len(x)
  second = h2.mean(axis=1, keepdims=True)
  fourth = np.einsum("un,un->u", h2, h2)[:, None] / len(x)
  without_2 = second - 2 * v * h1_x1 + v**2 * x2.mean(axis=0)
  without_4 = (
    fourth
    - 4 * v * h3_x1
    + 6 * v**2 * h2_x2
    - 4 * v**3 * h1_x3
    + v**4 * (x2 * x2).mean(axis=0)
  )
  # Where little is left of a unit the differences above are rounding.
  alone = (v != 0).sum(axis=1, keepdims=True) - (v != 0) == 0
  little = (without_2 < _LITTLE * v**2 * x2.mean(axis=0)) & ~alone
  for unit, place in np.argwhere(little):
    left = np.delete(x, place, axis=1) @ np.delete(v[unit], place)
    without_2[unit, place] = np.mean(left**2)
    without_4[unit, place] = np.mean(left**4)
  without_2 = np.where(alone, np.nan, without_2)
  with np.errstate(invalid="ignore", divide="ignore"):
    own = fourth / second**2 - 3
    without = without_4 / without_2**2 - 3
  return own[:, 0], without


def largest(
  weights: Float[np.ndarray, "units inputs"], count: int
) -> Sequence[int]:
  """Returns the units of the largest norm, ordered by where they look.

  Args:
    weights: of each unit.
    count: of units, at most.

  Returns:
    Their numbers, by the centre of their squared weights.
  """
  squares = np.square(weights, dtype=np.float64)
  norm = squares.sum(axis=1)
  found = np.argsort(-norm, kind="stable")[:count]
  found = found[norm[found] > 0]
  places = np.arange(weights.shape[1])
  centre = squares[found] @ places / norm[found]
  return found[np.argsort(centre, kind="stable")].tolist()
