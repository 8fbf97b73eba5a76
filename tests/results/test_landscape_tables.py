"""Tables and lines of the landscape, from barriers typed by hand."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.core.artefacts import Artefact
from imp_jax.results.geometry import GEOMETRY_COLUMNS, geometry_table
from imp_jax.results.landscape import (
  INSTABILITY_COLUMNS,
  LANDSCAPE_COLUMNS,
  instability_lines,
  instability_table,
  landscape_table,
  variant_paths,
)
from imp_jax.statistics.intervals import mean_interval
from tests.results.tables import make_experiments, make_results

COLUMNS = "study experiment replicate level kind pair split metric value"
EXPERIMENTS = [
  ("none", 0, "none", 0, {}),
  ("all-20", 20, "all", 4000, {}),
  ("all-100", 100, "all", 4000, {}),
  ("easy-20", 20, "easy", 500, {}),
]
CONNECTED = "connected_midpoint_0.1_average"
RISE = "error_rise_above_mean_average"


def make_barriers(values, **where):
  """Rows of barriers.csv: {(experiment, replicate, pair, metric): value}."""
  names = ["experiment", "replicate", "pair", "metric", "value"]
  table = pd.DataFrame([(*k, v) for k, v in values.items()], columns=names)
  place = {"study": "hand", "level": 0, "kind": "children", "split": "train"}
  return table.assign(**(place | where))[COLUMNS.split()]


def with_pretrained(results, accuracy):
  """Adds W_r's own test accuracy: {(experiment, replicate): fraction}."""
  rows = results.iloc[: len(accuracy)].copy()
  rows["experiment"], rows["replicate"] = zip(*accuracy, strict=True)
  rows["level"], rows["density"] = 0, 1.0
  rows["metric"], rows["value"] = "pretrained_accuracy", list(accuracy.values())
  rows["split"] = "test"
  other = rows.assign(split="train", value=0.0)
  return pd.concat([results, rows, other], ignore_index=True)


# Two pairs of children in replicate 0, one in replicate 1.
SHARES = make_barriers(
  {
    ("none", 0, "0-1", CONNECTED): 0.70,
    ("none", 0, "0-2", CONNECTED): 0.80,
    ("none", 0, "0-1", "loss_midpoint_average"): 0.50,
    ("none", 0, "0-2", "loss_midpoint_average"): 0.70,
    ("none", 1, "0-1", CONNECTED): 0.60,
    ("none", 1, "0-1", "loss_midpoint_average"): 0.90,
    ("all-20", 0, "0-1", CONNECTED): 0.95,
    ("all-20", 0, "0-1", "loss_midpoint_average"): 0.10,
    ("all-20", 1, "0-1", CONNECTED): np.nan,  # a failed child
    # Of another form and other statistics: nothing of it may be seen.
    ("none", 0, "0-1", "connected_rise_above_mean_0.1_recompute"): 0.2,
    ("none", 0, "0-1", "loss_rise_above_mean_recompute"): 3.0,
    ("none", 0, "0-1", "connected_midpoint_0.5_average"): 0.99,
  }
)
PLACES = {"split": "test"}, {"level": 2}, {"kind": "successive"}
ELSEWHERE = [SHARES.assign(value=-1.0, **place) for place in PLACES]
RESULTS = with_pretrained(
  make_results(
    {
      "none": [[0.95, 0.90, 0.80], [0.94, 0.89, np.nan]],
      "all-20": [[0.95, 0.92, 0.88], [0.94, 0.93, 0.87]],
      "all-100": [[0.95, 0.92, 0.88], [0.94, 0.93, 0.87]],
      "none:random_mask": [[np.nan, 0.1, 0.1], [np.nan, 0.1, 0.1]],
    }
  ),
  {("none", 0): 0.10, ("none", 1): 0.12, ("all-20", 1): 0.5},
)


DISTANCES = pd.DataFrame(
  [
    ("hand", "none", 0, 0, "children 0-1", "distance", 3.0),
    ("hand", "none", 0, 0, "children 0-2", "distance", 5.0),
    ("hand", "all-20", 0, 0, "children 0-1", "distance", 1.5),
    # Of other networks and in other units: nothing of it may be seen.
    ("hand", "none", 0, 0, "children 0-1", "relative_distance", 90.0),
    ("hand", "none", 0, 0, "start-end", "distance", 91.0),
    ("hand", "none", 0, 0, "successive 0-1", "distance", 92.0),
    ("hand", "none", 0, 2, "children 0-1", "distance", 93.0),
  ],
  columns=list(GEOMETRY_COLUMNS),
)


