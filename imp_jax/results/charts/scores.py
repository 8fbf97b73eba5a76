"""Charts of scores: how they spread, agree, and repeat."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from imp_jax.results.charts.chart import (
  COLOURS,
  Axis,
  Chart,
  Layer,
  Panel,
  Style,
  grid_columns,
  mean_lines,
  series_styles,
)
from imp_jax.statistics.intervals import rank_correlation

# Above this many examples single points hide one another.
MOST_POINTS = 5_000
_MOST_WHOLE_BINS = 100
_TICKS = 5
_EXAMPLES = "examples"
_INFINITE = "infinite"
_STYLES = {
  _EXAMPLES: Style(COLOURS[0]),
  _INFINITE: Style(COLOURS[1], shape="square"),
}

Scores = Mapping[str, Float[np.ndarray, " examples"]]


def histogram_chart(scores: Scores) -> Chart:
  """Returns a histogram of each score over the examples.

  Args:
    scores: by name, one number per example. Infinite ones (never learned, in
      forgetting scores) are counted in a last bar of their own.

  Raises:
    ValueError: there is no score, or one holds NaN or -inf.
  """
  _check_scores(scores, 1)
  panels = [
    _histogram(name, np.asarray(values, np.float64))
    for name, values in scores.items()
  ]
  return Chart(
    "scores of the training examples",
    tuple(panels),
    _STYLES,
    columns=grid_columns(len(panels), 3),
    width=230,
    height=150,
    unnamed=(_EXAMPLES, _INFINITE),
  )


def scatter_chart(scores: Scores) -> Chart:
  """Returns every score against every other, with their rank correlations.

  Args:
    scores: by name, at least two, one number per example in one order.
      Infinite ones are drawn beyond the largest finite one, at a tick "∞", and
      rank last.

  Returns:
    A panel for each pair: points, or for more than 5,000 examples cells shaded
    by the logarithm of their count. Each panel's title is Spearman's rank
    correlation (ties share their mean rank).

  Raises:
    ValueError: fewer than two scores, of unequal lengths, or with NaN or -inf.
  """
  _check_scores(scores, 2)
  arrays = {n: np.asarray(v, np.float64) for n, v in scores.items()}
  names = list(arrays)
  panels = [
    _scatter(left, below, arrays[left], arrays[below])
    for i, below in enumerate(names[1:])
    for left in names[: i + 1]
  ]
  count = len(arrays[names[0]])
  return Chart(
    f"Spearman's rank correlation ρ over {count:,} examples",
    tuple(panels),
    _STYLES,
    columns=grid_columns(len(panels), 3),
    width=200,
    height=180,
    unnamed=(_EXAMPLES, _INFINITE),
  )


def reliability_chart(table: pd.DataFrame) -> Chart:
  """Returns how well scores repeat, against the networks they average.

  Args:
    table: columns score, networks (r), correlation (Spearman's, between two
      disjoint groups of r networks), low and high (its interval; may be NaN).
  """
  rows = table.assign(
    x=table["networks"], y=table["correlation"], name=table["score"]
  )
  rows = rows[["x", "y", "low", "high", "name"]]
  ticks = sorted({int(n) for n in table["networks"]})
  return Chart(
    "how well scores repeat",
    (
      Panel(
        "",
        Axis(
          "networks in each of two disjoint groups",
          "log2",
          ticks=tuple(ticks),
          labels={t: str(t) for t in ticks},
        ),
        Axis("rank correlation between groups"),
        tuple(mean_lines(rows)),
      ),
    ),
    series_styles(table["score"]),
    width=360,
    height=240,
  )


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


def _histogram(name: str, values: np.ndarray) -> Panel:
  finite = values[np.isfinite(values)]
  edges = _bin_edges(finite)
  counts, _ = np.histogram(finite, edges)
  bars = pd.DataFrame(
    {"left": edges[:-1], "right": edges[1:], "y": counts, "name": _EXAMPLES}
  )
  layers = [Layer("bar", bars)]
  if infinite := len(values) - len(finite):
    place, width = _infinity_bar(edges)
    bar = pd.DataFrame(
      {
        "left": [place - width / 2],
        "right": [place + width / 2],
        "y": [infinite],
        "name": [_INFINITE],
      }
    )
    said = bar.assign(x=place, text=f"∞: {infinite:,}")
    layers += [
      Layer("bar", bar),
      Layer("text", said, {"side": "right", "above": -7}),
    ]
  x = _axis("score", edges, bool(infinite))
  return Panel(name, x, Axis("examples"), tuple(layers))


def _bin_edges(finite: np.ndarray) -> np.ndarray:
  """Bins of whole numbers where the values are such, else 50 equal ones."""
  if not len(finite):
    return np.array([0.0, 1.0])
  low, high = finite.min(), finite.max()
  whole = (finite == np.round(finite)).all()
  if whole and high - low <= _MOST_WHOLE_BINS:
    return np.arange(low, high + 2) - 0.5
  return np.histogram_bin_edges(finite, 50)


def _scatter(left: str, below: str, x: np.ndarray, y: np.ndarray) -> Panel:
  rho = rank_correlation(x, y)
  drawn, edges, axes = [], [], []
  for title, values in ((left, x), (below, y)):
    finite = np.isfinite(values)
    bins = _bin_edges(values[finite])
    axes.append(_axis(title, bins, not finite.all()))
    place, width = _infinity_bar(bins)
    drawn.append(np.where(finite, values, place))
    if not finite.all():  # a gap, and a bin for the infinite ones
      bins = np.append(bins, [place - width / 2, place + width / 2])
    edges.append(bins)
  said = f"ρ = {rho:+.2f}" if rho == rho else "ρ undefined"
  if len(x) <= MOST_POINTS:
    points = pd.DataFrame({"x": drawn[0], "y": drawn[1], "name": _EXAMPLES})
    size = {"size": 12 if len(x) <= 500 else 4}
    return Panel(said, axes[0], axes[1], (Layer("faint", points, size),))
  counts, *_ = np.histogram2d(*drawn, bins=edges)
  (xs, ys), (i, j) = edges, np.nonzero(counts)
  cells = pd.DataFrame(
    {
      "left": xs[i],
      "right": xs[i + 1],
      "bottom": ys[j],
      "top": ys[j + 1],
      "value": counts[i, j],
    }
  )
  options = {"logarithmic": True, "colours": "blues"}
  return Panel(said, axes[0], axes[1], (Layer("cell", cells, options),))


def _infinity_bar(edges: np.ndarray) -> tuple[float, float]:
  """Centre and width of the bar of infinite values, beyond the last bin."""
  span = float(edges[-1] - edges[0])
  return float(edges[-1]) + 0.1 * span, 0.05 * span


def _axis(title: str, edges: np.ndarray, infinite: bool) -> Axis:
  """An axis on which infinite values have a place and a tick of their own."""
  if not infinite:
    return Axis(title)
  low, high = float(edges[0]), float(edges[-1])
  step = _round_step((high - low) / _TICKS)
  ticks = [
    float(k * step)
    for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)
  ]
  place, width = _infinity_bar(edges)
  labels = {tick: f"{tick:g}" for tick in ticks} | {place: "∞"}
  return Axis(
    title, ticks=tuple(labels), labels=labels, domain=(low, place + width)
  )


def _round_step(least: float) -> float:
  """The least of 1, 2, 5 × 10^k that is no less."""
  power = 10.0 ** np.floor(np.log10(least))
  return next(float(m * power) for m in (1, 2, 5, 10) if m * power >= least)
