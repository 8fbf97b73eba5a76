"""Figures of scores: how they spread, agree, and repeat."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imp_jax.results.figures.accuracy import COLOURS
from imp_jax.statistics.intervals import rank_correlation

# Above this many examples single points hide one another.
MOST_POINTS = 5_000
_MOST_WHOLE_BINS = 100

Scores = Mapping[str, Float[np.ndarray, " examples"]]


def histogram_figure(scores: Scores) -> Figure:
  """Returns a histogram of each score over the examples.

  Args:
    scores: by name, one number per example. Infinite ones (never learned, in
      forgetting scores) are counted in a last bar of their own.

  Raises:
    ValueError: there is no score, or one holds NaN or -inf.
  """
  _check_scores(scores, 1)
  columns = min(len(scores), 3)
  rows = -(-len(scores) // columns)
  figure = Figure(
    figsize=(max(3.6 * columns, 4.5), 2.8 * rows + 0.3), layout="constrained"
  )
  grid = figure.subplots(rows, columns, squeeze=False).ravel()
  for axes, (name, values) in zip(grid, scores.items(), strict=False):
    _histogram(axes, np.asarray(values, np.float64))
    axes.set_title(name, fontsize=10)
    axes.set_xlabel("score")
  for axes in grid[len(scores) :]:
    axes.remove()
  for row in range(rows):
    grid[row * columns].set_ylabel("examples")
  return figure


def scatter_figure(scores: Scores) -> Figure:
  """Returns every score against every other, with their rank correlations.

  Args:
    scores: by name, at least two, one number per example in one order.
      Infinite ones are drawn beyond the largest finite one, at a tick "∞", and
      rank last.

  Returns:
    A lower-triangle matrix of panels: points, or for more than 5,000 examples
    cells shaded by the logarithm of their count. Each panel's title is
    Spearman's rank correlation (ties share their mean rank).

  Raises:
    ValueError: fewer than two scores, of unequal lengths, or with NaN or -inf.
  """
  _check_scores(scores, 2)
  names = list(scores)
  arrays = {n: np.asarray(v, np.float64) for n, v in scores.items()}
  count, side = len(arrays[names[0]]), len(names) - 1
  figure = Figure(
    figsize=(max(2.6 * side + 0.8, 4.4), 2.4 * side + 0.9),
    layout="constrained",
  )
  grid = figure.subplots(side, side, squeeze=False)
  for i, below in enumerate(names[1:]):
    for j, left in enumerate(names[:-1]):
      axes = grid[i, j]
      if j > i:
        axes.remove()
        continue
      _scatter(axes, arrays[left], arrays[below])
      rho = rank_correlation(arrays[left], arrays[below])
      said = f"ρ = {rho:+.2f}" if rho == rho else "ρ undefined"
      axes.set_title(said, fontsize=9)
      axes.tick_params(labelsize=7)
      if i == side - 1:
        axes.set_xlabel(left)
      if j == 0:
        axes.set_ylabel(below)
  figure.suptitle(
    f"Spearman's rank correlation ρ over {count:,} examples", fontsize=10
  )
  return figure


def reliability_figure(table: pd.DataFrame) -> Figure:
  """Returns how well scores repeat, against the networks they average.

  Args:
    table: columns score, networks (r), correlation (Spearman's, between two
      disjoint groups of r networks), low and high (its interval; may be NaN).
  """
  figure = Figure(figsize=(5.5, 3.8), layout="constrained")
  axes = figure.subplots()
  groups = table.sort_values("networks").groupby("score", sort=False)
  names = list(dict.fromkeys(table["score"]))
  for i, name in enumerate(names):
    group, colour = groups.get_group(name), COLOURS[i % len(COLOURS)]
    axes.plot(
      group["networks"],
      group["correlation"],
      "osv^D"[i // len(COLOURS) % 5] + "-",
      markersize=4,
      color=colour,
      label=name,
    )
    axes.fill_between(
      group["networks"],
      group["low"],
      group["high"],
      color=colour,
      alpha=0.15,
      linewidth=0,
    )
  ticks = sorted(set(table["networks"]))
  axes.set_xscale("log", base=2)
  axes.set_xticks(ticks, [str(t) for t in ticks])
  axes.minorticks_off()
  axes.set_ylim(top=1.02)
  axes.set_xlabel("networks in each of two disjoint groups")
  axes.set_ylabel("rank correlation between groups")
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)
  return figure


def _check_scores(scores: Scores, least: int) -> None:
  if len(scores) < least:
    raise ValueError(f"scores must be at least {least}, got {len(scores)}")
  lengths = {name: len(values) for name, values in scores.items()}
  if least > 1 and len(set(lengths.values())) > 1:
    raise ValueError(f"scores must be of one length, got {lengths}")
  for name, values in scores.items():
    if not len(values):
      raise ValueError(f"score {name!r} must have examples, got none")
    if not (np.asarray(values) > -np.inf).all():
      raise ValueError(
        f"score {name!r} must be numbers or +inf, got NaN or -inf"
      )


def _histogram(axes: Axes, values: np.ndarray) -> None:
  finite = values[np.isfinite(values)]
  infinite = len(values) - len(finite)
  edges = _bin_edges(finite)
  counts, _ = np.histogram(finite, edges)
  axes.bar(
    edges[:-1], counts, np.diff(edges), align="edge", color=COLOURS[0], lw=0
  )
  axes.grid(axis="y", alpha=0.3)
  axes.set_axisbelow(True)
  if not infinite:
    return
  place, width = _infinity_bar(edges)
  axes.bar([place], [infinite], width, color=COLOURS[1])
  axes.annotate(
    f"∞: {infinite:,}",
    (place, infinite),
    xytext=(0, 2),
    textcoords="offset points",
    ha="right",
    va="bottom",
    fontsize=8,
    color=COLOURS[1],
  )
  axes.margins(y=0.12)
  _tick_infinity(axes, float(edges[-1]), place)


def _bin_edges(finite: np.ndarray) -> np.ndarray:
  """Bins of whole numbers where the values are such, else 50 equal ones."""
  if not len(finite):
    return np.array([0.0, 1.0])
  low, high = finite.min(), finite.max()
  whole = (finite == np.round(finite)).all()
  if whole and high - low <= _MOST_WHOLE_BINS:
    return np.arange(low, high + 2) - 0.5
  return np.histogram_bin_edges(finite, 50)


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
  drawn, edges, ticks = [], [], []
  for values in (x, y):
    finite = np.isfinite(values)
    bins = _bin_edges(values[finite])
    place, width = _infinity_bar(bins)
    drawn.append(np.where(finite, values, place))
    ticks.append(None if finite.all() else (float(bins[-1]), place))
    if not finite.all():  # a gap, and a bin for the infinite ones
      bins = np.append(bins, [place - width / 2, place + width / 2])
    edges.append(bins)
  if len(x) > MOST_POINTS:
    # Bins of the histograms: hexagons would beat against whole numbers.
    cells, *_ = np.histogram2d(*drawn, bins=edges)
    axes.pcolormesh(
      *edges, np.where(cells > 0, cells, np.nan).T, norm="log", cmap="Blues"
    )
  else:
    size = 8 if len(x) <= 500 else 2
    axes.scatter(*drawn, s=size, alpha=0.35, color=COLOURS[0], linewidths=0)
  for which, tick in zip("xy", ticks, strict=True):
    if tick is not None:
      _tick_infinity(axes, tick[0], tick[1], which)


def _infinity_bar(edges: np.ndarray) -> tuple[float, float]:
  """Centre and width of the bar of infinite values, beyond the last bin."""
  span = float(edges[-1] - edges[0])
  return float(edges[-1]) + 0.1 * span, 0.05 * span


def _tick_infinity(
  axes: Axes, high: float, place: float, which: str = "x"
) -> None:
  """Marks a place beyond the largest finite value as infinity."""
  axis = axes.xaxis if which == "x" else axes.yaxis
  low, _ = axis.get_view_interval()
  ticks = [t for t in axis.get_majorticklocs() if low <= t <= high]
  axis.set_ticks([*ticks, place], [*(f"{t:g}" for t in ticks), "∞"])
