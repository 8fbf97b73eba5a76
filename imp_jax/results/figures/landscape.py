"""Figures of linear mode connectivity: barriers, paths, instability."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from imp_jax.results.figures.accuracy import COLOURS
from imp_jax.results.landscape import STABLE, variant_paths

_LINES = ("-", "--", "-.", ":")
_PERCENT = FuncFormatter(lambda y, _: f"{100 * y:g}")
_BINS = 40
# Panels of a figure over levels or paths: metric, label, whether a fraction.
_BARRIERS = (
  ("error_rise_above_mean", "rise of test error (%)", True),
  ("loss_midpoint", "midpoint barrier of test loss (nats)", False),
)
_ALONG = (("error", "error (%)", True), ("loss", "loss (nats)", False))


def instability_figure(table: pd.DataFrame) -> Figure | None:
  """Returns the error barrier of children against t_r, a line per variant.

  Args:
    table: from `results.landscape.instability_table`.

  Returns:
    Means with their intervals (none where unbounded); the point without
    pre-training starts every variant of its base, in black; a dashed line at
    2 %. None without rows.
  """
  if not len(table):
    return None
  figure = Figure(figsize=(6.5, 4), layout="constrained")
  axes = figure.subplots()
  positive = sorted(set(table["rewind_step"]) - {0})
  paths = variant_paths(table)
  middle = min(len(paths), 5) // 2
  for i, (variant, rows) in enumerate(paths.items()):
    colour = COLOURS[i % (len(COLOURS) - 1)]  # black is for none
    own = rows.query("rewind_step > 0")
    axes.plot(
      rows["rewind_step"],
      rows["mean"],
      linestyle=_LINES[i // (len(COLOURS) - 1) % len(_LINES)],
      color=colour if len(own) else "black",
      label=variant,
    )
    # Side by side, so that no error bar hides another.
    _interval_bars(axes, own, colour, 1.015 ** (i % 5 - middle))
  _interval_bars(axes, table.query("rewind_step == 0"), "black", 1.0)
  axes.axhline(
    STABLE, color="grey", linestyle="--", label=f"stable: {100 * STABLE:g} %"
  )
  if positive:
    axes.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
  ticks = sorted(set(table["rewind_step"]))
  axes.set_xticks(ticks, [f"{t:,}" for t in ticks])
  axes.minorticks_off()
  axes.yaxis.set_major_formatter(_PERCENT)
  axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
  axes.set_xlabel("$t_r$ (steps)")
  axes.set_ylabel("largest rise of test error\nabove the mean of the ends (%)")
  axes.set_title(
    f"{table['study'].iloc[0]}: instability, mean and interval over "
    f"{table['replicates'].max()} replicates",
    fontsize=10,
  )
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)
  return figure


def barrier_histograms(
  values: Mapping[str, Float[np.ndarray, " examples"]],
  *,
  thresholds: Sequence[float] = (0.1,),
  limits: tuple[float, float] | None = None,
) -> Figure:
  """Returns how per-example barriers spread: a panel each, on shared axes.

  Args:
    values: by label, one barrier per example, in nats.
    thresholds: in nats, drawn as dashed lines; each panel says the share of
      examples below each.
    limits: (lowest, highest) barrier shown; what lies beyond is counted in the
      bin at that end. By default 98 % of all barriers and every threshold.

  Returns:
    Shares of the examples in bins, on a logarithmic axis.

  Raises:
    ValueError: there is no label, or one has no examples or a NaN.
  """
  if not values:
    raise ValueError("values must have at least one label, got none")
  arrays = {name: np.asarray(v, np.float64) for name, v in values.items()}
  for name, array in arrays.items():
    if not len(array) or np.isnan(array).any():
      raise ValueError(f"{name!r} must have examples and no NaN")
  low, high = limits or _limits(arrays.values(), thresholds)
  edges = np.linspace(low, high, _BINS + 1)
  columns = min(len(arrays), 4)
  rows = -(-len(arrays) // columns)
  figure = Figure(
    figsize=(max(2.9 * columns, 4.5), 2.3 * rows + 0.6), layout="constrained"
  )
  grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
  for axes, (name, array) in zip(grid, arrays.items(), strict=False):
    counts, _ = np.histogram(np.clip(array, low, high), edges)
    axes.stairs(counts / len(array), edges, fill=True, color=COLOURS[0])
    for i, bar in enumerate(thresholds):
      axes.axvline(bar, color=COLOURS[1], linestyle="--", linewidth=1)
      axes.annotate(
        f"{100 * (array < bar).mean():.1f} % < {bar:g}",
        (1, 1),
        xytext=(-4, -4 - 11 * i),  # points from the upper right corner
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
        color=COLOURS[1],
      )
    axes.set_title(name, fontsize=10)
    axes.set_xlim(low, high)
    axes.grid(axis="y", alpha=0.3)
  for axes in grid[len(arrays) :]:
    axes.remove()
  grid[0].set_yscale("log")
  grid[0].yaxis.set_major_formatter(_PERCENT)
  figure.supxlabel(
    "barrier (nats); the end bins hold what lies beyond", fontsize=10
  )
  figure.supylabel("examples (%)", fontsize=10)
  return figure


def levels_figure(
  barriers: pd.DataFrame,
  densities: Mapping[int, float] | pd.Series,
  *,
  batch_stats: str = "average",
) -> Figure | None:
  """Returns barriers between networks of different levels, against level.

  Args:
    barriers: rows of barriers.csv.
    densities: by level, fractions; said below the levels.
    batch_stats: of the rows shown.

  Returns:
    Four panels, of successive levels and of the dense network and level k: the
    largest rise of test error above the mean of the ends and the midpoint
    barrier of test loss; a line per experiment, mean ± std over replicates
    (ddof = 1). None without such barriers.
  """
  kinds = {"successive": "levels k and k + 1", "from_dense": "levels 0 and k"}
  metrics = [f"{metric}_{batch_stats}" for metric, *_ in _BARRIERS]
  rows = barriers.loc[
    barriers["kind"].isin(kinds)
    & (barriers["split"] == "test")
    & barriers["metric"].isin(metrics)
  ]
  if not len(rows):
    return None
  figure = Figure(figsize=(10, 6.5), layout="constrained")
  grid = figure.subplots(2, 2, sharey="row")
  for line, metric, (_, label, fraction) in zip(
    grid, metrics, _BARRIERS, strict=True
  ):
    for axes, (kind, said) in zip(line, kinds.items(), strict=True):
      shown = rows.loc[(rows["metric"] == metric) & (rows["kind"] == kind)]
      _mean_lines(axes, shown, "level", rows)
      levels = sorted(set(shown["level"]))
      levels = levels[:: -(-len(levels) // 8)] if levels else []
      axes.set_xticks(levels, [_level_tick(k, densities) for k in levels])
      axes.axhline(0, color="grey", linewidth=0.8)
      axes.set_title(said, fontsize=10)
    if fraction:
      line[0].yaxis.set_major_formatter(_PERCENT)
    line[0].set_ylabel(label)
  for axes in grid[1]:
    axes.set_xlabel("level k (weights left, %)")
  title = _over_replicates(
    rows, f"barriers between levels (BatchNorm: {batch_stats})"
  )
  _finish(figure, grid[0, 0], title)
  return figure


def path_figure(
  paths: pd.DataFrame, *, split: str = "test", batch_stats: str = "average"
) -> Figure | None:
  """Returns error and loss along the line between two dense children of W_r.

  Args:
    paths: columns study, experiment, replicate, level, kind, pair, split,
      batch_stats, alpha, metric ("loss" or "error") and value.
    split, batch_stats: of the rows shown.

  Returns:
    Two panels, a line per experiment: means over pairs and replicates, with
    bands of one standard deviation over replicates (ddof = 1). None without
    such rows.
  """
  rows = paths.query(
    "kind == 'children' and level == 0 and split == @split"
    " and batch_stats == @batch_stats"
  )
  if not len(rows):
    return None
  figure = Figure(figsize=(9, 3.8), layout="constrained")
  panels = figure.subplots(1, 2)
  for axes, (metric, label, fraction) in zip(panels, _ALONG, strict=True):
    _mean_lines(axes, rows.loc[rows["metric"] == metric], "alpha", rows)
    if fraction:
      axes.yaxis.set_major_formatter(_PERCENT)
    axes.set_xlabel("α, from one child to the other")
    axes.set_ylabel(f"{split} {label}")
  title = _over_replicates(rows, "paths between dense children")
  _finish(figure, panels[0], title)
  return figure


def _interval_bars(
  axes: Axes, rows: pd.DataFrame, colour: str, shift: float
) -> None:
  reach = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
  axes.errorbar(
    shift * rows["rewind_step"],
    rows["mean"],
    np.where(np.isfinite(reach), reach, 0),  # one replicate has no interval
    linestyle="none",
    marker="o",
    markersize=4,
    capsize=3,
    color=colour,
  )


def _limits(
  arrays: Iterable[np.ndarray], thresholds: Sequence[float]
) -> tuple[float, float]:
  """Between the first and last percentile of all, thresholds well inside."""
  pooled = np.concatenate([*arrays, [0.0]])
  low, high = np.quantile(pooled[np.isfinite(pooled)], (0.01, 0.99))
  low, high = min(low, 0.0, *thresholds), max(high, 0.0, *thresholds)
  margin = 0.1 * (high - low) or 1.0
  return float(low - margin), float(high + margin)


def _mean_lines(
  axes: Axes, rows: pd.DataFrame, x: str, whole: pd.DataFrame
) -> None:
  """A line and a band per experiment, pairs averaged before replicates."""
  for i, name in enumerate(dict.fromkeys(whole["experiment"])):
    own = rows[rows["experiment"] == name]
    each: Any = own.groupby(["replicate", x])["value"].mean()
    table = each.groupby(x).agg(["mean", "std"])
    spread, colour = table["std"].fillna(0), COLOURS[i % len(COLOURS)]
    axes.plot(
      table.index,
      table["mean"],
      marker="o" if x == "level" else None,
      markersize=3.5,
      linestyle=_LINES[i // len(COLOURS) % len(_LINES)],
      color=colour,
      label=name,
    )
    axes.fill_between(
      table.index,
      table["mean"] - spread,
      table["mean"] + spread,
      color=colour,
      alpha=0.15,
      linewidth=0,
    )
  axes.grid(alpha=0.3)


def _level_tick(level: int, densities: Mapping[int, float] | pd.Series) -> str:
  density = densities.get(level)
  return str(level) if density is None else f"{level}\n({100 * density:.3g})"


def _finish(figure: Figure, axes: Axes, title: str) -> None:
  """A title and one legend for all panels."""
  figure.suptitle(title, fontsize=11)
  handles, labels = axes.get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside right upper", fontsize=8)


def _over_replicates(rows: pd.DataFrame, what: str) -> str:
  study, count = rows["study"].iloc[0], rows["replicate"].nunique()
  return f"{study}: {what}, mean ± std over {count} replicates"
