"""Label noise: how much of it, where, and over which classes."""

import numpy as np
import pytest
import scipy.stats

from imp_jax.data.batches import random_bits
from imp_jax.data.subsets import label_changes, noisy_labels


def noisy(labels, kind, fraction, classes=10, words=(5, 6)):
  return noisy_labels(
    labels, kind=kind, fraction=fraction, num_classes=classes, words=words
  )


@pytest.fixture
def labels(rng):
  return rng.integers(0, 10, 20_000).astype(np.int32)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.33333, 0.5, 1.0])
def test_symmetric_noise_changes_exactly_its_fraction(labels, fraction):
  before = labels.copy()
  new = noisy(labels, "symmetric", fraction)
  np.testing.assert_array_equal(labels, before)
  assert new.dtype == labels.dtype
  assert (new != labels).sum() == round(fraction * 20_000)
  assert new.min() >= 0 and new.max() < 10


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_redrawn_noise_keeps_one_in_ten_by_chance(labels, fraction):
  new = noisy(labels, "redrawn", fraction)
  touched = round(fraction * 20_000)
  changed = int((new != labels).sum())
  spread = np.sqrt(touched * 0.1 * 0.9)
  assert abs(changed - 0.9 * touched) < 5 * spread
  assert new.min() >= 0 and new.max() < 10
  np.testing.assert_array_equal(noisy(labels, "redrawn", 0.0), labels)


@pytest.mark.parametrize("kind,cells", [("redrawn", 10), ("symmetric", 9)])
def test_noise_is_uniform_over_the_classes_it_may_take(kind, cells):
  for truth in (0, 4, 9):
    labels = np.full(9000, truth, np.int32)
    counts = np.bincount(noisy(labels, kind, 1.0), minlength=10)
    if kind == "symmetric":
      assert counts[truth] == 0
      counts = np.delete(counts, truth)
    assert len(counts) == cells
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_noise_with_two_classes_flips_them():
  labels = np.asarray([0, 1, 1, 0, 1], np.int32)
  new = noisy(labels, "symmetric", 1.0, classes=2)
  assert new.tolist() == [1, 0, 0, 1, 0]


@pytest.mark.parametrize("kind", ["redrawn", "symmetric"])
def test_less_noise_is_part_of_more(labels, kind):
  less, more, all_of_it = (noisy(labels, kind, f) for f in (0.2, 0.6, 1.0))
  touched = less != labels
  np.testing.assert_array_equal(less[touched], more[touched])
  touched = more != labels
  np.testing.assert_array_equal(more[touched], all_of_it[touched])
  assert (less != more).any() and (more != all_of_it).any()


# Rows of what classes 0, 1 and 2 become.
MATRIX = ((0.7, 0.3, 0.0), (0.0, 1.0, 0.0), (0.25, 0.25, 0.5))


def by_class(labels, matrix, words=(5, 6)):
  return noisy_labels(
    labels,
    kind="matrix",
    fraction=0.0,
    matrix=matrix,
    num_classes=len(matrix),
    words=words,
  )


def test_noise_by_class_follows_its_matrix():
  labels = np.repeat(np.arange(3, dtype=np.int32), 4000)
  new = by_class(labels, MATRIX)
  assert new.dtype == labels.dtype
  for i, row in enumerate(MATRIX):
    counts = np.bincount(new[labels == i], minlength=3)
    likely = np.asarray(row) > 0
    assert (counts[~likely] == 0).all()
    if likely.sum() > 1:
      wanted = 4000 * np.asarray(row)[likely]
      assert scipy.stats.chisquare(counts[likely], wanted).pvalue > 1e-4
  np.testing.assert_array_equal(by_class(labels, np.eye(3).tolist()), labels)
  turned = np.roll(np.eye(3), 1, axis=1).tolist()  # i becomes i + 1
  np.testing.assert_array_equal(by_class(labels, turned), (labels + 1) % 3)
  assert (by_class(labels, MATRIX, words=(5, 7)) != new).any()


def test_noise_by_class_against_a_loop(rng):
  """Inverse transform sampling, one example at a time."""
  labels = rng.integers(0, 3, 200).astype(np.int32)
  bits = random_bits(200, (5, 6, 2))
  wanted = []
  for label, word in zip(labels, bits, strict=True):
    u, upto = (int(word) >> 11) / 2**53, 0.0
    for c, p in enumerate(MATRIX[label]):
      upto += p
      if u < upto:
        wanted.append(c)
        break
  assert by_class(labels, MATRIX).tolist() == wanted


def test_label_changes_count_pairs_of_classes():
  true, noisy = np.array([0, 1, 1, 2, 1, 0]), np.array([0, 2, 2, 2, 0, 1])
  assert label_changes(true, noisy) == [[0, 1, 1], [1, 0, 1], [1, 2, 2]]
  assert label_changes(true, true) == []


def test_noise_follows_its_words(labels):
  one = noisy(labels, "redrawn", 0.5)
  np.testing.assert_array_equal(one, noisy(labels, "redrawn", 0.5))
  other = noisy(labels, "redrawn", 0.5, words=(5, 7))
  # Half of each touched, a quarter in common, of which a tenth agrees.
  touched = (one != labels) & (other != labels)
  assert abs(touched.mean() - 0.25 * 0.81) < 0.02
