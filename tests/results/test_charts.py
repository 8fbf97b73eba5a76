"""Charts of accuracy, diets and scores: what they show, out of their tables."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.results.charts.accuracy import DENSE, accuracy_chart
from imp_jax.results.charts.chart import SHAPES, Axis, Layer
from imp_jax.results.charts.diet import (
  KIND_COLOURS,
  diet_chart,
  published_name,
  size_chart,
)
from imp_jax.results.charts.drawing import spec_of
from imp_jax.results.charts.examples import end_examples, example_chart
from imp_jax.results.charts.scores import (
  histogram_chart,
  reliability_chart,
  scatter_chart,
)
from imp_jax.results.published import load_published
from imp_jax.results.variants import KINDS
from imp_jax.stages.controls import CONTROLS
from tests.results.shown import names, shown, texts, titles
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
# From the lowest density on, as x rises.
MEANS = [[0.64, 0.82], [0.8, 0.88], [1.0, 0.91]]
HALF = 0.02 / np.sqrt(2)  # std of (0.90, 0.92), ddof = 1


def above(rows, more):
  return [[x, pytest.approx(y + more)] for x, y in rows]


def test_accuracy_is_means_and_deviations_over_density():
  chart = accuracy_chart(RESULTS)
  assert shown(chart, "line", "none") == above(MEANS, 0)
  assert shown(chart, "line", "hard-500") == above(MEANS, 0.06)
  assert shown(chart, "point", "none") == above(MEANS, 0)
  (*_, band) = shown(chart, "band", "none", columns=("x", "low", "high"))
  assert band == [1.0, pytest.approx(0.91 - HALF), pytest.approx(0.91 + HALF)]
  # All networks' mean at level 0, controls' among them.
  dense = np.mean([*(0.91 + 0.01 * i for i in range(7)), 0.41])
  (level,) = shown(chart, "level", DENSE, columns=("y",))
  assert level == [pytest.approx(dense)]
  control = "all-20:random_mask"
  assert shown(chart, "line", control) == above(MEANS, -0.5)
  assert len(shown(chart, "upright", control, columns=("x",))) == 3
  assert not shown(chart, "band", control)
  x, y = chart.panels[0].x, chart.panels[0].y
  assert (x.scale, x.reverse, x.percent) == ("log", True, True)
  assert (y.title, y.percent) == ("test accuracy (%)", True)
  assert "mean ± std over 2 replicates" in chart.title
  order = [name for name, *_ in EXPERIMENTS]
  assert chart.names == [*order, control, DENSE]


def test_a_single_replicate_has_no_spread():
  chart = accuracy_chart(make_results({"a": [[0.9, 0.8]]}))
  bands = shown(chart, "band", columns=("y", "low", "high"))
  assert bands == [[0.8] * 3, [0.9] * 3]


def test_a_legend_names_every_series_however_many():
  chart = accuracy_chart(make_results({f"exp{i}": BASE for i in range(45)}))
  svg = spec_of(chart)
  assert len(chart.names) == 46 and svg["config"]["legend"]["symbolLimit"] == 0


@pytest.mark.parametrize("name", ["dense", "zero", "none", "published"])
def test_an_experiments_name_is_its_own(name):
  """Lines that are no experiment's have names that none can have."""
  chart = accuracy_chart(make_results({name: BASE, "other": BASE}))
  assert chart.names == [name, "other", DENSE]
  assert len({(s.colour, s.dash) for s in chart.styles.values()}) == 3


def test_few_levels_are_all_named_and_many_are_not():
  few = accuracy_chart(RESULTS).panels[0].x
  assert few.ticks == (0.64, 0.8, 1.0)
  many = accuracy_chart(make_results({"a": np.full((2, 8), 0.5)})).panels[0].x
  assert many.ticks == (1, 0.5, 0.2)
  # Room beside the first and the last level.
  assert many.domain[0] < 0.8**7 and many.domain[1] > 1


def test_every_kind_has_a_colour_of_its_own():
  assert set(KIND_COLOURS) == set(KINDS)
  assert len(set(KIND_COLOURS.values())) == len(KINDS)


def test_a_control_has_its_experiments_colour_and_a_shape_of_its_own():
  few = list(CONTROLS)[3:10]
  controls = {f"all-20:{name}": BASE for name in few}
  styles = accuracy_chart(make_results({"all-20": BASE} | controls)).styles
  own = [styles[f"all-20:{name}"] for name in few]
  assert {style.colour for style in own} == {styles["all-20"].colour}
  assert len({style.shape for style in own}) == len(few) == len(SHAPES) - 1
  assert all(style.hollow and style.dash for style in own)
  assert not styles["all-20"].hollow and styles["all-20"].shape == "circle"


