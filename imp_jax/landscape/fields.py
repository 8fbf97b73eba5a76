"""Receptive fields: where the units of a first dense layer look.

After Ingrosso and Goldt 2022 (arXiv 2202.00565) and Redman et al. 2024 (arXiv
2412.06545), in NumPy and float64; the formulas are stated at each function.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float


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
  spatial = masks.shape[1 : 3 if masks.ndim == 4 else 2]
  seen, windows = 0, 0
  for axis, size in enumerate(spatial, start=1):
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
  h = x @ v.T

  def moment(p: int, q: int) -> Float[np.ndarray, "units inputs"]:
    """E h^p x^q, exactly that of every unit with every input."""
    return (h**p).T @ x**q / len(x)

  second, fourth = (h**2).mean(axis=0)[:, None], (h**4).mean(axis=0)[:, None]
  without_2 = second - 2 * v * moment(1, 1) + v**2 * (x**2).mean(axis=0)
  without_4 = (
    fourth
    - 4 * v * moment(3, 1)
    + 6 * v**2 * moment(2, 2)
    - 4 * v**3 * moment(1, 3)
    + v**4 * (x**4).mean(axis=0)
  )
  alone = (v != 0).sum(axis=1, keepdims=True) - (v != 0) == 0
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
