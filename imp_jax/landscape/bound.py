"""How much may be pruned at once, by the curvature: a bound.

Larsen et al. 2022 (arXiv 2107.05802): of a quadratic bowl, a random affine
subspace at a distance R meets the sublevel set of height eps almost surely once
its dimension exceeds D minus the sum of r_i^2 / (r_i^2 + R^2), with the radii
r_i = sqrt(2 eps / |lambda_i|). Pruning leaves such a subspace, though no random
one: R is the norm of the weights that go (after Paul et al. 2023, arXiv
2210.03044, whose exact formula is not known here).
"""

import numpy as np
from jaxtyping import Float


def reached_share(
  ritz: Float[np.ndarray, "probes steps"],
  weights: Float[np.ndarray, "probes steps"],
  distance: Float[np.ndarray, " distances"],
  epsilon: float,
) -> Float[np.ndarray, " distances"]:
  """Returns the share of dimensions that may be lacking: mean of 1/(1+x).

  x is |lambda| R^2 / (2 eps), and the mean is over the eigenvalues.

  Args:
    ritz, weights: of `landscape.spectrum.spectral_density`; over all probes.
    distance: R, in the unit of weights.
    epsilon: height above the loss at the network, > 0, in its unit.
  """
  values = np.abs(np.float64(ritz)).ravel()
  masses = np.float64(weights).ravel() / len(ritz)
  squares = np.asarray(distance, np.float64) ** 2 / (2 * epsilon)
  return (masses / (1 + squares[:, None] * values)).sum(axis=1)


def bounded_fraction(
  magnitudes: Float[np.ndarray, " survivors"],
  ritz: Float[np.ndarray, "probes steps"],
  weights: Float[np.ndarray, "probes steps"],
  *,
  dimension: int,
  epsilon: float,
) -> float:
  """Returns the largest fraction of survivors whose removal the bound allows.

  The smallest magnitudes go. More weights gone are fewer dimensions left and
  further away: the first count that is not allowed ends it.

  Args:
    magnitudes: |w| of the weights that may be pruned, in any order.
    ritz, weights, epsilon: as of `reached_share`.
    dimension: of the spectrum: all parameters in use.
  """
  if not len(magnitudes):
    return 0.0
  ordered = np.sort(np.float64(magnitudes))
  distance = np.sqrt(np.cumsum(ordered**2))
  low, high = 0, len(ordered)
  while low < high:  # allowed(low), and not allowed(high + 1)
    middle = (low + high + 1) // 2
    (share,) = reached_share(
      ritz, weights, distance[middle - 1 : middle], epsilon
    )
    if middle / dimension <= share:
      low = middle
    else:
      high = middle - 1
  return low / len(ordered)
