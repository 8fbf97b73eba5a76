"""Differences of studies beside the paper's: numbers, signs, refusals."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from imp_jax.results.charts.drawing import spec_of
from imp_jax.results.charts.side_by_side import side_by_side_chart
from imp_jax.results.published import load_published
from imp_jax.results.side_by_side import (
  RHO,
  orders,
  published_setting,
  side_by_side,
  study_settings,
  welch_interval,
)
from launch.side_by_side import markdown, settings_of
from tests.places import ROOT
from tests.results.shown import shown
from tests.results.tables import make_experiments, make_results
from tests.score_files import refusal

# By hand, at level 1, three replicates; "slow" differs in more than a subset.
ACCURACY = {
  "none": [[0.9, 0.60], [0.9, 0.62], [0.9, 0.64]],
  "all-20": [[0.9, 0.70], [0.9, 0.71], [0.9, 0.75]],
  "random-20": [[0.9, 0.71], [0.9, 0.73], [0.9, 0.75]],
  "easy-20": [[0.9, 0.68], [0.9, 0.68], [0.9, 0.71]],
  "hard-20": [[0.9, 0.72], [0.9, 0.74], [0.9, 0.77]],
  "slow": [[0.9, 0.10], [0.9, 0.10], [0.9, 0.10]],
}
EXPERIMENTS = [
  ("none", 0, "all", 4000, {}),
  ("all-20", 20, "all", 4000, {}),
  *((f"{kind}-20", 20, kind, 500, {}) for kind in ("random", "easy", "hard")),
  ("slow", 20, "all", 4000, {"pretrain.optim.learning_rate": 0.1}),
]


def experiments_of(rows):
  rates = {"optim__learning_rate": 0.6, "pretrain__optim__learning_rate": 0.6}
  return make_experiments(rows, steps=1000, **rates)


@pytest.fixture
def settings():
  experiments = experiments_of(EXPERIMENTS)
  return study_settings("hand", make_results(ACCURACY), experiments, 1)


def test_differences_are_paired_and_of_the_subsets_alone(settings):
  (setting,) = settings
  assert (setting.rewind_step, setting.steps, setting.level) == (20, 1000, 1)
  wanted = {
    ("all", "none"): (0.10, 0.09, 0.11),
    ("random", "all"): (0.01, 0.02, 0.0),
    ("easy", "random"): (-0.03, -0.05, -0.04),
    ("easy", "hard"): (-0.04, -0.06, -0.06),
  }
  assert set(setting.differences) == set(wanted)
  for pair, values in wanted.items():
    found = setting.differences[pair]
    low, high = scipy.stats.t.interval(
      0.95, 2, np.mean(values), scipy.stats.sem(values)
    )
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((low, high))
  (row,) = orders(settings).to_dict("records")
  assert row["order"] == "none < easy < all < random < hard"
  assert row["density"] == pytest.approx(0.8)


def test_the_papers_numbers_are_its_figures():
  """Those that reference tables give, at level 10, in points."""
  paper = published_setting()
  found = {p: round(100 * i.mean, 2) for p, i in paper.differences.items()}
  assert found["all", "none"] == pytest.approx(2.45, abs=0.011)
  assert found["easy", "random"] == pytest.approx(0.16, abs=0.011)
  assert found["easy", "hard"] == pytest.approx(2.73, abs=0.011)
  table = load_published().query("level == 10")
  none = table.query("kind == 'none'").iloc[0]
  full = table.query("kind == 'all' and rewind_step == 200").iloc[0]
  assert paper.means["none"] == none["mean"]
  assert found["all", "none"] == round(100 * (full["mean"] - none["mean"]), 2)


def test_welchs_interval_is_scipys(rng):
  a, b = rng.normal(1.0, 0.1, 4), rng.normal(0.5, 0.4, 4)
  stds = a.std(ddof=1), b.std(ddof=1)
  found = welch_interval((a.mean(), b.mean()), stds, 4)
  wanted = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval()
  assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
  assert found.mean == pytest.approx(a.mean() - b.mean())
  same = welch_interval((0.5, 0.25), (0.0, 0.0), 4)
  assert (same.low, same.high) == (0.25, 0.25)


def test_signs_are_told_only_where_both_intervals_exclude_0(settings):
  correlations = pd.DataFrame(
    [
      {"study": "one", "level": 4, "density": 0.2, "estimate": 0.7}
      | {"low": low, "high": 0.9, "replicates": 6}
      for low in (0.4, -0.1)
    ]
  )
  table = side_by_side([published_setting(), *settings], correlations)
  agrees = table[table["where"] == "hand"].set_index("what")["agrees"]
  assert agrees.to_dict() == {
    "all - none": "same sign",
    "random - all": "not told apart",  # ours holds 0
    "easy - random": "not told apart",  # the paper's does
    "easy - hard": "other sign",
  }
  shares = table[table["where"] == "hand"].set_index("what")["share_of_gain"]
  assert shares["all - none"] == 1
  assert shares["easy - hard"] == pytest.approx(-0.16 / 0.30)
  rho = table[table["what"] == RHO]["agrees"].tolist()
  assert rho == ["same sign", "not told apart"]
  lines = markdown(table).splitlines()
  assert len(lines) == 2 + len(table)
  assert lines[3] == (
    "| all − none | hand | 20 (2 %) | 80 % | +10.00 [+7.52, +12.48] | +1.00 "
    "| same sign |"
  )
  assert lines[-1].startswith(f"| {RHO} | one |  | 20 % | +0.70 [−0.10, +0.90]")


def test_without_a_gain_there_are_no_shares_of_it():
  """The gain's interval holds 0: its inverse would be anything."""
  accuracy = ACCURACY | {"none": [[0.9, 0.5], [0.9, 0.72], [0.9, 0.9]]}
  experiments = experiments_of(EXPERIMENTS)
  found = study_settings("hand", make_results(accuracy), experiments, 1)
  table = side_by_side([published_setting(), *found])
  assert table[table["where"] == "hand"]["share_of_gain"].isna().all()


