"""Receptive fields against counts by hand, all placements, and SciPy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from imp_jax.landscape.fields import (
  adjacency,
  kurtosis,
  largest,
  neighbours,
  participation,
)


def test_participation_by_hand():
  found = participation(
    np.array([[0, 3.0, 0, 0], [1, -1, 1, -1], [2, 1, 0, 0], [0, 0, 0, 0]])
  )
  np.testing.assert_allclose(found, [1, 1 / 4, 17 / 25, np.nan])


def test_a_run_of_neighbours_is_counted_by_hand():
  masks = np.array([[1, 1, 0, 1, 1, 1], [0, 1, 0, 1, 0, 0]], bool)
  # 3 pairs of 5, where (5 * 4 + 2 * 1) / (6 * 5) of each are expected.
  assert adjacency(masks, 2) == pytest.approx(3 / (5 * 22 / 30))
  # 1 run of three among 4, where 5 * 4 * 3 / (6 * 5 * 4) of each is.
  assert adjacency(masks, 3) == pytest.approx(1 / (4 * 60 / 120))
  assert adjacency(masks, 4) == 0
  assert math.isnan(adjacency(masks, 6))  # none has so many
  assert math.isnan(adjacency(masks, 7))  # longer than the signals


@pytest.mark.parametrize("shape", [(6,), (2, 3, 1), (3, 2, 2)])
@pytest.mark.parametrize("run", [2, 3])
def test_all_placements_together_are_chance(shape, run):
  """The mean over every placement of four weights is what is expected."""
  size = math.prod(shape)
  masks = np.zeros((math.comb(size, 4), size), bool)
  for row, places in zip(
    masks, itertools.combinations(range(size), 4), strict=True
  ):
    row[list(places)] = True
  found = adjacency(masks.reshape(-1, *shape), run)
  if max(shape[:2]) < run:
    assert math.isnan(found)
  else:
    assert found == pytest.approx(1)


def test_neighbours_in_images_are_of_one_channel():
  masks = np.zeros((1, 2, 2, 2), bool)
  masks[0, 0, 0, 0] = masks[0, 0, 0, 1] = True  # one place, two channels
  assert adjacency(masks, 2) == 0
  masks = np.zeros((1, 2, 2, 2), bool)
  masks[0, 0, 1, 1] = masks[0, 1, 1, 1] = True  # one above the other
  # One of 8 pairs, of which 2 * 1 / (8 * 7) each are expected.
  assert adjacency(masks, 2) == pytest.approx(1 / (8 * 2 / 56))


def test_which_inputs_are_kept_at_all_is_no_locality(rng):
  """Units that each keep some of the first six inputs of twelve, at random."""
  masks = np.zeros((4000, 12), bool)
  masks[:, :6] = rng.random((4000, 6)) < 0.4
  assert adjacency(masks, 2) > 1.5
  # Of about 7,000 pairs.
  assert neighbours(masks) == pytest.approx(1, abs=0.05)


def test_pairs_beyond_the_profile_by_hand():
  masks = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0]], bool)
  # Kept 3, 2, 2, 0 times; 2 + 2 + 6 ordered pairs of inputs within units.
  likely = (3 * 2 + 2 * 2 + 2 * 0) / (7**2 - 9 - 4 - 4)
  assert neighbours(masks) == pytest.approx(3 / (10 * likely))
  assert math.isnan(neighbours(np.eye(3, dtype=bool)))


@pytest.mark.parametrize("shape", [(6,), (2, 3, 1), (3, 2, 2)])
def test_where_inputs_are_kept_equally_often_both_are_one(shape):
  masks = np.zeros((math.prod(shape), math.prod(shape)), bool)
  for shift in (0, 1, 3):  # each unit's weights, one further around
    masks |= np.roll(np.eye(len(masks), dtype=bool), shift, axis=1)
  masks = masks.reshape(-1, *shape)
  assert neighbours(masks) == pytest.approx(adjacency(masks, 2))


def test_kurtosis_is_scipy_s_with_and_without_each_weight(rng):
  inputs = rng.exponential(size=(500, 5)) @ rng.normal(size=(5, 5)) + 7
  weights = rng.normal(size=(4, 5)).astype(np.float32)
  weights[1, 2:] = 0
  weights[2, 1:] = 0
  weights[3] = 0
  own, without = kurtosis(weights, inputs)
  assert own[:3] == pytest.approx(
    stats.kurtosis(inputs @ weights[:3].T.astype(float), axis=0), rel=1e-9
  )
  assert np.isnan(own[3]) and np.isnan(without[3]).all()
  for unit, place in itertools.product(range(3), range(5)):
    cut = weights[unit].astype(float)
    cut[place] = 0
    if cut.any():
      wanted = stats.kurtosis(inputs @ cut)
      assert without[unit, place] == pytest.approx(wanted, rel=1e-7)
    else:
      assert np.isnan(without[unit, place])


def test_what_a_large_weight_leaves_is_no_rounding(rng):
  """Of a unit whose other weights are smaller by eight orders."""
  inputs = rng.exponential(size=(300, 4))
  weights = np.array([[1.0, 3e-9, 0, -2e-9], [2.0, 1e-3, 0, 0]])
  _, without = kurtosis(weights, inputs)
  for unit in range(2):
    wanted = stats.kurtosis(inputs[:, 1:] @ weights[unit, 1:])
    assert without[unit, 0] == pytest.approx(wanted, rel=1e-6)


def test_gaussian_inputs_have_none(rng):
  own, _ = kurtosis(rng.normal(size=(3, 10)), rng.normal(size=(40_000, 10)))
  assert np.abs(own).max() < 5 * math.sqrt(24 / 40_000)  # standard errors


def test_the_largest_units_stand_by_where_they_look():
  weights = np.array([[0, 0, 5.0], [9, 0, 0], [0, 1, 0], [0, 0, 0], [0, 3, 0]])
  assert largest(weights, 3) == [1, 4, 0]
  assert largest(weights, 9) == [1, 4, 2, 0]  # not the one without weights