def test_more_controls_than_shapes_are_left_to_the_trial():
  controls = {f"all-20:{name}": BASE for name in list(CONTROLS)[:8]}
  chart = accuracy_chart(make_results({"all-20": BASE} | controls))
  assert chart.names == ["all-20", DENSE]


def test_many_experiments_differ_in_colour_line_or_shape():
  many = accuracy_chart(make_results({str(i): BASE for i in range(18)}))
  looks = {
    (style.colour, style.dash, style.shape) for style in many.styles.values()
  }
  assert len(looks) == 19


def test_the_diet_chart_has_a_panel_per_step_and_size():
  chart = diet_chart(RESULTS, make_experiments(EXPERIMENTS))
  assert titles(chart) == [
    "t_r = 20, 125 examples",
    "t_r = 20, 500 examples",
    "t_r = 100, 500 examples",
  ]
  assert [names(chart, i) for i in range(3)] == [
    ["none", "all", "random"],
    ["none", "all", "random", "easy"],
    ["none", "all", "hard"],
  ]
  assert chart.names == ["none", "all", "random", "easy", "hard", DENSE]
  third = [
    (shown(chart, "line", name, 2), more)
    for name, more in (("none", 0), ("all", 0.02), ("hard", 0.06))
  ]
  assert all(rows == above(MEANS, more) for rows, more in third)
  # The dense line is level 0 of "all" at this t_r.
  assert shown(chart, "level", DENSE, 2, ("y",)) == [[pytest.approx(0.93)]]
  assert {chart.styles[k].colour for k in ("none", "hard")} == {
    KIND_COLOURS["none"],
    KIND_COLOURS["hard"],
  }
  # Panels can be compared: one axis for all.
  domains = {panel.y.domain for panel in chart.panels}
  ((low, high),) = domains
  assert low < 0.82 - 0.04 / np.sqrt(2) and high > 0.97 + HALF


def test_diets_of_one_kind_share_a_colour_but_no_line():
  other = {"pretrain.subset.score": "forgetting"}
  experiments = [*EXPERIMENTS, ("easy-f", 20, "easy", 500, other)]
  results = make_results({name: BASE for name, *_ in experiments})
  styles = diet_chart(results, make_experiments(experiments)).styles
  two = [styles[f"easy {score}"] for score in ("el2n", "forgetting")]
  assert {style.colour for style in two} == {KIND_COLOURS["easy"]}
  assert len({(style.shape, style.dash) for style in two}) == 2


