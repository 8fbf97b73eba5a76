"""Statistics: against SciPy, hand tables, and the rules of the verdicts."""

import functools

import numpy as np
import pytest
import scipy.stats

from imp_jax.statistics.intervals import (
  LEAST_REPLICATES,
  MOST_REPLICATES,
  Interval,
  easy_data_verdict,
  holm_intervals,
  is_matching,
  little_data_verdict,
  matching_levels,
  mean_interval,
  rank_correlation,
  replicates_needed,
  rewinding_verdict,
  smallest_matching_level,
)


def test_a_students_interval_by_hand():
  """Mean 3, s² = (4 + 1 + 0 + 1 + 4) / 4, and t(0.975; 4) = 2.776."""
  values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
  found = mean_interval(values)
  assert (found.mean, found.count, found.confidence) == (3.0, 5, 0.95)
  assert found.std == pytest.approx(1.5811, abs=1e-4)
  # 2.776445 · 1.581139 / √5 = 1.963243
  assert (found.low, found.high) == pytest.approx((1.036757, 4.963243))
  # Two values, where t(0.95; 1) = 6.313752: 0.5 ± 6.313752 · 0.707107 / √2.
  two = mean_interval(np.array([0.0, 1.0]), confidence=0.9)
  assert (two.low, two.high) == pytest.approx((-2.656876, 3.656876))


@pytest.mark.parametrize("count", [2, 3, 4, 7, 24, 1000])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 1 - 0.05 / 3])
def test_intervals_agree_with_scipy(count, confidence):
  values = np.random.default_rng(count).exponential(0.01, count)
  found = mean_interval(values, confidence=confidence)
  expected = scipy.stats.t.interval(
    confidence, count - 1, values.mean(), scipy.stats.sem(values)
  )
  # Values are rounded to 2^-40 = 9e-13.
  assert (found.low, found.high) == pytest.approx(expected, abs=1e-11)
  assert found.std == pytest.approx(np.std(values, ddof=1), abs=1e-11)
  assert found.mean == values.mean()


def test_rounding_moves_no_bound():
  """Differences that are equal but for rounding have one interval."""
  exact = np.array([0.013, 0.021, 0.008, 0.034])
  rounded = np.array([0.913, 0.921, 0.908, 0.934]) - 0.9
  assert not np.array_equal(exact, rounded)
  one, two = mean_interval(exact), mean_interval(rounded)
  assert (one.low, one.high) == (two.low, two.high)
  equal = mean_interval(np.array([0.93 - 0.9, 0.03, 0.83 - 0.8]))
  assert equal.low == equal.high


def test_intervals_shift_scale_and_repeat():
  values = np.random.default_rng(0).normal(size=6)
  one, again = mean_interval(values), mean_interval(values)
  moved = mean_interval(3 * values + 1)
  assert one == again
  assert moved.low == pytest.approx(3 * one.low + 1)
  assert moved.high == pytest.approx(3 * one.high + 1)
  assert one.low < one.mean < one.high


def test_degenerate_samples():
  single = mean_interval(np.array([0.3]))
  assert (single.mean, single.low, single.high) == (0.3, -np.inf, np.inf)
  assert (single.count, single.std) == (1, None)
  equal = mean_interval(np.full(4, 0.02))
  assert (equal.low, equal.high, equal.std) == (0.02, 0.02, 0.0)
  nothing = mean_interval(np.zeros(0))
  assert np.isnan(nothing.mean) and nothing.std is None
  assert (nothing.low, nothing.high, nothing.count) == (-np.inf, np.inf, 0)


@pytest.mark.parametrize(
  "low,high,verdict",
  [
    (0.001, 0.03, "holds"),
    (-0.03, -0.001, "does not hold"),
    (-0.009, 0.009, "does not hold"),  # within the margin of nothing
    (-0.02, 0.005, "undecided"),
    (0.0, 0.02, "undecided"),
    (-np.inf, np.inf, "undecided"),
  ],
)
def test_rewinding_verdicts(low, high, verdict):
  assert rewinding_verdict(Interval(0, low, high, 4, 0.95), 0.01) == verdict


