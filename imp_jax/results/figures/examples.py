"""Figures of examples: the easiest and the hardest of each class."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imp_jax.results.figures.accuracy import COLOURS

DEFAULT_CLASSES = 10  # rows, where a data set has more


def example_grid_figure(
  inputs: np.ndarray,
  labels: Integer[np.ndarray, " examples"],
  scores: Float[np.ndarray, " examples"],
  class_names: Sequence[str],
  *,
  larger_is_harder: bool = True,
  count: int = 8,
  classes: Sequence[int] | None = None,
) -> Figure:
  """Returns each class's easiest and hardest examples, a row per class.

  From left to right the difficulty rises; the number below an example is its
  score. Equally difficult examples stand in the order of their positions. A
  class of fewer than 2 * count examples shows each once.

  Args:
    inputs: images uint8[examples, height, width, 1 or 3] or signals
      float[examples, length].
    labels: int[examples].
    scores: one per example.
    class_names: one per class.
    larger_is_harder: of the scores; otherwise smaller is.
    count: examples at either end.
    classes: which; the first 10 if None.

  Raises:
    ValueError: inputs are neither images nor signals, lengths differ, or a
      class or the count is out of range.
  """
  inputs, scores = np.asarray(inputs), np.asarray(scores)
  is_image = inputs.ndim == 4 and inputs.shape[3] in (1, 3)
  if not is_image and inputs.ndim != 2:
    raise ValueError(
      "inputs must be images [n, height, width, 1 or 3] or signals "
      f"[n, length], got shape {inputs.shape}"
    )
  if not len(inputs) == len(labels) == len(scores):
    raise ValueError(
      "inputs, labels and scores must be of one length, got "
      f"{len(inputs)}, {len(labels)} and {len(scores)}"
    )
  if count < 1:
    raise ValueError(f"count must be at least 1, got {count}")
  if classes is None:
    classes = range(min(len(class_names), DEFAULT_CLASSES))
  for c in classes:
    if not 0 <= c < len(class_names):
      raise ValueError(f"classes must be in 0..{len(class_names) - 1}, got {c}")
  difficulty = scores if larger_is_harder else -scores
  # One axes in inches, for 160 of them would take seconds to draw.
  left, gap, top, wide, high = 1.1, 0.3, 0.35, 0.62, 0.78
  size = (left + 2 * count * wide + gap + 0.1, top + len(classes) * high + 0.1)
  figure = Figure(figsize=size)
  axes = figure.add_axes((0, 0, 1, 1))
  low, span = float(inputs.min()), float(np.ptp(inputs)) or 1.0
  for row, c in enumerate(classes):
    y = size[1] - top - (row + 1) * high
    axes.text(
      left - 0.1, y + 0.5, class_names[c], ha="right", va="center", fontsize=9
    )
    easiest, hardest = end_examples(labels, difficulty, c, count)
    columns = [
      *range(len(easiest)),
      *range(2 * count - len(hardest), 2 * count),
    ]
    for column, example in zip(columns, [*easiest, *hardest], strict=True):
      x = left + column * wide + (gap if column >= count else 0)
      box = (x + 0.02, x + wide - 0.02, y + 0.18, y + 0.18 + wide - 0.04)
      if is_image:
        axes.imshow(
          inputs[example],
          cmap="gray",
          vmin=0,
          vmax=255,
          interpolation="nearest",
          extent=box,
        )
      else:
        _draw_signal(axes, (inputs[example] - low) / span, box)
      axes.text(
        x + wide / 2,
        y + 0.15,
        _short(float(scores[example])),
        ha="center",
        va="top",
        fontsize=6,
      )
  for name, first in (("easiest", 0.0), ("hardest", count * wide + gap)):
    middle = left + first + count * wide / 2
    axes.text(middle, size[1] - top / 2, name, ha="center", va="center")
  axes.set(xlim=(0, size[0]), ylim=(0, size[1]), aspect="auto")
  axes.axis("off")
  return figure


def end_examples(
  labels: Integer[np.ndarray, " examples"],
  difficulty: Float[np.ndarray, " examples"],
  label: int,
  count: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the positions of a class's easiest and hardest examples.

  Larger is harder, infinite ones are hardest. Both in rising difficulty, ties
  by position; up to `count` each, none in both.
  """
  members = np.flatnonzero(np.asarray(labels) == label)
  order = members[np.argsort(difficulty[members], kind="stable")]
  hardest = min(count, len(order) // 2)
  easiest = min(count, len(order) - hardest)
  return order[:easiest], order[len(order) - hardest :]


def _draw_signal(
  axes: Axes, signal: np.ndarray, box: tuple[float, float, float, float]
) -> None:
  """Draws a signal in 0..1 into a framed box (left, right, bottom, top)."""
  left, right, bottom, top = box
  axes.plot(
    np.linspace(left, right, len(signal)),
    bottom + (0.05 + 0.9 * signal) * (top - bottom),
    color=COLOURS[0],
    linewidth=0.9,
  )
  axes.plot(
    [left, right, right, left, left],
    [bottom, bottom, top, top, bottom],
    color="0.8",
    linewidth=0.6,
  )


def _short(value: float) -> str:
  """A score in few characters."""
  return f"{value:.3g}" if np.isfinite(value) else "∞"
