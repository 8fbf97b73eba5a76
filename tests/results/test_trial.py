"""Tickets on trial: differences by hand, what is compared with what."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.results.charts.drawing import spec_of
from imp_jax.results.charts.trial import trial_chart
from imp_jax.results.claims import ClaimSettings, TrialClaim
from imp_jax.results.trial import TRIAL_COLUMNS, trial_lines, trial_table
from imp_jax.statistics.intervals import mean_interval
from tests.results.tables import make_results

BASE = np.array([[0.9, 0.80, 0.70], [0.9, 0.82, 0.72], [0.9, 0.81, 0.74]])
BASE = np.concatenate([BASE, BASE + np.array([0, 0.005, 0.005])])
TABLES = {
  "imp": BASE,
  "imp:reinit": BASE - [[0, 0.2, 0.3]] + 0.01 * np.eye(6)[:, :3],
  "imp:same": BASE + 0.0001 * np.eye(6)[:, :3],
  "snip": BASE + np.array([0, 0.1, 0.1]),
  "snip:reinit": BASE + [[0, 0.1, np.nan]] + 0.1 * np.eye(6)[:, :3],
}
RESULTS = make_results(TABLES)
CLAIMS = ClaimSettings(trial=TrialClaim("imp", ()), margin=0.01)


def test_each_row_is_a_paired_difference():
  table = trial_table("study", RESULTS, CLAIMS)
  assert list(table) == list(TRIAL_COLUMNS)
  assert list(
    zip(table["name"], table["baseline"], table["level"], strict=True)
  ) == [
    ("imp:reinit", "imp", 1),
    ("imp:same", "imp", 1),
    ("snip", "imp", 1),
    ("snip:reinit", "snip", 1),
    ("imp:reinit", "imp", 2),
    ("imp:same", "imp", 2),
    ("snip", "imp", 2),
  ]
  for level in (1, 2):
    rows = table[table["level"] == level].set_index("name")
    samples = {
      name: (TABLES[name] - TABLES[base])[:, level]
      for name, base in rows["baseline"].items()
    }
    # All of a level together: 5 % are shared out.
    confidence = 1 - 0.05 / len(samples)
    wanted = {
      name: mean_interval(values, confidence=confidence)
      for name, values in samples.items()
    }
    for name, interval in wanted.items():
      assert rows.loc[name, "baseline_level"] == level
      row = rows.loc[name]
      assert row["difference"] == pytest.approx(samples[name].mean())
      assert (row["low"], row["high"]) == pytest.approx(
        (interval.low, interval.high), abs=1e-9
      )
      assert row["replicates"] == 6
      assert row["density"] == pytest.approx(0.8**level)
      assert row["accuracy"] == pytest.approx(TABLES[name][:, level].mean())
  found = table.set_index(["name", "level"])["found"]
  assert found["imp:reinit", 2] == "worse"
  assert found["imp:same", 1] == "as good"
  assert found["snip", 1] == "better"
  assert found["snip:reinit", 1] == "not told apart"


def test_displaced_weights_are_compared_under_their_own_mask():
  """That of the level before, at its density."""
  tables = {"imp": BASE, "imp:displaced": BASE - 0.05}
  table = trial_table("study", make_results(tables), ClaimSettings())
  assert table[["level", "baseline_level"]].to_numpy().tolist() == [
    [1, 0],
    [2, 1],
  ]
  np.testing.assert_allclose(
    table["difference"],
    [(BASE[:, k] - 0.05 - BASE[:, k - 1]).mean() for k in (1, 2)],
  )


@pytest.mark.parametrize("replicates", [2, 3])
def test_fewer_than_four_replicates_tell_nothing(replicates):
  tables = {
    "a": np.full((replicates, 2), 0.9),
    "a:reinit": np.full((replicates, 2), 0.5),
  }
  table = trial_table("study", make_results(tables), ClaimSettings())
  assert set(table["found"]) == {"not told apart"}


def test_levels_are_those_that_were_declared():
  claims = ClaimSettings(trial=TrialClaim("imp", (2,)))
  assert set(trial_table("study", RESULTS, claims)["level"]) == {2}


def test_without_a_baseline_controls_alone_are_compared():
  table = trial_table("study", RESULTS, ClaimSettings())
  assert set(table["name"]) == {"imp:reinit", "imp:same", "snip:reinit"}
  none = RESULTS[~RESULTS["experiment"].str.contains(":")]
  table = trial_table("study", none, ClaimSettings())
  assert not len(table) and trial_chart(table) is None
  assert trial_lines(table) == []


def test_a_control_whose_ticket_is_not_there_yet_has_no_row():
  rows = RESULTS[~((RESULTS["experiment"] == "snip") & (RESULTS["level"] == 1))]
  table = trial_table("study", rows, CLAIMS)
  assert "snip:reinit" not in set(table["name"])


def test_lines_say_what_was_found_of_what():
  lines = trial_lines(trial_table("study", RESULTS, CLAIMS))
  assert lines[0] == (
    "against imp's ticket at level 1 (80.0 % of weights), better: snip; "
    "as good: same; worse: reinit"
  )
  assert lines[1] == (
    "against snip's ticket at level 1 (80.0 % of weights), not told apart: "
    "reinit"
  )


def test_the_chart_shows_the_table():
  table = trial_table("study", RESULTS, CLAIMS)
  chart = trial_chart(table)
  assert [p.title for p in chart.panels] == [
    "against imp, 80 % of weights",
    "against imp, 64 % of weights",
    "against snip, 80 % of weights",
    "against snip, nan % of weights",
  ]
  points = chart.table("point")
  for row in table.itertuples():
    (shown,) = points[
      (points["what"] == row.name)
      & (
        points["panel"]
        == f"against {row.baseline}, {100 * 0.8**row.level:.0f} % of weights"
      )
    ].itertuples()
    assert shown.name == row.found
    assert (shown.x, shown.low, shown.high) == pytest.approx(
      (100 * row.difference, 100 * row.low, 100 * row.high)
    )
  # The best comes first.
  labels = chart.panels[0].y.labels
  assert labels == {0: "snip", 1: "same", 2: "reinit"}
  spec_of(chart)


def test_intervals_of_few_replicates_end_where_accuracies_do():
  two = make_results(
    {"a": [[0.9, 0.1], [0.9, 0.9]], "a:reinit": [[0.9, 0.9]] * 2}
  )
  chart = trial_chart(trial_table("study", two, ClaimSettings()))
  (row,) = chart.table("point").itertuples()
  assert (row.low, row.high) == (-100, 100)
  assert isinstance(pd.Series([row.x]).item(), float)
