"""Charts of planes and curvature: what they show, out of their tables."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.core.artefacts import Artefact
from imp_jax.core.index import Entry
from imp_jax.probes.planes import PLANE_COLUMNS, planes_table
from imp_jax.results.charts.chart import COLOURS
from imp_jax.results.charts.curvature import eigenvalue_chart, spectrum_chart
from imp_jax.results.charts.drawing import spec_of
from imp_jax.results.charts.planes import (
  plane_chart,
  planes_in,
  table_plane_chart,
)
from tests.results.shown import shown, titles

XS, YS = np.linspace(-1, 4, 6), np.linspace(0, 4, 5)
CORNERS = np.array([[0.0, 0.0], [3.0, 0.0], [1.0, 3.0]])
LABELS = ("dense", "all", "easy")
PATHS = [np.array([[1.0, 1.0], [2.0, 0.5], [3.0, 0.0]]), np.array([[0.0, 2.0]])]


def draw(values, **changes):
  given = {"corners": CORNERS, "labels": LABELS, "paths": PATHS} | changes
  return plane_chart(
    XS, YS, values, **given, title="one plane", quantity="test loss (nats)"
  )


def cells(chart):
  (layer,) = [x for x in chart.panels[0].layers if x.mark == "cell"]
  return layer


def shade(chart, x, y):
  """The value of the cell that a point is in; None where it is white."""
  table = cells(chart).table
  held = table.query("left <= @x < right and bottom <= @y < top")
  assert len(held) <= 1
  return held["value"].item() if len(held) else None


def test_a_plane_shows_the_values_where_they_are():
  values = XS[None] + 10 * YS[:, None]
  chart = draw(values)
  for i, y in enumerate(YS):
    for j, x in enumerate(XS):
      assert shade(chart, x, y) == values[i, j]
      assert shade(chart, x + 0.49, y - 0.49) == values[i, j]
  options = cells(chart).options
  assert options == {"title": "test loss (nats)", "logarithmic": False}
  (panel,) = chart.panels
  assert chart.title == "one plane"
  assert panel.x.title == "distance along dense → all (parameter L2)"
  assert panel.y.title == (
    "distance along the normal towards easy (parameter L2)"
  )
  assert (panel.x.domain, panel.y.domain) == ((-1.5, 4.5), (-0.5, 4.5))
  # One scale for both: true angles.
  assert panel.height / panel.width == pytest.approx(5 / 6, abs=0.01)
  spec_of(chart)


@pytest.mark.parametrize(
  "low,high,logarithmic",
  [(0.1, 0.99, False), (0.1, 1.01, True), (-1.0, 50.0, False)],
)
def test_colours_are_logarithmic_beyond_a_decade(low, high, logarithmic):
  values = np.geomspace(1, 2, 30).reshape(5, 6) - 1
  chart = draw(low + (high - low) * values)
  assert cells(chart).options["logarithmic"] == logarithmic
  drawn = [layer["encoding"] for layer in spec_of(chart)["layer"]]
  (fill,) = [encoding["fill"] for encoding in drawn if "fill" in encoding]
  assert fill["scale"]["type"] == ("log" if logarithmic else "linear")
  np.testing.assert_allclose(fill["scale"]["domain"], [low, high])


def test_values_that_are_not_finite_stay_white():
  values = np.ones((5, 6)) + YS[:, None]
  values[4, 5], values[0, 0] = np.inf, np.nan
  chart = draw(values)
  for x, y in ((3.9, 3.9), (-0.9, 0.1)):
    assert shade(chart, x, y) is None
  assert shade(chart, 0.5, 1.6) == 3
  assert len(cells(chart).table) == 28
  spec_of(chart)


@pytest.mark.parametrize("value", [2.0, 0.52, -1.0])
def test_equal_values_are_drawn(value):
  chart = draw(np.full((5, 6), value))
  assert shade(chart, 1.5, 1.5) == value
  assert not cells(chart).options["logarithmic"]
  spec_of(chart)


def test_a_long_thin_box_fills_the_picture():
  chart = plane_chart(
    XS,
    YS / 10,
    np.ones((5, 6)),
    CORNERS / [1, 10],
    LABELS,
    [],
    title="",
    quantity="",
  )
  (panel,) = chart.panels
  assert panel.height == panel.width
  assert not len(chart.table("line"))


def test_corners_and_paths_are_drawn_over_the_plane():
  chart = draw(np.ones((5, 6)))
  for i, path in enumerate(PATHS):
    name = f"path {i + 1}"
    assert shown(chart, "line", name) == path.tolist()
    assert shown(chart, "point", name) == path.tolist()
    assert chart.styles[name].colour == COLOURS[i]
  assert shown(chart, "point", "networks") == CORNERS.tolist()
  marks = [layer.mark for layer in chart.panels[0].layers]
  assert marks[0] == "cell" and marks.index("line") > 0
  said = chart.table("text").drop_duplicates("text")
  assert {t.text: [t.x, t.y] for t in said.itertuples()} == dict(
    zip(LABELS, CORNERS.tolist(), strict=True)
  )


def make_planes():
  """Two planes' artefacts, with three coordinates of what lies off them."""
  shape = (len(YS), len(XS))
  found = []
  for i, name in enumerate(("none", "all")):
    arrays = {
      "xs": XS,
      "ys": YS,
      "loss": np.arange(30.0).reshape(shape) + i,
      "error": np.full(shape, 0.5),
      "corners": CORNERS,
      "path.0": np.column_stack([PATHS[0], [7.0] * 3]),
      "path.1": np.column_stack([PATHS[1], [7.0]]),
    }
    entry = Entry(name, "plane", 0, ", ".join(LABELS), 0, {})
    found.append((entry, Artefact({}, arrays=arrays)))
  return found


