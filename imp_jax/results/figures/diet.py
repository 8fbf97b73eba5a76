"""Figures of the data diet: accuracy by what was pre-trained on."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from imp_jax.results.accuracy import sampling_note, test_accuracy
from imp_jax.results.figures.accuracy import COLOURS, set_density_axis
from imp_jax.results.variants import has_diets, variants

# One colour per kind of subset, in every figure.
KIND_COLOURS = {
  "none": COLOURS[6],
  "all": COLOURS[0],
  "random": COLOURS[4],
  "easy": COLOURS[2],
  "hard": COLOURS[1],
  "ccs": COLOURS[3],
  "keep_list": COLOURS[5],
}
Style = tuple[str, Any]  # (marker, linestyle)
# Diets of one kind, say by two scores, differ in marker and line.
STYLES: tuple[Style, ...] = (
  ("o", "-"),
  ("s", "-."),
  ("^", ":"),
  ("D", (0, (6, 1, 1, 1, 1, 1))),
)
PUBLISHED = {"linestyle": (0, (3, 1.5)), "linewidth": 0.9, "alpha": 0.9}
_PANEL_KINDS = ("random", "easy", "hard", "ccs", "keep_list")


def diet_figure(
  results: pd.DataFrame,
  experiments: pd.DataFrame,
  published: pd.DataFrame | None = None,
) -> Figure | None:
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
  panels = sorted(set(zip(sized["rewind_step"], sized["size"], strict=True)))
  if not panels:
    return None
  styles = _styles(rows)
  figure, grid = _grid(len(panels), _columns(panels))
  for axes, (step, size) in zip(grid, panels, strict=True):
    here = rows.query(
      "kind == 'none' or "
      "(rewind_step == @step and (kind == 'all' or size == @size))"
    )
    for diet, group in here.groupby("diet", sort=False):
      _density_line(axes, group, styles[str(diet)])
    dense = here.query("level == 0 and kind == 'all'")
    dense = dense if len(dense) else here.query("level == 0")
    if len(dense):
      axes.axhline(
        float(np.mean(dense["value"])),
        color="grey",
        linestyle="--",
        label="dense",
      )
    for kind in _kinds_in(published, here):
      curve = _published_rows(published, kind, step, size)
      axes.plot(
        0.8 ** curve["level"],
        curve["mean"],
        color=KIND_COLOURS[kind],
        label="published",
        **PUBLISHED,
      )
    set_density_axis(axes, rows["density"])
    axes.set_title(f"$t_r$ = {step}, {size:,} examples", fontsize=10)
  _finish(figure, grid, rows, sampling_note(results, experiments))
  return figure


def size_figure(
  results: pd.DataFrame,
  experiments: pd.DataFrame,
  level: int,
  published: pd.DataFrame | None = None,
) -> Figure | None:
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
  styles = _styles(rows)
  figure, grid = _grid(len(steps), min(len(steps), 3), height=3.6, width=4.6)
  for axes, step in zip(grid, steps, strict=True):
    here = rows.query("kind == 'none' or rewind_step == @step")
    sizes = set(here.query("kind not in ['none', 'all']")["size"])
    lines = here.query("kind not in ['none', 'all']")["diet"].unique().tolist()
    for diet, group in here.groupby("diet", sort=False):
      if diet not in lines:
        _band(axes, group)
        continue
      # Side by side, so that no error bar hides another: 1 % of the axis each.
      place = lines.index(diet) - (len(lines) - 1) / 2
      shift = (max(sizes) / min(sizes)) ** (0.01 * place)
      _size_line(axes, group, styles[str(diet)], shift)
    for kind in _kinds_in(published, here):
      curve = _published_rows(published, kind, step, None)
      curve = curve.query("level == @level").sort_values("size")
      style: dict[str, Any] = PUBLISHED | {
        "color": KIND_COLOURS[kind],
        "label": "published",
      }
      if kind in ("none", "all"):
        for mean in curve["mean"]:
          axes.axhline(mean, **style)
      else:
        axes.plot(curve["size"], curve["mean"], **style)
        sizes |= set(curve["size"])
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(sizes), [f"{s:,}" for s in sorted(sizes)])
    axes.tick_params("x", labelrotation=45 if len(sizes) > 5 else 0)
    axes.minorticks_off()
    axes.set_xlabel("examples to pre-train on")
    axes.set_title(f"$t_r$ = {step}", fontsize=10)
  density = 100 * rows["density"].mean()
  note = sampling_note(results, experiments)
  what = f", level {level} ({density:.1f} % of weights)"
  _finish(figure, grid, rows, note, what)
  return figure


def _diet_rows(
  results: pd.DataFrame, experiments: pd.DataFrame
) -> pd.DataFrame | None:
  """Test accuracies with what each experiment pre-trained on; no controls."""
  if not has_diets(experiments):
    return None
  rows = test_accuracy(results).merge(variants(experiments), on="experiment")
  order = {kind: i for i, kind in enumerate(KIND_COLOURS)}
  return rows.sort_values("kind", key=lambda k: k.map(order), kind="stable")


def _styles(rows: pd.DataFrame) -> dict[str, Style]:
  """Each diet's (marker, linestyle): by its place among those of its kind."""
  styles = {}
  for _, diets in rows.groupby("kind")["diet"]:
    for i, diet in enumerate(diets.unique()):
      styles[diet] = STYLES[i % len(STYLES)]
  return styles


