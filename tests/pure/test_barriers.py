"""Barriers of a path: hand tables, closed forms, laws, one point at a time."""

import tracemalloc

import numpy as np
import pytest

from imp_jax.landscape.barriers import (
  FORMS,
  PathFold,
  barriers,
  check_alphas,
  connected_share,
  midpoint,
  rise_above_line,
  rise_above_mean,
)

FIVE = (0, 0.25, 0.5, 0.75, 1)
TABLE = [
  # alphas, values, midpoint, rise above mean, rise above line
  # The peak lies off the middle, and above a line that rises: 3 - 1.25.
  (FIVE, [1, 3, 2, 2.5, 2], 0.5, 1.5, 1.75),
  # A dip: the midpoint is negative, the highest point is an end, half of the
  # ends' difference above their mean, and nothing is above the line.
  (FIVE, [2, 1, 1, 1, 4], -2.0, 1.0, 0.0),
  (FIVE, [4, 1, 1, 1, 2], -2.0, 1.0, 0.0),
  (FIVE, [7, 7, 7, 7, 7], 0.0, 0.0, 0.0),
  # Above the line (2.125 at 0.25), yet below the higher end.
  (FIVE, [1.5, 2.5, 2.75, 3.375, 4], 0.0, 1.25, 0.375),
  # Outside [0, 1] nothing counts, wherever the end is in the list.
  ((-0.5, 0, 0.5, 1, 1.5), [99, 1, 2.5, 3, 99], 0.5, 1.0, 0.5),
  ((-1, 0, 1), [99, 1, 2], None, 0.5, 0.0),
  ((0, 0.3, 1, 1.1), [1, 2, 3, 99], None, 1.0, 0.4),
]


@pytest.mark.parametrize("alphas,values,middle,above_mean,above_line", TABLE)
def test_forms_by_hand(alphas, values, middle, above_mean, above_line):
  values = np.asarray(values, np.float64)
  found = barriers(values, alphas)
  assert found["rise_above_mean"] == above_mean
  assert found["rise_above_mean"] == rise_above_mean(values, alphas)
  assert found["rise_above_line"] == pytest.approx(above_line, abs=1e-15)
  assert found["rise_above_line"] == rise_above_line(values, alphas)
  if middle is None:
    assert "midpoint" not in found
    with pytest.raises(ValueError, match=r"midpoint needs alpha 0.5, got \("):
      midpoint(values, alphas)
  else:
    assert found["midpoint"] == midpoint(values, alphas) == middle
    assert set(found) == set(FORMS)


def test_what_follows_the_alphas_is_kept():
  """Two examples by two, each with a column of the table."""
  columns = [row[1] for row in TABLE[:4]]
  values = np.array(columns, np.float64).T.reshape(5, 2, 2)
  found = barriers(values, FIVE)
  np.testing.assert_array_equal(found["midpoint"], [[0.5, -2], [-2, 0]])
  np.testing.assert_array_equal(found["rise_above_mean"], [[1.5, 1], [1, 0]])
  np.testing.assert_array_equal(found["rise_above_line"], [[1.75, 0], [0, 0]])


def test_barriers_of_a_quadratic_model_in_closed_form(rng):
  """L = (w - c) H (w - c) / 2: the path bends by d H d only, d = b - a."""
  for sign in (1, -1):
    root = rng.normal(size=(4, 4))
    hessian = sign * root @ root.T
    a, b, c = rng.normal(size=(3, 4))
    bend = (b - a) @ hessian @ (b - a)
    values = [
      (a + t * (b - a) - c) @ hessian @ (a + t * (b - a) - c) / 2 for t in FIVE
    ]
    values = np.array(values)
    assert midpoint(values, FIVE) == pytest.approx(-bend / 8, rel=1e-12)
    line = max(0.0, -bend / 8)
    assert rise_above_line(values, FIVE) == pytest.approx(line, abs=1e-12)
  # 1 + 6 t - 4 t^2 is highest at 3/4, off the middle.
  values = np.array([1 + 6 * t - 4 * t**2 for t in FIVE])
  assert barriers(values, FIVE) == {
    "rise_above_mean": 1.25,
    "rise_above_line": 1.0,
    "midpoint": 1.0,
  }


def test_means_of_examples_against_barriers_of_means(rng):
  """The midpoint is linear; a maximum of means is at most the mean of maxima.

  It is less as soon as two examples have their peaks at different alphas.
  """
  values = rng.normal(size=(5, 40)) ** 2
  own, of_means = barriers(values, FIVE), barriers(values.mean(axis=1), FIVE)
  assert own["midpoint"].shape == (40,)
  assert own["midpoint"].mean() == pytest.approx(of_means["midpoint"], rel=1e-9)
  for form in ("rise_above_mean", "rise_above_line"):
    assert own[form].mean() > of_means[form] + 0.1
    assert (own[form] >= 0).all()
  half = np.abs(values[0] - values[-1]) / 2
  assert (own["rise_above_mean"] >= half - 1e-12).all()
  # One example alone, or many alike, are their own mean.
  alike = np.repeat(values[:, :1], 3, axis=1)
  for form, found in barriers(alike, FIVE).items():
    assert found.mean() == pytest.approx(barriers(alike[:, 0], FIVE)[form])