def landscape_of(threshold=0.1, **options):
  return landscape_table(
    pd.concat([*ELSEWHERE, SHARES], ignore_index=True),
    RESULTS,
    make_experiments(EXPERIMENTS),
    DISTANCES,
    threshold=threshold,
    **options,
  )


def test_the_landscape_by_hand():
  """Pairs are averaged; what lacks children or an accuracy has no row."""
  found = landscape_of()
  expected = pd.DataFrame(
    [
      ("none", 0, 0, 1, 0.8, 0.75, 0.6, 0.10, 0.90, 4.0),
      ("none", 0, 0, 2, 0.64, 0.75, 0.6, 0.10, 0.80, 4.0),
      ("none", 0, 1, 1, 0.8, 0.60, 0.9, 0.12, 0.89, np.nan),
      ("all-20", 20, 0, 1, 0.8, 0.95, 0.1, np.nan, 0.92, 1.5),
      ("all-20", 20, 0, 2, 0.64, 0.95, 0.1, np.nan, 0.88, 1.5),
    ],
    columns=["experiment", *LANDSCAPE_COLUMNS[3:-2]],
  )
  diets = ["none"] * 3 + ["all"] * 2
  expected = expected.assign(study="hand", variant=diets, diet=diets, base=0)
  expected = expected[list(LANDSCAPE_COLUMNS)]
  pd.testing.assert_frame_equal(found, expected, check_column_type=False)


def test_the_landscape_of_another_form_threshold_and_split():
  other = landscape_of(form="rise_above_mean", batch_stats="recompute")
  where = other[["experiment", "level"]].to_numpy().tolist()
  assert where == [["none", 1], ["none", 2]]
  assert set(other["connected"]) == {0.2} and set(other["mean_barrier"]) == {3}
  assert landscape_of(0.5)["connected"].tolist() == [0.99, 0.99]
  assert set(landscape_of(split="test")["connected"]) == {-1.0}


def test_distances_are_those_of_geometry():
  """From what the paths found, by the table that says it too."""
  paths = [
    (("none", 0, level, kind, pair), Artefact(record={"apart": apart}))
    for level, kind, pair, apart in (
      (0, "children", "0-1", {"distance": 1.0, "relative_distance": 0.1}),
      (0, "children", "1-2", {"distance": 2.0, "relative_distance": 0.4}),
      (1, "children", "0-1", {"distance": 7.0, "relative_distance": 0.7}),
    )
  ]
  geometry = geometry_table("hand", [], paths, [])
  table = landscape_table(
    SHARES, RESULTS, make_experiments(EXPERIMENTS), geometry, threshold=0.1
  )
  first = table.query("experiment == 'none' and replicate == 0")
  assert first["distance"].tolist() == [1.5, 1.5]
  assert table["distance"].notna().sum() == 2
  nothing = landscape_table(
    SHARES,
    RESULTS,
    make_experiments(EXPERIMENTS),
    geometry.iloc[:0],
    threshold=0.1,
  )
  assert len(nothing) == len(table) and nothing["distance"].isna().all()


def test_a_diet_has_no_size_and_no_steps():
  experiments = [*EXPERIMENTS[:2], ("easy-20", 20, "easy", 500, {})]
  names = [name for name, *_ in experiments]
  shares = make_barriers(
    {
      (name, 0, "0-1", metric): 0.5
      for name in names
      for metric in (CONNECTED, "loss_midpoint_average")
    }
  )
  results = with_pretrained(
    make_results({name: [[0.9, 0.8]] for name in names}), {("none", 0): 0.1}
  )
  table = landscape_table(
    shares,
    results,
    make_experiments(experiments),
    DISTANCES,
    threshold=0.1,
  )
  assert table["variant"].tolist() == ["none", "all", "easy 500"]
  assert table["diet"].tolist() == ["none", "all", "easy"]


def test_a_threshold_that_was_not_measured_is_refused():
  with pytest.raises(
    ValueError, match=r"'connected_midpoint_0\.3_average', has .*_0\.1_average"
  ):
    landscape_of(0.3)


@pytest.mark.parametrize(
  "barriers", [SHARES.iloc[:0], SHARES.assign(kind="successive")]
)
def test_no_children_make_no_rows(barriers):
  experiments = make_experiments(EXPERIMENTS)
  table = landscape_table(
    barriers, RESULTS, experiments, DISTANCES, threshold=0.1
  )
  assert table.columns.tolist() == list(LANDSCAPE_COLUMNS) and not len(table)
  unstable = instability_table(barriers, experiments)
  assert unstable.columns.tolist() == list(INSTABILITY_COLUMNS)
  assert not len(unstable) and instability_lines(unstable) == []


