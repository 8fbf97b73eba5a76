"""Draws charts: Vega-Lite by way of Altair, and files of it by vl-convert.

The only module that imports either, and only when something is drawn.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd
import vl_convert
from altair.utils import schemapi
from etils import epath

from imp_jax.core.buckets import replace_file
from imp_jax.results.charts.chart import (
  COLOURS,
  SHAPES,
  Axis,
  Chart,
  Layer,
  Panel,
)

Format = Literal["png", "svg", "pdf"]
Link = Callable[[Mapping[str, Any]], str | None]

_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
_CONFIG = {
  "font": _FONT,
  "view": {"stroke": "#888888"},
  "axis": {
    "gridOpacity": 0.4,
    "labelFontSize": 11,
    "titleFontSize": 11,
    "titleFontWeight": "normal",
    "labelFlush": False,
  },
  "legend": {
    "labelFontSize": 11,
    "labelLimit": 0,
    "symbolLimit": 0,
    "symbolOpacity": 1,
    "symbolStrokeWidth": 1.6,
    "title": None,
  },
  "title": {"fontSize": 12, "fontWeight": "normal", "anchor": "start"},
  "concat": {"spacing": 16},
}
_RANGE = {"category": list(COLOURS), "symbol": list(SHAPES)}
# Letters of 8 points; legends are below, for which a column has room.
_LETTERS = {"labelFontSize": 8, "titleFontSize": 8}
_ON_PAPER = _CONFIG | {
  "axis": _CONFIG["axis"] | _LETTERS | {"tickSize": 3, "labelPadding": 2},
  "legend": _CONFIG["legend"]
  | _LETTERS
  | {"orient": "bottom", "columns": 2, "symbolSize": 40, "rowPadding": 1},
  "title": _CONFIG["title"] | {"fontSize": 8},
  "concat": {"spacing": 8},
}
# A signal of the names of series that a reader has toggled off.
_HIDDEN = {"name": "hidden", "value": []}
_PIXELS = 72  # of an inch: one is a point
_CELLS_TOLD = 200  # each by itself, to who does not see them
_MANY_POWERS = 5  # which are written as such
_LEAST_WIDTH, _TRIES = 60, 4


def spec_of(chart: Chart, link: Link | None = None) -> dict[str, Any]:
  """Returns a chart as Vega-Lite, its data within.

  The signal "hidden" holds the names of series that are not to be drawn.

  Args:
    chart: to be drawn.
    link: of a row that is a point, the address that it links to, or None.
  """
  with schemapi.debug_mode(False):  # checks of its schema: most of the time
    return _spec_of(chart, link)


def _spec_of(chart: Chart, link: Link | None) -> dict[str, Any]:
  data: dict[str, list[dict[str, Any]]] = {}
  panels = [_panel(chart, panel, data, link) for panel in chart.panels]
  whole = panels[0]
  if len(panels) > 1:
    whole = alt.concat(*panels, columns=chart.columns)
    whole = whole.resolve_scale(fill="independent")
  lines = chart.title.splitlines()
  if len(panels) == 1 and chart.panels[0].title:
    lines.append(chart.panels[0].title)
  whole = whole.properties(
    title=alt.TitleParams(lines if len(lines) > 1 else lines[0], offset=10)
  )
  spec: dict[str, Any] = whole.to_dict(validate=False)
  spec["datasets"] = data
  spec["config"] = _CONFIG
  spec["description"] = chart.alt
  spec["params"] = [_HIDDEN]
  return spec


def drawn(chart: Chart, kind: Format, width: float | None = None) -> bytes:
  """Returns a chart as a file.

  Args:
    chart: to be drawn.
    kind: of file; letters of a PDF are there as letters, their font within.
    width: of all of it, in inches, as a page has it: its letters are of 8
      points, its panels as wide as there is room, and its title is left to the
      caption. None leaves all as it is.

  Raises:
    ValueError: there is no room for its panels in that width.
  """
  spec = spec_of(chart)
  if width is not None:
    spec["config"] = _ON_PAPER
    del spec["title"]
    _fit(spec, _PIXELS * width)
  if kind == "svg":
    return vl_convert.vegalite_to_svg(spec).encode()
  if kind == "pdf":
    return vl_convert.vegalite_to_pdf(spec)
  return vl_convert.vegalite_to_png(spec, scale=2 if width is None else 4)


def altair_chart(chart: Chart) -> Any:
  """Returns a chart as Altair's, which a notebook shows and one may change."""
  return alt.Chart.from_dict(spec_of(chart))


