"""Successive levels: matching and connected, by hand."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.results.charts.drawing import spec_of
from imp_jax.results.charts.landscape import matrix_chart
from imp_jax.results.successive import (
  SUCCESSIVE_COLUMNS,
  successive_counts,
  successive_lines,
  successive_table,
)
from tests.results.tables import make_results

# Level 1 matches to a point, level 2 does not.
RESULTS = make_results(
  {"a": [[0.90, 0.895, 0.80], [0.80, 0.81, 0.80]], "b": [[0.90, 0.70, 0.70]]}
)


def paths(values, kind="successive"):
  """Rows of barriers.csv: {(experiment, replicate, pair): rise}."""
  rows = []
  for (experiment, replicate, pair), value in values.items():
    place = ("hand", experiment, replicate, int(pair[0]), kind, pair)
    for metric, number in (
      ("error_rise_above_mean_average", value),
      ("loss_midpoint_average", 9.0),
    ):
      rows.append((*place, "test", metric, number))
      rows.append((*place, "train", metric, 9.0))
  columns = "study experiment replicate level kind pair split metric value"
  return pd.DataFrame(rows, columns=columns.split())


BARRIERS = paths(
  {
    ("a", 0, "0-1"): 0.01,
    ("a", 0, "1-2"): 0.30,
    ("a", 1, "0-1"): 0.02,
    ("a", 1, "1-2"): 0.05,
    ("b", 0, "0-1"): 0.021,
    ("b", 0, "1-2"): 0.0,
    ("b", 1, "0-1"): 0.0,  # its networks are not finished
  }
)


def test_each_step_is_matching_or_not_and_connected_or_not():
  table = successive_table("hand", BARRIERS, RESULTS, 0.01)
  assert list(table) == list(SUCCESSIVE_COLUMNS)
  keys = ["experiment", "replicate", "level", "connected", "matching"]
  assert table[keys].to_numpy().tolist() == [
    ["a", 0, 1, True, True],
    ["a", 0, 2, False, False],
    ["a", 1, 1, True, True],
    ["a", 1, 2, False, True],
    ["b", 0, 1, False, False],
    ["b", 0, 2, True, False],
  ]
  np.testing.assert_allclose(
    table["gap"], [-0.005, -0.1, 0.01, 0.0, -0.2, -0.2], atol=1e-12
  )
  np.testing.assert_allclose(table["density"], [0.8, 0.64] * 3)
  assert successive_counts(table).to_numpy().tolist() == [[2, 1], [1, 2]]
  (line,) = successive_lines(table)
  rho = pd.Series([0.01, 0.3, 0.02, 0.05, 0.021, 0.0]).corr(
    pd.Series([-0.005, -0.1, 0.01, 0.0, -0.2, -0.2]), method="spearman"
  )
  assert line == (
    "successive levels (BatchNorm: average): of 6 steps 3 match at both ends, "
    "2 of them connected (error barrier at most 2 %); of the other 3, 1 are; "
    f"Spearman rho of barrier and accuracy less the dense one's {rho:+.2f}"
  )


def test_the_same_paths_of_a_matrix_are_no_other_steps():
  both = pd.concat(
    [BARRIERS, paths({("a", 0, "0-1"): 0.01, ("a", 0, "0-2"): 0.5}, "matrix")]
  )
  table = successive_table("hand", both, RESULTS, 0.01)
  assert len(table) == 6
  alone = paths({("a", 0, "0-1"): 0.01, ("a", 0, "0-2"): 0.5}, "matrix")
  assert len(successive_table("hand", alone, RESULTS, 0.01)) == 1


def test_a_gap_of_just_the_margin_matches():
  """0.07 - 0.01 is more than 0.06 in floating point."""
  results = make_results({"a": [[0.07, 0.06, 0.0599]]})
  barriers = paths({("a", 0, "0-1"): 0.0, ("a", 0, "1-2"): 0.0})
  table = successive_table("hand", barriers, results, 0.01)
  assert table["matching"].tolist() == [True, False]


def test_a_matrix_is_symmetric_and_its_diagonal_empty():
  values = {
    ("a", 0, "0-1"): 0.1,
    ("a", 1, "0-1"): 0.2,
    ("a", 0, "0-2"): 0.4,
    ("a", 0, "1-2"): 0.0,
  }
  chart = matrix_chart(paths(values, "matrix"))
  (panel,) = chart.panels
  (layer,) = panel.layers
  shown = {
    ((c.left + c.right) / 2, (c.bottom + c.top) / 2): c.value
    for c in layer.table.itertuples()
  }
  assert shown == pytest.approx(
    {
      (0, 1): 15,
      (1, 0): 15,
      (0, 2): 40,
      (2, 0): 40,
      (1, 2): 0,
      (2, 1): 0,
    }
  )
  assert panel.title == "a" and panel.x.domain == (-0.5, 2.5)
  spec_of(chart)
  assert matrix_chart(BARRIERS) is None
  assert matrix_chart(paths(values, "matrix"), batch_stats="recompute") is None
