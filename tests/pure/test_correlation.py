"""Claim 3's correlation: against SciPy, a loop in plain Python, and laws."""

import numpy as np
import pytest
import scipy.stats

from imp_jax.statistics.correlation import (
  LEAST_VARIANTS,
  SEED,
  Correlation,
  _bias_corrected,
  cluster_correlation,
  connected_verdict,
)
from imp_jax.statistics.intervals import LEAST_REPLICATES


def grid(variants, replicates):
  """Labels of every (variant, replicate) pair; variants are names."""
  v, r = np.mgrid[:variants, :replicates]
  return np.array([f"v{i:02}" for i in v.ravel()]), r.ravel()


def example(variants=4, replicates=5, slope=1.0, seed=0):
  """(x, y, given, variants, replicates) with effects of both clusters."""
  rng = np.random.default_rng(seed)

  def effects():
    return (
      rng.normal(size=(variants, 1))
      + 0.5 * rng.normal(size=(1, replicates))
      + 0.5 * rng.normal(size=(variants, replicates))
    ).ravel()

  x, given = effects(), effects()
  return x, slope * x + effects(), given, *grid(variants, replicates)


def by_scipy(x, y, given, method):
  """The (partial) correlation of what is left of x and y by given."""
  columns = [c for c in (x, y, given) if c is not None]
  if method == "spearman":
    columns = [scipy.stats.rankdata(c) for c in columns]
  if given is not None:
    against = np.stack([np.ones(len(x)), columns[2]], 1)
    columns = [
      c - against @ np.linalg.lstsq(against, c, rcond=None)[0]
      for c in columns[:2]
    ]
    if min(np.abs(c).max() for c in columns) < 1e-9:
      return np.nan
  if min(np.ptp(c) for c in columns[:2]) == 0:
    return np.nan
  return scipy.stats.pearsonr(*columns[:2]).statistic


def by_loops(x, y, variants, replicates, given, method, resamples):
  """Bounds and estimates, one resample and one point after the other."""
  names, numbers = sorted(set(variants)), sorted(set(replicates))
  rng = np.random.default_rng(SEED)
  drawn_variants = rng.integers(0, len(names), (resamples, len(names)))
  drawn_replicates = rng.integers(0, len(numbers), (resamples, len(numbers)))
  found = []
  for some, others in zip(drawn_variants, drawn_replicates, strict=True):
    points = [
      point
      for v in some
      for r in others
      for point in range(len(x))
      if variants[point] == names[v] and replicates[point] == numbers[r]
    ]
    part = None if given is None else given[points]
    found.append(
      by_scipy(x[points], y[points], part, method) if points else np.nan
    )
  found = np.array(found)
  estimate = by_scipy(x, y, given, method)
  defined = found[~np.isnan(found)]
  near = np.isclose(defined, estimate, rtol=0, atol=1e-10)
  below = ((defined < estimate) & ~near).mean() + near.mean() / 2
  z = scipy.stats.norm.ppf(below)
  tails = scipy.stats.norm.cdf(2 * z + scipy.stats.norm.ppf([0.05, 0.95]))
  return estimate, np.quantile(defined, tails), found


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("partial", [False, True])
def test_it_agrees_with_loops_over_the_same_draws(method, partial):
  """With ties and with pairs that have no data."""
  x, y, given, variants, replicates = example()
  x, given = np.round(x, 1), np.round(given, 1)
  left = np.ones(20, bool)
  left[[2, 9, 10, 17]] = False
  x, y, given = x[left], y[left], given[left] if partial else None
  variants, replicates = variants[left], replicates[left]
  interval = cluster_correlation(
    *(x, y, variants, replicates),
    given=given,
    method=method,
    confidence=0.9,
    resamples=150,
  )
  estimate, bounds, _ = by_loops(x, y, variants, replicates, given, method, 150)
  assert interval.mean == pytest.approx(estimate, abs=1e-12)
  assert [interval.low, interval.high] == pytest.approx(bounds, abs=1e-10)
  assert (interval.count, interval.confidence) == (16, 0.9)
  assert interval.low < interval.mean < interval.high


