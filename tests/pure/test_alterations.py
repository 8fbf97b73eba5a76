"""A layer's survivors altered: literal answers, and what each keeps."""

import jax
import numpy as np
import pytest

from imp_jax.pruning.alterations import (
  ALTERATIONS,
  altered_leaf,
  displacement,
)

LEAF = np.array([[3.0, -4.0, 0.5], [0.0, -0.25, 8.0]], np.float32)
MASK = np.array([[True, True, False], [True, False, False]])
DRAWN = np.array([[-1.0, 2.0, 9.0], [-7.0, 9.0, 9.0]], np.float32)


def altered(how, seed=0, leaf=LEAF, mask=MASK, drawn=DRAWN, share=1.0):
  return altered_leaf(how, leaf, mask, drawn, jax.random.key(seed), share)


def test_signs_keep_their_places_under_other_magnitudes():
  """Of 3, -4 and 0 the root mean square is sqrt(25 / 3); 0 has no sign."""
  rms = np.float32(np.sqrt(25 / 3))
  np.testing.assert_array_equal(
    altered("constant_magnitudes"), [[rms, -rms, 0.5], [0.0, -0.25, 8.0]]
  )
  np.testing.assert_array_equal(
    altered("redrawn_magnitudes"), [[1.0, -2.0, 0.5], [0.0, -0.25, 8.0]]
  )


def test_magnitudes_keep_their_places_under_random_signs():
  seen = {tuple(altered("random_signs", seed)[MASK]) for seed in range(40)}
  assert seen == {(a, b, 0.0) for a in (3.0, -3.0) for b in (4.0, -4.0)}


def test_signs_of_another_network_under_ones_own_magnitudes():
  np.testing.assert_array_equal(
    altered("other_signs"), [[-3.0, 4.0, 0.5], [0.0, -0.25, 8.0]]
  )


def test_a_share_of_the_signs_is_flipped():
  """Of three survivors a third is one, 0.1 is none, all are all."""
  seen = {
    tuple(altered("flipped_signs", n, share=1 / 3)[MASK]) for n in range(40)
  }
  assert seen == {(-3.0, -4.0, 0.0), (3.0, 4.0, 0.0), (3.0, -4.0, 0.0)}
  np.testing.assert_array_equal(altered("flipped_signs", share=0.1), LEAF)
  np.testing.assert_array_equal(
    altered("flipped_signs")[MASK], [-3.0, 4.0, 0.0]
  )


def test_a_displacement_is_as_long_as_pruning_s():
  """(1, 2) and 2 go: sqrt(1 + 4 + 4) = 3, in the direction that is given."""
  weights = {
    "a": np.array([1.0, 2.0, 5.0], np.float32),
    "b": np.array([[2.0, 7.0]], np.float32),
  }
  masks = {"a": np.array([True, True, True]), "b": np.array([[True, False]])}
  finer = {"a": np.array([False, False, True]), "b": np.array([[False, False]])}
  directions = {"a": np.array([0.0, 0.0, 4.0]), "b": np.array([[3.0, 9.0]])}
  moves = displacement(directions, weights, masks, finer)
  np.testing.assert_allclose(moves["a"], [0.0, 0.0, 2.4], rtol=1e-6)
  np.testing.assert_allclose(moves["b"], [[1.8, 0.0]], rtol=1e-6)
  still = displacement(directions, weights, masks, masks)
  assert not any(move.any() for move in still.values())


def test_shuffling_keeps_the_weights_and_no_places():
  seen = {tuple(altered("shuffled_weights", seed)[MASK]) for seed in range(60)}
  assert len(seen) == 6  # every order of three
  assert {tuple(sorted(order)) for order in seen} == {(-4.0, 0.0, 3.0)}


@pytest.mark.parametrize("how", ALTERATIONS)
def test_what_every_alteration_leaves(how):
  new = altered(how)
  assert new.dtype == np.float32 and new.shape == LEAF.shape
  np.testing.assert_array_equal(new[~MASK], LEAF[~MASK])
  np.testing.assert_array_equal(new, altered(how))  # by its key alone
  none = altered(how, mask=np.zeros_like(MASK))
  np.testing.assert_array_equal(none, LEAF)


def test_large_layers_are_altered_as_they_should_be(rng):
  """Half of the signs flip, nearly no weight stays in its place."""
  leaf = rng.normal(size=(100, 100)).astype(np.float32)
  mask = rng.random((100, 100)) < 0.5
  drawn = rng.normal(size=(100, 100)).astype(np.float32)
  give = dict(leaf=leaf, mask=mask, drawn=drawn)
  kept = leaf[mask]
  flipped = (altered("random_signs", **give)[mask] != kept).mean()
  assert 0.47 < flipped < 0.53
  moved = altered("shuffled_weights", **give)[mask]
  assert (moved != kept).mean() > 0.99
  np.testing.assert_array_equal(np.sort(moved), np.sort(kept))
  constant = altered("constant_magnitudes", **give)[mask]
  norms = [np.linalg.norm(x.astype(np.float64)) for x in (constant, kept)]
  assert norms[0] == pytest.approx(norms[1], rel=1e-6)
  redrawn = altered("redrawn_magnitudes", **give)[mask]
  np.testing.assert_array_equal(np.sign(redrawn), np.sign(kept))
  np.testing.assert_array_equal(np.abs(redrawn), np.abs(drawn[mask]))