def test_holm_steps_down():
  """The clear effect is held to 1 - 0.05 / 2, and then the other to 0.95."""
  rng = np.random.default_rng(0)
  samples = {
    "weak": rng.normal(0.0, 1.0, 20),
    "strong": rng.normal(5.0, 1.0, 20),
  }
  found = holm_intervals(samples)
  assert list(found) == ["weak", "strong"]
  assert found["strong"].confidence == pytest.approx(0.975)
  assert found["weak"].confidence == pytest.approx(0.95)
  nothing = holm_intervals({k: v - v.mean() for k, v in samples.items()})
  assert {i.confidence for i in nothing.values()} == {0.975}
  assert holm_intervals({}) == {}


def test_matching():
  assert is_matching(Interval(0, -0.009, 0.1, 4, 0.95), 0.01)
  assert not is_matching(Interval(0, -0.01, 0.1, 4, 0.95), 0.01)
  assert smallest_matching_level([True, True, False, True]) == 1
  assert smallest_matching_level([True, False]) == 0
  assert smallest_matching_level([True, True, True]) == 2


def test_matching_levels_by_hand():
  """Level 1 gains half a point in one replicate; level 2 loses two.

  Their bounds: 0.17 - 4.303 · 0.29 / √3 = -0.55 points; -0.67 - 2.87 = -3.5.
  """
  accuracy = np.array(
    [
      [0.90, 0.90, 0.88, 0.90],
      [0.92, 0.925, 0.92, 0.80],
      [0.94, 0.94, 0.94, np.nan],  # a failed replicate
    ]
  )
  together, alone = matching_levels(accuracy, margin=0.01)
  assert together == 1
  assert alone == [1, 2, 2]
  failed = np.array([[0.9, 0.9], [np.nan, 0.9]])
  assert matching_levels(failed, margin=0.01)[1] == [1, None]


def test_a_loss_of_just_the_margin_is_no_match_whatever_its_last_bit():
  """One example in a hundred more is wrong, of every accuracy there is."""
  right = np.arange(1, 101)
  accuracy = np.stack([right, right - 1, right], axis=1) / 100
  together, alone = matching_levels(accuracy, margin=0.01)
  assert together == 0 and alone == [0] * 100
  losses = accuracy[:, 1] - accuracy[:, 0]
  assert len(set(losses.tolist())) > 1  # so the last bit does differ
  for loss in losses:
    assert not is_matching(Interval(loss, loss, loss, 1, 0.95), 0.01)
  nearly = accuracy + np.array([0, 1e-9, 0])
  assert matching_levels(nearly, margin=0.01) == (2, [2] * 100)


def test_holm_steps_down_on_the_test_that_is_made():
  """A difference of 0 is surely above -1: it frees the other's level."""
  rng = np.random.default_rng(0)
  noise = rng.normal(0.0, 1.0, 40)
  samples = {
    "small loss": noise - noise.mean(),
    "unclear": rng.normal(-1.0, 1.0, 40),
  }
  bars = {"small loss": -1.0, "unclear": -1.0}
  against_0 = holm_intervals(samples)
  against_bars = holm_intervals(
    samples, thresholds={name: (bar,) for name, bar in bars.items()}
  )
  levels = [
    {name: i.confidence for name, i in found.items()}
    for found in (against_0, against_bars)
  ]
  # Against 0 the second is decided first; against -1 the first is.
  assert levels[0] == pytest.approx({"small loss": 0.95, "unclear": 0.975})
  assert levels[1] == pytest.approx({"small loss": 0.975, "unclear": 0.95})
  assert holm_intervals(samples, thresholds={"other": (3.0,)}) == against_0
  assert holm_intervals(
    {name: values - bars[name] for name, values in samples.items()}
  )["unclear"].low == pytest.approx(against_bars["unclear"].low + 1.0)