def rises(values, pairs=("0-1", "0-2")):
  """Rows of the error's rise: {experiment: [replicates][pairs]}."""
  return make_barriers(
    {
      (name, r, pair, RISE): value
      for name, replicates in values.items()
      for r, row in enumerate(replicates)
      for pair, value in zip(pairs, row, strict=True)
    },
    split="test",
  )


RISES = rises(
  {
    "none": [(0.08, 0.10), (0.07, 0.09), (0.10, 0.10)],
    "all-20": [(0.02, 0.022), (0.021, 0.021), (0.021, 0.021)],
    "all-100": [(0.001, 0.001), (0.0, 0.002), (0.002, 0.0)],
    "easy-20": [(0.0, 0.0398), (np.nan, np.nan), (0.0199, 0.0199)],
  }
)


def test_instability_by_hand():
  experiments = make_experiments(EXPERIMENTS)
  elsewhere = [
    RISES.assign(value=0.5, split="train"),
    RISES.assign(value=0.6, level=1),
    RISES.assign(value=0.7, kind="from_dense"),
    RISES.assign(value=0.7, metric="error_midpoint_average"),
    RISES.assign(value=0.7, metric="error_rise_above_mean_recompute"),
  ]
  whole = pd.concat([RISES, *elsewhere])
  found = instability_table(whole, experiments)
  assert found["experiment"].tolist() == [name for name, *_ in EXPERIMENTS]
  assert found["variant"].tolist() == ["none", "all", "all", "easy 500"]
  assert found["rewind_step"].tolist() == [0, 20, 100, 20]
  assert found["mean"].tolist() == pytest.approx([0.09, 0.021, 0.001, 0.0199])
  assert found["replicates"].tolist() == [3, 3, 3, 2]
  assert found["stable"].tolist() == [False, False, True, True]
  assert set(found["study"]) == {"hand"}
  interval = mean_interval(np.array([0.09, 0.08, 0.10]))  # means over pairs
  assert found.loc[0, "low"] == pytest.approx(interval.low)
  assert found.loc[0, "high"] == pytest.approx(interval.high)
  strict = instability_table(RISES, experiments, threshold=0.0199)
  assert strict["stable"].tolist() == [False, False, True, False]
  train = instability_table(whole, experiments, split="train")
  sparse = instability_table(whole, experiments, level=1)
  assert (set(train["mean"]), set(sparse["mean"])) == ({0.5}, {0.6})


def test_instability_lines_by_hand():
  table = instability_table(RISES, make_experiments(EXPERIMENTS))
  start = "(largest rise of test error above the mean of the ends): 9.0 % at "
  assert instability_lines(table) == [
    f"instability of all {start}t_r = 0, 2.1 % at 20, 0.1 % at 100; stable "
    "(< 2 %) from t_r = 100 on",
    f"instability of easy 500 {start}t_r = 0, 2.0 % at 20; stable (< 2 %) "
    "from t_r = 20 on",
  ]
  two = instability_lines(table, threshold=0.015)
  assert two[0].endswith("; stable (< 1.5 %) from t_r = 100 on")
  assert two[1].endswith("not stable (< 1.5 %) at t_r = 20, the largest tried")


@pytest.mark.parametrize(
  "means,end",
  [
    ((0.01, 0.01, 0.01), "stable (< 2 %) from t_r = 0 on"),
    ((0.01, 0.03, 0.01), "stable (< 2 %) from t_r = 100 on"),
    ((0.03, 0.01, 0.0199), "stable (< 2 %) from t_r = 20 on"),
    ((0.03, 0.01, 0.02), "not stable (< 2 %) at t_r = 100, the largest tried"),
  ],
)
def test_stable_is_what_stays_stable(means, end):
  names = ("none", "all-20", "all-100")
  barriers = rises({n: [(m, m)] for n, m in zip(names, means, strict=True)})
  (line,) = instability_lines(
    instability_table(barriers, make_experiments(EXPERIMENTS[::-1]))
  )
  assert line.endswith(f"; {end}")


def test_none_starts_every_variant_of_its_own_base():
  wide = {"model.name": "wide"}
  experiments = [
    *EXPERIMENTS,
    ("wide-none", 0, "none", 0, wide),
    ("wide-20", 20, "all", 4000, wide),
    ("lone-none", 0, "none", 0, {"model.name": "lone"}),
  ]
  table = instability_table(
    rises({name: [(0.1, 0.1)] * 2 for name, *_ in experiments}),
    make_experiments(experiments),
  )
  paths = variant_paths(table).values()
  assert [rows["experiment"].tolist() for rows in paths] == [
    ["lone-none"],
    ["none", "all-20", "all-100"],
    ["none", "easy-20"],
    ["wide-none", "wide-20"],
  ]
  assert "10.0 % at t_r = 0; not stable" in instability_lines(table)[0]
