"""The plane through three parameter trees, with coordinates in L2 distance.

The basis is that of Garipov et al. 2018 (arXiv:1802.10026): the first axis
runs from a to b, the second along the part of c - a orthogonal to it, both of
unit length. All of it is computed in float64 on the host.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from imp_jax.core.masks import flat_leaves, nested_leaves
from imp_jax.landscape.structure import check_same_structure, host_vector

PyTree = Any

# Trees closer to a line than this share of their norm may be on it: a point
# of a line that is computed in float32 takes a few roundings.
_ROUNDING = 4 * float(np.finfo(np.float32).eps)


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
  """The points origin + x * right + y * up.

  Attributes:
    origin: tree of float64, the corner a.
    right, up: trees of float64, orthonormal over all their leaves.
    corners: (x, y) of a, b and c, in L2 distance: a is (0, 0), b lies on the
      positive x axis, c above it.
  """

  origin: PyTree
  right: PyTree
  up: PyTree
  corners: Float[np.ndarray, "3 2"]


def plane_through(a: PyTree, b: PyTree, c: PyTree) -> Plane:
  """Returns the plane through three parameter trees.

  Args:
    a, b, c: nested dicts of arrays of one structure, finite.

  Raises:
    ValueError: the structures differ or a value is not finite (it names the
      leaf), two trees are equal, or the three lie on a line as far as float32
      can tell.
  """
  check_same_structure(a, b)
  check_same_structure(a, c, names=("a", "c"))
  trees = {"a": a, "b": b, "c": c}
  for name, tree in trees.items():
    _check_finite(name, tree)
  vectors = {name: host_vector(tree) for name, tree in trees.items()}
  for one, other in ("ab", "ac", "bc"):
    if np.array_equal(vectors[one], vectors[other]):
      raise ValueError(
        f"a, b and c must be three different trees, but {one} and {other} are "
        "equal"
      )
  to_b, to_c = (vectors[name] - vectors["a"] for name in "bc")
  length = float(np.linalg.norm(to_b))
  right = to_b / length
  across = to_c - (to_c @ right) * right
  height = float(np.linalg.norm(across))
  scale = max(float(np.linalg.norm(v)) for v in vectors.values())
  if height <= _ROUNDING * scale:
    raise ValueError(
      f"a, b and c must not be collinear, but c is {height:.3g} from the line "
      "through a and b: float32 rounding"
    )
  # Once more: what rounding left along `right` would grow with length / height.
  across -= (across @ right) * right
  height = float(np.linalg.norm(across))
  return Plane(
    origin=_like(a, vectors["a"]),
    right=_like(a, right),
    up=_like(a, across / height),
    corners=np.array([[0, 0], [length, 0], [to_c @ right, height]]),
  )


def plane_point(plane: Plane, x: float, y: float) -> PyTree:
  """Returns the tree at (x, y), as float32 arrays on the host.

  Args:
    plane: of `plane_through`.
    x, y: in L2 distance from the corner a.
  """
  origin, right, up = (
    flat_leaves(t) for t in (plane.origin, plane.right, plane.up)
  )
  return nested_leaves(
    {
      path: np.asarray(leaf + x * right[path] + y * up[path], np.float32)
      for path, leaf in origin.items()
    }
  )


def coordinates(plane: Plane, tree: PyTree) -> tuple[float, float, float]:
  """Returns a tree's orthogonal projection onto the plane, and how far off.

  Args:
    plane: of `plane_through`.
    tree: nested dict of arrays of the corners' structure.

  Returns:
    (x, y, distance): the projection's coordinates and the tree's distance
    from it, >= 0, all in L2 distance.

  Raises:
    ValueError: the structure is another; it names the leaf.
  """
  check_same_structure(plane.origin, tree, names=("the plane", "the tree"))
  away = host_vector(tree) - host_vector(plane.origin)
  right, up = host_vector(plane.right), host_vector(plane.up)
  x, y = float(away @ right), float(away @ up)
  return x, y, float(np.linalg.norm(away - x * right - y * up))


def plane_grid(
  plane: Plane,
  points: int,
  margin: float,
  also: Float[np.ndarray, "also 2"] | None = None,
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
  """Returns the grid lines (xs, ys) of a box around the corners.

  Args:
    plane: of `plane_through`.
    points: grid lines along each side, at least 2.
    margin: added on every side, as a fraction of the box's larger side, >= 0.
    also: (x, y) of further points the box is to hold, e.g. of projected
      training paths.

  Returns:
    xs and ys, float64, rising, in L2 distance.

  Raises:
    ValueError: points or margin is out of range, or a point is not finite.
  """
  if points < 2:
    raise ValueError(f"points must be at least 2, got {points}")
  if not 0 <= margin < np.inf:
    raise ValueError(f"margin must be at least 0 and finite, got {margin}")
  held = plane.corners
  if also is not None:
    if not np.isfinite(also).all():
      raise ValueError("also must be finite, got NaN or inf")
    held = np.concatenate([held, also])
  low, high = held.min(axis=0), held.max(axis=0)
  wider = margin * float((high - low).max())
  xs, ys = np.linspace(low - wider, high + wider, points).T
  return xs, ys


def _check_finite(name: str, tree: PyTree) -> None:
  for path, leaf in flat_leaves(tree).items():
    if not np.isfinite(np.asarray(leaf, np.float64)).all():
      raise ValueError(f"{name} must be finite, but {path} holds NaN or inf")


def _like(tree: PyTree, vector: Float[np.ndarray, " weights"]) -> PyTree:
  """The inverse of `host_vector`."""
  flat = flat_leaves(tree)
  ends = np.cumsum([np.size(leaf) for leaf in flat.values()])
  pieces = np.split(vector, ends[:-1])
  return nested_leaves(
    {
      path: piece.reshape(np.shape(leaf))
      for (path, leaf), piece in zip(flat.items(), pieces, strict=True)
    }
  )
