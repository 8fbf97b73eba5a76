"""Variants, and the smallest t_r at which each matches its dense network."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.results.charts.matching import smallest_density_chart
from imp_jax.results.matching import (
  MATCHING_COLUMNS,
  matching_table,
  smallest_density_table,
)
from imp_jax.results.printed import matching_step_table
from imp_jax.results.variants import has_diets, variants
from tests.results.tables import make_claims, make_experiments, make_results

EXPERIMENTS = [
  ("none", 0, "none", 0, {}),
  ("all-20", 20, "all", 4000, {"controls.kinds": ["random_mask"]}),
  ("all-100", 100, "all", 4000, {"prune.levels": 3}),
  ("easy-100", 100, "easy", 500, {}),
  ("easy-20", 20, "easy", 500, {}),
  ("hard-20", 20, "hard", 500, {}),
]


def accuracy(*losses):
  """Three replicates whose level k loses losses[k - 1], ± 0.1 points."""
  wobble = np.array([[-0.001], [0.0], [0.001]])
  return (
    0.9
    + 3 * wobble
    - np.array([[0.0, *losses]])
    + wobble * [[0.0, *np.ones(len(losses))]]
  )


RESULTS = make_results(
  {
    "none": accuracy(0.0, 0.05),
    "all-20": accuracy(0.0, 0.03),
    "all-100": accuracy(0.0, 0.0, 0.03),
    "all-20:random_mask": accuracy(0.0, 0.0),
    "easy-100": accuracy(0.02, 0.0),
    "easy-20": accuracy(0.02, 0.0),
    "hard-20": accuracy(0.02, 0.02),
  }
)


def test_variants_differ_in_more_than_steps():
  table = variants(make_experiments(EXPERIMENTS))
  assert table["variant"].tolist() == [
    "none",
    "all",
    "all",
    "easy 500",
    "easy 500",
    "hard 500",
  ]
  assert table["size"].tolist() == [0, 4000, 4000, 500, 500, 500]
  assert set(table["base"]) == {0}


def test_variants_are_named_by_what_tells_them_apart():
  forgetting = {"pretrain.subset.score": "forgetting", "scores.epochs": 200}
  table = variants(
    make_experiments(
      [
        ("a", 20, "easy", 500, {"scores.epochs": 20}),
        ("b", 20, "easy", 500, forgetting),
        ("c", 20, "easy", 100, forgetting),
        ("d", 20, "all", 4000, {}),
        ("e", 20, "all", 4000, {"pretrain.noise.fraction": 0.1}),
        ("f", 20, "hard", 100, {"prune.rule": "exact"}),
        ("g", 20, "hard", 100, {"prune.rule": "threshold"}),
        ("h", 0, "all", 4000, {}),
      ],
      scores__epochs=0,
    )
  )
  assert table["variant"].tolist() == [
    "easy 500 el2n",  # the epochs would add nothing
    "easy 500 forgetting",
    "easy 100 forgetting",
    "all",
    "all 10 % noise",
    "hard 100 prune.rule=exact",
    "hard 100 prune.rule=threshold",
    "none",
  ]
  assert table["diet"].tolist()[:3] == [
    "easy el2n",
    "easy forgetting",
    "easy forgetting",
  ]
  assert table["kind"].iloc[-1] == "none" and table["size"].iloc[-1] == 0


def test_the_smallest_matching_step_by_hand():
  """Margin 1 point. none (t_r = 0) matches at level 1 only, all-100 at 2."""
  found = matching_table(RESULTS, make_experiments(EXPERIMENTS), make_claims())
  assert tuple(found.columns) == MATCHING_COLUMNS
  assert found["smallest_matching_step"].dtype == "Int64"
  rows = found.drop(columns=["study", "density"])
  assert rows.fillna({"smallest_matching_step": -1}).to_numpy().tolist() == [
    ["all", 1, 0, "0 20 100"],
    ["all", 2, 100, "0 20 100"],
    ["all", 3, -1, "100"],  # no other went there
    ["easy 500", 1, 0, "0 20 100"],
    ["easy 500", 2, 20, "0 20 100"],
    ["hard 500", 1, 0, "0 20"],
    ["hard 500", 2, -1, "0 20"],
  ]
  assert found["density"].tolist() == pytest.approx(
    [0.8, 0.64, 0.512, 0.8, 0.64, 0.8, 0.64]
  )
  assert set(found["study"]) == {"hand"}


def test_the_margin_itself_does_not_match():
  experiments = make_experiments(EXPERIMENTS[1:2])
  for loss, steps in ((0.0099, [20]), (0.0101, [])):
    results = make_results({"all-20": [[0.9, 0.9 - loss]] * 3})
    found = matching_table(results, experiments, make_claims())
    assert found["smallest_matching_step"].dropna().tolist() == steps


def test_no_pretraining_counts_only_for_experiments_like_it():
  """A none with other pruning is the t_r = 0 of another base."""
  experiments = make_experiments(
    [
      ("none", 0, "none", 0, {"prune.rule": "exact"}),
      ("all-20", 20, "all", 4000, {"prune.rule": "threshold"}),
    ]
  )
  found = matching_table(RESULTS, experiments, make_claims())
  assert found["steps_tried"].tolist() == ["20", "20"]


def test_failed_replicates_and_lone_ones():
  """Differences are paired; one alone has no interval, so does not match."""
  matrix = accuracy(0.0, 0.0)
  matrix[1, 0] = np.nan  # no dense level to compare with
  matrix[2, 2] = np.nan
  experiments = make_experiments(EXPERIMENTS[1:2])
  results = make_results({"all-20": matrix})
  # Differences of -0.1 and 0.1 points: 12.7 · 0.1 below their mean.
  found = matching_table(results, experiments, make_claims(margin=0.013))
  assert [str(x) for x in found["smallest_matching_step"]] == ["20", "<NA>"]
  assert found["steps_tried"].tolist() == ["20", "20"]
  without = make_results({"all-20": matrix[1:2]})
  assert matching_table(without, experiments, make_claims()).empty


def test_tables_of_before_there_were_subsets_still_match():
  old = make_experiments(EXPERIMENTS[:3]).drop(
    columns=[
      "pretrain.subset.kind",
      "pretrain.subset.size",
      "pretrain.subset.score",
      "pretrain.noise.fraction",
    ]
  )
  old["pretrain.subset"] = "all"
  assert not has_diets(old) and has_diets(make_experiments(EXPERIMENTS))
  found = matching_table(RESULTS, old, make_claims())
  assert found["variant"].unique().tolist() == ["all"]
  assert [str(x) for x in found["smallest_matching_step"]] == [
    "0",
    "100",
    "<NA>",
  ]


def test_the_printed_table_says_which_step_matched():
  found = matching_table(RESULTS, make_experiments(EXPERIMENTS), make_claims())
  table = matching_step_table(found, 0.01)
  assert "margin 1 points" in table.title
  variants, levels = found.variant.unique(), found.level.unique()
  assert table.row_count == max(len(variants), len(levels))
  columns = {str(c.header): list(c.cells) for c in table.columns}
  cells = {
    (row["variant"], row["level"]): (
      f"none of {row['steps_tried']}"
      if pd.isna(row["smallest_matching_step"])
      else str(row["smallest_matching_step"])
    )
    for row in found.to_dict("records")
  }
  assert cells["all", 2] == "100" and cells["hard 500", 2] == "none of 0 20"
  if len(variants) > len(levels):
    for level in levels:
      (column,) = (c for h, c in columns.items() if f"level {level}" in h)
      assert column == [cells.get((v, level), "") for v in variants]
  else:
    for variant in variants:
      assert columns[variant] == [cells.get((variant, k), "") for k in levels]


def test_a_variant_says_its_own_optimiser_where_it_differs():
  rate = "optim.learning_rate"
  experiments = make_experiments(
    [
      ("none", 0, "none", 0, {f"pretrain.{rate}": 0.6}),
      ("all", 50, "all", 100, {f"pretrain.{rate}": 0.6}),
      ("slow", 50, "all", 100, {f"pretrain.{rate}": 0.1}),
    ],
    optim__learning_rate=0.6,
  )
  names = variants(experiments)["variant"].tolist()
  assert names == ["none", "all", f"all {rate}=0.1"]


def test_the_smallest_density_by_hand():
  """Margin 1 point; a replicate of one lost its dense network."""
  lost = RESULTS.query(
    "not (experiment == 'all-20' and replicate == 0 and level == 0)"
  )
  table = smallest_density_table(lost, make_claims())
  assert table["replicate"].dtype == "Int64"
  densities = dict(zip(RESULTS["level"], RESULTS["density"], strict=True))
  by_name = {n: g for n, g in table.groupby("experiment", sort=False)}
  assert list(by_name) == [name for name, *_ in EXPERIMENTS]  # no control
  together = {n: g["density"].iloc[0] for n, g in by_name.items()}
  assert together["none"] == densities[1]
  assert together["all-100"] == densities[2]
  assert all(
    g["replicate"].iloc[1:].tolist() == [0, 1, 2] for g in by_name.values()
  )
  assert by_name["all-100"]["density"].tolist() == [densities[2]] * 4
  assert by_name["all-20"]["density"].isna().tolist() == [
    False,
    True,
    False,
    False,
  ]


def test_the_chart_of_smallest_densities():
  """A line per variant; all of them begin at t_r = 0."""
  densities = smallest_density_table(RESULTS, make_claims())
  experiments = make_experiments(EXPERIMENTS)
  chart = smallest_density_chart(densities, experiments, 0.01)
  assert chart is not None and chart.names == ["all", "easy 500", "hard 500"]
  points = chart.table("point")
  for name, steps in (("all", [0, 20, 100]), ("hard 500", [0, 20])):
    own = points[points["name"] == name]
    assert own["x"].tolist() == steps
    expected = densities[densities["replicate"].isna()].set_index("experiment")
    assert own["y"].tolist() == [
      expected.loc[experiment, "density"] for experiment in own["experiment"]
    ]
  assert len(chart.table("faint")) == 3 * len(points)
  only = make_experiments([("none", 0, "none", 0, {})])
  assert smallest_density_chart(densities, only, 0.01) is None
