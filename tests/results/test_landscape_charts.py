"""Charts of connectivity: what they show, out of their tables."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.results.charts.drawing import spec_of
from imp_jax.results.charts.landscape import (
  barrier_chart,
  instability_chart,
  levels_chart,
  path_chart,
)
from imp_jax.results.landscape import (
  INSTABILITY_COLUMNS,
  instability_table,
)
from tests.results.shown import names, shown, texts, titles
from tests.results.tables import make_experiments
from tests.results.test_landscape_tables import (
  EXPERIMENTS,
  make_barriers,
  rises,
)


def make_instability():
  values = {
    "none": [(0.08,), (0.10,)],
    "all-20": [(0.02,), (0.03,)],
    "all-100": [(0.0,), (0.002,)],
    "easy-20": [(0.015,), (0.025,)],
  }
  return instability_table(
    rises(values, pairs=("0-1",)), make_experiments(EXPERIMENTS)
  )


def test_instability_starts_every_variant_at_none():
  table = make_instability()
  chart = instability_chart(table)
  assert chart.names == ["all", "easy 500", "none", "stable: 2 %"]
  np.testing.assert_allclose(
    shown(chart, "line", "all"), [[0, 0.09], [20, 0.025], [100, 0.001]]
  )
  np.testing.assert_allclose(
    shown(chart, "line", "easy 500"), [[0, 0.09], [20, 0.02]]
  )
  assert chart.styles["all"].colour != chart.styles["easy 500"].colour
  stable = shown(chart, "level", "stable: 2 %", columns=("y",))
  assert stable == [[0.02]] and chart.styles["stable: 2 %"].dash
  bars = shown(chart, "upright", columns=("low", "high"))
  wanted = table[["low", "high"]].to_numpy().tolist()
  np.testing.assert_allclose(sorted(bars), sorted(wanted))
  assert shown(chart, "point", "none") == [[0, pytest.approx(0.09)]]
  assert chart.styles["none"].colour == "#000000"
  x = chart.panels[0].x
  assert (x.scale, x.ticks, x.linear_to) == ("symlog", (0, 20, 100), 20)
  assert list(x.labels.values()) == ["0", "20", "100"]
  assert chart.panels[0].y.percent
  spec_of(chart)


def test_instability_without_intervals_or_pre_training():
  one = make_instability().assign(low=-np.inf, high=np.inf)
  chart = instability_chart(one)
  assert len(chart.table("upright")) == 0 and len(chart.table("point")) == 4
  none = make_instability().query("rewind_step == 0")
  chart = instability_chart(none)
  np.testing.assert_allclose(shown(chart, "line", "none"), [[0, 0.09]])
  assert chart.panels[0].x.scale == "linear"
  assert (
    instability_chart(pd.DataFrame(columns=list(INSTABILITY_COLUMNS))) is None
  )


def shares_in(chart, panel):
  """(left edges, shares) of the bins in which something is."""
  bars = shown(chart, "bar", panel=panel, columns=("left", "y"))
  return [left for left, _ in bars], [y for _, y in bars]


def test_histograms_count_the_tails_in_the_end_bins():
  a = np.array([-5.0, 0.01, 0.06, 0.31, 0.99, 1.0, 7.0, np.inf])
  chart = barrier_chart(
    {"a": a, "b": a[1:3]}, thresholds=(0.1, 0.5), limits=(-1.0, 1.0)
  )
  assert titles(chart) == ["a", "b"]
  edges, shares = shares_in(chart, 0)
  assert edges == [-1.0, 0.0, 0.05, 0.3, 0.95]
  assert shares == [1 / 8, 1 / 8, 1 / 8, 1 / 8, 4 / 8]
  assert shares_in(chart, 1) == ([0.0, 0.05], [0.5, 0.5])
  assert shown(chart, "plumb", panel=0, columns=("x",)) == [[0.1], [0.5]]
  assert texts(chart) == ["37.5 % < 0.1", "50.0 % < 0.5"]
  first, second = chart.panels
  assert first.x.domain == second.x.domain == (-1, 1)
  assert first.y == second.y and first.y.scale == "log"
  # A bin with one of the most examples is seen.
  assert first.y.domain[0] < 1 / 8


def test_histograms_choose_limits_for_most_examples_and_all_thresholds(rng):
  usual = rng.uniform(-0.2, 0.3, 10_000)
  wild = np.concatenate([usual, [90.0, -90.0], np.full(300, np.inf)])
  low, high = barrier_chart({"a": wild}).panels[0].x.domain
  assert low == pytest.approx(-0.25, abs=0.01)
  assert high == pytest.approx(0.34, abs=0.01)
  far = barrier_chart({"a": wild}, thresholds=(0.1, 2.0))
  assert far.panels[0].x.domain[1] > 2.0
  flat = barrier_chart({"a": np.zeros(3)}, thresholds=())
  assert shares_in(flat, 0)[1] == [1.0]
  many = barrier_chart({str(i): usual for i in range(6)})
  assert titles(many) == list("012345")


@pytest.mark.parametrize(
  "values,message",
  [
    ({}, "values must have at least one label, got none"),
    ({"a": np.zeros(0)}, "'a' must have examples and no NaN"),
    ({"a": np.array([0.0, np.nan])}, "'a' must have examples and no NaN"),
  ],
)
def test_histograms_of_nothing_are_refused(values, message):
  with pytest.raises(ValueError, match=message):
    barrier_chart(values)


RISE, MIDDLE = "error_rise_above_mean_average", "loss_midpoint_average"


def make_levels():
  """Two experiments, two replicates: value = 0.1 level + 0.02 replicate."""
  parts = [
    make_barriers(
      {
        (name, r, "x", metric): base + 0.1 * level + 0.02 * r
        for name in ("a", "b")
        for r in range(2)
        for metric, base in ((RISE, shift), (MIDDLE, shift + 1.0))
      },
      level=level,
      kind=kind,
      split="test",
    )
    for kind, shift, levels in (
      ("successive", 0.0, (0, 1)),
      ("from_dense", 0.5, (1, 2)),
    )
    for level in levels
  ]
  return pd.concat(parts, ignore_index=True)


def test_levels_have_a_panel_per_kind_and_quantity():
  barriers = make_levels()
  elsewhere = [
    barriers.assign(value=9.0, split="train"),
    barriers.assign(value=9.0, kind="from_dense_masked"),
    barriers.assign(value=9.0, metric="loss_midpoint_recompute"),
  ]
  densities = {0: 1.0, 1: 0.8, 2: 0.64}
  chart = levels_chart(pd.concat([barriers, *elsewhere]), densities)
  expected = [  # means over the replicates' 0 and 0.02
    [[0, 0.01], [1, 0.11]],
    [[1, 0.61], [2, 0.71]],
    [[0, 1.01], [1, 1.11]],
    [[1, 1.61], [2, 1.71]],
  ]
  half = 0.02 / np.sqrt(2)  # std, ddof = 1
  for i, wanted in enumerate(expected):
    for name in ("a", "b"):
      np.testing.assert_allclose(shown(chart, "line", name, i), wanted)
    (first, _) = shown(chart, "band", "a", i, ("x", "low", "high"))
    x, y = wanted[0]
    np.testing.assert_allclose(first, [x, y - half, y + half], atol=1e-9)
  assert titles(chart) == ["levels k and k + 1", "levels 0 and k"] * 2
  panels = chart.panels
  assert list(panels[1].x.labels.values()) == ["1\n(80)", "2\n(64)"]
  assert panels[0].y.domain == panels[1].y.domain  # of a row
  assert panels[0].y.domain != panels[2].y.domain
  assert chart.names == ["a", "b"]
  assert "mean ± std over 2 replicates" in chart.title
  assert panels[0].y.title == "rise of test error (%)" and panels[0].y.percent
  assert not panels[2].y.percent
  spec_of(chart)


def test_levels_cope_with_what_is_missing():
  barriers = make_levels()
  lone = barriers.query("kind == 'successive' and replicate == 0")
  chart = levels_chart(lone, pd.Series({0: 1.0}))
  # No density of level 1 is known.
  assert list(chart.panels[0].x.labels.values()) == ["0\n(100)", "1"]
  assert not names(chart, 1)
  spec_of(chart)
  assert levels_chart(barriers.iloc[:0], {}) is None
  many = pd.concat(
    [lone.query("level == 0").assign(level=k) for k in range(21)]
  )
  assert len(levels_chart(many, {}).panels[0].x.ticks) == 7


def make_paths():
  """Three α; replicate 0 has two pairs, whose mean counts once."""
  where = {"study": "hand", "level": 0, "kind": "children", "split": "test"}
  rows = [
    where
    | {
      "experiment": "a",
      "replicate": replicate,
      "pair": pair,
      "batch_stats": "average",
      "alpha": alpha,
      "metric": metric,
      "value": base + rise * (alpha == 0.5),
    }
    for replicate, pair, rise in (
      (0, "0-1", 0.1),
      (0, "0-2", 0.3),
      (1, "0-1", 0.4),
    )
    for alpha in (0.0, 0.5, 1.0)
    for metric, base in (("loss", 1.0), ("error", 0.05))
  ]
  return pd.DataFrame(rows)


def test_paths_average_pairs_and_then_replicates():
  paths = make_paths()
  elsewhere = [
    paths.assign(value=9.0, batch_stats="recompute"),
    paths.assign(value=9.0, split="train"),
    paths.assign(value=9.0, level=1),
    paths.assign(value=9.0, kind="successive"),
  ]
  whole = pd.concat([paths, *elsewhere])
  chart = path_chart(whole)
  np.testing.assert_allclose(
    shown(chart, "line", "a", 0), [[0, 0.05], [0.5, 0.35], [1, 0.05]]
  )
  np.testing.assert_allclose(
    shown(chart, "line", "a", 1), [[0, 1], [0.5, 1.3], [1, 1]]
  )
  half = 0.2 / np.sqrt(2)  # of the replicates' 0.2 and 0.4
  bands = shown(chart, "band", "a", 1, ("x", "low", "high"))
  np.testing.assert_allclose(bands[1], [0.5, 1.3 - half, 1.3 + half])
  assert chart.panels[0].y.title == "test error (%)"
  other = path_chart(whole, split="train")
  assert {y for _, y in shown(other, "line")} == {9.0}
  assert other.panels[1].y.title == "train loss (nats)"
  again = path_chart(whole, batch_stats="recompute")
  assert {y for _, y in shown(again, "line")} == {9.0}
  assert path_chart(whole, batch_stats="endpoint") is None