def test_holm_counts_what_could_not_be_measured():
  values = np.random.default_rng(0).normal(0, 1, 8)
  found = holm_intervals({"a": values - values.mean(), "b": np.zeros(0)})
  assert found["a"].confidence == pytest.approx(0.975)
  assert (found["b"].count, found["b"].low) == (0, -np.inf)


def test_holm_steps_down_only_past_all_thresholds():
  """Above 0, but not surely above 1 or below it: the other is not freed."""
  noise = np.array([-1.5, -0.5, 0.5, 1.5])  # s = 1.29; t / √4 · s = 2.05
  other = noise + 2.5  # [0.45, 4.55], and [-0.20, 5.20] at 97.5 %
  for mean, confidence in (
    (4.0, 0.975),  # [1.30, 6.70]: above 0, and above 2 or not is open
    (5.0, 0.95),  # [2.30, 7.70]
    (-3.0, 0.95),  # [-5.70, -0.30]
  ):
    found = holm_intervals(
      {"first": noise + mean, "other": other},
      thresholds={"first": (0.0, 2.0), "other": (0.0,)},
    )
    assert found["first"].confidence == pytest.approx(0.975)
    assert found["other"].confidence == pytest.approx(confidence), mean
  # Between the two: a gain, but too small to matter.
  found = holm_intervals(
    {"first": noise / 10 + 1, "other": other}, thresholds={"first": (0.0, 2.0)}
  )
  assert found["other"].confidence == pytest.approx(0.95)


def test_holm_frees_no_level_for_what_too_few_replicates_say():
  sure = np.array([5.0, 5.1, 5.2, 5.3])
  unclear = np.array([-1.0, 0.0, 1.0, 2.0])
  for count, confidence in ((3, 0.975), (4, 0.95)):
    found = holm_intervals({"sure": sure[:count], "unclear": unclear})
    assert found["sure"].low > 0
    assert found["unclear"].confidence == pytest.approx(confidence)


@pytest.mark.parametrize(
  "low,high,verdict",
  [
    (-0.0099, 0.03, "holds"),
    (0.001, 0.03, "holds"),
    (-0.01, 0.03, "undecided"),  # the bound itself is not above -margin
    (-0.05, -0.01, "undecided"),
    (-0.05, -0.0101, "does not hold"),
    (-0.0099, -0.001, "holds"),  # a loss, but within the margin
    (-np.inf, np.inf, "undecided"),
  ],
)
def test_little_data_verdicts(low, high, verdict):
  assert little_data_verdict(Interval(0, low, high, 4, 0.95), 0.01) == verdict


@pytest.mark.parametrize(
  "over_random,over_all,verdict",
  [
    ((0.001, 0.02), (0.001, 0.02), "holds"),
    ((0.001, 0.01), (0.001, 0.01), "holds"),  # the margin itself is possible
    ((0.001, 0.02), (0.0, 0.02), "undecided"),
    ((0.0, 0.02), (0.001, 0.02), "undecided"),
    ((0.001, 0.02), (-0.02, 0.0099), "does not hold"),
    ((-0.02, 0.0099), (0.001, 0.02), "does not hold"),
    ((-0.02, 0.01), (-0.02, 0.01), "undecided"),
    ((-0.02, 0.0), (-0.02, 0.02), "does not hold"),
    # Surely a gain of both, and surely too small a one.
    ((0.001, 0.02), (0.001, 0.009), "does not hold"),
    ((0.001, 0.009), (0.001, 0.02), "does not hold"),
    ((0.001, 0.009), (0.001, 0.009), "does not hold"),
    ((0.001, 0.02), (-np.inf, np.inf), "undecided"),
  ],
)
def test_easy_data_verdicts(over_random, over_all, verdict):
  both = [Interval(0, *bounds, 4, 0.95) for bounds in (over_random, over_all)]
  assert easy_data_verdict(*both, margin=0.01) == verdict


