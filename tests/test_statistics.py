"""Statistics: against NumPy, hand tables, and the rules of the verdicts."""

import numpy as np
import pytest
import scipy.stats

from imp_jax.statistics import (
  Interval,
  easy_data_verdict,
  holm_intervals,
  is_matching,
  little_data_margin,
  little_data_verdict,
  matching_levels,
  mean_interval,
  rank_correlation,
  rewinding_verdict,
  smallest_matching_level,
)


def bca_by_numpy(values, confidence, draws):
  """Efron's bias-corrected accelerated interval of a mean, written out."""
  n = len(values)
  means = values[draws].mean(1)
  share = ((means < values.mean()).mean() + (means <= values.mean()).mean()) / 2
  z0 = scipy.stats.norm.ppf(share)
  jack = np.array([np.delete(values, i).mean() for i in range(n)])
  away = jack.mean() - jack
  a = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
  bounds = []
  for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
    z = z0 + scipy.stats.norm.ppf(tail)
    bounds.append(
      np.quantile(means, scipy.stats.norm.cdf(z0 + z / (1 - a * z)))
    )
  return bounds


def test_rounding_moves_no_bound():
  """Differences that are equal but for rounding have one interval."""
  exact = np.array([0.013, 0.021, 0.008, 0.034])
  rounded = np.array([0.913, 0.921, 0.908, 0.934]) - 0.9
  assert not np.array_equal(exact, rounded)
  one, two = mean_interval(exact), mean_interval(rounded)
  assert (one.low, one.high) == (two.low, two.high)
  equal = mean_interval(np.array([0.93 - 0.9, 0.03, 0.83 - 0.8]))
  assert equal.low == equal.high


def test_intervals_agree_with_a_bca_written_out():
  rng = np.random.default_rng(1)
  values = rng.exponential(size=12)
  draws = rng.integers(0, 12, (1_000_000, 12))
  interval = mean_interval(values, confidence=0.9, resamples=1_000_000)
  assert interval.mean == pytest.approx(values.mean())
  # Two independent sets of resamples: their quantiles differ by ~1e-3.
  assert [interval.low, interval.high] == pytest.approx(
    bca_by_numpy(values, 0.9, draws), abs=6e-3
  )


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
  equal = mean_interval(np.full(4, 0.02))
  assert (equal.low, equal.high) == (0.02, 0.02)
  two = mean_interval(np.array([0.0, 1.0]))
  assert 0 <= two.low < two.high <= 1


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
  """Level 1 loses nothing; level 2 loses two points in one replicate."""
  accuracy = np.array(
    [
      [0.90, 0.90, 0.88, 0.90],
      [0.92, 0.93, 0.92, 0.80],
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
  against_bars = holm_intervals(samples, thresholds=bars)
  levels = [
    {name: i.confidence for name, i in found.items()}
    for found in (against_0, against_bars)
  ]
  # Against 0 the second is decided first; against -1 the first is.
  assert levels[0] == pytest.approx({"small loss": 0.95, "unclear": 0.975})
  assert levels[1] == pytest.approx({"small loss": 0.975, "unclear": 0.95})
  assert holm_intervals(samples, thresholds={"other": 3.0}) == against_0
  assert holm_intervals(
    {name: values - bars[name] for name, values in samples.items()}
  )["unclear"].low == pytest.approx(against_bars["unclear"].low + 1.0)


def test_holm_counts_what_could_not_be_measured():
  values = np.random.default_rng(0).normal(0, 1, 8)
  found = holm_intervals({"a": values - values.mean(), "b": np.zeros(0)})
  assert found["a"].confidence == pytest.approx(0.975)
  assert (found["b"].count, found["b"].low) == (0, -np.inf)
  unknown = holm_intervals(
    {"a": values + 9, "b": values + 9}, thresholds={"a": np.nan}
  )
  assert unknown["a"].confidence == pytest.approx(0.95)  # not decided before b


@pytest.mark.parametrize(
  "effect,margin",
  [
    (0.04, 0.01),
    (0.0104, 0.0026),
    (0.01, 0.0025),
    (0.0099, 0.0025),
    (0.0, 0.0025),
    (-0.5, 0.0025),
  ],
)
def test_the_margin_is_a_quarter_of_the_effect_or_a_quarter_point(
  effect, margin
):
  assert little_data_margin(effect) == pytest.approx(margin, abs=1e-12)


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
    ((0.001, 0.02), (0.0, 0.02), "undecided"),
    ((0.0, 0.02), (0.001, 0.02), "undecided"),
    ((0.001, 0.02), (-0.02, -0.001), "does not hold"),
    ((-0.02, -0.001), (0.001, 0.02), "does not hold"),
    ((-0.02, 0.0), (-0.02, 0.0), "undecided"),
    ((0.001, 0.02), (-np.inf, np.inf), "undecided"),
  ],
)
def test_easy_data_verdicts(over_random, over_all, verdict):
  both = [Interval(0, *bounds, 4, 0.95) for bounds in (over_random, over_all)]
  assert easy_data_verdict(*both) == verdict


def test_rank_correlation_by_hand():
  a = np.array([1.0, 2.0, 2.0, np.inf])  # ranks 1, 2.5, 2.5, 4
  b = np.array([10.0, 5.0, 7.0, np.inf])  # ranks 3, 1, 2, 4
  # Deviations (-1.5, 0, 0, 1.5) and (0.5, -1.5, -0.5, 1.5): 1.5 over
  # sqrt(4.5 * 5).
  assert rank_correlation(a, b) == pytest.approx(1.5 / np.sqrt(22.5))
  assert rank_correlation(a, np.exp(a)) == pytest.approx(1.0)
  assert np.isnan(rank_correlation(np.ones(4), b))