def test_undefined_resamples_are_left_out():
  """x is constant in many resamples, and some hold no point at all."""
  x = np.array([0.0, 0, 1, 0, 1, 1])
  y = np.array([0.3, 0.1, 0.2, 0.5, 0.6, 0.4])
  variants = np.array(["a", "a", "b", "b", "c", "c"])
  replicates = np.array([0, 1, 1, 2, 2, 3])
  estimate, bounds, found = by_loops(
    x, y, variants, replicates, None, "spearman", 300
  )
  assert 0.1 < np.isnan(found).mean() < 0.5
  interval = cluster_correlation(
    x, y, variants, replicates, confidence=0.9, resamples=300
  )
  assert interval.mean == pytest.approx(estimate)
  assert [interval.low, interval.high] == pytest.approx(bounds, abs=1e-10)


def test_correlations_by_hand():
  """Ranks 1 2.5 2.5 4 and 3 1 2 4: 1.5 over sqrt(4.5 · 5)."""
  x, y = np.array([1.0, 2.0, 2.0, np.inf]), np.array([10.0, 5.0, 7.0, np.inf])
  clusters = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
  rho = cluster_correlation(x, y, *clusters, resamples=50).mean
  assert rho == pytest.approx(1.5 / np.sqrt(22.5))
  assert rho == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
  assert np.isnan(cluster_correlation(x, y, *clusters, method="pearson").mean)
  # By 1 - 6 Σd² / 60: rho_xz = rho_yz = 1 - 0.2, rho_xy = 1 - 0.6.
  z = np.array([1.0, 2.0, 3.0, 4.0])
  x, y = np.array([1.0, 3.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0, 3.0])
  partial = cluster_correlation(x, y, *clusters, given=z, resamples=50).mean
  assert partial == pytest.approx((0.4 - 0.64) / (1 - 0.64))


def test_given_what_is_constant_nothing_changes():
  x, y, _, *clusters = example()
  plain = cluster_correlation(x, y, *clusters, resamples=200)
  constant = np.full(20, 0.1)
  assert (
    cluster_correlation(x, y, *clusters, given=constant, resamples=200) == plain
  )


def test_given_the_cause_of_both_nothing_is_left():
  """x and y have nothing in common but z."""
  rng = np.random.default_rng(0)
  variants, replicates = grid(10, 10)
  z = rng.normal(size=100)
  x, y = (z + 0.5 * rng.normal(size=100) for _ in range(2))
  plain = cluster_correlation(x, y, variants, replicates, resamples=500)
  partial = cluster_correlation(
    x, y, variants, replicates, given=z, resamples=500
  )
  assert plain.low > 0.5
  assert partial.low < 0 < partial.high


def test_ranks_survive_monotone_transforms():
  x, y, given, *clusters = example()
  one = cluster_correlation(x, y, *clusters, given=given, resamples=500)
  two = cluster_correlation(
    np.exp(x), y**3, *clusters, given=-1 / (given - 99), resamples=500
  )
  assert one == two
  linear = cluster_correlation(x, y, *clusters, method="pearson", resamples=500)
  moved = cluster_correlation(
    3 * x + 1, y / 7, *clusters, method="pearson", resamples=500
  )
  bent = cluster_correlation(
    np.exp(x), y, *clusters, method="pearson", resamples=500
  )
  assert (moved.low, moved.high) == pytest.approx((linear.low, linear.high))
  assert bent.mean != pytest.approx(linear.mean, abs=1e-3)