def use_theme() -> None:
  """Makes Altair draw a notebook's own charts as a report's."""

  @alt.theme.register("imp_jax", enable=True)
  def imp_jax() -> Any:
    return alt.theme.ThemeConfig(config={**_CONFIG, "range": _RANGE})  # pyright: ignore


def png_and_svg(chart: Chart) -> tuple[bytes, bytes]:
  """Returns a chart as either file, as `drawn` does, for one specification."""
  spec = spec_of(chart)
  svg = vl_convert.vegalite_to_svg(spec).encode()
  return vl_convert.vegalite_to_png(spec, scale=2), svg


def _fit(spec: dict[str, Any], wanted: float) -> None:
  """Changes the panels' widths until the whole has one, in pixels."""
  parts = spec.get("concat", [spec])
  columns = min(spec.get("columns", 1), len(parts))
  for _ in range(_TRIES):  # what stands beside them may change with them
    svg = vl_convert.vegalite_to_svg(spec)
    there = float(svg.split('width="', 1)[1].split('"', 1)[0])
    if abs(there - wanted) < 0.5:
      return
    for part in parts:
      shape = part["height"] / part["width"]
      part["width"] += (wanted - there) / columns
      part["height"] = shape * part["width"]
      if part["width"] < _LEAST_WIDTH:
        raise ValueError(
          f"a width of {wanted / _PIXELS:.3g} inches has no room for {columns} "
          "panels and what stands beside them"
        )


def library() -> str:
  """Returns the program with which a page draws charts by itself.

  Making it takes a second: it is kept in ~/.cache/imp_jax, by its version.
  """
  cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
  version = importlib.metadata.version("vl-convert-python")
  file = cache / "imp_jax" / f"vega-{version}.js"
  with contextlib.suppress(OSError):
    return file.read_text(encoding="utf-8")
  made = vl_convert.javascript_bundle()  # pyright: ignore
  with contextlib.suppress(OSError):  # a home that cannot be written to
    replace_file(epath.Path(file), made.encode())
  return made


def _panel(
  chart: Chart,
  panel: Panel,
  data: dict[str, list[dict[str, Any]]],
  link: Link | None,
) -> Any:
  layers = [
    _layer(chart, panel, layer, _dataset(layer, data, link), link is not None)
    for layer in panel.layers
    if len(layer.table)
  ]
  if not layers:  # its axes alone
    empty = alt.Chart(alt.InlineData(values=[])).mark_point()
    layers = [empty.encode(x=_axis("x", panel.x), y=_axis("y", panel.y))]
  width, height = panel.width or chart.width, panel.height or chart.height
  sized = alt.layer(*layers).properties(width=width, height=height)
  if not (panel.x.shown or panel.y.shown):
    sized = sized.properties(view=alt.ViewBackground(stroke=None))
  if panel.title:
    sized = sized.properties(title=alt.TitleParams(panel.title, fontSize=11))
  return sized


def _dataset(
  layer: Layer, data: dict[str, list[dict[str, Any]]], link: Link | None
) -> Any:
  """A layer's rows, held once however many layers have them."""
  rows = [
    {column: _plain(value) for column, value in row.items()}
    for row in layer.table.to_dict("records")
  ]
  if layer.mark == "line":
    rows = [row | {"order": i} for i, row in enumerate(rows)]
  if layer.mark == "point" and link is not None:
    rows = [row | {"link": link(row)} for row in rows]
  name = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]
  data[name] = rows
  return alt.NamedData(name)