def test_published_curves_are_thin_and_dashed_in_the_same_colour():
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
  chart = diet_chart(results, experiments, published)
  for kind in ("none", "all", "easy"):
    style = chart.styles[published_name(kind)]
    assert style.colour == KIND_COLOURS[kind] and style.dash
    assert style.width < 1
  assert len(chart.names) == 4 + 3
  rows = published.query(
    "kind == 'easy' and size == 512 and rewind_step == 200"
  )
  curve = shown(chart, "line", published_name("easy"), 0)
  wanted = np.stack([0.8**rows.level, rows["mean"]], 1)
  np.testing.assert_allclose(curve, wanted)
  sizes = size_chart(results, experiments, 2, published)
  at_512 = published.query("kind == 'easy' and size == 512 and level == 2")
  curve = dict(shown(sizes, "line", published_name("easy")))
  assert curve[512] == pytest.approx(at_512["mean"].item())
  flat = shown(sizes, "level", published_name("all"), columns=("y",))
  assert len(flat) == 1
  assert set(curve) <= set(sizes.panels[0].x.ticks)
  # A t_r that the paper has not is drawn without it.
  elsewhere = experiments.assign(
    **{"pretrain.steps": experiments["pretrain.steps"] // 2}
  )
  chart = size_chart(results, elsewhere, 2, published)
  assert not shown(chart, "line", published_name("easy"))
  assert diet_chart(results, elsewhere, published) is not None


def test_the_size_chart_shows_one_level_against_size():
  chart = size_chart(RESULTS, make_experiments(EXPERIMENTS), 2)
  assert titles(chart) == ["t_r = 20"]  # 100 has one size only
  assert names(chart, 0) == ["random", "easy"]
  # Shifted aside by half a place of 1 % of the axis.
  rows = shown(chart, "line", "random")
  np.testing.assert_allclose(
    rows, [[125 * 4**-0.005, 0.85], [500 * 4**-0.005, 0.86]]
  )
  assert [y for _, y in shown(chart, "line", "easy")] == [0.87]
  half = 0.04 / np.sqrt(2)
  (first, _) = shown(chart, "upright", "random", columns=("low", "high"))
  np.testing.assert_allclose(first, [0.85 - half, 0.85 + half])
  flat = {n: shown(chart, "level", n, columns=("y",)) for n in ("none", "all")}
  assert flat == {"none": [[0.82]], "all": [[0.83]]}  # of t_r = 20
  bands = shown(chart, "strip", columns=("low", "high"))
  np.testing.assert_allclose(
    bands, [[0.82 - half, 0.82 + half], [0.83 - half, 0.83 + half]]
  )
  assert chart.panels[0].x.ticks == (125, 500)
  assert chart.panels[0].x.scale == "log2"
  assert "level 2 (64.0 % of weights)" in chart.title


def test_charts_of_diets_are_left_out_where_there_are_none():
  experiments = make_experiments(EXPERIMENTS)
  old = experiments.drop(columns="pretrain.subset.kind")
  assert diet_chart(RESULTS, old) is None
  assert size_chart(RESULTS, old, 2) is None
  no_subset = experiments.iloc[:3]
  assert diet_chart(RESULTS, no_subset) is None
  assert size_chart(RESULTS, experiments.iloc[[0, 1, 4, 5]], 2) is None
  assert size_chart(RESULTS, experiments, 9) is None
  lone = make_results({"easy-500": [[0.9, 0.8]]})  # no std, no none, no all
  chart = diet_chart(lone, experiments)
  assert chart.names == ["easy", DENSE]


def test_histograms_count_infinite_scores_in_a_bar_of_their_own():
  counts = np.array([0, 0, 1, 3, 3, 3, np.inf, np.inf])
  chart = histogram_chart({"forgetting": counts, "el2n": counts[:6] / 7})
  assert titles(chart) == ["forgetting", "el2n"]
  bars = shown(chart, "bar", panel=0, columns=("left", "right", "y"))
  assert bars[:4] == [
    [-0.5, 0.5, 2],
    [0.5, 1.5, 1],
    [1.5, 2.5, 0],
    [2.5, 3.5, 3],
  ]
  (infinite,) = bars[4:]
  assert infinite[0] > 3.5 and infinite[2] == 2
  assert texts(chart, 0) == ["∞: 2"]
  x = chart.panels[0].x
  assert x.labels[x.ticks[-1]] == "∞" and x.domain[1] >= infinite[1]
  other = shown(chart, "bar", panel=1, columns=("y",))
  assert sum(y for (y,) in other) == 6 and not texts(chart, 1)


def test_scatters_say_the_rank_correlation():
  a = np.array([1.0, 2.0, 3.0, np.inf])
  chart = scatter_chart(
    {"a": a, "b": -np.exp(-a), "c": np.array([2.0, 2.0, 1.0, 0.0])}
  )
  # b is a's monotone image; c has ranks 3.5, 3.5, 2, 1: -4.5 / sqrt(5 * 4.5).
  assert titles(chart) == ["ρ = +1.00", "ρ = -0.95", "ρ = -0.95"]
  axes = [(panel.x.title, panel.y.title) for panel in chart.panels]
  assert axes == [("a", "b"), ("a", "c"), ("b", "c")]
  points = shown(chart, "faint", panel=0)
  assert [x for x, _ in points[:3]] == [1, 2, 3]
  x = chart.panels[0].x
  assert points[3][0] > 3 and x.ticks[-1] == points[3][0]
  assert x.labels[x.ticks[-1]] == "∞"
  assert "over 4 examples" in chart.title
  constant = scatter_chart({"a": a, "b": np.ones(4)})
  assert titles(constant) == ["ρ undefined"]


def test_many_points_are_counted_in_cells():
  rng = np.random.default_rng(0)
  counts = np.where(rng.random(6_000) < 0.1, np.inf, rng.integers(0, 3, 6_000))
  chart = scatter_chart({"a": rng.random(6_000), "b": counts})
  table = chart.table("cell")
  rows = table.groupby("bottom")["value"].sum()
  assert rows.tolist() == [
    *((counts == k).sum() for k in range(3)),
    np.isinf(counts).sum(),
  ]
  assert (table["value"] > 0).all() and not len(chart.table("faint"))


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
    scatter_chart(scores)


def test_reliability_has_a_line_per_score():
  table = pd.DataFrame(
    [
      ("el2n", 4, 0.9, 0.8, 1.0),
      ("el2n", 1, 0.5, 0.4, 0.6),
      ("g", 2, 0.7, *[np.nan] * 2),
    ],
    columns=["score", "networks", "correlation", "low", "high"],
  )
  chart = reliability_chart(table)
  assert chart.names == ["el2n", "g"]
  assert shown(chart, "line", "el2n") == [[1, 0.5], [4, 0.9]]
  assert chart.panels[0].x.labels == {1: "1", 2: "2", 4: "4"}
  bands = shown(chart, "band", "el2n", columns=("low", "high"))
  assert bands == [[0.4, 0.6], [0.8, 1.0]]
  spec_of(chart)  # NaN and all


def test_the_ends_of_a_class_by_hand():
  labels = np.array([0, 1, 0, 0, 0, 0])
  difficulty = np.array([3.0, 0.0, 1.0, np.inf, 1.0, 3.0])
  ends = [e.tolist() for e in end_examples(labels, difficulty, 0, 2)]
  assert ends == [[2, 4], [5, 3]]  # ties by position, infinity last
  ends = [e.tolist() for e in end_examples(labels, difficulty, 0, 8)]
  assert ends == [[2, 4, 0], [5, 3]]  # each once
  assert [len(e) for e in end_examples(labels, difficulty, 1, 8)] == [1, 0]


def pixels(url):
  """The image that an address is itself."""
  import base64
  import io

  from PIL import Image

  data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
  return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("channels,harder", [(1, True), (3, True), (3, False)])
def test_example_charts_show_each_classs_easiest_and_hardest(
  rng, channels, harder
):
  images = rng.integers(0, 256, (40, 4, 4, channels), dtype="uint8")
  labels = np.arange(40) % 2
  scores = rng.random(40)
  chart = example_chart(
    images,
    labels,
    scores,
    ("cat", "dog", "none of it"),
    larger_is_harder=harder,
    count=3,
  )
  table = chart.table("image")
  order = np.argsort(scores)[:: 1 if harder else -1]
  wanted = []
  for row in range(2):
    own = order[labels[order] == row]
    ends = [*own[:3], *own[-3:]]
    drawn = table.iloc[6 * row : 6 * row + 6]
    assert drawn["example"].tolist() == ends
    assert drawn["left"].is_monotonic_increasing
    assert drawn["bottom"].nunique() == 1
    for url, example in zip(drawn["url"], ends, strict=True):
      np.testing.assert_array_equal(
        pixels(url).reshape(4, 4, channels), images[example]
      )
    wanted += [f"{scores[example]:.3g}" for example in ends]
  assert len(table) == 12
  said = [*wanted, "cat", "dog", "none of it", "easiest", "hardest"]
  assert texts(chart) == said


def test_signals_are_drawn_as_lines_on_one_scale(rng):
  signals = rng.normal(size=(300, 5))
  labels, classes = np.arange(300) % 100, [str(c) for c in range(100)]
  chart = example_chart(signals, labels, np.arange(300.0), classes, count=1)
  lines = chart.table("line").query("name == 'signal'")
  assert lines["piece"].nunique() == 2 * 10  # the first ten classes
  # One scale for all: a box's height is 1.1 times the range of all signals.
  per_unit = []
  for example in (0, 200):
    y = lines.query("piece == @p", local_dict={"p": f"example {example}"})["y"]
    per_unit.append(np.ptp(y) / np.ptp(signals[example]))
    centred = y - y.iloc[0]
    moved = per_unit[0] * (signals[example] - signals[example][0])
    np.testing.assert_allclose(centred, moved, atol=1e-6)
  chosen = example_chart(
    signals, labels, np.arange(300.0), classes, count=1, classes=[99]
  )
  assert "99" in texts(chosen)


@pytest.mark.parametrize(
  "changes,message",
  [
    ({"inputs": np.zeros((4, 3, 3, 2))}, r"got shape \(4, 3, 3, 2\)"),
    ({"inputs": np.zeros((3, 5))}, "one length, got 3, 4 and 4"),
    ({"count": 0}, "count must be at least 1, got 0"),
    ({"classes": [2]}, r"classes must be in 0\.\.1, got 2"),
  ],
)
def test_example_charts_refuse_what_they_cannot_show(changes, message):
  given = {
    "inputs": np.zeros((4, 5)),
    "labels": np.zeros(4, int),
    "scores": np.zeros(4),
    "class_names": ("a", "b"),
  }
  with pytest.raises(ValueError, match=message):
    example_chart(**(given | changes))


def test_a_layer_without_its_columns_is_refused():
  with pytest.raises(ValueError, match=r"a line must have columns \['y'\]"):
    Layer("line", pd.DataFrame({"x": [1.0], "name": ["a"]}))
  assert Axis().scale == "linear"


@pytest.mark.usefixtures("painted")
def test_a_notebook_shows_charts_in_the_report_s_looks():
  import altair

  from imp_jax.results.charts.drawing import altair_chart, use_theme

  chart = accuracy_chart(RESULTS)
  shown_there = altair_chart(chart).to_dict()  # checked against its schema
  assert shown_there["datasets"] == spec_of(chart)["datasets"]
  before = altair.theme.active
  use_theme()
  try:
    own = altair.Chart(pd.DataFrame({"a": [1]})).mark_point().to_dict()
  finally:
    altair.theme.enable(before)
  config, ours = own["config"], spec_of(chart)["config"]
  assert {name: config[name] for name in ours} == ours
  assert config["range"]["category"][0] == KIND_COLOURS["all"]
