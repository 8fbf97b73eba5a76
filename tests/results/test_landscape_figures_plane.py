"""Figures of planes and curvature: what they show, read back from them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm, Normalize, to_hex
from matplotlib.contour import ContourSet
from matplotlib.path import Path

from imp_jax.results.figures.accuracy import COLOURS
from imp_jax.results.figures.curvature import eigenvalue_figure, spectrum_figure
from imp_jax.results.figures.planes import plane_figure

XS, YS = np.linspace(-1, 4, 6), np.linspace(0, 4, 5)
CORNERS = np.array([[0.0, 0.0], [3.0, 0.0], [1.0, 3.0]])
LABELS = ("dense", "all", "easy")
PATHS = [np.array([[1.0, 1.0], [2.0, 0.5], [3.0, 0.0]]), np.array([[0.0, 2.0]])]


def draw(values, **changes):
  given = {"corners": CORNERS, "labels": LABELS, "paths": PATHS} | changes
  return plane_figure(
    XS, YS, values, **given, title="one plane", quantity="test loss (nats)"
  )


def contours(axes):
  (drawn,) = [c for c in axes.collections if isinstance(c, ContourSet)]
  return drawn


def shade(axes, x, y):
  """The least level of the band that covers a point; None where it is white."""
  drawn = contours(axes)
  # matplotlib holds one compound path per band, with its holes.
  held = [path.contains_point((x, y)) for path in drawn.get_paths()]
  assert sum(held) <= 1
  return drawn.levels[held.index(True)] if any(held) else None


def test_a_plane_shows_the_values_where_they_are():
  values = XS[None] + 10 * YS[:, None] + 1.5  # 0.5 .. 45.5: linear in x and y
  axes, bar = draw(values - 1).axes
  drawn = contours(axes)
  assert isinstance(drawn.norm, Normalize)
  assert not isinstance(drawn.norm, LogNorm)
  np.testing.assert_allclose(drawn.levels, np.linspace(-0.5, 44.5, 21))
  width = 45 / 20
  for x, y in ((-0.7, 0.1), (3.8, 0.1), (-0.7, 3.9), (2.2, 1.7)):
    level = shade(axes, x, y)
    assert level is not None and level <= x + 10 * y + 0.5 <= level + width
  assert bar.get_ylabel() == "test loss (nats)"
  assert axes.get_title() == "one plane"
  assert axes.get_xlabel() == "distance along dense → all (parameter L2)"
  said = " ".join(axes.get_ylabel().split())
  assert said == "distance along the normal towards easy (parameter L2)"
  assert (axes.get_xlim(), axes.get_ylim()) == ((-1, 4), (0, 4))
  assert axes.get_aspect() == 1


@pytest.mark.parametrize(
  "low,high,logarithmic",
  [(0.1, 0.99, False), (0.1, 1.01, True), (-1.0, 50.0, False)],
)
def test_levels_are_logarithmic_beyond_a_decade(low, high, logarithmic):
  values = np.geomspace(1, 2, 30).reshape(5, 6) - 1
  values = low + (high - low) * values
  figure = draw(values)
  drawn = contours(figure.axes[0])
  assert isinstance(drawn.norm, LogNorm) == logarithmic
  space = np.geomspace if logarithmic else np.linspace
  np.testing.assert_allclose(drawn.levels, space(low, high, 21))
  if logarithmic:
    said = [t.get_text() for t in figure.axes[1].get_yticklabels()]
    assert said == ["0.1", "0.2", "0.5", "1"]


def test_a_wide_span_is_labelled_at_powers_of_ten():
  bar = draw(np.geomspace(0.01, 1e4, 30).reshape(5, 6)).axes[1]
  said = [t.get_text() for t in bar.get_yticklabels()]
  assert said == ["0.01", "0.1", "1", "10", "100", "1000", "10000"]


def test_values_that_are_not_finite_stay_white():
  values = np.ones((5, 6)) + YS[:, None]
  values[4, 5], values[0, 0] = np.inf, np.nan
  axes = draw(values).axes[0]
  # (-0.9, 0.75) lies between the NaN and a number, and no number is made up.
  for x, y in ((3.9, 3.9), (-0.9, 0.1), (-0.9, 0.75)):
    assert shade(axes, x, y) is None
  assert shade(axes, 0.5, 1.6) is not None
  np.testing.assert_allclose(contours(axes).levels[[0, -1]], [1, 5])


@pytest.mark.parametrize("value", [2.0, 0.52, -1.0])
def test_equal_values_are_drawn(value):
  axes = draw(np.full((5, 6), value)).axes[0]
  assert shade(axes, 1.5, 1.5) is not None
  assert not isinstance(contours(axes).norm, LogNorm)


def test_a_long_thin_box_fills_the_picture():
  figure = plane_figure(
    XS,
    YS / 10,
    np.ones((5, 6)),
    CORNERS / [1, 10],
    LABELS,
    [],
    title="",
    quantity="",
  )
  assert figure.axes[0].get_aspect() == "auto"
  assert not figure.axes[0].get_lines()


def test_corners_and_paths_are_drawn_over_the_plane():
  axes = draw(np.ones((5, 6))).axes[0]
  lines = axes.get_lines()
  assert len(lines) == 2
  for line, path, colour in zip(lines, PATHS, COLOURS, strict=False):
    np.testing.assert_array_equal(line.get_xydata(), path)
    assert line.get_color() == colour
    assert line.get_marker() == "o" and line.get_linestyle() == "-"
    assert line.get_zorder() > contours(axes).get_zorder()
  (markers,) = [c for c in axes.collections if not isinstance(c, ContourSet)]
  np.testing.assert_array_equal(markers.get_offsets(), CORNERS)
  assert {t.get_text(): t.xy for t in axes.texts} == {
    label: tuple(corner) for label, corner in zip(LABELS, CORNERS, strict=True)
  }


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


def test_spectra_are_drawn_as_given():
  grid = np.linspace(-1, 9, 50)
  densities = {
    "dense": (grid, np.exp(-(grid**2))),
    "21 %": (2 * grid[:40], np.exp(-(grid[:40] ** 2)) / 2),
  }
  (axes,) = spectrum_figure(densities).axes
  assert axes.get_yscale() == "log"
  lines = {line.get_label(): line for line in axes.get_lines()}
  assert list(lines) == list(densities)
  for (label, line), colour in zip(lines.items(), COLOURS, strict=False):
    np.testing.assert_array_equal(line.get_xdata(), densities[label][0])
    np.testing.assert_array_equal(line.get_ydata(), densities[label][1])
    assert line.get_color() == colour
  legend = [t.get_text() for t in axes.get_legend().get_texts()]
  assert legend == ["dense", "21 %"]
  low, high = axes.get_ylim()
  peak = densities["dense"][1].max()
  # A single eigenvalue of ten million is seen, a kernel's far tail is not.
  assert low < 1e-7 * peak and densities["dense"][1].min() < low and high > peak


def test_many_spectra_differ_in_colour_or_dashes():
  grid = np.linspace(0, 1, 3)
  (axes,) = spectrum_figure({str(i): (grid, grid) for i in range(9)}).axes
  looks = [(a.get_color(), a.get_linestyle()) for a in axes.get_lines()]
  assert len(set(looks)) == 9


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
    spectrum_figure(densities)


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
  figure = eigenvalue_figure(TABLE)
  hessian, fisher = figure.axes
  assert [a.get_title() for a in figure.axes] == ["hessian", "fisher"]
  drawn = {line.get_label(): line for line in hessian.get_lines()}
  assert set(drawn) == {"none", "all"}
  np.testing.assert_allclose(drawn["none"].get_xdata(), [1, 0.5, 0.25])
  np.testing.assert_allclose(drawn["none"].get_ydata(), [12, 20, 32])
  np.testing.assert_allclose(drawn["all"].get_ydata(), [5, 6])
  # std of (10, 14) and of (30, 34) is 2 sqrt(2), ddof = 1.
  half = 2 * np.sqrt(2)
  np.testing.assert_allclose(
    band(hessian.collections[0]),
    [(0.25, 32 - half, 32 + half), (0.5, 20, 20), (1, 12 - half, 12 + half)],
  )
  # A lone replicate has no spread.
  np.testing.assert_allclose(
    band(hessian.collections[1]), [(0.5, 6, 6), (1, 5, 5)]
  )
  lines = {line.get_label(): line for line in fisher.get_lines()}
  np.testing.assert_allclose(lines["all"].get_ydata(), [2, 4])
  np.testing.assert_allclose(lines["all:reinit"].get_ydata(), [7, 8])


def test_eigenvalues_stand_over_density():
  figure = eigenvalue_figure(TABLE)
  for axes in figure.axes:
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] > axes.get_xlim()[1]
    assert axes.get_xlabel() == "weights left (%)"
  assert figure.axes[0].get_xticks().tolist() == [0.25, 0.5, 1]
  assert figure.axes[0].get_ylabel() == "largest eigenvalue"
  assert "over 2 replicates" in figure.get_suptitle()


def test_an_experiment_looks_the_same_in_every_panel():
  figure = eigenvalue_figure(TABLE)
  hessian, fisher = (
    {line.get_label(): line for line in axes.get_lines()}
    for axes in figure.axes
  )
  assert hessian["none"].get_color() == COLOURS[0]
  assert hessian["all"].get_color() == fisher["all"].get_color() == COLOURS[1]
  control = fisher["all:reinit"]
  assert control.get_color() == COLOURS[1]
  assert control.get_linestyle() == ":"
  assert to_hex(control.get_markerfacecolor()) == "#ffffff"
  (legend,) = figure.legends
  said = [t.get_text() for t in legend.get_texts()]
  assert said == ["none", "all", "all:reinit"]
  colours = [line.get_color() for line in legend.get_lines()]
  assert colours == [COLOURS[0], COLOURS[1], COLOURS[1]]


def test_a_table_without_largest_eigenvalues_is_refused():
  with pytest.raises(
    ValueError, match="quantity 'eigenvalue_1' and layer 'all"
  ):
    eigenvalue_figure(TABLE[TABLE["quantity"] == "trace"])


def band(collection):
  """(density, lower, upper) along a filled band, by density."""
  (path,) = collection.get_paths()
  edges = {}
  for x, y in path.vertices[path.codes != Path.CLOSEPOLY]:
    edges.setdefault(float(x), []).append(float(y))
  return [(x, min(ys), max(ys)) for x, ys in sorted(edges.items())]