def test_each_size_of_subset_is_a_setting():
  accuracy = ACCURACY | {"small": [[0.9, 0.5], [0.9, 0.55], [0.9, 0.6]]}
  more = [*EXPERIMENTS, ("small", 20, "random", 100, {})]
  found = study_settings(
    "hand", make_results(accuracy), experiments_of(more), 1
  )
  assert [s.where for s in found] == [
    "hand, 100 examples",
    "hand, 500 examples",
  ]
  small, large = found
  assert set(small.means) == {"none", "all", "random"}
  assert small.differences["random", "all"].mean == pytest.approx(-0.17)
  assert large.differences["random", "all"].mean == pytest.approx(0.01)
  twice = [*more, ("again", 20, "random", 100, {})]
  line = refusal(
    study_settings, "hand", make_results(accuracy), experiments_of(twice), 1
  )
  assert "two experiments of one kind and t_r: small, again" in line


def test_experiments_yet_to_come_are_left_out(settings):
  more = [*EXPERIMENTS, ("random-50", 50, "random", 500, {})]
  more.append(("all-50", 50, "all", 4000, {}))
  found = study_settings(
    "hand", make_results(ACCURACY), experiments_of(more), 1
  )
  assert found[0].differences == settings[0].differences
  assert not found[1].differences and set(found[1].means) == {"none"}


def test_every_difference_of_every_setting_is_drawn(settings):
  correlation = {"study": "c", "level": 4, "density": 0.2, "estimate": 0.7}
  rho = pd.DataFrame([correlation | {"low": 0.4, "high": 0.9, "replicates": 6}])
  table = side_by_side([published_setting(), *settings], rho)
  chart = side_by_side_chart(table)
  told = ["the paper, t_r = 200 (0.32 %)", "hand, t_r = 20 (2 %)"]
  assert chart.names == told
  assert list(chart.panels[0].y.labels.values()) == [
    *("all − none", "random − all"),
    *("easy − random", "easy − hard"),
  ]
  left, right = (
    [[x for x, _ in shown(chart, "point", name, i)] for name in told]
    for i in (0, 1)
  )
  assert list(map(len, left)) == [4, 4]
  # The gain is 1 there by definition.
  assert list(map(len, right)) == [3, 3]
  np.testing.assert_allclose(left[1], [10, 1, -4, -16 / 3])
  np.testing.assert_allclose(right[1], [0.1, -0.4, -16 / 30])
  (low, high) = shown(chart, "lying", told[1], 0, ("low", "high"))[0]
  assert low < 10 < high
  spec_of(chart)


def test_a_folder_of_a_study_is_read(tmp_path):
  settings, verdicts = settings_of(str(ROOT / "results/data_diet_mnist1d"))
  assert [(s.rewind_step, s.level) for s in settings] == [(20, 4), (50, 4)]
  known = pd.read_csv(ROOT / "results/data_diet_mnist1d/verdicts.csv")
  row = known[known["what"] == "all-50 - none"].iloc[0]
  found = settings[1].differences["all", "none"]
  assert (found.mean, found.low) == pytest.approx((row.estimate, row.low))
  assert not len(verdicts)
  # A study of claim 3 alone.
  settings, verdicts = settings_of(str(ROOT / "results/landscape_mnist1d"))
  assert not settings and verdicts["what"].tolist() == [RHO]
  assert "config.json" in refusal(settings_of, str(tmp_path))
  (tmp_path / "config.json").write_text(json.dumps({"claims": {}}))
  assert "declares no claim that is compared" in refusal(
    settings_of, str(tmp_path)
  )


def test_a_study_without_a_baseline_is_refused():
  experiments = experiments_of(EXPERIMENTS[1:])
  line = refusal(study_settings, "hand", make_results(ACCURACY), experiments, 1)
  assert 'hand has no experiments "none" and "all" to compare' in line
