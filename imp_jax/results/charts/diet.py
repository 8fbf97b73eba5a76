"""Charts of the data diet: accuracy by what was pre-trained on."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.results.accuracy import sampling_note, test_accuracy
from imp_jax.results.charts.accuracy import DENSE
from imp_jax.results.charts.chart import (
  COLOURS,
  DASHED,
  DASHES,
  GREY,
  SHAPES,
  Axis,
  Chart,
  Layer,
  Panel,
  Style,
  Table,
  density_axis,
  grid_columns,
  mean_lines,
  over_replicates,
  shared_domain,
  spread,
  whiskers,
)
from imp_jax.results.variants import has_diets, variants

# One colour per kind of subset, in every chart.
KIND_COLOURS = {
  "none": COLOURS[6],
  "all": COLOURS[0],
  "random": COLOURS[4],
  "easy": COLOURS[2],
  "hard": COLOURS[1],
  "ccs": COLOURS[3],
  "keep_list": COLOURS[5],
}
PUBLISHED = "published"
_PANEL_KINDS = ("random", "easy", "hard", "ccs", "keep_list")
_ACCURACY = "test accuracy (%)"


def kind_style(kind: str, place: int) -> Style:
  """Returns the style of a diet, by its kind and its place among those."""
  colour = KIND_COLOURS.get(kind, GREY)
  return Style(colour, DASHES[place % len(DASHES)], SHAPES[place % len(SHAPES)])


def diet_chart(
  results: pd.DataFrame,
  experiments: pd.DataFrame,
  published: pd.DataFrame | None = None,
) -> Chart | None:
  """Returns test accuracy against density, a panel per t_r and subset size.

  The paper's form: each panel has pre-training on nothing, on all data for
  that t_r, and on that size's subsets.

  Args:
    results, experiments: rows of results.csv and experiments.csv.
    published: the paper's curves, drawn thin and dashed beside ours; columns
      kind, size, rewind_step, level, mean.

  Returns:
    Means over replicates with bands of one standard deviation (ddof = 1) and
    the dense networks' mean (level 0 of "all", where there is one) as a dashed
    line; None where no experiment is on random, easy or hard examples.
  """
  rows = _diet_rows(results, experiments)
  if rows is None:
    return None
  rows = rows.query("density > 0")  # x is logarithmic
  sized = rows.query("kind in @_PANEL_KINDS")
  places = sorted(set(zip(sized["rewind_step"], sized["size"], strict=True)))
  if not places:
    return None
  drawn = []
  for step, size in places:
    here = rows.query(
      "kind == 'none' or "
      "(rewind_step == @step and (kind == 'all' or size == @size))"
    )
    table = spread(here, ["diet", "level"], "density")
    dense = here.query("level == 0 and kind == 'all'")
    dense = dense if len(dense) else here.query("level == 0")
    level = pd.DataFrame({"y": [np.mean(dense["value"])], "name": [DENSE]})
    drawn.append(
      [
        *mean_lines(table.rename(columns={"diet": "name"})),
        Layer("level", level.dropna()),
        *_published(
          [
            _published_rows(published, kind, step, size).assign(kind=kind)
            for kind in _kinds_in(published, here)
          ],
          lambda curve: 0.8 ** curve["level"],
        ),
      ]
    )
  y = Axis(_ACCURACY, percent=True, domain=shared_domain(drawn))
  x = density_axis(rows["density"])
  panels = tuple(
    Panel(f"t_r = {step}, {size:,} examples", x, y, tuple(layers))
    for (step, size), layers in zip(places, drawn, strict=True)
  )
  return _chart(
    panels, _columns(places), rows, sampling_note(results, experiments)
  )


def size_chart(
  results: pd.DataFrame,
  experiments: pd.DataFrame,
  level: int,
  published: pd.DataFrame | None = None,
) -> Chart | None:
  """Returns test accuracy against subset size at one level, a panel per t_r.

  Args:
    results, experiments: rows of results.csv and experiments.csv.
    level: of pruning.
    published: the paper's curves, drawn thin and dashed beside ours; columns
      kind, size, rewind_step, level, mean.

  Returns:
    A line per kind of subset (mean ± std, ddof = 1); pre-training on nothing
    and on all data as horizontal bands of the same height. None where no kind
    has two sizes at one t_r.
  """
  rows = _diet_rows(results, experiments)
  if rows is None:
    return None
  rows = rows.query("level == @level")
  steps = sorted(
    group["rewind_step"].iloc[0]
    for _, group in rows.groupby("rewind_step")
    if max(group.groupby("diet")["size"].nunique()) >= 2
  )
  if not steps:
    return None
  drawn, sizes = [], []
  for step in steps:
    here = rows.query("kind == 'none' or rewind_step == @step")
    flat = here.query("kind in ['none', 'all']")
    lines = here.query("kind not in ['none', 'all']")
    bands = spread(flat, ["diet"], "size").rename(columns={"diet": "name"})
    curves = [
      curve[curve["level"] == level].sort_values("size").assign(kind=kind)
      for kind in _kinds_in(published, here)
      for curve in [_published_rows(published, kind, step, None)]
      if (curve["level"] == level).any()
    ]
    level_of = [c for c in curves if c["kind"].iloc[0] in ("none", "all")]
    of_size = [c for c in curves if c["kind"].iloc[0] not in ("none", "all")]
    drawn.append(
      [
        Layer("strip", bands),
        Layer("level", bands),
        *_beside(spread(lines, ["diet", "size"], "size")),
        *_published(of_size, lambda curve: curve["size"]),
        *_published(level_of, None),
      ]
    )
    sizes.append(set(lines["size"]).union(*(c["size"] for c in of_size)))
  y = Axis(_ACCURACY, percent=True, domain=shared_domain(drawn))
  panels = tuple(
    Panel(f"t_r = {step}", _size_axis(own), y, tuple(layers))
    for step, own, layers in zip(steps, sizes, drawn, strict=True)
  )
  note = sampling_note(results, experiments)
  density = 100 * rows["density"].mean()
  what = f"level {level} ({density:.1f} % of weights), "
  return _chart(panels, grid_columns(len(panels), 3), rows, note, what)


def _diet_rows(
  results: pd.DataFrame, experiments: pd.DataFrame
) -> Table | None:
  """Test accuracies with what each experiment pre-trained on; no controls."""
  if not has_diets(experiments):
    return None
  rows = test_accuracy(results).merge(variants(experiments), on="experiment")
  order = {kind: i for i, kind in enumerate(KIND_COLOURS)}
  return rows.sort_values("kind", key=lambda k: k.map(order), kind="stable")


def _styles(rows: Table) -> dict[str, Style]:
  """Each diet's style: diets of one kind differ in line and shape."""
  styles = {}
  for kind, diets in rows.groupby("kind", sort=False)["diet"]:
    for i, diet in enumerate(diets.unique()):
      styles[diet] = kind_style(str(kind), i)
  return styles


