"""Figures of what predicts success, read back from their artists."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.results.figures.diet import KIND_COLOURS
from imp_jax.results.figures.predictors import (
  landscape_figure,
  predictor_figure,
)
from imp_jax.results.landscape import LANDSCAPE_COLUMNS
from imp_jax.results.predictors import PREDICTOR_COLUMNS
from tests.results.test_landscape_figures import legend_of, lines, points_of


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


def joined(axes):
  """The points that lines go through, by colour and line style."""
  return {
    (line.get_color(), line.get_linestyle()): points_of(line)
    for line in axes.get_lines()
    if line.get_linestyle() != "None"
  }


def test_the_landscape_joins_a_variants_means_in_the_order_of_t_r():
  other = TABLE.assign(level=2, connected=0.0, accuracy=0.1)
  figure = landscape_figure(pd.concat([other, TABLE]), 3)
  share, barrier = figure.axes
  assert legend_of(figure) == ["all", "easy 500", "easy 900", "none"]
  none = [0.5005, 0.801]
  first, second = KIND_COLOURS["all"], KIND_COLOURS["easy"]
  found = joined(share)
  np.testing.assert_allclose(
    found[first, "-"], [none, [0.5805, 0.821], [0.5405, 0.811]]
  )
  np.testing.assert_allclose(found[second, "-"], [none, [0.6205, 0.831]])
  np.testing.assert_allclose(found[second, "-."], [none, [0.6605, 0.841]])
  assert len(found) == 3
  np.testing.assert_allclose(
    joined(barrier)[first, "-"], [[1.1, 0.801], [1.0, 0.821], [1.05, 0.811]]
  )
  assert share.get_title() == "Spearman's ρ = +1.00 (10 points)"
  assert "hand, level 3 (51.2 % of weights)" in figure.get_suptitle()
  assert share.xaxis.get_major_formatter()(0.925, 0) == "92.5"
  assert landscape_figure(TABLE, 9) is None


def test_the_landscape_shows_each_replicate_in_its_diets_colour():
  axes = landscape_figure(TABLE, 3).axes[0]
  faint = {
    (line.get_color(), line.get_marker()): points_of(line)
    for line in axes.get_lines()
    if line.get_alpha()
  }
  expected = [[0.54, 0.81], [0.541, 0.812], [0.58, 0.82], [0.581, 0.822]]
  np.testing.assert_allclose(faint[KIND_COLOURS["all"], "o"], expected)
  none = [[0.5, 0.8], [0.501, 0.802]]
  np.testing.assert_allclose(faint["black", "s"], none)
  assert sum(map(len, faint.values())) == len(TABLE)
  drawn = lines(axes)
  np.testing.assert_allclose(points_of(drawn["none"]), [[0.5005, 0.801]])
  # The last t_r of each line: its place says the rest.
  assert {(t.get_text(), *np.round(t.xy, 4)) for t in axes.texts} == {
    ("100", 0.5405, 0.811),
    ("20", 0.6205, 0.831),
    ("20", 0.6605, 0.841),
  }


def test_the_landscape_copes_with_holes():
  figure = landscape_figure(TABLE.assign(mean_barrier=np.nan), 3)
  assert figure.axes[1].get_title() == "Spearman's ρ undefined (0 points)"
  assert figure.axes[0].get_title() == "Spearman's ρ = +1.00 (10 points)"
  none = landscape_figure(TABLE.query("rewind_step == 0"), 3)
  assert legend_of(none) == ["none"] and not joined(none.axes[0])


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
  figure = predictor_figure(make_predictors(), 3)
  (axes,) = figure.axes
  share, distance = axes.containers
  bars = [
    [segment.tolist() for segment in container.lines[2][0].get_segments()]
    for container in (share, distance)
  ]
  # Two predictors divide a scope's height of 1 in three.
  up, down = pytest.approx(-1 / 6), pytest.approx(1 / 6)
  lower = pytest.approx(1 - 1 / 6)
  assert bars[0] == [
    [[pytest.approx(0.1), up], [pytest.approx(0.6), up]],
    [[pytest.approx(-0.2), lower], [pytest.approx(0.5), lower]],
  ]
  # Unbounded is all there is; what is undefined is not there.
  assert bars[1] == [[[-1, down], [1, down]]]
  assert points_of(share.lines[0]) == [[0.4, up], [0.2, lower]]
  diamonds = [x for x in axes.get_lines() if x.get_marker() == "D"]
  # Of three means there is none.
  assert [points_of(x) for x in diamonds] == [[[0.8, up]], [], []]
  labels = [t.get_text() for t in axes.get_yticklabels()]
  assert labels == ["over all diets\n7 variants", "within easy\n3 variants"]
  assert axes.get_ylim() == (1.5, -0.5)  # the first scope on top
  assert sorted(legend_of(figure)) == [
    "between the variants' means",
    "the L2 distance between W_r's dense children (negative expected)",
    "the share of connected examples",
  ]
  assert figure.get_suptitle() == (
    "hand, level 3: ρ and interval over variants × 4 replicates"
  )


def test_no_predictors_make_no_figure():
  table = make_predictors()
  assert predictor_figure(table, 9) is None
  assert predictor_figure(table.assign(rho=np.nan), 3) is None
  few = predictor_figure(table.query("points < 7 or points > 7"), 3)
  assert "between the variants' means" not in legend_of(few)