def _density_line(axes: Axes, group: pd.DataFrame, style: Style) -> None:
  table = group.groupby("level").agg(
    density=("density", "mean"), mean=("value", "mean"), std=("value", "std")
  )
  spread = table["std"].fillna(0)
  colour, (marker, line) = _colour(group), style
  axes.plot(
    table["density"],
    table["mean"],
    marker=marker,
    linestyle=line,
    markersize=3.5,
    linewidth=1.4,
    color=colour,
    label=group["diet"].iloc[0],
  )
  axes.fill_between(
    table["density"],
    table["mean"] - spread,
    table["mean"] + spread,
    color=colour,
    alpha=0.15,
    linewidth=0,
  )


def _size_line(
  axes: Axes, group: pd.DataFrame, style: Style, shift: float
) -> None:
  table = group.groupby("size")["value"].agg(["mean", "std"])
  marker, line = style
  axes.errorbar(
    shift * table.index.to_numpy(),
    table["mean"],
    np.nan_to_num(table["std"]),  # one replicate has no spread
    marker=marker,
    linestyle=line,
    markersize=4,
    capsize=3,
    color=_colour(group),
    label=group["diet"].iloc[0],
  )


def _band(axes: Axes, group: pd.DataFrame) -> None:
  values, colour = group["value"], _colour(group)
  mean, spread = (
    float(np.mean(values)),
    float(np.nan_to_num(values.std(ddof=1))),
  )
  axes.axhline(mean, color=colour, linewidth=1.4, label=group["diet"].iloc[0])
  axes.axhspan(
    mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0
  )


def _colour(group: pd.DataFrame) -> str:
  return KIND_COLOURS.get(group["kind"].iloc[0], "0.5")


def _kinds_in(published: pd.DataFrame | None, rows: pd.DataFrame) -> list[str]:
  """The published kinds that a panel shows too."""
  if published is None:
    return []
  return [k for k in dict.fromkeys(rows["kind"]) if k in set(published["kind"])]


def _published_rows(
  published: pd.DataFrame | None,
  kind: str,
  step: int | np.integer,
  size: int | np.integer | None,
) -> pd.DataFrame:
  """One kind's published rows for a t_r and a size (None: all sizes)."""
  assert published is not None  # it has this kind
  rows = published.query("kind == @kind")
  if kind == "none":
    return rows
  rows = rows.query("rewind_step == @step")
  return rows if kind == "all" or size is None else rows.query("size == @size")


def _columns(panels: Sequence[tuple[int, int]]) -> int:
  """How many panels stand in a row, of the panels' (t_r, size).

  A row for each t_r where that fills a grid, else up to four panels in each.
  """
  steps, sizes = ({p[i] for p in panels} for i in (0, 1))
  if len(sizes) <= 4 and len(panels) == len(steps) * len(sizes):
    return len(sizes)
  return min(len(panels), 4)


def _grid(
  panels: int, columns: int, *, height: float = 3.0, width: float = 3.5
) -> tuple[Figure, list[Axes]]:
  """A figure and its panels, row by row; no empty ones."""
  rows = math.ceil(panels / columns)
  figure = Figure(
    figsize=(max(columns * width, 6.5), rows * height + 0.9),
    layout="constrained",
  )
  grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
  for axes in grid[panels:]:
    axes.remove()
  return figure, list(grid[:panels])


def _finish(
  figure: Figure,
  grid: Sequence[Axes],
  rows: pd.DataFrame,
  note: str,
  what: str = "",
) -> None:
  """Labels, percent ticks, a title and one legend for all panels."""
  handles = {}
  for axes in grid:
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
      handles.setdefault(label, handle)
    axes.grid(alpha=0.3)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}"))
    place = axes.get_subplotspec()
    if place is not None and place.is_first_col():
      axes.set_ylabel("test accuracy (%)")
  if "published" in handles:  # of no one kind's colour
    handles["published"] = Line2D([], [], color="0.3", **PUBLISHED)
  order = [*rows["diet"].unique(), "dense", "published"]
  handles = {name: handles[name] for name in order if name in handles}
  # An entry takes about half an inch and 0.09 in a letter, at 9 points.
  entry = 0.55 + 0.09 * max(map(len, handles))
  columns = max(1, int(figure.get_figwidth() / entry))
  figure.legend(
    list(handles.values()),
    list(handles),
    loc="outside lower center",
    ncols=min(len(handles), columns),
    fontsize=9,
  )
  figure.suptitle(
    f"{rows['study'].iloc[0]}{what}: mean ± std over "
    f"{rows['replicate'].nunique()} replicates" + (f"\n{note}" if note else ""),
    fontsize=11,
  )
