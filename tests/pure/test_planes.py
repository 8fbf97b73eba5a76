"""The plane through three trees: its corners, projections, grid, weights."""

import jax
import numpy as np
import pytest

from imp_jax.landscape.planes import (
  coordinates,
  plane_grid,
  plane_point,
  plane_through,
)
from imp_jax.landscape.structure import host_vector


def tree(x, y, z):
  """Three weights in two leaves."""
  return {"head": {"bias": np.float32([z])}, "conv": np.float32([[x], [y]])}


# Right-angled by hand: b is 4 along the second weight, c is back by 1 along it
# and (3, 4) in the others, which is 5.
A, B, C = tree(1, 1, 0), tree(1, 5, 0), tree(4, 0, 4)


@pytest.fixture
def random_trees(rng):
  """Trees as of trained networks: large common weights, small differences."""

  def draw(scale):
    return {
      "conv": {"kernel": scale * rng.normal(size=(3, 1, 4))},
      "head": {"bias": scale * rng.normal(size=5)},
      "stem": scale * rng.normal(size=(2, 2)),
    }

  common = draw(3.0)
  return [
    jax.tree.map(lambda x, y: (x + y).astype("float32"), common, draw(0.05))
    for _ in range(4)
  ]


def turned(t):
  """The same tree, its keys put in the other way round."""
  return {
    k: turned(v) if isinstance(v, dict) else v
    for k, v in reversed(list(t.items()))
  }


def test_a_plane_by_hand():
  plane = plane_through(A, B, C)
  np.testing.assert_array_equal(plane.corners, [[0, 0], [4, 0], [-1, 5]])
  assert plane.corners.dtype == np.float64
  assert host_vector(plane.right).tolist() == [0, 1, 0]
  np.testing.assert_allclose(
    host_vector(plane.up), [0.6, 0, 0.8], rtol=0, atol=1e-15
  )
  assert plane.up["conv"].shape == (2, 1)
  assert plane.up["head"]["bias"].dtype == np.float64
  point = plane_point(plane, 2.0, 10.0)
  np.testing.assert_allclose(point["conv"], [[7], [3]], rtol=1e-7)
  np.testing.assert_allclose(point["head"]["bias"], [8], rtol=1e-7)
  # (-4, 0, 3) is orthogonal to both directions, and 5 long.
  off = tree(7 - 4, 3, 8 + 3)
  assert coordinates(plane, off) == pytest.approx((2, 10, 5), abs=1e-14)


def test_a_plane_reproduces_its_corners(random_trees):
  *corners, _ = random_trees
  plane = plane_through(*corners)
  for corner, (x, y) in zip(corners, plane.corners, strict=True):
    found = plane_point(plane, x, y)
    assert jax.tree.structure(found) == jax.tree.structure(corner)
    for one, other in zip(
      jax.tree.leaves(found), jax.tree.leaves(corner), strict=True
    ):
      assert one.dtype == np.float32
      np.testing.assert_array_max_ulp(one, other, maxulp=1)
    # Double precision's rounding of weights of size 3.
    assert coordinates(plane, corner) == pytest.approx((x, y, 0), abs=1e-13)


def test_the_directions_are_orthonormal(random_trees):
  plane = plane_through(*random_trees[:3])
  right, up = host_vector(plane.right), host_vector(plane.up)
  gram = np.array([[right @ right, right @ up], [up @ right, up @ up]])
  np.testing.assert_allclose(gram, np.eye(2), rtol=0, atol=1e-15)
  (x0, y0), (x1, y1), (_, y2) = plane.corners
  assert (x0, y0, y1) == (0, 0, 0) and x1 > 0 and y2 > 0


def test_directions_stay_orthogonal_where_c_is_far_along_the_line(rng):
  a, b = ({"x": rng.normal(size=50)} for _ in range(2))
  away = {"x": a["x"] + 1e6 * (b["x"] - a["x"]) + 10 * rng.normal(size=50)}
  plane = plane_through(a, b, away)
  # One pass of Gram-Schmidt would leave 1e-16 * 1e6.
  assert abs(plane.right["x"] @ plane.up["x"]) < 1e-15


