"""Subsets and label noise: hand tables, the public CCS algorithm, laws."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_jax.data.dataset import make_dataset
from imp_jax.data.subsets import class_sizes, keep_indices
from tests.tiny import random_arrays

LABELS = np.asarray([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])


#                    0  1  2  3  4  5  6  7  8  9 10 11
DIFFICULTY = np.asarray([5.0, 3, 8, 1, 9, 7, 2, 6, 11, 10, 4, 0])


def keep(kind, size, difficulty=DIFFICULTY, labels=LABELS, **options):
  options = dict(num_classes=3, tie_words=(1, 2), draw_words=(3, 4)) | options
  if difficulty is not None:
    difficulty = np.asarray(difficulty, np.float64)
  index = keep_indices(
    kind, np.asarray(labels), size=size, difficulty=difficulty, **options
  )
  assert index.dtype == np.int32 and (np.diff(index) > 0).all()
  return index.tolist()


def equal(num):
  return np.zeros(num), np.arange(num) * 3 // num


@pytest.mark.parametrize(
  "kind,size,options,table",
  [
    ("easy", 3, {}, [3, 6, 11]),
    ("hard", 3, {}, [4, 8, 9]),
    ("easy", 3, dict(offset=2), [1, 6, 10]),
    ("hard", 3, dict(offset=2), [2, 4, 5]),
    ("easy", 12, {}, list(range(12))),
    # 7 of 3 classes: 3, 2, 2.
    ("easy", 7, dict(balanced=True), [0, 1, 3, 6, 7, 10, 11]),
    ("hard", 7, dict(balanced=True), [0, 1, 2, 4, 5, 8, 9]),
    # An offset of 4 skips 2, 1, 1.
    ("easy", 4, dict(balanced=True, offset=4), [0, 2, 7, 10]),
    ("hard", 4, dict(balanced=True, offset=4), [1, 3, 5, 9]),
  ],
)
def test_windows_of_the_order_by_hand(kind, size, options, table):
  assert keep(kind, size, **options) == table


@pytest.mark.parametrize(
  "size,classes,table",
  [(7, 3, [3, 2, 2]), (6, 3, [2, 2, 2]), (2, 3, [1, 1, 0]), (0, 2, [0, 0])],
)
def test_the_remainder_goes_to_the_first_classes(size, classes, table):
  assert class_sizes(size, classes) == table


def test_infinities_are_hardest_and_zeros_have_no_sign():
  values = [0.0, -0.0, np.inf, 3, -np.inf, np.inf, 1e38, -1, 2, 2.5, 2.25, 9]
  assert keep("easy", 2, values) == [4, 7]
  assert keep("hard", 3, values) == [2, 5, 6]
  assert keep("hard", 2, values) == [2, 5]
  # Which zero comes first is the key's choice, not the sign's.
  zeros = np.asarray([0.0, -0.0] * 6)
  for words in range(5):
    one = keep("easy", 6, zeros, tie_words=(words,))
    assert one == keep("easy", 6, np.zeros(12), tie_words=(words,))
    assert one == keep("easy", 6, -zeros, tie_words=(words,))


@pytest.mark.parametrize("kind", ["easy", "hard", "ccs"])
def test_equal_scores_of_class_sorted_examples_select_no_whole_class(kind):
  values, labels = equal(300)
  for words in range(5):
    index = keep(kind, 100, values, labels, tie_words=(words,))
    counts = np.bincount(labels[index], minlength=3)
    # 33 of each; hypergeometric, standard deviation 3.9
    assert (abs(counts - 100 / 3) < 5 * 3.9).all()
    assert max(np.diff(index)) < 30  # nor a run of positions


@pytest.mark.parametrize("kind", ["easy", "hard"])
def test_ties_follow_their_key_and_nothing_else(kind):
  values, labels = equal(60)
  one = keep(kind, 20, values, labels)
  assert one == keep(kind, 20, values, labels, draw_words=(9, 9))
  assert one != keep(kind, 20, values, labels, tie_words=(1, 3))
  # Distinct scores leave nothing to the key.
  assert keep(kind, 5) == keep(kind, 5, tie_words=(7, 7))


def test_random_follows_its_draw_and_nothing_else():
  one = keep("random", 6)
  assert one == keep("random", 6, None, tie_words=(9, 9))
  assert one == keep("random", 6, -DIFFICULTY)
  draws = [tuple(keep("random", 6, draw_words=(0, w))) for w in range(20)]
  assert len(set(draws)) > 10


def test_random_is_uniform_over_examples():
  counts = np.zeros(12)
  for word in range(1200):
    counts[keep("random", 4, draw_words=(word,))] += 1
  # 400 expected, standard deviation 16
  assert abs(counts - 400).max() < 5 * 16


@pytest.mark.parametrize("size", [1, 4, 6])
@pytest.mark.parametrize("balanced", [False, True])
def test_easy_and_hard_do_not_meet(size, balanced):
  easy = keep("easy", size, balanced=balanced)
  hard = keep("hard", size, balanced=balanced)
  assert not set(easy) & set(hard)
  if size == 6:
    assert sorted(easy + hard) == list(range(12))


@pytest.mark.parametrize("tied", [12, 8])
def test_easy_and_hard_do_not_meet_in_ties(tied):
  values = np.where(np.arange(12) < tied, 0.0, DIFFICULTY + 1)
  easy, hard = keep("easy", 6, values), keep("hard", 6, values)
  assert sorted(easy + hard) == list(range(12))


@pytest.mark.parametrize("kind", ["random", "easy", "hard"])
@pytest.mark.parametrize("balanced", [False, True])
def test_smaller_subsets_are_parts_of_larger_ones(kind, balanced):
  values = np.round(DIFFICULTY / 3)  # with ties
  sets = [set(keep(kind, s, values, balanced=balanced)) for s in range(1, 13)]
  for small, large in itertools.pairwise(sets):
    assert small < large


@pytest.mark.parametrize("kind", ["easy", "hard"])
@pytest.mark.parametrize("balanced", [False, True])
def test_windows_tile_the_order(kind, balanced):
  values = np.round(DIFFICULTY / 3)
  windows = [
    keep(kind, 3, values, offset=o, balanced=balanced) for o in (0, 3, 6, 9)
  ]
  assert sorted(itertools.chain(*windows)) == list(range(12))
  for i in range(3):
    both = keep(kind, 3 * (i + 1), values, balanced=balanced)
    assert sorted(itertools.chain(*windows[: i + 1])) == both


@given(
  num=st.integers(3, 60),
  size=st.integers(1, 60),
  levels=st.integers(1, 60),
  kind=st.sampled_from(["random", "easy", "hard", "ccs"]),
  balanced=st.booleans(),
  seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_a_subset_has_its_size_range_and_balance(
  num, size, levels, kind, balanced, seed
):
  rng = np.random.default_rng(seed)
  labels = rng.permutation(num) % 3
  values = rng.integers(0, levels, num) / 7
  counts = np.bincount(labels, minlength=3)
  sizes = np.asarray(class_sizes(size, 3))

  def kept():
    return keep(kind, size, values, labels, balanced=balanced)

  if size > num or (balanced and (sizes > counts).any()):
    with pytest.raises(ValueError, match="asks for"):
      kept()
    return
  index = kept()
  assert len(set(index)) == len(index) == size
  assert min(index) >= 0 and max(index) < num
  if balanced:
    assert np.bincount(labels[index], minlength=3).tolist() == sizes.tolist()
  if kind in ("easy", "hard"):
    chosen = np.isin(np.arange(num), index)
    sign = 1 if kind == "easy" else -1
    for c in range(3) if balanced else (None,):
      pool = (labels == c) if balanced else np.ones(num, bool)
      inside, outside = values[pool & chosen], values[pool & ~chosen]
      if len(inside) and len(outside):
        assert (sign * inside).max() <= (sign * outside).min()


def public_budgets(values, size, drop_hardest, strata=50):
  """Stratum of each example (-1: dropped) and the budgets, as in public code.

  github.com/haizhongzheng/Coverage-centric-coreset-selection: the hardest go
  first, then `stratified_sampling`. Its last stratum is open to 1.0001 times
  the maximum; here, as in the paper, all have equal widths and the last is
  closed.
  """
  num = len(values)
  drop = math.floor(drop_hardest * num + 0.5)
  stratum = np.full(num, -1)
  left = np.argsort(values, kind="stable")[: num - drop]
  low, high = values[left].min(), values[left].max()
  for i in left:
    for k in range(strata):
      start = low + k * (high - low) / strata
      stop = low + (k + 1) * (high - low) / strata
      if start <= values[i] < stop or (k == strata - 1 and values[i] >= start):
        stratum[i] = k
        break
  counts = [int((stratum == k).sum()) for k in range(strata)]
  budgets, rest = [0] * strata, size
  for done, k in enumerate(sorted(range(strata), key=lambda k: counts[k])):
    budgets[k] = min(counts[k], rest // (strata - done))
    rest -= budgets[k]
  return stratum, budgets


@pytest.mark.parametrize("drop_hardest", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("size", [10, 60, 200])
@pytest.mark.parametrize("shape", ["even", "skewed", "gaps"])
def test_ccs_spends_the_public_algorithms_budgets(
  rng, shape, size, drop_hardest
):
  values = {
    "even": rng.random(300),
    "skewed": rng.exponential(size=300),
    "gaps": rng.choice([0.0, 1.0, 7.0], 300) + rng.random(300),
  }[shape]
  labels = rng.integers(0, 3, 300)
  stratum, budgets = public_budgets(values, size, drop_hardest)
  index = keep("ccs", size, values, labels, drop_hardest=drop_hardest)
  assert len(index) == size == sum(budgets)
  assert (stratum[index] >= 0).all()  # none of the dropped
  # Strata of one size may swap the remainder among themselves.
  counts = np.bincount(stratum[stratum >= 0], minlength=50)
  got = np.bincount(stratum[index], minlength=50)
  for count in np.unique(counts):
    same = counts == count
    assert sorted(got[same]) == sorted(np.asarray(budgets)[same])


def test_ccs_by_hand():
  """A range of 50: unit strata of 1, 2 and 9 examples; budget 6 is 1, 2, 3."""
  values = np.asarray([0.0, 10.1, 10.2] + [50.0] * 9)
  index = keep("ccs", 6, values)
  assert index[:3] == [0, 1, 2] and len(index) == 6
  assert keep("ccs", 12, values) == list(range(12))
  # Without the 9 hardest, of 3 examples.
  assert keep("ccs", 3, values, drop_hardest=0.75) == [0, 1, 2]
  # Within a stratum the draw decides, between equal ones and others alike.
  draws = [tuple(keep("ccs", 6, values, draw_words=(w,))) for w in range(20)]
  assert len(set(draws)) > 10
  assert set(sum(draws, ())) == set(range(12))


def test_ccs_of_equal_scores_is_a_random_draw():
  values, labels = equal(30)
  draws = [keep("ccs", 5, values, labels, draw_words=(w,)) for w in range(100)]
  counts = np.bincount(np.concatenate(draws), minlength=30)
  # 16.7 expected, standard deviation 3.7
  assert counts.min() > 0 and counts.max() < 16.7 + 5 * 3.7


def test_balanced_ccs_works_within_each_class(rng):
  values, labels = rng.random(300), np.arange(300) % 3
  index = keep("ccs", 31, values, labels, balanced=True, drop_hardest=0.5)
  assert np.bincount(labels[index]).tolist() == [11, 10, 10]
  for c in range(3):
    hardest = np.sort(values[labels == c])[50:]
    chosen = values[[i for i in index if labels[i] == c]]
    assert chosen.max() < hardest.min()


def test_ccs_refuses_infinite_scores_that_it_does_not_drop():
  values = np.where(np.arange(12) < 2, np.inf, DIFFICULTY)
  with pytest.raises(ValueError, match="needs finite scores"):
    keep("ccs", 4, values)
  with pytest.raises(ValueError, match="after dropping the 1 hardest of 12"):
    keep("ccs", 4, values, drop_hardest=0.1)
  assert not {0, 1} & set(keep("ccs", 4, values, drop_hardest=2 / 12))


def test_ccs_refuses_scores_of_minus_infinity():
  values = np.where(np.arange(12) < 2, -np.inf, DIFFICULTY)
  with (
    np.errstate(invalid="ignore"),
    pytest.raises(ValueError, match="needs finite scores"),
  ):
    keep("ccs", 4, values)


@pytest.mark.parametrize(
  "kind,size,options,message",
  [
    (
      "random",
      13,
      {},
      "asks for 13 examples of the training set, which has 12",
    ),
    (
      "easy",
      10,
      dict(offset=3),
      "10 examples after skipping 3 of the training set, which has 12",
    ),
    (
      "hard",
      11,
      dict(balanced=True, labels=[0] * 3 + [1] * 4 + [2] * 5),
      "asks for 4 examples of class 0, which has 3",
    ),
    (
      "random",
      6,
      dict(balanced=True, labels=[0] * 11 + [2]),
      "asks for 2 examples of class 1, which has 0",
    ),
    (
      "easy",
      9,
      dict(balanced=True, offset=6),
      "asks for 3 examples after skipping 2 of class 0, which has 4",
    ),
    (
      "ccs",
      10,
      dict(drop_hardest=0.25),
      "for 10 examples .* has 12 and 3 of them",
    ),
  ],
)
def test_subsets_that_do_not_fit_are_refused(kind, size, options, message):
  with pytest.raises(ValueError, match=message):
    keep(kind, size, **options)


def test_scored_subsets_need_scores():
  for kind in ("easy", "hard", "ccs"):
    with pytest.raises(ValueError, match=f"subset '{kind}' needs scores"):
      keep(kind, 3, None)


def test_an_unknown_kind_is_refused():
  with pytest.raises(ValueError, match="hardest"):
    keep("hardest", 3)


def test_class_sorted_and_shuffled_sources_give_one_subset(rng):
  """Ties, draws and windows depend on content, not on the source's order."""
  arrays = random_arrays(rng, train=60)
  inputs, labels = arrays["train"]
  scores = np.round(rng.random(60), 1)  # by source position, with ties
  orders = [np.argsort(labels, kind="stable"), rng.permutation(60)]
  for kind in ("random", "easy", "hard", "ccs"):
    for balanced in (False, True):
      found = []
      for order in orders:
        source = arrays | {"train": (inputs[order], labels[order])}
        train = make_dataset("x", source).train
        index = keep(
          kind,
          17,
          scores[order][train.source_index],
          np.asarray(train.labels),
          balanced=balanced,
        )
        original = order[train.source_index[index]]
        found.append(original.tolist())
      assert found[0] == found[1]
      assert len(set(labels[found[0]])) == 3