def test_the_connected_share_by_hand():
  barrier = np.array([-1.0, 0.0, 0.0999, 0.1, 0.5])
  assert connected_share(barrier, 0.1) == 0.6  # below, not at, the threshold
  assert connected_share(barrier, 10) == 1.0
  assert connected_share(barrier, 1e-9) == 0.4  # a flat path is connected


@pytest.mark.parametrize("threshold", [0, 0.0, -0.1, float("nan")])
def test_thresholds_are_above_0(threshold):
  with pytest.raises(ValueError, match=f"must be > 0 nats, got {threshold}"):
    connected_share(np.zeros(3), threshold)


@pytest.mark.parametrize(
  "alphas,message",
  [
    ((0, 0.5, 0.25, 1), r"alphas must be increasing numbers, got \(0, 0.5, 0"),
    ((1, 0.5, 0), "increasing"),
    ((0, 0.5, 0.5, 1), "increasing"),
    ((0, float("nan"), 1), "increasing numbers, got .*nan"),
    ((0, 0.5, 1, float("inf")), "increasing numbers, got .*inf"),
    ((-0.1, 0, 1), r"in \[0, 1\] unless extrapolation .*, got \[-0.1\]"),
    ((0, 1, 1.5), r"in \[0, 1\] unless extrapolation .*, got \[1.5\]"),
    ((0, 0.5), "must have the ends 0 and 1 among them, got"),
    ((0.5, 1), "ends 0 and 1"),
    ((), "ends 0 and 1"),
  ],
)
def test_alphas_that_are_no_path_are_refused(alphas, message):
  with pytest.raises(ValueError, match=message):
    check_alphas(alphas)


def test_alphas_of_a_path_are_allowed():
  check_alphas((0, 1))
  check_alphas((0.0, 0.1, 1.0))
  check_alphas((-1, 0, 0.5, 1, 2), extrapolate=True)
  for alphas in ((0, float("nan"), 1), (1, 0), (-1, 2)):
    with pytest.raises(ValueError):
      check_alphas(alphas, extrapolate=True)


def folded(alphas, loss, correct):
  points = [
    {"loss": one, "correct": hit}
    for one, hit in zip(loss, correct, strict=True)
  ]
  ends = [points[list(alphas).index(end)] for end in (0, 1)]
  fold = PathFold(*ends)
  for alpha, point in zip(alphas, points, strict=True):
    fold.add(alpha, point)
  return fold


@pytest.mark.parametrize(
  "alphas",
  [FIVE, (0, 1), (0, 0.5, 1), (0, 0.3, 0.9, 1), (-0.5, 0, 0.25, 0.5, 1, 1.5)],
)
def test_a_fold_over_points_equals_all_at_once(rng, alphas):
  shape = (len(alphas), 30)
  loss = rng.exponential(size=shape).astype(np.float32)
  correct = rng.random(shape) < 0.8
  fold, whole = folded(alphas, loss, correct), barriers(loss, alphas)
  assert fold.barriers().keys() == whole.keys()
  for form, values in fold.barriers().items():
    np.testing.assert_array_equal(values, whole[form])
  inside = [0 <= a <= 1 for a in alphas]
  np.testing.assert_array_equal(
    fold.right_throughout, correct[inside].all(axis=0)
  )


def test_right_throughout_by_hand():
  """Right at all, at all but one inside, at none; outside does not count."""
  correct = np.array(
    [
      # the last is wrong outside [0, 1] only
      [True, True, True, False, False],
      [True, True, True, False, True],
      [True, False, True, False, True],
      [True, True, False, False, True],
    ]
  )
  fold = folded((-1, 0, 0.5, 1), np.zeros((4, 5), np.float32), correct)
  assert fold.right_throughout.tolist() == [True, False, False, False, True]


def test_a_fold_sees_the_ends_it_was_made_of():
  """Also when only the points between them are added."""
  start, end = (
    {"loss": np.float32([x]), "correct": np.array([hit])}
    for x, hit in ((5, True), (1, False))
  )
  fold = PathFold(start, end)
  fold.add(0.25, {"loss": np.float32([2]), "correct": np.array([True])})
  assert fold.barriers()["rise_above_mean"].tolist() == [2]
  assert fold.barriers()["rise_above_line"].tolist() == [0]
  assert fold.right_throughout.tolist() == [False]


def test_a_fold_keeps_a_few_numbers_per_example():
  """Not one more for each alpha: 400 of them would be 400 arrays."""
  count = 20_000
  peaks = []
  for alphas in (4, 400):
    zeros = {
      "loss": np.zeros(count, np.float32),
      "correct": np.ones(count, bool),
    }
    tracemalloc.start()
    fold = PathFold(zeros, zeros)
    for alpha in np.linspace(0, 1, alphas):
      loss = np.full(count, alpha, np.float32)
      fold.add(float(alpha), {"loss": loss, "correct": loss < 2})
    fold.barriers()
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
  assert peaks[1] < 1.1 * peaks[0] < 200 * count
