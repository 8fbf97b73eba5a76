"""Scores: hand tables, NumPy loops from the published definitions, laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.scores import (
  NEVER_LEARNED,
  SCORES,
)
from imp_jax.scores.streams import AUM, DUAL, TDDS, Forgetting
from tests.scoring import (
  OUTPUTS,
  aum_loop,
  dual_loop,
  forgetting_loop,
  score,
  some_logits,
  streamed,
  tdds_loop,
)


def test_every_score_of_outputs_is_in_the_tables_below():
  assert {n for n, s in SCORES.items() if s.made_from == "outputs"} == set(
    OUTPUTS
  )


@pytest.mark.parametrize(
  "p,label,values",
  [
    ((0.7, 0.2, 0.1), 0, (0.37416574, 0.35667494, 0.5, 0.7, 0.80181855)),
    ((0.7, 0.2, 0.1), 1, (1.06770783, 1.60943791, -0.5, 0.2, 0.80181855)),
    ((0.7, 0.2, 0.1), 2, (1.15758369, 2.30258509, -0.6, 0.1, 0.80181855)),
    ((0.25,) * 4, 3, (0.86602540, 1.38629436, 0.0, 0.25, 1.38629436)),
    ((0.5, 0.5), 0, (0.70710678, 0.69314718, 0.0, 0.5, 0.69314718)),
  ],
)
def test_scores_of_outputs_by_hand(p, label, values):
  for name, value in zip(OUTPUTS, values, strict=True):
    got = score(name, np.log(p), label)
    assert got == pytest.approx(value, rel=2e-6, abs=2e-7), name


@pytest.mark.parametrize(
  "label,values", [(0, (0, 0, 1, 1, 0)), (1, (2**0.5, 200, -1, 0, 0))]
)
def test_a_certain_network_gives_the_ends_of_the_ranges(label, values):
  for name, value in zip(OUTPUTS, values, strict=True):
    assert score(name, (200.0, 0.0, 0.0), label) == pytest.approx(value), name


@pytest.mark.parametrize(
  "name",
  [
    "el2n",
    "loss",
    "margin",
    "confidence",
    "entropy",
  ],
)
def test_a_constant_added_to_the_logits_changes_no_score(name, rng):
  logits = rng.integers(-64, 64, 5) / 8  # sums with 512 are exact
  for label in range(5):
    plain = score(name, logits, label)
    assert score(name, logits + 512, label) == plain
    assert score(name, logits - 512, label) == plain


@pytest.mark.parametrize("name", OUTPUTS)
def test_renaming_the_classes_changes_no_score(name, rng):
  logits = rng.normal(size=6) * 3
  for _ in range(5):
    order = rng.permutation(6)
    for label in range(6):
      renamed = int(np.flatnonzero(order == label)[0])
      assert score(name, logits[order], renamed) == pytest.approx(
        score(name, logits, label), rel=1e-5
      )


@pytest.mark.parametrize(
  "name,low,high",
  [
    ("el2n", 0, 2**0.5),
    ("loss", 0, np.inf),
    ("margin", -1, 1),
    ("confidence", 0, 1),
    ("entropy", 0, np.log(5)),
  ],
)
def test_scores_of_outputs_stay_in_their_ranges(name, low, high, rng):
  scale = 10 ** rng.uniform(-2, 3, (2000, 1))
  logits = jnp.asarray(rng.normal(size=(2000, 5)) * scale, jnp.float32)
  labels = jnp.asarray(rng.integers(0, 5, 2000), jnp.int32)
  values = np.asarray(jax.vmap(SCORES[name].fn)(logits, labels))
  assert np.isfinite(values).all()
  assert values.min() >= low and values.max() <= high * (1 + 1e-6)
  assert np.unique(values).size > 500


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_registered_direction_says_which_example_is_harder(name):
  easy = score(name, (4.0, 0.0, 0.0), 0)
  hard = score(name, (0.0, 0.5, 0.0), 0)
  sign = 1 if SCORES[name].larger_is_harder else -1
  assert sign * hard > sign * easy


def test_the_loss_tells_confident_examples_apart():
  assert score("loss", (20.0, 0.0), 0) == pytest.approx(2.0611536e-9, rel=1e-3)


def test_el2n_of_a_confident_example_keeps_the_labels_term():
  want = 2**0.5 * 2.0611536e-9  # two classes: both errors are 1 - p_y
  assert score("el2n", (20.0, 0.0), 0) == pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize("length", [1, 2, 5, 12])
def test_forgetting_and_aum_against_numpy(rng, length):
  for label in range(4):
    logits = some_logits(rng, length)
    wide = logits.astype(np.float64)
    for rule in NEVER_LEARNED:
      assert streamed(Forgetting(rule), logits, label) == forgetting_loop(
        wide, label, rule
      )
    assert streamed(AUM(), logits, label) == pytest.approx(
      aum_loop(wide, label), rel=1e-5, abs=1e-6
    )


@pytest.mark.parametrize(
  "correct,events",
  [
    ("1111", 0),
    ("0001", 0),
    ("1000", 1),
    ("0101", 1),
    ("1010", 2),
    ("110110", 2),
    ("1", 0),
  ],
)
@pytest.mark.parametrize("rule", NEVER_LEARNED)
def test_forgetting_counts_falls_from_correct_to_wrong(correct, events, rule):
  logits = np.asarray([[1.0, 0.0] if c == "1" else [0.0, 1.0] for c in correct])
  assert streamed(Forgetting(rule), logits, 0) == events


def test_what_was_never_learned_scores_by_its_rule():
  wrong = np.tile([0.0, 1.0], (5, 1))
  for rule, value in {"inf": np.inf, "max": 5.0, "zero": 0.0}.items():
    assert streamed(Forgetting(rule), wrong, 0) == value


@pytest.mark.parametrize("window", [3, 5])
@pytest.mark.parametrize("more", [0, 1, 2, 9])
def test_tdds_and_dual_against_numpy(rng, window, more):
  for label in range(3):
    logits = some_logits(rng, window + more, classes=3)
    wide = logits.astype(np.float64)
    assert streamed(TDDS(window), logits, label) == pytest.approx(
      tdds_loop(wide, window), rel=2e-5, abs=1e-7
    )
    assert streamed(DUAL(window), logits, label) == pytest.approx(
      dual_loop(wide, label, window), rel=2e-5, abs=1e-7
    )


def test_tdds_by_hand():
  """Three outputs, two differences d: the spread is |d1 - d2| / sqrt(2)."""
  p = np.asarray([[0.5, 0.5], [0.8, 0.2], [0.5, 0.5]])
  d1 = 0.8 * np.log(1.6) + 0.2 * np.log(2.5)
  d2 = 0.5 * np.log(1.6) + 0.5 * np.log(2.5)
  one = abs(d1 - d2) / 2**0.5
  got = streamed(TDDS(3), np.log(p), 0)
  assert got == pytest.approx(0.9 * one, rel=1e-5)
  # Two windows of it: the older one weighs a tenth.
  p = np.concatenate([p, p[1:2]])
  got = streamed(TDDS(3), np.log(p), 0)
  assert got == pytest.approx((0.9 + 0.09) * one, rel=1e-5)


def test_tdds_has_no_window_in_a_short_stream(rng):
  for length in (1, 2, 4):
    assert np.isnan(streamed(TDDS(5), some_logits(rng, length), 0))


def test_dual_by_hand():
  p = np.asarray([[0.2, 0.8], [0.6, 0.4]])  # mean 0.4, std 0.2 sqrt(2)
  got = streamed(DUAL(2), np.log(p), 0)
  assert got == pytest.approx(0.6 * 0.2 * 2**0.5, rel=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_dual_of_a_stream_shorter_than_its_window_is_no_number(rng, length):
  assert np.isnan(streamed(DUAL(5), some_logits(rng, length), 0))


@pytest.mark.parametrize("name", ["forgetting", "aum", "tdds", "dual"])
def test_the_direction_of_streams_puts_the_unstable_example_last(name):
  """A steadily right example against one between right and wrong."""
  rule = SCORES[name].fn(3, "inf")
  easy = np.tile([8.0, 0.0], (6, 1))
  hard = np.asarray([[0.5, 0], [0, 2], [1, 0], [0, 1], [0, 1], [0, 3]]) * 1.0
  sign = 1 if SCORES[name].larger_is_harder else -1
  assert sign * streamed(rule, hard, 0) > sign * streamed(rule, easy, 0)