def _beside(table: Table) -> list[Layer]:
  """Lines over sizes, side by side: no error bar hides another."""
  names = list(dict.fromkeys(table["diet"]))
  reach = table["size"].max() / table["size"].min()
  place = table["diet"].map(names.index) - (len(names) - 1) / 2
  table = table.assign(x=table["x"] * reach ** (0.01 * place))
  table = table.rename(columns={"diet": "name"})
  table = table.sort_values("x", kind="stable")
  return [Layer("line", table), *whiskers(table)]


def _size_axis(sizes: Iterable[int]) -> Axis:
  """Logarithmic, each size named."""
  ticks = sorted(sizes)
  room = (ticks[-1] / ticks[0]) ** 0.05
  return Axis(
    "examples to pre-train on",
    "log2",
    ticks=tuple(ticks),
    labels={size: f"{size:,}" for size in ticks},
    domain=(ticks[0] / room, ticks[-1] * room),
  )


def published_name(kind: str) -> str:
  """Returns the name of a published curve's series."""
  return f"{PUBLISHED}, {kind}"


def _published(
  curves: Sequence[Any], x: Callable[[Any], Any] | None
) -> list[Layer]:
  """Published means, a line each; without `x` across the panel."""
  tables = [
    pd.DataFrame({"y": curve["mean"], "name": published_name(kind)}).assign(
      **({} if x is None else {"x": x(curve)})
    )
    for curve in curves
    for kind in curve["kind"].iloc[:1]
  ]
  if not tables:
    return []
  table = pd.concat(tables, ignore_index=True)
  return [Layer("level" if x is None else "line", table)]


def _kinds_in(published: pd.DataFrame | None, rows: Table) -> list[str]:
  """The published kinds that a panel shows too."""
  if published is None:
    return []
  return [k for k in dict.fromkeys(rows["kind"]) if k in set(published["kind"])]


def _published_rows(
  published: pd.DataFrame | None,
  kind: str,
  step: int | np.integer,
  size: int | np.integer | None,
) -> Table:
  """One kind's published rows for a t_r and a size (None: all sizes)."""
  assert published is not None  # it has this kind
  rows = published.query("kind == @kind")
  if kind == "none":
    return rows
  rows = rows.query("rewind_step == @step")
  return rows if kind == "all" or size is None else rows.query("size == @size")


def _columns(places: list[tuple[int, int]]) -> int:
  """How many panels stand in a row, of the panels' (t_r, size).

  A row for each t_r where that fills a grid, else up to four panels in each.
  """
  steps, sizes = ({p[i] for p in places} for i in (0, 1))
  if 1 < len(sizes) <= 4 and len(places) == len(steps) * len(sizes):
    return len(sizes)
  return min(len(places), 4)


def _chart(
  panels: tuple[Panel, ...],
  columns: int,
  rows: Table,
  note: str,
  what: str = "",
) -> Chart:
  """All panels with one legend, in which published curves are one line."""
  styles = _styles(rows) | {DENSE: Style(GREY, DASHED, "stroke")}
  thin = {"dash": DASHED, "shape": "stroke", "width": 0.9}
  curves = {
    published_name(kind): Style(colour, **thin)
    for kind, colour in KIND_COLOURS.items()
  }
  return Chart(
    over_replicates(rows, what) + (f"\n{note}" if note else ""),
    panels,
    styles | curves,
    columns=columns,
    width=260 if columns > 1 else 400,
    height=210,
  )
