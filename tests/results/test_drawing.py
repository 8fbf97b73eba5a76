"""Charts as files: Vega-Lite that Altair checks, and what it is drawn as."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from imp_jax.results.charts.accuracy import accuracy_chart
from imp_jax.results.charts.chart import (
  Axis,
  Chart,
  Layer,
  Panel,
  Style,
)
from imp_jax.results.charts.drawing import drawn, spec_of
from tests.results.tables import make_results

pytestmark = pytest.mark.usefixtures("painted")

NAMES = ("a", "<b> & 'c'", "a:reinit")
CHART = accuracy_chart(
  make_results({n: [[0.9, 0.8], [0.7, 0.6]] for n in NAMES})
)


def letters(svg):
  """What is written in an SVG."""
  return re.findall(r"<(?:text|tspan)[^>]*>([^<]+)<", svg.decode())


def test_a_chart_is_drawn_as_each_kind_of_file():
  svg = drawn(CHART, "svg")
  said = letters(svg)
  assert "test accuracy (%)" in said and "weights left (%)" in said
  assert "hand: mean ± std over 2 replicates" in said
  assert "&lt;b&gt; &amp; &#39;c&#39;" in said or (
    "&lt;b&gt; &amp; 'c'" in said
  )
  assert "80" in said and "100" in said  # percent of accuracy and of weights
  image = Image.open(io.BytesIO(drawn(CHART, "png")))
  assert image.format == "PNG" and image.width > 800
  assert drawn(CHART, "pdf").startswith(b"%PDF")
  assert drawn(CHART, "svg") == svg  # the same each time


def test_a_control_s_line_is_dotted_and_its_points_are_not():
  svg = drawn(CHART, "svg").decode()
  paths = re.findall(r"<path[^>]*>", svg)
  dotted = [p for p in paths if 'stroke-dasharray="1.5,2"' in p]
  assert len(dotted) == 1 and "name: a:reinit" in dotted[0]
  legend = svg.split("role-legend-symbol")[1:]
  assert len(legend) == 4
  assert not any("1.5,2" in part.split("</g>")[0] for part in legend)


@pytest.mark.parametrize("width", [3.25, 6.75])
def test_a_figure_for_a_page_has_its_width_and_no_title(width):
  pdf, svg = (drawn(CHART, kind, width) for kind in ("pdf", "svg"))
  box = re.search(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) [\d.]+", pdf)
  assert box and float(box[1]) == pytest.approx(72 * width, abs=1)
  assert b"/FontFile2" in pdf  # its letters are there as letters
  sizes = {
    float(s) for s in re.findall(r'font-size="([\d.]+)px"', svg.decode())
  }
  assert sizes == {8.0}
  assert not any("replicates" in text for text in letters(svg))


def test_a_width_without_room_is_refused():
  with pytest.raises(ValueError, match=r"0\.5 inches has no room for 1 panels"):
    drawn(CHART, "pdf", 0.5)


def test_rows_that_several_layers_have_are_there_once():
  spec = spec_of(CHART)
  # Of experiments and of controls as points and as a line, and the dense one.
  assert len(spec["datasets"]) == 5 < len(CHART.panels[0].layers)
  whole = json.dumps(spec)
  assert "NaN" not in whole and "Infinity" not in whole
  assert spec["params"] == [{"name": "hidden", "value": []}]
  assert spec["description"] == CHART.alt


def test_small_numbers_stay_and_others_are_null():
  values = [1.234e-13, np.nan, np.inf]
  table = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": values, "name": "a"})
  panel = Panel("", Axis("x"), Axis("y"), (Layer("faint", table),))
  spec = spec_of(Chart("t", (panel,), {"a": Style("#000000")}))
  (rows,) = spec["datasets"].values()
  assert [row["y"] for row in rows] == [1.234e-13, None, None]


def test_a_series_that_is_toggled_off_is_gone():
  import vl_convert

  def points(hidden):
    spec = spec_of(CHART)
    spec["params"] = [{"name": "hidden", "value": hidden}]
    svg = vl_convert.vegalite_to_svg(spec)
    return svg.count('aria-roledescription="point"')

  assert points([]) == 6 and points(["a"]) == 4 and points(list(NAMES)) == 0


def test_words_for_who_does_not_see_it():
  assert CHART.alt == (
    "hand: mean ± std over 2 replicates. test accuracy (%) against weights "
    "left (%); from 70 to 80. Shown are a, <b> & 'c', a:reinit, mean of dense."
  )


MARKS = {
  "line": {"x": [1.0, 2.0], "y": [1.0, 2.0], "name": "a"},
  "band": {"x": [1.0, 2.0], "low": [0.0, 1.0], "high": [2.0, 2.0], "name": "a"},
  "point": {"x": [1.0], "y": [1.0], "name": "a"},
  "faint": {"x": [1.0], "y": [1.0], "name": "a"},
  "upright": {"x": [1.0], "low": [1.0], "high": [2.0], "name": "a"},
  "lying": {"y": [1.0], "low": [1.0], "high": [2.0], "name": "a"},
  "level": {"y": [1.0], "name": "a"},
  "plumb": {"x": [1.0], "name": "a"},
  "strip": {"low": [1.0], "high": [2.0], "name": "a"},
  "bar": {"left": [1.0], "right": [2.0], "y": [1.0], "name": "a"},
  "cell": {
    "left": [1.0],
    "right": [2.0],
    "bottom": [1.0],
    "top": [2.0],
    "value": [3.0],
  },
  "text": {"x": [1.0], "y": [1.0], "text": "word"},
  "image": {
    "left": [1.0],
    "right": [2.0],
    "bottom": [1.0],
    "top": [2.0],
    "url": "data:image/png;base64,",
  },
}


@pytest.mark.parametrize("scale", ["linear", "log", "log2", "symlog"])
@pytest.mark.parametrize("mark", MARKS)
def test_every_mark_is_drawn_on_every_scale(mark, scale):
  table = pd.DataFrame(MARKS[mark])
  axis = Axis("x", scale, domain=(0.5, 4.0))
  panel = Panel("", axis, axis, (Layer(mark, table),))
  chart = Chart("one", (panel, panel), {"a": Style("#0072B2")}, columns=2)
  svg = drawn(chart, "svg").decode()
  kinds = {"band": "area", "faint": "symbol", "point": "symbol", "text": "text"}
  kinds |= {"line": "line", "image": "image"}
  rules = dict.fromkeys(("upright", "lying", "level", "plumb"), "rule")
  kind = (kinds | rules).get(mark, "rect")
  assert f"mark-{kind} role-mark" in svg


def test_ticks_say_what_they_are_told():
  labels = {0.5: "one\nhalf", 4.0: "∞"}
  axis = Axis("x", ticks=(0.5, 4.0), labels=labels, domain=(0.0, 5.0))
  percent = Axis("y", "log", percent=True, domain=(0.0005, 2.0))
  table = pd.DataFrame({"x": [1.0], "y": [1.0], "name": "a"})
  panel = Panel("", axis, percent, (Layer("point", table),))
  said = letters(drawn(Chart("t", (panel,), {"a": Style("#000000")}), "svg"))
  assert {"half", "∞", "0.1", "1", "10", "100"} <= set(said)
  many = Axis("y", "log", domain=(1e-8, 3.0))
  panel = Panel("", axis, many, (Layer("point", table),))
  said = letters(drawn(Chart("t", (panel,), {"a": Style("#000000")}), "svg"))
  assert "1e-8" in said or "1e−8" in said


def test_a_panel_without_rows_has_its_axes_alone():
  empty = pd.DataFrame({"x": [], "y": [], "name": []})
  panel = Panel("nothing", Axis("x"), Axis("y"), (Layer("line", empty),))
  chart = Chart("t", (panel,), {})
  assert "nothing" in letters(drawn(chart, "svg"))
  assert not len(chart.table()) and chart.names == []
  assert np.isfinite(len(chart.alt))
