"""Figures of connectivity: what they show, read back from their artists."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.results.figures.landscape import (
  barrier_histograms,
  instability_figure,
  levels_figure,
  path_figure,
)
from imp_jax.results.landscape import (
  INSTABILITY_COLUMNS,
  instability_table,
)
from tests.results.tables import make_experiments
from tests.results.test_landscape_tables import (
  EXPERIMENTS,
  make_barriers,
  rises,
)


def lines(axes):
  """{label: line} of a panel."""
  return {line.get_label(): line for line in axes.get_lines()}


def legend_of(figure):
  return [text.get_text() for text in figure.legends[0].get_texts()]


def points_of(line):
  return np.stack([line.get_xdata(), line.get_ydata()], 1).tolist()


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
  figure = instability_figure(table)
  (axes,) = figure.axes
  drawn = lines(axes)
  assert [t.get_text() for t in axes.get_legend().get_texts()] == [
    "all",
    "easy 500",
    "stable: 2 %",
  ]
  np.testing.assert_allclose(
    points_of(drawn["all"]), [[0, 0.09], [20, 0.025], [100, 0.001]]
  )
  np.testing.assert_allclose(
    points_of(drawn["easy 500"]), [[0, 0.09], [20, 0.02]]
  )
  assert drawn["all"].get_color() != drawn["easy 500"].get_color()
  assert set(drawn["stable: 2 %"].get_ydata()) == {0.02}
  assert drawn["stable: 2 %"].get_linestyle() == "--"
  bars = {
    tuple(np.round(segment[:, 1], 6))
    for container in axes.containers
    for segment in container.lines[2][0].get_segments()
  }
  assert bars == {
    (round(row.low, 6), round(row.high, 6)) for row in table.itertuples()
  }
  assert axes.get_xscale() == "symlog"
  assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "20", "100"]
  assert axes.get_ylim()[0] <= 0.0
  assert axes.yaxis.get_major_formatter()(0.025, 0) == "2.5"


def test_instability_without_intervals_or_pre_training():
  one = make_instability().assign(low=-np.inf, high=np.inf)
  (axes,) = instability_figure(one).axes
  lengths = [
    np.ptp(segment[:, 1])
    for container in axes.containers
    for segment in container.lines[2][0].get_segments()
  ]
  assert lengths == [0.0] * 4
  none = make_instability().query("rewind_step == 0")
  (axes,) = instability_figure(none).axes
  np.testing.assert_allclose(points_of(lines(axes)["none"]), [[0, 0.09]])
  assert (
    instability_figure(pd.DataFrame(columns=list(INSTABILITY_COLUMNS))) is None
  )


def shares_in(axes):
  """(edges, shares) of a panel's histogram."""
  (patch,) = axes.patches
  return patch.get_data().edges, patch.get_data().values


def test_histograms_count_the_tails_in_the_end_bins():
  a = np.array([-5.0, 0.01, 0.06, 0.31, 0.99, 1.0, 7.0, np.inf])
  figure = barrier_histograms(
    {"a": a, "b": a[1:3]}, thresholds=(0.1, 0.5), limits=(-1.0, 1.0)
  )
  first, second = figure.axes
  assert (first.get_title(), second.get_title()) == ("a", "b")
  edges, shares = shares_in(first)
  np.testing.assert_allclose(edges, np.linspace(-1, 1, 41))
  assert shares.sum() == pytest.approx(1)
  assert shares[0] == 1 / 8 and shares[-1] == 4 / 8
  assert shares[20] == 1 / 8 and shares[21] == 1 / 8 and shares[26] == 1 / 8
  assert shares_in(second)[1][20:22].tolist() == [0.5, 0.5]
  assert [line.get_xdata()[0] for line in first.get_lines()] == [0.1, 0.5]
  assert [t.get_text() for t in first.texts] == ["37.5 % < 0.1", "50.0 % < 0.5"]
  assert first.get_xlim() == second.get_xlim() == (-1, 1)
  assert first.get_ylim() == second.get_ylim()
  assert first.get_yscale() == "log"