def _plain(value: Any) -> Any:
  """A cell as JSON has it, None where it is no finite number."""
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def _layer(
  chart: Chart, panel: Panel, layer: Layer, data: Any, linked: bool
) -> Any:
  base = alt.Chart(data)
  if "name" in layer.table:
    base = base.transform_filter("indexof(hidden, datum.name) < 0")
  told = _tooltip(layer.table)
  x, y = panel.x, panel.y
  colour = _by_name(chart, alt.Color, "colour")
  dash = _by_name(chart, alt.StrokeDash, "dash")
  if layer.mark == "line":
    dashed: dict[str, Any] = {"strokeDash": dash}
    options: dict[str, Any] = {"strokeWidth": _width(chart, layer)}
    first = chart.styles[layer.table["name"].iloc[0]]
    if first.hollow:  # a layer has one kind
      dashed, options["strokeDash"] = {}, list(first.dash) or [1, 0]
    return base.mark_line(**options).encode(
      x=_axis("x", x),
      y=_axis("y", y),
      color=colour,
      order="order:Q",
      detail=["piece:N"] if "piece" in layer.table else [],
      **dashed,
    )
  if layer.mark == "band":
    return base.mark_area(opacity=0.15).encode(
      x=_axis("x", x), y=_axis("y", y, "low"), y2="high:Q", color=colour
    )
  if layer.mark in ("point", "faint"):
    return _points(chart, layer, base).encode(
      x=_axis("x", x),
      y=_axis("y", y),
      color=colour,
      shape=_by_name(chart, alt.Shape, "shape"),
      **({} if layer.mark == "faint" else {"tooltip": told}),
      **({"href": "link:N"} if linked and layer.mark == "point" else {}),
    )
  if layer.mark == "upright":
    return base.mark_rule(strokeWidth=1.3).encode(
      x=_axis("x", x), y=_axis("y", y, "low"), y2="high:Q", color=colour
    )
  if layer.mark == "lying":
    return base.mark_rule(strokeWidth=1.3).encode(
      y=_axis("y", y), x=_axis("x", x, "low"), x2="high:Q", color=colour
    )
  if layer.mark == "level":
    return base.mark_rule(strokeWidth=_width(chart, layer)).encode(
      y=_axis("y", y), color=colour, strokeDash=dash, tooltip=told
    )
  if layer.mark == "plumb":
    return base.mark_rule(strokeWidth=_width(chart, layer)).encode(
      x=_axis("x", x), color=colour, strokeDash=dash, tooltip=told
    )
  if layer.mark == "strip":
    return base.mark_rect(opacity=0.12).encode(
      y=_axis("y", y, "low"), y2="high:Q", color=colour
    )
  if layer.mark == "bar":
    floor = y.domain[0] if y.domain else 0.0
    return base.mark_rect().encode(
      x=_axis("x", x, "left"),
      x2="right:Q",
      y=_axis("y", y),
      y2=alt.datum(floor),
      color=colour,
      tooltip=told,
    )
  if layer.mark == "cell":
    # Hundreds of cells would be told one by one.
    return base.mark_rect(aria=len(layer.table) <= _CELLS_TOLD).encode(
      x=_axis("x", x, "left"),
      x2="right:Q",
      y=_axis("y", y, "bottom"),
      y2="top:Q",
      fill=_shades(layer),
      tooltip=told,
    )
  if layer.mark == "image":
    return _images(panel, chart, layer, base)
  return _texts(chart, layer, base, x, y)


def _points(chart: Chart, layer: Layer, base: Any) -> Any:
  faint = layer.mark == "faint"
  options: dict[str, Any] = {
    "size": layer.options.get("size", 24 if faint else 34),
    "opacity": 0.35 if faint else 1.0,
    "filled": True,
    "aria": not faint,  # thousands of them would be told one by one
  }
  hollow = {n for n, style in chart.styles.items() if style.hollow}
  if hollow & set(layer.table["name"]):  # a layer has one kind
    options |= {"filled": False, "fill": "white", "strokeWidth": 1.3}
  return base.mark_point(**options)


def _width(chart: Chart, layer: Layer) -> float:
  return chart.styles[layer.table["name"].iloc[0]].width


def _images(panel: Panel, chart: Chart, layer: Layer, base: Any) -> Any:
  """All of one size, which the first one's is, in the panel's pixels."""
  sizes = []
  for axis, whole, low, high in (
    (panel.x, panel.width or chart.width, "left", "right"),
    (panel.y, panel.height or chart.height, "bottom", "top"),
  ):
    assert axis.domain is not None  # of a panel with images
    span = abs(axis.domain[1] - axis.domain[0])
    first = layer.table.iloc[0]
    sizes.append(abs(float(first[high] - first[low])) / span * whole)
  middles = {
    name: f"(datum.{low} + datum.{high}) / 2"
    for name, low, high in (("x", "left", "right"), ("y", "bottom", "top"))
  }
  return (
    base.mark_image(width=sizes[0], height=sizes[1], smooth=False)
    .transform_calculate(**middles)
    .encode(x=_axis("x", panel.x), y=_axis("y", panel.y), url="url:N")
  )


