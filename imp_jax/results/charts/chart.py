"""What a chart is: tables, and what each of their columns is drawn as.

Nothing here draws; `charts.drawing` does, and nothing else.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

Table = Any  # a DataFrame, where pandas' own types are unsure of it

# Okabe and Ito's colours, which stay apart for colour-blind readers.
COLOURS = (
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
  "#000000",
)
GREY = "#808080"
ZERO = "zero line"  # a series that no legend names; no experiment has a blank
# Lengths of strokes and gaps, in pixels.
DASHES = ((), (6, 3), (6, 2, 1.5, 2), (1.5, 2))
SOLID, DASHED, DOTTED = DASHES[0], DASHES[1], DASHES[3]
# As Vega names them; triangles point up, down and to the side.
SHAPES = (
  "circle",
  "square",
  "triangle-up",
  "diamond",
  "cross",
  "triangle-down",
  "triangle-right",
  "triangle-left",
)

# What a table's rows are drawn as, and the columns that each must have; `name`
# is the series that a row is of and what the legend says.
Mark = Literal[
  "line",  # x, y, name; joined in the rows' order
  "band",  # x, low, high, name
  "point",  # x, y, name
  "faint",  # likewise, of which there are many
  "upright",  # x, low, high, name: an interval of y
  "lying",  # y, low, high, name: an interval of x
  "level",  # y, name: a line across the panel
  "plumb",  # x, name: a line from top to bottom
  "strip",  # low, high, name: a band across the panel
  "bar",  # left, right, y, name
  "cell",  # left, right, bottom, top, value
  "text",  # x, y, text
  "image",  # left, right, bottom, top, url
]
COLUMNS: Mapping[Mark, tuple[str, ...]] = {
  "line": ("x", "y", "name"),
  "band": ("x", "low", "high", "name"),
  "point": ("x", "y", "name"),
  "faint": ("x", "y", "name"),
  "upright": ("x", "low", "high", "name"),
  "lying": ("y", "low", "high", "name"),
  "level": ("y", "name"),
  "plumb": ("x", "name"),
  "strip": ("low", "high", "name"),
  "bar": ("left", "right", "y", "name"),
  "cell": ("left", "right", "bottom", "top", "value"),
  "text": ("x", "y", "text"),
  "image": ("left", "right", "bottom", "top", "url"),
}


@dataclasses.dataclass(frozen=True)
class Style:
  """How a series looks.

  Attributes:
    colour: as "#rrggbb".
    dash: of its lines; one of DASHES, or () for none.
    shape: of its points, one of SHAPES; "stroke" where it has none.
    hollow: whether its points are.
    width: of its lines, in pixels.
  """

  colour: str
  dash: tuple[float, ...] = SOLID
  shape: str = "circle"
  hollow: bool = False
  width: float = 1.6


@dataclasses.dataclass(frozen=True)
class Axis:
  """One axis of a panel.

  Attributes:
    title: with its unit.
    scale: how values are placed.
    percent: whether fractions are shown as percentages.
    ticks: where, None for round numbers.
    labels: of ticks, where they are not the numbers; by tick.
    domain: (lowest, highest) shown; None leaves room around what there is.
    reverse: whether it falls.
    linear_to: of "symlog", where it turns logarithmic.
    shown: whether it is drawn.
  """

  title: str = ""
  scale: Literal["linear", "log", "log2", "symlog"] = "linear"
  percent: bool = False
  ticks: tuple[float, ...] | None = None
  labels: Mapping[Any, str] | None = None
  domain: tuple[float, float] | None = None
  reverse: bool = False
  linear_to: float = 1.0
  shown: bool = True


@dataclasses.dataclass(frozen=True)
class Layer:
  """Rows that are drawn alike.

  Attributes:
    mark: what each row is drawn as.
    table: with the columns that COLUMNS says, and any others to be told of.
    options: of some marks: "title", "logarithmic" and "domain" of cells'
      colours; "side"
      of texts ("left", "center", "right"), "above" of them in pixels, negative
      upwards, "size" of their letters, and "rim" of white ones below others;
      "size" of points, in square pixels.
  """

  mark: Mark
  table: Table
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    missing = set(COLUMNS[self.mark]) - set(self.table.columns)
    if missing:
      raise ValueError(f"a {self.mark} must have columns {sorted(missing)}")


@dataclasses.dataclass(frozen=True)
class Panel:
  """One pair of axes and what is drawn on it, the first layer lowest.

  Attributes:
    title: "" for none.
    x, y: its axes.
    layers: of which those without rows are not drawn.
    width, height: in pixels; 0 is the chart's.
  """

  title: str
  x: Axis
  y: Axis
  layers: tuple[Layer, ...]
  width: int = 0
  height: int = 0


@dataclasses.dataclass(frozen=True)
class Chart:
  """A chart.

  Attributes:
    title: what it shows, of which study; a line, or several.
    panels: row by row.
    styles: of each series, by its name, in the legend's order.
    columns: how many panels stand in a row.
    width, height: of a panel, in pixels.
    unnamed: series that the legend leaves out.
  """

  title: str
  panels: tuple[Panel, ...]
  styles: Mapping[str, Style]
  columns: int = 1
  width: int = 420
  height: int = 280
  unnamed: tuple[str, ...] = ()

  def table(self, mark: Mark | None = None) -> Table:
    """Returns all that is drawn: the rows of all panels and layers.

    Args:
      mark: of the layers; all if None.

    Returns:
      Columns panel (its title) and mark, and those of the layers.
    """
    parts = [
      layer.table.assign(panel=panel.title, mark=layer.mark)
      for panel in self.panels
      for layer in panel.layers
      if mark in (None, layer.mark) and len(layer.table)
    ]
    if not parts:
      return pd.DataFrame(columns=["panel", "mark"])
    table = pd.concat(parts, ignore_index=True)
    first = ["panel", "mark"]
    return table[first + [c for c in table if c not in first]]

  @property
  def names(self) -> list[str]:
    """The series that are drawn, in the legend's order."""
    drawn = {
      name
      for panel in self.panels
      for layer in panel.layers
      if "name" in layer.table
      for name in layer.table["name"]
    }
    return [n for n in self.styles if n in drawn and n not in self.unnamed]

  @property
  def alt(self) -> str:
    """What it shows, in words, for who does not see it."""
    said = [" ".join(self.title.split())]
    for panel in self.panels:
      axes = [a.title for a in (panel.y, panel.x) if a.shown and a.title]
      parts = [panel.title, " against ".join(axes), _extent(panel)]
      said.append("; ".join(" ".join(p.split()) for p in parts if p))
    if self.names:
      said.append(f"Shown are {', '.join(self.names)}")
    return ". ".join(said) + "."


