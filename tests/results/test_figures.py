"""Figures: what they show, read back from their lines, bars and labels."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.results.figures.accuracy import (
  CONTROL_MARKERS,
  accuracy_figure,
  control_marker,
)
from imp_jax.results.figures.diet import (
  KIND_COLOURS,
  diet_figure,
  size_figure,
)
from imp_jax.results.figures.examples import end_examples, example_grid_figure
from imp_jax.results.figures.scores import (
  histogram_figure,
  reliability_figure,
  scatter_figure,
)
from imp_jax.results.published import load_published
from imp_jax.results.variants import KINDS
from imp_jax.stages.controls import CONTROLS
from tests.results.tables import make_experiments, make_results

EXPERIMENTS = [
  ("none", 0, "none", 0, {}),
  ("all-20", 20, "all", 4000, {}),
  ("all-100", 100, "all", 4000, {}),
  ("random-125", 20, "random", 125, {}),
  ("random-500", 20, "random", 500, {}),
  ("easy-500", 20, "easy", 500, {}),
  ("hard-500", 100, "hard", 500, {}),
]
# Two replicates, three levels; each experiment a point above the one before.
BASE = np.array([[0.90, 0.88, 0.80], [0.92, 0.88, 0.84]])
RESULTS = make_results(
  {name: BASE + 0.01 * i for i, (name, *_) in enumerate(EXPERIMENTS)}
  | {"all-20:random_mask": BASE - 0.5}
)
DENSITIES = [1.0, 0.8, 0.64]


def lines(axes):
  """{label: line} of a panel."""
  return {line.get_label(): line for line in axes.get_lines()}


def legend_of(figure):
  return [text.get_text() for text in figure.legends[0].get_texts()]


def titles(figure):
  return [axes.get_title() for axes in figure.axes]


def test_few_levels_are_all_named_and_many_are_not():
  few = accuracy_figure(RESULTS).axes[0]
  assert [t.get_text() for t in few.get_xticklabels()] == ["64", "80", "100"]
  many = accuracy_figure(make_results({"a": np.full((2, 8), 0.5)})).axes[0]
  shown = [t.get_text() for t in many.get_xticklabels()]
  assert shown == ["100", "50", "20"]


def test_every_kind_has_a_colour_of_its_own():
  assert set(KIND_COLOURS) == set(KINDS)
  assert len(set(KIND_COLOURS.values())) == len(KINDS)


@pytest.mark.parametrize("count", [3, 18])
def test_a_long_legend_covers_no_line(count):
  names = [f"all-{20 * i}" for i in range(count)]
  figure = accuracy_figure(make_results(dict.fromkeys(names, BASE)))
  beside, within = figure.legends, figure.axes[0].get_legend()
  assert (len(beside), within is None) == (
    (1, True) if count > 9 else (0, False)
  )
  (legend,) = beside or (within,)
  said = [text.get_text() for text in legend.get_texts()]
  assert said == [*names, "dense"]


def test_every_control_has_a_marker_of_its_own():
  controls = {f"all-20:{name}": BASE for name in CONTROLS}
  figure = accuracy_figure(make_results({"all-20": BASE} | controls))
  drawn = [bars.lines[0].get_marker() for bars in figure.axes[0].containers]
  assert drawn == [control_marker(name) for name in CONTROLS]
  assert len(set(drawn)) == len(CONTROLS) <= len(CONTROL_MARKERS)
  assert drawn[:2] == ["v", "s"]  # as in published figures


def test_the_diet_figure_has_a_panel_per_step_and_size():
  figure = diet_figure(RESULTS, make_experiments(EXPERIMENTS))
  assert titles(figure) == [
    "$t_r$ = 20, 125 examples",
    "$t_r$ = 20, 500 examples",
    "$t_r$ = 100, 500 examples",
  ]
  shown = [set(lines(axes)) for axes in figure.axes]
  assert shown == [
    {"none", "all", "random", "dense"},
    {"none", "all", "random", "easy", "dense"},
    {"none", "all", "hard", "dense"},
  ]
  assert legend_of(figure) == [
    "none",
    "all",
    "random",
    "easy",
    "hard",
    "dense",
  ]


def test_the_diet_figure_shows_means_and_deviations():
  axes = diet_figure(RESULTS, make_experiments(EXPERIMENTS)).axes[2]
  for label, above in (("none", 0.0), ("all", 0.02), ("hard", 0.06)):
    line = lines(axes)[label]
    assert line.get_color() == KIND_COLOURS[label]
    np.testing.assert_allclose(line.get_xdata(), DENSITIES)
    np.testing.assert_allclose(
      line.get_ydata(), np.array([0.91, 0.88, 0.82]) + above
    )
  # The dense line is level 0 of "all" at this t_r.
  assert lines(axes)["dense"].get_ydata()[0] == pytest.approx(0.93)
  band = axes.collections[0].get_paths()[0].vertices
  half = 0.02 / np.sqrt(2)  # std of (0.90, 0.92) is 0.02 / sqrt(2), ddof = 1
  at_1 = band[np.isclose(band[:, 0], 1.0), 1]
  assert (at_1.min(), at_1.max()) == pytest.approx((0.91 - half, 0.91 + half))
  assert axes.get_xscale() == "log"
  assert axes.get_xlim()[0] > axes.get_xlim()[1]
  assert axes.yaxis.get_major_formatter()(0.925, 0) == "92.5"


def test_diets_of_one_kind_share_a_colour_but_no_line():
  other = {"pretrain.subset.score": "forgetting"}
  experiments = [*EXPERIMENTS, ("easy-f", 20, "easy", 500, other)]
  results = make_results({name: BASE for name, *_ in experiments})
  axes = diet_figure(results, make_experiments(experiments)).axes[1]
  two = [lines(axes)[f"easy {score}"] for score in ("el2n", "forgetting")]
  assert {line.get_color() for line in two} == {KIND_COLOURS["easy"]}
  assert len({(a.get_marker(), a.get_linestyle()) for a in two}) == 2


def test_published_curves_are_dashed_in_the_same_colour():
  published = load_published()
  experiments = make_experiments(
    [
      ("none", 0, "none", 0, {}),
      ("all-200", 200, "all", 50_000, {}),
      ("easy", 200, "easy", 512, {}),
      ("easy-more", 200, "easy", 1024, {}),
    ]
  )
  results = make_results({name: BASE for name in experiments["experiment"]})
  figure = diet_figure(results, experiments, published)
  drawn = {
    line.get_color(): line
    for line in figure.axes[0].get_lines()
    if line.get_label() == "published"
  }
  assert set(drawn) == {KIND_COLOURS[k] for k in ("none", "all", "easy")}
  easy = published.query(
    "kind == 'easy' and size == 512 and rewind_step == 200"
  )
  np.testing.assert_allclose(
    drawn[KIND_COLOURS["easy"]].get_ydata(), easy["mean"]
  )
  np.testing.assert_allclose(
    drawn[KIND_COLOURS["easy"]].get_xdata(), 0.8 ** np.arange(21)
  )
  assert legend_of(figure)[-1] == "published"
  panel = size_figure(results, experiments, 2, published).axes[0]
  dashed = [a for a in panel.get_lines() if a.get_label() == "published"]
  assert {a.get_color() for a in dashed} == set(drawn)
  at_512 = published.query("kind == 'easy' and size == 512 and level == 2")[
    "mean"
  ].item()
  easy = next(a for a in dashed if a.get_color() == KIND_COLOURS["easy"])
  assert easy.get_ydata()[easy.get_xdata().tolist().index(512)] == at_512


def test_the_size_figure_shows_one_level_against_size():
  figure = size_figure(RESULTS, make_experiments(EXPERIMENTS), 2)
  assert titles(figure) == ["$t_r$ = 20"]  # 100 has one size only
  (axes,) = figure.axes
  drawn = {c.get_label(): c.lines[0] for c in axes.containers}
  assert set(drawn) == {"random", "easy"}
  np.testing.assert_allclose(
    drawn["random"].get_ydata(orig=False), [0.85, 0.86]
  )
  # Shifted aside by half a place of 1 % of the axis.
  np.testing.assert_allclose(
    drawn["random"].get_xdata(orig=False), np.array([125, 500]) * 4**-0.005
  )
  np.testing.assert_allclose(drawn["easy"].get_ydata(orig=False), [0.87])
  bars = axes.containers[0].lines[2][0].get_segments()
  half = 0.04 / np.sqrt(2)
  np.testing.assert_allclose(bars[0][:, 1], [0.85 - half, 0.85 + half])
  flat = lines(axes)
  assert flat["none"].get_ydata()[0] == pytest.approx(0.82)
  assert flat["all"].get_ydata()[0] == pytest.approx(0.83)  # of t_r = 20
  bands = sorted(p.get_y() for p in axes.patches)
  assert bands == pytest.approx([0.82 - half, 0.83 - half])
  assert axes.get_xticks().tolist() == [125, 500]
  assert "level 2 (64.0 % of weights)" in figure.get_suptitle()


def test_figures_of_diets_are_left_out_where_there_are_none():
  experiments = make_experiments(EXPERIMENTS)
  old = experiments.drop(columns="pretrain.subset.kind")
  assert diet_figure(RESULTS, old) is None
  assert size_figure(RESULTS, old, 2) is None
  no_subset = experiments.iloc[:3]
  assert diet_figure(RESULTS, no_subset) is None
  assert size_figure(RESULTS, experiments.iloc[[0, 1, 4, 5]], 2) is None
  assert size_figure(RESULTS, experiments, 9) is None
  lone = make_results({"easy-500": [[0.9, 0.8]]})  # no std, no none, no all
  figure = diet_figure(lone, experiments)
  assert set(lines(figure.axes[0])) == {"easy", "dense"}


def test_histograms_count_infinite_scores_in_a_bar_of_their_own():
  counts = np.array([0, 0, 1, 3, 3, 3, np.inf, np.inf])
  figure = histogram_figure({"forgetting": counts, "el2n": counts[:6] / 7})
  axes = figure.axes[0]
  assert titles(figure) == ["forgetting", "el2n"]
  bars = [(p.get_x() + p.get_width() / 2, p.get_height()) for p in axes.patches]
  assert bars[:4] == [(0, 2), (1, 1), (2, 0), (3, 3)]
  assert bars[4][0] > 3.5 and bars[4][1] == 2 and len(bars) == 5
  assert [t.get_text() for t in axes.texts] == ["∞: 2"]
  assert axes.get_xticklabels()[-1].get_text() == "∞"
  other = figure.axes[1]
  assert sum(p.get_height() for p in other.patches) == 6 and not other.texts


def test_scatters_say_the_rank_correlation():
  a = np.array([1.0, 2.0, 3.0, np.inf])
  figure = scatter_figure(
    {"a": a, "b": -np.exp(-a), "c": np.array([2.0, 2.0, 1.0, 0.0])}
  )
  # b is a's monotone image; c has ranks 3.5, 3.5, 2, 1: -4.5 / sqrt(5 * 4.5).
  assert titles(figure) == ["ρ = +1.00", "ρ = -0.95", "ρ = -0.95"]
  names = [(x.get_xlabel(), x.get_ylabel()) for x in figure.axes]
  assert names == [("", "b"), ("a", "c"), ("b", "")]
  drawn = figure.axes[0].collections[0].get_offsets()
  np.testing.assert_allclose(drawn[:3, 0], [1, 2, 3])
  assert drawn[3, 0] > 3 and figure.axes[0].get_xticks()[-1] == drawn[3, 0]
  assert figure.axes[0].get_xticklabels()[-1].get_text() == "∞"
  assert "over 4 examples" in figure.get_suptitle()
  constant = scatter_figure({"a": a, "b": np.ones(4)})
  assert titles(constant) == ["ρ undefined"]


def test_many_points_are_counted_in_cells():
  rng = np.random.default_rng(0)
  counts = np.where(rng.random(6_000) < 0.1, np.inf, rng.integers(0, 3, 6_000))
  figure = scatter_figure({"a": rng.random(6_000), "b": counts})
  (cells,) = figure.axes[0].collections
  per_row = np.nansum(np.ma.filled(cells.get_array(), np.nan), axis=1)
  assert per_row.tolist() == [
    *((counts == k).sum() for k in range(3)),
    0,  # the gap below infinity
    np.isinf(counts).sum(),
  ]


@pytest.mark.parametrize(
  "scores,message",
  [
    ({"a": np.ones(2)}, "scores must be at least 2, got 1"),
    ({"a": np.ones(2), "b": np.ones(3)}, "of one length, got {'a': 2, 'b': 3}"),
    ({"a": np.ones(1), "b": np.array([np.nan])}, "'b' must be numbers or"),
    ({"a": np.ones(1), "b": np.array([-np.inf])}, "'b' must be numbers or"),
    ({"a": np.ones(0), "b": np.ones(0)}, "'a' must have examples, got none"),
  ],
)
def test_scores_that_cannot_be_drawn_are_refused(scores, message):
  with pytest.raises(ValueError, match=message):
    scatter_figure(scores)


def test_reliability_has_a_line_per_score():
  table = pd.DataFrame(
    [
      ("el2n", 4, 0.9, 0.8, 1.0),
      ("el2n", 1, 0.5, 0.4, 0.6),
      ("g", 2, 0.7, *[np.nan] * 2),
    ],
    columns=["score", "networks", "correlation", "low", "high"],
  )
  (axes,) = reliability_figure(table).axes
  drawn = lines(axes)
  assert list(drawn) == ["el2n", "g"]
  assert drawn["el2n"].get_xdata().tolist() == [1, 4]
  assert drawn["el2n"].get_ydata().tolist() == [0.5, 0.9]
  assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2", "4"]
  band = axes.collections[0].get_paths()[0].vertices[:, 1]
  assert (band.min(), band.max()) == (0.4, 1.0)


def test_the_ends_of_a_class_by_hand():
  labels = np.array([0, 1, 0, 0, 0, 0])
  difficulty = np.array([3.0, 0.0, 1.0, np.inf, 1.0, 3.0])
  ends = [e.tolist() for e in end_examples(labels, difficulty, 0, 2)]
  assert ends == [[2, 4], [5, 3]]  # ties by position, infinity last
  ends = [e.tolist() for e in end_examples(labels, difficulty, 0, 8)]
  assert ends == [[2, 4, 0], [5, 3]]  # each once
  assert [len(e) for e in end_examples(labels, difficulty, 1, 8)] == [1, 0]


@pytest.mark.parametrize("channels,harder", [(1, True), (3, True), (3, False)])
def test_example_grids_show_each_classs_easiest_and_hardest(
  rng, channels, harder
):
  images = rng.integers(0, 256, (40, 4, 4, channels), dtype="uint8")
  labels = np.arange(40) % 2
  scores = rng.random(40)
  figure = example_grid_figure(
    images,
    labels,
    scores,
    ("cat", "dog", "none of it"),
    larger_is_harder=harder,
    count=3,
  )
  (axes,) = figure.axes
  assert len(axes.images) == 2 * 6
  order = np.argsort(scores)[:: 1 if harder else -1]
  wanted = []
  for row, name in enumerate(("cat", "dog")):
    own = order[labels[order] == row]
    ends = [*own[:3], *own[-3:]]
    drawn = axes.images[6 * row : 6 * row + 6]
    boxes = [image.get_extent() for image in drawn]
    assert boxes == sorted(boxes)  # from left to right
    assert len({tuple(box[2:]) for box in boxes}) == 1  # in one row
    for image, example in zip(drawn, ends, strict=True):
      shown = np.asarray(image.get_array())
      np.testing.assert_array_equal(
        shown.reshape(4, 4, channels), images[example]
      )
      assert image.get_interpolation() == "nearest"
    wanted += [name, *(f"{scores[example]:.3g}" for example in ends)]
  said = [t.get_text() for t in axes.texts]
  assert said == [*wanted, "none of it", "easiest", "hardest"]


def test_signals_are_drawn_as_lines_on_one_scale(rng):
  signals = rng.normal(size=(300, 5))
  labels, names = np.arange(300) % 100, [str(c) for c in range(100)]
  figure = example_grid_figure(
    signals, labels, np.arange(300.0), names, count=1
  )
  (axes,) = figure.axes
  drawn = axes.get_lines()[::2]  # each followed by its frame
  assert len(drawn) == 2 * 10  # the first ten classes
  # One scale for all: a box's height is 1.1 times the range of all signals.
  per_unit = [
    np.ptp(line.get_ydata()) / np.ptp(signals[example])
    for line, example in zip(drawn[:2], (0, 200), strict=True)
  ]
  assert per_unit[0] == pytest.approx(per_unit[1])
  centred = drawn[0].get_ydata() - drawn[0].get_ydata()[0]
  np.testing.assert_allclose(
    centred, per_unit[0] * (signals[0] - signals[0][0]), atol=1e-6
  )
  chosen = example_grid_figure(
    signals, labels, np.arange(300.0), names, count=1, classes=[99]
  )
  assert chosen.axes[0].texts[0].get_text() == "99"


@pytest.mark.parametrize(
  "changes,message",
  [
    ({"inputs": np.zeros((4, 3, 3, 2))}, r"got shape \(4, 3, 3, 2\)"),
    ({"inputs": np.zeros((3, 5))}, "one length, got 3, 4 and 4"),
    ({"count": 0}, "count must be at least 1, got 0"),
    ({"classes": [2]}, r"classes must be in 0\.\.1, got 2"),
  ],
)
def test_example_grids_refuse_what_they_cannot_show(changes, message):
  given = {
    "inputs": np.zeros((4, 5)),
    "labels": np.zeros(4, int),
    "scores": np.zeros(4),
    "class_names": ("a", "b"),
  }
  with pytest.raises(ValueError, match=message):
    example_grid_figure(**(given | changes))
