"""How far apart two networks are: distances, signs and masks.

All of it is computed in float64 on the host, over nested dicts of arrays.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from imp_jax.core.masks import flat_leaves
from imp_jax.landscape.structure import check_same_structure, host_vector

PyTree = Any


def apartness(
  a: PyTree, b: PyTree, prunable: Sequence[str]
) -> dict[str, float]:
  """Returns how far apart two networks are, as tables name it.

  Args:
    a, b: parameter trees of one structure.
    prunable: paths of the prunable leaves.

  Returns:
    "distance" (L2 over all parameters), "relative_distance" (as a fraction of
    a's norm, NaN if a is all 0) and "sign_agreement" (the share of prunable
    weights with one sign, of those that are 0 in neither; NaN without any).

  Raises:
    ValueError: the structures differ or a path is no leaf; it names the leaf.
  """
  check_same_structure(a, b)
  _check_paths(a, prunable)
  x, y = host_vector(a), host_vector(b)
  apart, norm = float(np.linalg.norm(x - y)), float(np.linalg.norm(x))
  flat = [flat_leaves(tree) for tree in (a, b)]
  x, y = (
    np.concatenate([np.ravel(leaves[path]) for path in prunable])
    for leaves in flat
  )
  both = (x != 0) & (y != 0)
  agreeing = np.count_nonzero(both & ((x > 0) == (y > 0)))
  return {
    "distance": apart,
    "relative_distance": apart / norm if norm else float("nan"),
    "sign_agreement": float(agreeing / both.sum()) if both.any() else np.nan,
  }


def mask_overlap(a: PyTree, b: PyTree, prunable: Sequence[str]) -> float:
  """Returns the Jaccard index of two masks' kept prunable weights.

  Args:
    a, b: boolean trees of one structure, True = kept.
    prunable: paths of the prunable leaves; no others count.

  Returns:
    Weights kept by both over weights kept by either, in [0, 1]; NaN where
    neither keeps one.

  Raises:
    ValueError: the structures differ or a path is no leaf; it names the leaf.
  """
  check_same_structure(a, b)
  _check_paths(a, prunable)
  both = either = 0
  leaves = [flat_leaves(tree) for tree in (a, b)]
  for path in prunable:
    x, y = (np.asarray(flat[path], bool) for flat in leaves)
    both += int(np.count_nonzero(x & y))
    either += int(np.count_nonzero(x | y))
  return both / either if either else float("nan")


def expected_overlap(density: float) -> float:
  """Returns the Jaccard index to expect of two independent random masks.

  d^2 of the weights are kept by both and 2 d - d^2 by either, so d / (2 - d)
  to leading order in the number of weights.

  Args:
    density: d of both masks, kept fraction of prunable weights, in [0, 1].

  Returns:
    The index, NaN for two empty masks.

  Raises:
    ValueError: the density is out of range.
  """
  if not 0 <= density <= 1:
    raise ValueError(f"density must be in [0, 1], got {density}")
  return density / (2 - density) if density else float("nan")


def _check_paths(tree: PyTree, prunable: Sequence[str]) -> None:
  known = flat_leaves(tree)
  for path in prunable:
    if path not in known:
      raise ValueError(
        f"prunable must name leaves, got {path!r}; known: {', '.join(known)}"
      )