def test_swapping_and_negating():
  x, y, _, *clusters = example(slope=0.3)
  one = cluster_correlation(x, y, *clusters, resamples=500)
  assert cluster_correlation(y, x, *clusters, resamples=500) == one
  other = cluster_correlation(-x, y, *clusters, resamples=500)
  assert other.mean == pytest.approx(-one.mean)
  assert (other.low, other.high) == pytest.approx((-one.high, -one.low))


def test_order_and_names_of_points_do_not_matter():
  x, y, _, variants, replicates = example()
  one = cluster_correlation(x, y, variants, replicates, resamples=500)
  order = np.random.default_rng(1).permutation(20)
  other = cluster_correlation(
    x[order], y[order], variants[order], 10 * replicates[order], resamples=500
  )
  assert (other.mean, other.low, other.high) == pytest.approx(
    (one.mean, one.low, one.high)
  )
  assert one == cluster_correlation(x, y, variants, replicates, resamples=500)


def test_points_of_one_variant_are_no_evidence_of_their_own():
  """Where replicates are equal, more of them do not narrow the interval."""
  x, y = np.random.default_rng(0).normal(size=(2, 6))
  few, many = (
    cluster_correlation(
      np.repeat(x, r), np.repeat(y, r), *grid(6, r), resamples=500
    )
    for r in (2, 30)
  )
  assert (few.low, few.high) == pytest.approx((many.low, many.high))
  assert (few.count, many.count) == (12, 180)
  across = cluster_correlation(  # the same of replicates
    np.tile(x, 30), np.tile(y, 30), *grid(30, 6), resamples=2_000
  )
  assert across.high - across.low > 0.8 * (many.high - many.low)


def test_a_strong_correlation_holds_and_none_does_not():
  x, y, _, *clusters = example(9, 8, slope=3.0)
  assert connected_verdict(cluster_correlation(x, y, *clusters)) == "holds"
  exact = cluster_correlation(x, x, *clusters)
  assert (exact.mean, exact.low, exact.high) == pytest.approx((1, 1, 1))
  against = cluster_correlation(-x, y, *clusters)
  assert connected_verdict(against) == "does not hold"
  rng = np.random.default_rng(0)
  false = 0
  for _ in range(60):  # of no correlation
    x, y = rng.normal(size=(2, 6, 1)) + rng.normal(size=(2, 6, 6))
    interval = cluster_correlation(
      x.ravel(), y.ravel(), *grid(6, 6), resamples=200
    )
    false += interval.low > 0
  assert false <= 6  # 2.5 % is nominal: 1.5 of 60


def test_what_cannot_be_known_has_no_interval():
  x, y, given, variants, replicates = example()

  def bounds(*points, **options):
    found = cluster_correlation(*points, **options, resamples=2_000)
    return found.mean, found.low, found.high

  unknown = pytest.approx((np.nan, -np.inf, np.inf), nan_ok=True)
  labels = variants, replicates
  assert bounds(np.ones(20), y, *labels) == unknown
  assert bounds(x, np.ones(20), *labels, method="pearson") == unknown
  two, three = slice(4, 6), slice(4, 7)
  assert bounds(x[two], y[two], *(c[two] for c in labels)) == unknown
  assert (
    bounds(x[three], y[three], *(c[three] for c in labels), given=given[three])
    == unknown
  )
  nothing = np.zeros(0)
  assert bounds(nothing, nothing, nothing, nothing) == unknown
  for clusters in ((np.zeros(20), replicates), (variants, np.zeros(20))):
    mean, *ends = bounds(x, y, *clusters)
    assert mean == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert ends == [-np.inf, np.inf]
  # One point differs: it is in (1 - 0.75^4)^2 = 47 % of the resamples.
  one = (np.arange(16) == 5).astype(float)
  mean, *ends = bounds(one, np.arange(16.0), *grid(4, 4))
  assert np.isfinite(mean) and ends == [-np.inf, np.inf]