def _texts(chart: Chart, layer: Layer, base: Any, x: Axis, y: Axis) -> Any:
  side = layer.options.get("side", "left")
  shift = {"left": 6, "center": 0, "right": -6}[side]
  text = base.mark_text(
    align=side,
    dx=shift,
    dy=layer.options.get("above", 0),
    fontSize=layer.options.get("size", 10),
    **({"stroke": "white", "strokeWidth": 3} if "rim" in layer.options else {}),
  ).encode(x=_axis("x", x), y=_axis("y", y), text="text:N")
  if "name" in layer.table:
    text = text.encode(color=_by_name(chart, alt.Color, "colour"))
  return text


def _shades(layer: Layer) -> Any:
  values = layer.table["value"]
  kind = "log" if layer.options.get("logarithmic") else "linear"
  domain = [float(values.min()), float(values.max())]
  domain = list(layer.options.get("domain", domain))
  if domain[0] == domain[1]:
    kind, domain = "linear", [domain[0] - 0.5, domain[1] + 0.5]
  return alt.Fill(
    "value:Q",
    scale=alt.Scale(
      type=kind, domain=domain, scheme=layer.options.get("colours", "cividis")
    ),
    legend=alt.Legend(
      title=layer.options.get("title"), format=".3~g", gradientLength=180
    )
    if "title" in layer.options
    else None,
  )


def _by_name(chart: Chart, channel: Any, attribute: str) -> Any:
  """A channel that says which series something is of, by its style."""
  styles = chart.styles
  values = [getattr(style, attribute) for style in styles.values()]
  if attribute == "dash":
    # Lines of hollow points bring their own: a legend would dash the rims.
    values = [
      [1, 0] if style.hollow else list(style.dash) or [1, 0]
      for style in styles.values()
    ]
  legend = alt.Legend(values=chart.names) if chart.names else None
  return channel(
    "name:N",
    scale=alt.Scale(domain=list(styles), range=values),
    legend=legend,
    title=None,
  )


def _axis(which: Literal["x", "y"], axis: Axis, column: str = "") -> Any:
  """The channel of one axis."""
  scale: dict[str, Any] = {"zero": False, "reverse": axis.reverse}
  if axis.scale == "log2":
    scale |= {"type": "log", "base": 2}
  elif axis.scale != "linear":
    scale["type"] = axis.scale
  if axis.scale == "symlog":
    scale["constant"] = axis.linear_to
  if axis.domain is not None:
    scale |= {"domain": list(axis.domain), "nice": False}
  elif axis.ticks is not None and axis.scale != "linear":
    scale["nice"] = False
  if axis.scale == "log":
    scale.pop("zero")
  options: dict[str, Any] = {"title": axis.title or None}
  if axis.ticks is not None:
    options["values"] = list(axis.ticks)
  if axis.labels is not None:
    options["labelExpr"] = _labels(axis.labels)
    options["labelOverlap"] = False
  elif axis.percent:
    options["labelExpr"] = "format(100 * datum.value, '.6~r')"
  elif axis.scale != "linear":
    options["format"] = ",.6~r"
  if axis.scale == "log" and axis.ticks is None and axis.domain is not None:
    ends = [math.log10(end) for end in axis.domain]
    powers = range(math.ceil(ends[0]), math.floor(ends[1]) + 1)
    if len(powers) > 1:
      options["values"] = [10.0**k for k in powers]
    if len(powers) > _MANY_POWERS:
      options["format"] = "~e"
  made = alt.Axis(**options) if axis.shown else None
  channel = {"x": alt.X, "y": alt.Y}[which]
  return channel(
    f"{column or which}:Q",
    scale=alt.Scale(**scale),
    axis=made,
    title=axis.title or None,
  )


def _labels(labels: Mapping[float, str]) -> str:
  """An expression of Vega's: a tick's label, of several lines too."""
  said = "''"
  for tick, label in reversed(list(labels.items())):
    lines = label.splitlines() or [""]
    text = json.dumps(lines if len(lines) > 1 else lines[0])
    said = f"datum.value == {float(tick)!r} ? {text} : {said}"
  return said


def _tooltip(table: pd.DataFrame) -> list[Any]:
  """What is said of a row that a reader points at: all of it."""
  hidden = {"piece", "url"}
  return [
    alt.Tooltip(f"{column}:Q", format=".5~g")
    if pd.api.types.is_float_dtype(table[column])
    else alt.Tooltip(f"{column}:N")
    for column in table
    if column not in hidden
  ]
