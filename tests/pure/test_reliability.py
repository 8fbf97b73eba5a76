"""Reliability: how far groups of networks rank alike."""

import itertools

import numpy as np
import pytest
import scipy.stats

from imp_jax.scores import (
  reliability,
)
from imp_jax.statistics.intervals import rank_correlation


def test_rank_correlation_against_scipy(rng):
  for _ in range(10):
    a, b = rng.integers(0, 6, (2, 30)).astype(float)
    want = scipy.stats.spearmanr(a, b).statistic
    assert rank_correlation(a, b) == pytest.approx(want, abs=1e-12)
    a[:3] = np.inf
    want = scipy.stats.spearmanr(np.where(np.isinf(a), 99, a), b).statistic
    assert rank_correlation(a, b) == pytest.approx(want, abs=1e-12)


def test_rank_correlation_by_hand():
  one = np.asarray([1.0, 2.0, 3.0])
  assert rank_correlation(one, np.asarray([1.0, 3.0, 2.0])) == pytest.approx(
    0.5
  )
  assert rank_correlation(one, np.asarray([9.0, 4.0, -np.inf])) == -1
  assert np.isnan(rank_correlation(one, np.ones(3)))
  assert np.isnan(rank_correlation(np.full(3, np.inf), one))


def test_reliability_by_hand():
  scores = np.asarray([[1.0, 2, 3], [1.0, 3, 2], [3.0, 2, 1]])
  assert reliability(scores[:1]) == []
  assert reliability(scores[:2]) == [
    dict(networks=1, splits=1, correlation=0.5, low=0.5, high=0.5)
  ]
  (row,) = reliability(scores)
  assert (row["networks"], row["splits"]) == (1, 3)
  found = [row[k] for k in ("correlation", "low", "high")]
  assert found == pytest.approx([-1 / 3, -1, 0.5])


def test_reliability_of_few_networks_takes_every_split(rng):
  scores = rng.normal(size=(5, 30))
  sizes = []
  for row in reliability(scores):
    r = row["networks"]
    sizes.append(r)
    found = [
      scipy.stats.spearmanr(
        scores[[*a]].mean(0), scores[[*b]].mean(0)
      ).statistic
      for a in itertools.combinations(range(5), r)
      for b in itertools.combinations(range(5), r)
      if not set(a) & set(b)
    ]  # each pair twice
    assert row["splits"] == len(found) // 2
    assert row["correlation"] == pytest.approx(np.mean(found))
    assert row["low"] == pytest.approx(min(found))
    assert row["high"] == pytest.approx(max(found))
  assert sizes == [1, 2]


def test_reliability_of_many_networks_is_sampled_and_grows(rng):
  truth = rng.normal(size=200)
  scores = truth + rng.normal(size=(10, 200))
  rows = reliability(scores)
  assert [row["networks"] for row in rows] == [1, 2, 4, 5]
  assert [row["splits"] for row in rows] == [20] * 4
  found = [row["correlation"] for row in rows]
  assert found == sorted(found) and found[0] == pytest.approx(0.5, abs=0.1)
  # Spearman-Brown: reliability 5 / (5 + 1) of means of five.
  assert found[-1] == pytest.approx(5 / 6, abs=0.05)
  assert all(row["low"] < row["correlation"] < row["high"] for row in rows)
  assert rows == reliability(scores)


@pytest.mark.parametrize("networks", [2, 3, 10])
def test_networks_that_agree_are_wholly_reliable(rng, networks):
  scores = np.tile(rng.normal(size=40), (networks, 1))
  scores[:, :5] = np.inf
  for row in reliability(scores):
    assert (row["low"], row["high"]) == pytest.approx((1, 1), abs=1e-12)


def test_reliability_takes_all_splits_where_there_are_no_more(rng, monkeypatch):
  class Bits:
    left = 2000

    def __init__(self, seed):
      self.bits = np.random.Generator(np.random.Philox(seed))

    def random_raw(self, count):
      self.left -= 1
      if not self.left:
        raise StopIteration
      return self.bits.integers(0, 2**63, count)

  monkeypatch.setattr(np.random, "PCG64", Bits)
  rows = reliability(rng.normal(size=(9, 12)), splits=37)
  assert rows[0]["splits"] == 36
