"""Charts of what predicts success: what they show, out of their tables."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.results.charts.diet import KIND_COLOURS
from imp_jax.results.charts.drawing import spec_of
from imp_jax.results.charts.predictors import (
  landscape_chart,
  predictor_chart,
)
from imp_jax.results.landscape import LANDSCAPE_COLUMNS
from imp_jax.results.predictors import PREDICTOR_COLUMNS
from tests.results.shown import shown, titles


def make_landscape(experiments, level=3):
  """Two replicates of each (variant, t_r); accuracy rises with both.

  Replicates differ by 0.001 and 0.002 in share and accuracy.
  """
  rows = [
    {
      "study": "hand",
      "experiment": f"e{i}",
      "variant": variant,
      "rewind_step": step,
      "replicate": r,
      "level": level,
      "density": 0.512,
      "connected": 0.5 + 0.04 * i + 0.001 * r,
      "mean_barrier": 1 - 0.05 * i + 0.2 * r,
      "accuracy": 0.8 + 0.01 * i + 0.002 * r,
      "diet": variant.split()[0],
      "base": 0,
    }
    for i, (variant, step) in enumerate(experiments)
    for r in range(2)
  ]
  return pd.DataFrame(rows, columns=list(LANDSCAPE_COLUMNS))


TABLE = make_landscape(
  [("none", 0), ("all", 100), ("all", 20), ("easy 500", 20), ("easy 900", 20)]
)


def test_the_landscape_joins_a_variants_means_in_the_order_of_t_r():
  other = TABLE.assign(level=2, connected=0.0, accuracy=0.1)
  chart = landscape_chart(pd.concat([other, TABLE]), 3)
  assert chart.names == ["all", "easy 500", "easy 900", "none"]
  none = [0.5005, 0.801]
  for name, rest in (
    ("all", [[0.5805, 0.821], [0.5405, 0.811]]),
    ("easy 500", [[0.6205, 0.831]]),
    ("easy 900", [[0.6605, 0.841]]),
  ):
    np.testing.assert_allclose(shown(chart, "line", name, 0), [none, *rest])
  assert not shown(chart, "line", "none", 0)
  np.testing.assert_allclose(
    shown(chart, "line", "all", 1), [[1.1, 0.801], [1.0, 0.821], [1.05, 0.811]]
  )
  styles = chart.styles
  assert styles["all"].colour == KIND_COLOURS["all"]
  two = [styles[f"easy {size}"] for size in (500, 900)]
  assert {style.colour for style in two} == {KIND_COLOURS["easy"]}
  assert two[0].dash != two[1].dash and two[0].shape != two[1].shape
  assert titles(chart)[0] == "Spearman's ρ = +1.00 (10 points)"
  assert "hand, level 3 (51.2 % of weights)" in chart.title
  assert chart.panels[0].x.percent and not chart.panels[1].x.percent
  assert landscape_chart(TABLE, 9) is None
  spec_of(chart)


def test_the_landscape_shows_each_replicate_in_its_diets_colour():
  chart = landscape_chart(TABLE, 3)
  expected = [[0.54, 0.81], [0.541, 0.812], [0.58, 0.82], [0.581, 0.822]]
  found = shown(chart, "faint", "all", 0)
  np.testing.assert_allclose(sorted(found), expected)
  none = [[0.5, 0.8], [0.501, 0.802]]
  np.testing.assert_allclose(shown(chart, "faint", "none", 0), none)
  assert len(shown(chart, "faint", panel=0)) == len(TABLE)
  style = chart.styles["none"]
  assert (style.colour, style.shape) == ("#000000", "square")
  means = shown(chart, "point", "none", 0)
  np.testing.assert_allclose(means, [[0.5005, 0.801]])
  # The last t_r of each line: its place says the rest.
  (written,) = [x for x in chart.panels[0].layers if x.mark == "text"]
  found = written.table[["text", "x", "y"]].round(4).itertuples(index=False)
  assert set(map(tuple, found)) == {
    ("100", 0.5405, 0.811),
    ("20", 0.6205, 0.831),
    ("20", 0.6605, 0.841),
  }


def test_the_landscape_copes_with_holes():
  chart = landscape_chart(TABLE.assign(mean_barrier=np.nan), 3)
  assert titles(chart) == [
    "Spearman's ρ = +1.00 (10 points)",
    "Spearman's ρ undefined (0 points)",
  ]
  spec_of(chart)
  none = landscape_chart(TABLE.query("rewind_step == 0"), 3)
  assert none.names == ["none"] and not shown(none, "line")
  spec_of(none)


def make_predictors():
  rows = [
    ("connected", "all", 3, "spearman", 0.4, 0.1, 0.6, 7, 4, 28),
    ("connected", "all", 3, "pearson", 0.9, 0.9, 0.9, 7, 4, 28),
    ("connected", "all", 3, "means", 0.8, np.nan, np.nan, 7, 4, 7),
    ("distance", "all", 3, "spearman", -0.3, -np.inf, np.inf, 6, 4, 24),
    ("connected", "within easy", 3, "spearman", 0.2, -0.2, 0.5, 3, 4, 12),
    ("connected", "within easy", 3, "means", 1.0, np.nan, np.nan, 3, 4, 3),
    ("distance", "within easy", 3, "spearman", np.nan, -1.0, 1.0, 3, 4, 12),
    ("connected", "all", 4, "spearman", 0.9, 0.9, 0.9, 7, 4, 28),
  ]
  columns = list(PREDICTOR_COLUMNS)
  return pd.DataFrame([("hand", *row) for row in rows], columns=columns)


def test_predictors_are_bars_by_scope():
  chart = predictor_chart(make_predictors(), 3)
  share, distance = chart.names
  assert share == "the share of connected examples"
  assert distance == (
    "the L2 distance between W_r's dense children (negative expected)"
  )
  # Two predictors divide a scope's height of 1 in three.
  up, down = pytest.approx(-1 / 6), pytest.approx(1 / 6)
  lower = pytest.approx(1 - 1 / 6)
  columns = ("low", "high", "y")
  bars = shown(chart, "lying", share, columns=columns)
  assert bars == [[0.1, 0.6, up], [-0.2, 0.5, lower]]
  # Unbounded is all there is; what is undefined is not there.
  assert shown(chart, "lying", distance, columns=columns) == [[-1, 1, down]]
  assert shown(chart, "point", share) == [[0.4, up], [0.2, lower]]
  # Of three means there is none.
  hollow = f"{share}, means"
  assert shown(chart, "point", hollow) == [[0.8, up]]
  assert chart.styles[hollow].hollow
  assert chart.styles[hollow].colour == chart.styles[share].colour
  y = chart.panels[0].y
  assert list(y.labels.values()) == [
    "over all diets\n7 variants",
    "within easy\n3 variants",
  ]
  assert y.reverse and y.domain == (-0.5, 1.5)  # the first scope on top
  first, second = chart.title.splitlines()
  assert first == "hand, level 3: ρ and interval over variants × 4 replicates"
  assert second == "hollow: between the variants' means"
  spec_of(chart)


def test_no_predictors_make_no_chart():
  table = make_predictors()
  assert predictor_chart(table, 9) is None
  assert predictor_chart(table.assign(rho=np.nan), 3) is None
  few = predictor_chart(table.query("points < 7 or points > 7"), 3)
  assert "hollow" not in few.title
