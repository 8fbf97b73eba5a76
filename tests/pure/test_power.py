"""Power: against simulation and a published table."""

import numpy as np
import pytest

from imp_jax.statistics.intervals import mean_interval
from imp_jax.statistics.power import power, powered_replicates


@pytest.mark.parametrize(
  # Cohen 1988, one-sample t at 5 % two-sided: of 80 % at d = 0.5 and 0.8, of
  # 95 % at d = 1 (G*Power 3.1 gives 34, 15 and 16).
  "effect,probability,replicates",
  [(0.5, 0.8, 34), (0.8, 0.8, 15), (1.0, 0.95, 16)],
)
def test_published_sample_sizes(effect, probability, replicates):
  for sign in (1, -1):
    found = powered_replicates(sign * effect, 1.0, probability=probability)
    assert found == replicates
  # Only the ratio counts.
  assert (
    powered_replicates(3 * effect, 3.0, probability=probability) == replicates
  )


def test_power_is_how_often_the_interval_excludes_0():
  rng = np.random.default_rng(0)
  samples = rng.normal(0.7, 1.0, (2000, 8))
  share = np.mean([mean_interval(row).low > 0 for row in samples])
  assert share == pytest.approx(power(0.7, 1.0, 8), abs=3 * 0.0112)


def test_limits():
  assert power(0.0, 1.0, 5) == pytest.approx(0.025)
  assert powered_replicates(10.0, 1.0) == 4
  assert powered_replicates(10.0, 1.0, least=6) == 6
  assert powered_replicates(0.001, 1.0) == np.inf
  assert powered_replicates(0.5, 0.0) == 4  # no spread at all
  assert powered_replicates(0.0, 0.0) == np.inf
