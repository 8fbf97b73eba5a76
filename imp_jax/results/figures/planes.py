"""The figure of a loss over the plane through three networks."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import LogLocator, MaxNLocator

from imp_jax.results.figures.accuracy import COLOURS

# Beyond a span of these, a linear scale shows the peaks only.
_DECADE = 10
# Beyond these, the colour bar is labelled at powers of ten only.
_WIDE = 1e4
_LEVELS = 21
# A white rim keeps markers and lines apart from any colour below them.
_RIM = "white"


def plane_figure(
  xs: Float[np.ndarray, " columns"],
  ys: Float[np.ndarray, " rows"],
  values: Float[np.ndarray, "height width"],
  corners: Float[np.ndarray, "3 2"],
  labels: Sequence[str],
  paths: Sequence[Float[np.ndarray, "_ 2"]],
  *,
  title: str,
  quantity: str,
) -> Figure:
  """Returns a quantity over a plane, with its three networks and their paths.

  Args:
    xs, ys: grid lines, rising, in L2 distance of parameters from corner a.
    values: the quantity at (ys[i], xs[j]), e.g. loss in nats. It stays white
      around one that is not finite. If all others are positive and span more
      than a decade, the contours' levels are logarithmic.
    corners: (x, y) of the networks a, b and c.
    labels: their three names.
    paths: training trajectories projected onto the plane, in order of time.
    title: of the figure.
    quantity: the colour bar's label, e.g. "test loss (nats)".

  Raises:
    ValueError: values has another shape than the grid or holds no finite
      number, or the labels are not three.
  """
  if values.shape != (len(ys), len(xs)):
    raise ValueError(
      f"values must have shape {(len(ys), len(xs))}, got {values.shape}"
    )
  if len(labels) != 3:
    raise ValueError(f"labels must be 3, got {len(labels)}")
  if not np.isfinite(values).any():
    raise ValueError("values must hold a finite number, got none")
  # Equal scales show true angles; a long thin box would waste the picture. In
  # inches, 4.25 is the axes' width and 0.55 what stands above and below them.
  shape = float(np.ptp(ys) / np.ptp(xs))
  equal = 0.4 <= shape <= 1.6
  figure = Figure(
    figsize=(6.2, 4.25 * shape + 0.55 if equal else 5), layout="constrained"
  )
  axes = figure.subplots()
  axes.set_aspect("equal" if equal else "auto")
  _contours(axes, xs, ys, values, quantity)
  for i, path in enumerate(paths):
    (line,) = axes.plot(
      *path.T, "o-", markersize=3, lw=1.2, color=COLOURS[i % len(COLOURS)]
    )
    line.set_path_effects([Stroke(linewidth=2.6, foreground=_RIM), Normal()])
  _corners(axes, corners, labels)
  axes.set_xlabel(f"distance along {labels[0]} → {labels[1]} (parameter L2)")
  axes.set_ylabel(
    f"distance along the normal\ntowards {labels[2]} (parameter L2)"
  )
  axes.set_title(title, fontsize=11)
  return figure


def _contours(
  axes: Axes,
  xs: np.ndarray,
  ys: np.ndarray,
  values: np.ndarray,
  quantity: str,
) -> None:
  """Filled contours from the least to the largest finite value, and a bar."""
  finite = values[np.isfinite(values)]
  low, high = float(finite.min()), float(finite.max())
  logarithmic = low > 0 and high > _DECADE * low
  if low == high:  # levels must rise
    low, high = low - 0.5, high + 0.5
  space = np.geomspace if logarithmic else np.linspace
  drawn = axes.contourf(
    xs,
    ys,
    np.ma.masked_invalid(values),
    levels=space(low, high, _LEVELS),
    norm=LogNorm(low, high) if logarithmic else None,
    cmap="cividis",
  )
  bar = axes.figure.colorbar(drawn, ax=axes, label=quantity)
  locator = MaxNLocator(6)
  if logarithmic:
    locator = LogLocator(subs=(1,) if high > _WIDE * low else (1, 2, 5))
  ticks = [t for t in locator.tick_values(low, high) if low <= t <= high]
  bar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks])
  bar.minorticks_off()


def _corners(axes: Axes, corners: np.ndarray, labels: Sequence[str]) -> None:
  axes.scatter(
    *corners.T, s=55, color="black", edgecolors=_RIM, linewidths=1, zorder=4
  )
  middle = corners[:, 1].mean()
  for (x, y), label in zip(corners, labels, strict=True):
    above = y > middle  # outside the triangle, where fewer paths run
    text = axes.annotate(
      label,
      (x, y),
      xytext=(0, 7 if above else -7),
      textcoords="offset points",
      ha="center",
      va="bottom" if above else "top",
      zorder=5,
    )
    text.set_path_effects([Stroke(linewidth=3, foreground=_RIM), Normal()])