def test_histograms_choose_limits_for_most_examples_and_all_thresholds(rng):
  usual = rng.uniform(-0.2, 0.3, 10_000)
  wild = np.concatenate([usual, [90.0, -90.0], np.full(300, np.inf)])
  edges, _ = shares_in(barrier_histograms({"a": wild}).axes[0])
  assert edges[0] == pytest.approx(-0.25, abs=0.01)
  assert edges[-1] == pytest.approx(0.34, abs=0.01)
  far = barrier_histograms({"a": wild}, thresholds=(0.1, 2.0))
  assert shares_in(far.axes[0])[0][-1] > 2.0
  flat = barrier_histograms({"a": np.zeros(3)}, thresholds=())
  assert shares_in(flat.axes[0])[1].sum() == 1
  many = barrier_histograms({str(i): usual for i in range(6)})
  assert [axes.get_title() for axes in many.axes] == list("012345")


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
    barrier_histograms(values)


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
  figure = levels_figure(pd.concat([barriers, *elsewhere]), densities)
  expected = [  # means over the replicates' 0 and 0.02
    [[0, 0.01], [1, 0.11]],
    [[1, 0.61], [2, 0.71]],
    [[0, 1.01], [1, 1.11]],
    [[1, 1.61], [2, 1.71]],
  ]
  half = 0.02 / np.sqrt(2)  # std, ddof = 1
  for axes, wanted in zip(figure.axes, expected, strict=True):
    for name in ("a", "b"):
      np.testing.assert_allclose(points_of(lines(axes)[name]), wanted)
    band = axes.collections[0].get_paths()[0].vertices
    at_first = band[np.isclose(band[:, 0], wanted[0][0]), 1]
    assert (at_first.min(), at_first.max()) == pytest.approx(
      (wanted[0][1] - half, wanted[0][1] + half)
    )
  titles = [axes.get_title() for axes in figure.axes]
  assert titles == ["levels k and k + 1", "levels 0 and k"] * 2
  ticks = [t.get_text() for t in figure.axes[1].get_xticklabels()]
  assert ticks == ["1\n(80)", "2\n(64)"]
  assert legend_of(figure) == ["a", "b"]
  assert "mean ± std over 2 replicates" in figure.get_suptitle()
  assert figure.axes[0].get_ylabel() == "rise of test error (%)"


def test_levels_cope_with_what_is_missing():
  barriers = make_levels()
  lone = barriers.query("kind == 'successive' and replicate == 0")
  figure = levels_figure(lone, pd.Series({0: 1.0}))
  ticks = [t.get_text() for t in figure.axes[0].get_xticklabels()]
  assert ticks == ["0\n(100)", "1"]  # no density of level 1 is known
  assert len(lines(figure.axes[1])["a"].get_xdata()) == 0
  assert levels_figure(barriers.iloc[:0], {}) is None
  many = pd.concat(
    [lone.query("level == 0").assign(level=k) for k in range(21)]
  )
  assert len(levels_figure(many, {}).axes[0].get_xticks()) == 7


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
  figure = path_figure(whole)
  error, loss = figure.axes
  np.testing.assert_allclose(
    points_of(lines(error)["a"]), [[0, 0.05], [0.5, 0.35], [1, 0.05]]
  )
  np.testing.assert_allclose(
    points_of(lines(loss)["a"]), [[0, 1], [0.5, 1.3], [1, 1]]
  )
  band = loss.collections[0].get_paths()[0].vertices
  middle = band[np.isclose(band[:, 0], 0.5), 1]
  half = 0.2 / np.sqrt(2)  # of the replicates' 0.2 and 0.4
  assert (middle.min(), middle.max()) == pytest.approx((1.3 - half, 1.3 + half))
  assert error.get_ylabel() == "test error (%)"
  other = path_figure(whole, split="train")
  assert set(lines(other.axes[0])["a"].get_ydata()) == {9.0}
  assert other.axes[1].get_ylabel() == "train loss (nats)"
  again = path_figure(whole, batch_stats="recompute")
  assert set(lines(again.axes[0])["a"].get_ydata()) == {9.0}
  assert path_figure(whole, batch_stats="endpoint") is None