def test_planes_are_drawn_from_their_table(tmp_path):
  """As from their arrays, also after they were a file."""
  made = planes_table("study", make_planes())
  assert list(made) == list(PLANE_COLUMNS) and len(made) == 2 * (30 + 3 + 4)
  first = made.iloc[[0, 6, 30, 33]].drop(columns=["study", "replicate"])
  assert first.fillna("none").to_numpy().tolist() == [
    ["none", "dense, all, easy", "grid", -1.0, 0.0, 0.0, 0.5],
    ["none", "dense, all, easy", "grid", -1.0, 1.0, 6.0, 0.5],
    ["none", "dense, all, easy", "dense", 0.0, 0.0, "none", "none"],
    ["none", "dense, all, easy", "path.0", 1.0, 1.0, "none", "none"],
  ]
  made.to_csv(tmp_path / "planes.csv", index=False)
  again = planes_in(pd.read_csv(tmp_path / "planes.csv"))
  assert list(again) == ["none_dense_all_easy", "all_dense_all_easy"]
  for i, rows in enumerate(again.values()):
    chart = table_plane_chart(rows)
    drawn = plane_chart(
      XS,
      YS,
      np.arange(30.0).reshape(5, 6) + i,
      CORNERS,
      LABELS,
      PATHS,
      title=f"{('none', 'all')[i]}, replicate 0",
      quantity="training loss (nats)",
    )
    assert spec_of(chart) == spec_of(drawn)


@pytest.mark.parametrize(
  "values,changes,message",
  [
    (np.ones((6, 5)), {}, r"values must have shape \(5, 6\), got \(6, 5\)"),
    (np.full((5, 6), np.nan), {}, "values must hold a finite number"),
    (np.ones((5, 6)), {"labels": ("a", "b")}, "labels must be 3, got 2"),
  ],
)
def test_planes_that_cannot_be_drawn_are_refused(values, changes, message):
  with pytest.raises(ValueError, match=message):
    draw(values, **changes)


def test_spectra_are_drawn_as_given_and_no_kernels_tail():
  grid = np.linspace(-1, 9, 50)
  densities = {
    "dense": (grid, np.exp(-(grid**2))),
    "21 %": (2 * grid[:40], np.exp(-(grid[:40] ** 2)) / 2),
  }
  chart = spectrum_chart(densities)
  axis = chart.panels[0].y
  peak = densities["dense"][1].max()
  low, high = axis.domain
  # A single eigenvalue of ten million is seen, a kernel's far tail is not.
  assert axis.scale == "log" and low < 1e-7 * peak and high > peak
  assert densities["dense"][1].min() < low
  for name, (xs, ys) in densities.items():
    wanted = np.stack([xs, ys], 1)[ys >= low]
    np.testing.assert_allclose(shown(chart, "line", name), wanted, atol=1e-9)
  assert chart.names == ["dense", "21 %"]
  # Two peaks with nothing between are two pieces, that no line joins.
  two = np.exp(-((grid - 0) ** 2) * 9) + np.exp(-((grid - 8) ** 2) * 9)
  assert spectrum_chart({"a": (grid, two)}).table()["piece"].nunique() == 2


