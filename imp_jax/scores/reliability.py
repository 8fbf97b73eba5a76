"""How far scores averaged over some networks agree with those over others."""

import itertools
import math
from typing import Any

import numpy as np
from jaxtyping import Float

from imp_jax.statistics.intervals import rank_correlation

# Which splits are drawn is part of a number's definition, so it is fixed.
_SEED = 20220603


def reliability(
  scores: Float[np.ndarray, "networks examples"], *, splits: int = 20
) -> list[dict[str, Any]]:
  """Returns how stable the ranking is against the number of networks.

  Args:
    scores: one row per independently trained network.
    splits: how many pairs of disjoint groups to draw per group size; all of
      them where there are no more.

  Returns:
    A row per group size r = 1, 2, 4, ... and R // 2: {"networks": r,
    "correlation", "low", "high", "splits"}: the mean, least and largest rank
    correlation between the mean scores of two disjoint groups of r networks,
    or None where a group has no spread. The last row is the split-half
    correlation. No row for one network.
  """
  half = len(scores) // 2
  sizes = [2**k for k in range(half.bit_length()) if 2**k < half] + [half]
  rng = np.random.PCG64(_SEED)
  rows = []
  for size in sizes if half else ():
    correlations = [
      rank_correlation(scores[list(a)].mean(0), scores[list(b)].mean(0))
      for a, b in _disjoint_groups(len(scores), size, splits, rng)
    ]
    rows.append(
      {
        "networks": size,
        "correlation": _number(np.mean(correlations)),
        "low": _number(np.min(correlations)),
        "high": _number(np.max(correlations)),
        "splits": len(correlations),
      }
    )
  return rows


def _number(value: np.floating) -> float | None:
  """The number, or None where it is not finite: JSON has no NaN."""
  return float(value) if np.isfinite(value) else None


def _disjoint_groups(
  count: int, size: int, limit: int, rng: Any
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
  """At most `limit` different pairs of disjoint groups of indices.

  Drawn with a NumPy bit generator, of which only `random_raw` is used.
  """
  pairs = math.comb(count, size) * math.comb(count - size, size) // 2
  limit = min(limit, pairs)
  if count <= 8:  # few enough to list
    listed = [
      (a, b)
      for a in itertools.combinations(range(count), size)
      for b in itertools.combinations(sorted({*range(count)} - {*a}), size)
      if a < b
    ]
    chosen = np.argsort(rng.random_raw(pairs), kind="stable")[:limit]
    return listed if limit == pairs else [listed[i] for i in chosen]
  drawn = {}  # a set that keeps its order
  while len(drawn) < limit:
    order = np.argsort(rng.random_raw(count), kind="stable").tolist()
    a, b = sorted(order[:size]), sorted(order[size : 2 * size])
    drawn[tuple(min(a, b)), tuple(max(a, b))] = None
  return list(drawn)