def test_fewer_than_four_replicates_never_decide():
  assert LEAST_REPLICATES == 4
  for count in range(4):
    for low, high in ((0.1, 0.2), (-0.2, -0.1), (0.0, 0.0)):
      few, many = (Interval(0, low, high, n, 0.95) for n in (count, 4))
      assert rewinding_verdict(few, 0.01) == "undecided"
      assert little_data_verdict(few, 0.01) == "undecided"
      for both in ((few, many), (many, few), (few, few)):
        assert easy_data_verdict(*both, margin=0.01) == "undecided"
      assert rewinding_verdict(many, 0.01) != "undecided"
      assert little_data_verdict(many, 0.01) != "undecided"
      assert easy_data_verdict(many, many, 0.01) != "undecided"


def above_zero(*intervals):
  """A rule: "holds" where all lie above 0."""
  enough = all(i.count >= LEAST_REPLICATES for i in intervals)
  above = enough and all(i.low > 0 for i in intervals)
  return "holds" if above else "undecided"


@pytest.mark.parametrize(
  "mean,std,needed",
  [
    # t(0.975; n - 1) / √n: 1.591 at 4, 1.242 at 5, 1.049 at 6, 0.925 at 7,
    # 0.836 at 8, 0.769 at 9, 0.062 at 999.
    (1.60, 1.0, 4),
    (1.59, 1.0, 5),
    (1.05, 1.0, 6),
    (1.04, 1.0, 7),
    (0.77, 1.0, 9),
    (7.70, 10.0, 9),
    (0.0621, 1.0, 999),
    (0.0619, 1.0, None),
    (9.00, 1.0, 4),
    (1e-9, 0.0, 4),
    (-1.0, 1.0, None),
  ],
)
def test_replicates_needed_by_hand(mean, std, needed):
  """Whatever number it was that the mean and the spread are of."""
  for count in (2, 3, 30):
    seen = Interval(mean, -np.inf, np.inf, count, 0.95, std)
    assert replicates_needed(above_zero, seen) == needed


def test_replicates_needed_of_holms_level_and_of_two_intervals():
  """t(0.9875; n - 1) / √n: 0.917 at 9, 0.849 at 10."""
  seen = Interval(0.85, -np.inf, np.inf, 5, 0.975, 1.0)
  assert replicates_needed(above_zero, seen) == 10
  easier = Interval(1.6, -np.inf, np.inf, 5, 0.95, 1.0)
  assert replicates_needed(above_zero, easier, seen) == 10
  assert replicates_needed(above_zero, easier) == 4
  lone = Interval(0.85, -np.inf, np.inf, 1, 0.95)
  with pytest.raises(ValueError, match="needs intervals with a std"):
    replicates_needed(above_zero, lone, seen)


def test_as_many_as_needed_do_decide_and_one_fewer_do_not():
  """Values of just the mean and spread that were seen."""
  rule = functools.partial(little_data_verdict, margin=0.0025)

  def with_moments(count):
    values = np.random.default_rng(count).normal(size=count)
    values = (values - values.mean()) / values.std(ddof=1)
    return mean_interval(0.001 + 0.01 * values)

  needed = replicates_needed(rule, with_moments(5))
  assert needed is not None and 10 < needed < MOST_REPLICATES
  assert rule(with_moments(needed)) == "holds"
  assert rule(with_moments(needed - 1)) == "undecided"


def test_rank_correlation_by_hand():
  a = np.array([1.0, 2.0, 2.0, np.inf])  # ranks 1, 2.5, 2.5, 4
  b = np.array([10.0, 5.0, 7.0, np.inf])  # ranks 3, 1, 2, 4
  # Deviations (-1.5, 0, 0, 1.5) and (0.5, -1.5, -0.5, 1.5): 1.5 over
  # sqrt(4.5 * 5).
  assert rank_correlation(a, b) == pytest.approx(1.5 / np.sqrt(22.5))
  assert rank_correlation(a, np.exp(a)) == pytest.approx(1.0)
  assert np.isnan(rank_correlation(np.ones(4), b))