def test_a_point_off_the_plane_is_projected(rng, random_trees):
  a, b, c, other = random_trees
  plane = plane_through(a, b, c)
  # Independently: the part of other - a that no weights of b - a, c - a fit.
  start = host_vector(a)
  span = np.stack([host_vector(t) - start for t in (b, c)], axis=1)
  away = host_vector(other) - start
  fit, *_ = np.linalg.lstsq(span, away, rcond=None)
  x, y, distance = coordinates(plane, other)
  assert distance == pytest.approx(np.linalg.norm(away - span @ fit), rel=1e-12)
  assert distance**2 + x**2 + y**2 == pytest.approx(away @ away, rel=1e-12)


def test_distances_between_points_of_the_plane_are_true(random_trees):
  plane = plane_through(*random_trees[:3])
  ends = [host_vector(plane_point(plane, *p)) for p in ((-1, 2), (0.5, 4.0))]
  # plane_point rounds weights of size 3 to float32.
  assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(2.5, abs=1e-6)


def test_the_order_of_leaves_changes_nothing(random_trees):
  a, b, c, other = random_trees
  one = plane_through(a, b, c)
  two = plane_through(turned(a), b, turned(c))
  np.testing.assert_array_equal(one.corners, two.corners)
  np.testing.assert_array_equal(host_vector(one.up), host_vector(two.up))
  assert coordinates(one, other) == coordinates(two, turned(other))


def test_grids_by_hand():
  plane = plane_through(A, B, C)  # x in -1..4, y in 0..5
  xs, ys = plane_grid(plane, 3, 0.0)
  assert (xs.tolist(), ys.tolist()) == ([-1, 1.5, 4], [0, 2.5, 5])
  xs, ys = plane_grid(plane, 2, 0.2)
  assert (xs.tolist(), ys.tolist()) == ([-2, 5], [-1, 6])
  # The larger side is now y's, of length 10; a tenth of it on every side.
  also = np.array([[0.0, 10.0], [1.0, 1.0]])
  xs, ys = plane_grid(plane, 2, 0.1, also)
  assert (xs.tolist(), ys.tolist()) == ([-2, 5], [-1, 11])
  assert plane_grid(plane, 2, 0.2, np.zeros((0, 2)))[0].tolist() == [-2, 5]


@pytest.mark.parametrize(
  "given,message",
  [
    ((1, 0.1), "points must be at least 2, got 1"),
    ((2, -0.1), "margin must be at least 0 and finite, got -0.1"),
    ((2, np.nan), "margin must be at least 0 and finite, got nan"),
    ((2, 0.1, np.array([[np.nan, 0]])), "also must be finite"),
  ],
)
def test_grids_refuse_what_is_no_box(given, message):
  with pytest.raises(ValueError, match=message):
    plane_grid(plane_through(A, B, C), *given)


@pytest.mark.parametrize(
  "trees,message",
  [
    ((A, A, C), "three different trees, but a and b are equal"),
    ((A, B, A), "three different trees, but a and c are equal"),
    ((A, B, B), "three different trees, but b and c are equal"),
    (
      (A, B, tree(1, 3, 0)),
      "a, b and c must not be collinear, but c is 0 from",
    ),
    ((A, B, tree(1, -9, 0)), "a, b and c must not be collinear"),
    ((A, B, {"conv": A["conv"]}), "^head/bias is in a but not in c"),
    ((A, A | {"conv": np.zeros(3)}, C), r"^conv: a has shape \(2, 1\), b \(3,"),
    ((A, tree(1, np.nan, 0), C), "b must be finite, but conv holds NaN or inf"),
  ],
)
def test_three_trees_without_a_plane_are_refused(trees, message):
  with pytest.raises(ValueError, match=message):
    plane_through(*trees)


def test_points_of_a_line_in_single_precision_are_collinear(random_trees):
  a, b, *_ = random_trees
  for share in np.float32([0.3, 0.5, -1.0, 1.7]):
    c = jax.tree.map(lambda x, y: (1 - share) * x + share * y, a, b)
    assert c["stem"].dtype == np.float32
    with pytest.raises(ValueError, match="collinear.*float32 rounding"):
      plane_through(a, b, c)


def test_coordinates_refuse_another_structure():
  with pytest.raises(
    ValueError, match="^conv is in the plane but not in the t"
  ):
    coordinates(plane_through(A, B, C), {"head": A["head"]})