def test_points_with_a_nan_are_left_out():
  x, y, given, variants, replicates = example()
  holes = x.copy(), y.copy(), given.copy()
  for column, hole in zip(holes, (3, 8, 19), strict=True):
    column[hole] = np.nan
  left = np.isfinite(np.sum(holes, 0))
  assert left.sum() == 17
  found = cluster_correlation(
    *holes[:2], variants, replicates, given=holes[2], resamples=300
  )
  assert found.count == 17
  assert found == cluster_correlation(
    x[left],
    y[left],
    variants[left],
    replicates[left],
    given=given[left],
    resamples=300,
  )


def test_bias_correction_by_hand():
  """A fifth of 100,001 numbers lies below: the percentiles move down."""
  found = np.linspace(0, 1, 100_001)
  z = scipy.stats.norm.ppf(0.2)  # -0.8416
  expected = scipy.stats.norm.cdf([2 * z - 1.959964, 2 * z + 1.959964])
  assert expected == pytest.approx([0.000135, 0.609003], abs=1e-6)
  assert _bias_corrected(found, 0.2, 0.95) == pytest.approx(expected, abs=2e-5)
  # Beyond them all the correction is infinite, so the percentiles stand.
  for estimate in (-0.1, 1.1):
    bounds = _bias_corrected(found, estimate, 0.9)
    assert bounds == pytest.approx((0.05, 0.95))
  ties = np.array([0.5, 0.5, 0.5 + 1e-15, 0.5])  # all half below: no shift
  assert _bias_corrected(ties, 0.5, 0.95) == pytest.approx((0.5, 0.5))


def test_unknown_methods_are_refused():
  x, y, _, *clusters = example()
  with pytest.raises(ValueError, match="method must be one of .*'kendall'"):
    cluster_correlation(x, y, *clusters, method="kendall")


def correlation(low, high, variants, replicates):
  """One in which every variant has every replicate."""
  return Correlation(
    0.1,
    low,
    high,
    9,
    0.95,
    variants=variants,
    replicates=replicates,
    deep=variants if replicates >= 4 else 0,
  )


@pytest.mark.parametrize(
  "low,high,verdict",
  [
    (0.001, 0.9, "holds"),
    (0.05, 0.15, "holds"),  # small, but surely there
    (0.0, 0.9, "undecided"),
    (-0.3, 0.2, "undecided"),
    (-0.3, 0.199, "does not hold"),
    (-0.9, -0.1, "does not hold"),
    (-np.inf, np.inf, "undecided"),
  ],
)
def test_verdicts(low, high, verdict):
  assert connected_verdict(correlation(low, high, 6, 4)) == verdict


def test_few_variants_or_replicates_never_decide_claim_3():
  assert (LEAST_VARIANTS, LEAST_REPLICATES) == (6, 4)
  for low, high in ((0.1, 0.9), (-0.9, -0.1)):
    for variants, replicates in ((5, 40), (60, 3), (1, 1), (0, 0)):
      found = correlation(low, high, variants, replicates)
      assert connected_verdict(found) == "undecided"
    assert connected_verdict(correlation(low, high, 6, 4)) != "undecided"


def test_variants_of_few_replicates_are_counted_apart():
  x, y, _, variants, replicates = example(7, 5)
  lost = np.isin(variants, ("v00", "v01")) & (replicates > 2)
  found = cluster_correlation(
    np.where(lost, np.nan, x), y, variants, replicates, resamples=50
  )
  assert (found.variants, found.replicates, found.deep) == (7, 5, 5)
  assert connected_verdict(found) == "undecided"


def test_only_clusters_with_points_count():
  """Two of five variants and one of five replicates have none."""
  x, y, _, variants, replicates = example(5, 5)
  x = np.where((replicates == 3) | (variants == "v01"), np.nan, x)
  y = np.where(variants == "v04", np.nan, y)
  found = cluster_correlation(x, y, variants, replicates, resamples=50)
  assert (found.count, found.variants, found.replicates) == (12, 3, 4)
  assert found.std is None