def _extent(panel: Panel) -> str:
  """From where to where the values of a panel's lines and points go."""
  values = [
    np.asarray(layer.table["y"], np.float64)
    for layer in panel.layers
    if layer.mark in ("line", "point") and panel.y.shown
  ]
  found = np.concatenate(values) if values else np.zeros(0)
  found = found[np.isfinite(found)]
  if not len(found):
    return ""
  scale = 100 if panel.y.percent else 1
  return f"from {scale * found.min():.3g} to {scale * found.max():.3g}"


def spread(rows: Table, by: Sequence[str], x: str) -> Table:
  """Returns means over replicates, with a standard deviation either side.

  Args:
    rows: with columns replicate and value, and those named here; `x` is
      averaged within a group.
    by: columns whose values are equal within a group, in which order.
    x: the column that becomes x.

  Returns:
    A row per group: `by`, x, y, low, high (y ± std, ddof = 1; of one replicate
    y alone), replicates and the first one's experiment.
  """
  of_group = {
    "x": (x, "mean"),
    "y": ("value", "mean"),
    "std": ("value", "std"),
    "replicates": ("replicate", "nunique"),
  }
  if "experiment" in rows and "experiment" not in by:
    of_group["experiment"] = ("experiment", "first")
  table: Any = rows.groupby(list(by), sort=False).agg(**of_group).reset_index()
  around = table["std"].fillna(0.0)
  table = table.assign(low=table["y"] - around, high=table["y"] + around)
  return table.drop(columns="std")


def mean_lines(table: Table, *, points: bool = True) -> list[Layer]:
  """Returns a line, a band and points of each series.

  Args:
    table: of `spread`, with a column name.
    points: whether there are any.
  """
  table = table.sort_values(["x"], kind="stable")
  # The legend looks like the lowest layer: a line.
  layers = [Layer("line", table), Layer("band", table)]
  return layers + ([Layer("point", table)] if points else [])


def whiskers(table: Table, *, lying: bool = False) -> list[Layer]:
  """Returns a point and its interval of each row.

  Args:
    table: with x, y, low, high and name; an interval without ends is none.
    lying: whether it is one of x.
  """
  reached = table[np.isfinite(table["low"]) & np.isfinite(table["high"])]
  return [
    Layer("lying" if lying else "upright", reached),
    Layer("point", table),
  ]


def density_axis(densities: Any) -> Axis:
  """Returns the axis of densities: logarithmic, from all weights down.

  Args:
    densities: fractions, above 0; few are all named.
  """
  levels = {float(f"{d:.2g}") for d in densities}
  round_ones = (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
  ticks = sorted(levels) if len(levels) <= _FEW else round_ones
  shown = tuple(t for t in ticks if t >= min(levels) * 0.95)
  least, most = min(densities), max(densities)
  room = (most / least) ** 0.03 if most > least else 1.1
  return Axis(
    "weights left (%)",
    "log",
    percent=True,
    ticks=shown,
    domain=(least / room, most * room),
    reverse=True,
  )


_FEW = 4  # so many levels leave room for the density of each


def shared_domain(
  panels: Iterable[Sequence[Layer]], axis: Literal["x", "y"] = "y"
) -> tuple[float, float] | None:
  """Returns what all panels' values span, with room around; None of none."""
  columns = {"y": ("y", "low", "high"), "x": ("x",)}[axis]
  values = [
    np.asarray(layer.table[column], np.float64)
    for layers in panels
    for layer in layers
    for column in columns
    if column in layer.table and layer.mark not in ("lying", "bar", "cell")
  ]
  found = np.concatenate([*values, np.zeros(0)])
  found = found[np.isfinite(found)]
  if not len(found):
    return None
  room = 0.04 * float(np.ptp(found)) or 0.05 * abs(float(found[0])) or 0.05
  return float(found.min()) - room, float(found.max()) + room


def series_styles(
  names: Iterable[str], colours: Sequence[str] = COLOURS
) -> dict[str, Style]:
  """Returns a style of each series: all colours, then other lines too."""
  return {
    name: Style(
      colours[i % len(colours)],
      DASHES[i // len(colours) % len(DASHES)],
      SHAPES[i // len(colours) % len(SHAPES)],
    )
    for i, name in enumerate(dict.fromkeys(names))
  }


def over_replicates(rows: Table, what: str) -> str:
  """Returns a title that says of which study and of how many replicates."""
  study, count = rows["study"].iloc[0], rows["replicate"].nunique()
  return f"{study}: {what}mean ± std over {count} replicates"


def grid_columns(panels: int, most: int = 4) -> int:
  """Returns how many of so many panels stand in a row, rows about full."""
  rows = math.ceil(panels / most)
  return math.ceil(panels / rows)