def test_many_spectra_differ_in_colour_or_dashes():
  grid = np.linspace(0, 1, 3)
  styles = spectrum_chart({str(i): (grid, grid) for i in range(9)}).styles
  assert len({(s.colour, s.dash) for s in styles.values()}) == 9


@pytest.mark.parametrize(
  "densities,message",
  [
    ({}, "densities must be at least 1, got 0"),
    ({"a": (np.ones(3), np.ones(2))}, "'a' must be as many as .* got 2 and 3"),
    ({"a": (np.ones(3), np.zeros(3))}, "finite and positive, got peak 0"),
    (
      {"a": (np.ones(3), np.full(3, np.nan))},
      "finite and positive, got peak n",
    ),
  ],
)
def test_spectra_that_cannot_be_drawn_are_refused(densities, message):
  with pytest.raises(ValueError, match=message):
    spectrum_chart(densities)


def make_table(values):
  """Rows of {(experiment, matrix): [replicates][levels]}, and some others."""
  rows = [
    (experiment, replicate, level, 0.5**level, matrix, layer, quantity, number)
    for (experiment, matrix), replicates in values.items()
    for replicate, levels in enumerate(replicates)
    for level, value in enumerate(levels)
    for layer, quantity, number in (
      ("all", "eigenvalue_1", value),
      ("all", "trace", -1.0),
      ("all", "eigenvalue_2", -1.0),
      ("head/kernel", "eigenvalue_1", -1.0),
    )
  ]
  columns = "experiment replicate level density matrix layer quantity value"
  return pd.DataFrame(rows, columns=columns.split())


TABLE = make_table(
  {
    ("none", "hessian"): [[10.0, 20.0, 30.0], [14.0, 20.0, 34.0]],
    ("all", "hessian"): [[5.0, 6.0]],
    ("all", "fisher"): [[1.0, 2.0], [3.0, 6.0]],
    ("all:reinit", "fisher"): [[7.0, 8.0], [7.0, 8.0]],
  }
)


def test_eigenvalues_are_means_and_deviations_by_hand():
  chart = eigenvalue_chart(TABLE)
  assert titles(chart) == ["hessian", "fisher"]
  assert shown(chart, "line", "none", 0) == [[0.25, 32], [0.5, 20], [1, 12]]
  assert shown(chart, "line", "all", 0) == [[0.5, 6], [1, 5]]
  # std of (10, 14) and of (30, 34) is 2 sqrt(2), ddof = 1.
  half = 2 * np.sqrt(2)
  columns = ("x", "low", "high")
  np.testing.assert_allclose(
    shown(chart, "band", "none", 0, columns),
    [(0.25, 32 - half, 32 + half), (0.5, 20, 20), (1, 12 - half, 12 + half)],
  )
  # A lone replicate has no spread.
  lone = shown(chart, "band", "all", 0, columns)
  assert lone == [[0.5, 6, 6], [1, 5, 5]]
  assert shown(chart, "line", "all", 1) == [[0.5, 4], [1, 2]]
  assert shown(chart, "line", "all:reinit", 1) == [[0.5, 8], [1, 7]]
  assert "over 2 replicates" in chart.title
  spec_of(chart)


def test_eigenvalues_stand_over_density():
  panels = eigenvalue_chart(TABLE).panels
  for panel in panels:
    assert (panel.x.scale, panel.x.reverse) == ("log", True)
    assert panel.x.title == "weights left (%)"
    assert panel.y.title == "largest eigenvalue"
  assert panels[0].x.ticks == (0.25, 0.5, 1.0)


def test_a_control_looks_like_its_experiment_but_for_line_and_points():
  chart = eigenvalue_chart(TABLE)
  assert chart.names == ["none", "all", "all:reinit"]
  styles = chart.styles
  assert styles["none"].colour == COLOURS[0]
  assert styles["all"].colour == styles["all:reinit"].colour == COLOURS[1]
  assert styles["all:reinit"].hollow and styles["all:reinit"].dash


def test_a_table_without_largest_eigenvalues_is_refused():
  with pytest.raises(
    ValueError, match="quantity 'eigenvalue_1' and layer 'all"
  ):
    eigenvalue_chart(TABLE[TABLE["quantity"] == "trace"])
