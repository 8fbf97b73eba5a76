"""The simulation of errors, made small: shares that can be told from others."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from imp_jax.statistics.intervals import mean_interval
from launch import coverage
from tests.places import ROOT

RESULTS = ROOT / "results/coverage"


def likely(share, samples):
  """Bounds that the simulated share of a true one passes in 1 of 1,000."""
  return scipy.stats.binom.ppf([0.0005, 0.9995], samples, share) / samples


def test_a_means_interval_errs_as_often_as_it_says():
  """By 2.5 % on each side of normal values, and more where they are skewed."""
  low, high = likely(0.025, 1500)
  errors = {
    (name, n): coverage.mean_errors(1500, (n,), (name,)).set_index("error")
    for name, n in (("normal", 4), ("normal", 8), ("gamma, shape 1", 4))
  }
  for n in (4, 8):
    assert errors["normal", n]["share"].between(low, high).all()
  skewed = errors["gamma, shape 1", 4]["share"]
  assert skewed["high below"] > high and skewed["low above"] < low


def test_an_interval_that_is_too_narrow_would_be_seen(monkeypatch):
  """By the normal's quantile, 1.96, in place of Student's at 4 values, 3.18."""

  def narrow(values):
    found = mean_interval(values)
    half = (found.high - found.low) / 2 * 1.96 / 3.182
    low, high = found.mean - half, found.mean + half
    return dataclasses.replace(found, low=low, high=high)

  monkeypatch.setattr(coverage, "mean_interval", narrow)
  errors = coverage.mean_errors(1500, (4,), ("normal",))["share"]
  assert (errors > likely(0.025, 1500)[1]).all()  # 7.3 %


def test_verdicts_on_noise_are_seldom_false():
  low, high = likely(0.025, 600)
  table = coverage.verdict_errors(600, (4,))
  false = table[table["false"]]
  assert len(false) == 2 * 5  # spreads; claims, truths and verdicts
  assert (false["share"] <= high).all()
  # At the edge of a single test, as often as is nominal.
  edge = false[false["claim"] < 2]
  assert (edge["share"] >= low).all()
  shares = table.groupby(["claim", "truth", "spread"])["share"].sum()
  assert shares.to_numpy() == pytest.approx(np.ones(8), abs=1e-5)
  few = coverage.verdict_errors(30, (3,))
  assert (few.query("verdict == 'undecided'")["share"] == 1).all()


@pytest.mark.slow
def test_claim_3_finds_what_is_there_and_seldom_what_is_not():
  table = coverage.correlation_verdicts(80, 30, 100, ((6, 4), (4, 4)))
  holds = table[table["verdict"] == "holds"]
  assert holds.groupby("variants")["enough"].all().to_dict() == {
    4: False,
    6: True,
  }
  six = holds[holds["variants"] == 6]
  # By results/coverage/correlation.csv, at most 5 %.
  false = six.query("correlation == 0")["share"]
  assert len(false) == 3 and (false <= likely(0.05, 80)[1]).all()
  strong = six.query("correlation == 0.9")["share"].item()
  weak = six.query("correlation == 0.3")["share"].item()
  assert strong > weak + 0.2
  cell = ["variants", "noise_std", "correlation"]
  assert table.groupby(cell)["share"].sum().to_numpy() == pytest.approx(
    np.ones(14)
  )


def test_effects_have_the_correlation_that_is_asked_for():
  rng = np.random.default_rng(0)
  x, y, variants, replicates = coverage._study(rng, (20_000, 1), (1, 0, 0), 0.7)
  assert np.corrcoef(x, y)[0, 1] == pytest.approx(0.7, abs=0.02)
  x, y, variants, replicates = coverage._study(rng, (3, 2), (1, 0, 0.1), 0.0)
  assert variants.tolist() == [0, 0, 1, 1, 2, 2]
  assert replicates.tolist() == [0, 1] * 3
  assert abs(x[0] - x[1]) < 0.5


@pytest.mark.parametrize("shape", [1, 4, 16])
def test_distributions_have_mean_0_and_the_skewness_they_are_said_to(shape):
  draw, skewness = coverage.DISTRIBUTIONS[f"gamma, shape {shape}"]
  values = draw(np.random.default_rng(0), 400_000)
  assert values.mean() == pytest.approx(0, abs=0.03)
  assert scipy.stats.skew(values) == pytest.approx(skewness, abs=0.05)


@pytest.mark.slow
def test_the_tables_are_what_the_command_makes(tmp_path, monkeypatch):
  """One file of it whole, if small, twice; a part of the one that is kept."""
  for name, value in (
    ("_OUT", str(tmp_path)),
    ("_SAMPLES", 20),
    ("_STUDIES", 2),
    ("_POWER_STUDIES", 2),
    ("_RESAMPLES", 10),
  ):
    flag = type("Flag", (), {"value": value})
    monkeypatch.setattr(coverage, name, flag)
  texts = []
  for _ in range(2):
    assert coverage.main(["coverage"]) == 0
    texts.append({f.name: f.read_text() for f in tmp_path.iterdir()})
  assert texts[0] == texts[1]
  assert set(texts[0]) == {"mean.csv", "claims.csv", "correlation.csv"}
  for name in texts[0]:
    small, kept = (
      pd.read_csv(f / name, keep_default_na=False) for f in (tmp_path, RESULTS)
    )
    assert small.columns.tolist() == kept.columns.tolist()
    assert len(small) == len(kept)
  kept = pd.read_csv(RESULTS / "mean.csv")
  kept = kept.query("replicates == 4 and distribution == 'gamma, shape 1'")
  samples = int(kept["samples"].iloc[0])
  made = coverage.mean_errors(samples, (4,), ("gamma, shape 1",))
  # Another version of NumPy may round a draw otherwise.
  np.testing.assert_allclose(made["share"], kept["share"], atol=2e-4)


def test_claim_3s_numbers_of_clusters_come_from_the_kept_table():
  """False verdicts of "holds": at most 6 % where the variants are enough."""
  kept = pd.read_csv(RESULTS / "correlation.csv")
  false = kept.query("verdict == 'holds' and correlation == 0")
  assert (false.query("enough")["share"] <= 0.06).all()
  assert (false.query("not enough")["share"].max()) > 0.08
  assert (false["standard_error"] <= 0.005).all()
