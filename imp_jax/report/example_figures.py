"""Figures of examples: the easiest and the hardest of each class."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imp_jax.report.figures import COLOURS

DEFAULT_CLASSES = 10  # rows, where a data set has more


def example_grid_figure(
  inputs: np.ndarray,
  labels: Integer[np.ndarray, " examples"],
  difficulty: Float[np.ndarray, " examples"],
  class_names: Sequence[str],
  *,
  count: int = 8,
  classes: Sequence[int] | None = None,
) -> Figure:
  """Returns each class's easiest and hardest examples, a row per class.

  From left to right the difficulty rises; the number below an example is its
  own. Equally difficult examples stand in the order of their positions. A
  class of fewer than 2 * count examples shows each once.

  Args:
    inputs: images uint8[examples, height, width, 1 or 3] or signals
      float[examples, length].
    labels: int[examples].
    difficulty: larger is harder, infinite ones hardest.
    class_names: one per class.
    count: examples at either end.
    classes: which; the first 10 if None.

  Raises:
    ValueError: inputs are neither images nor signals, lengths differ, or a
      class or the count is out of range.
  """
  inputs, difficulty = np.asarray(inputs), np.asarray(difficulty)
  is_image = inputs.ndim == 4 and inputs.shape[3] in (1, 3)
  if not is_image and inputs.ndim != 2:
    raise ValueError(
      "inputs must be images [n, height, width, 1 or 3] or signals "
      f"[n, length], got shape {inputs.shape}"
    )
  if not len(inputs) == len(labels) == len(difficulty):
    raise ValueError(
      "inputs, labels and difficulty must be of one length, got "
      f"{len(inputs)}, {len(labels)} and {len(difficulty)}"
    )
  if count < 1:
    raise ValueError(f"count must be at least 1, got {count}")
  if classes is None:
    classes = range(min(len(class_names), DEFAULT_CLASSES))
  for c in classes:
    if not 0 <= c < len(class_names):
      raise ValueError(f"classes must be in 0..{len(class_names) - 1}, got {c}")
  # A cell of 0.62 in holds a 32-pixel image and the five digits below it.
  figure = Figure(
    figsize=(1.5 + 0.62 * (2 * count + 0.6), 0.6 + 0.78 * len(classes))
  )
  height = figure.get_figheight()
  grid = figure.add_gridspec(
    len(classes),
    2 * count + 1,
    width_ratios=[*[1.0] * count, 0.5, *[1.0] * count],
    left=1.1 / figure.get_figwidth(),
    right=1 - 0.1 / figure.get_figwidth(),
    top=1 - 0.35 / height,
    bottom=0.2 / height,
    wspace=0.08,
    hspace=0.3,
  )
  limits = None if is_image else (float(inputs.min()), float(inputs.max()))
  for row, c in enumerate(classes):
    easiest, hardest = end_examples(labels, difficulty, c, count)
    columns = [
      *range(len(easiest)),
      *range(2 * count + 1 - len(hardest), 2 * count + 1),
    ]
    label = figure.add_subplot(grid[row, 0])
    label.axis("off")
    label.text(
      -0.15,
      0.5,
      class_names[c],
      transform=label.transAxes,
      ha="right",
      va="center",
      fontsize=9,
    )
    for column, example in zip(columns, [*easiest, *hardest], strict=True):
      axes = figure.add_subplot(grid[row, column])
      _draw(axes, inputs[example], limits)
      axes.set_xlabel(
        _short(float(difficulty[example])), fontsize=6, labelpad=1.5
      )
  for name, first in (("easiest", 0), ("hardest", count + 1)):
    box = grid[0, first : first + count].get_position(figure)
    figure.text(
      (box.x0 + box.x1) / 2, 1 - 0.18 / height, name, ha="center", va="center"
    )
  return figure


def end_examples(
  labels: Integer[np.ndarray, " examples"],
  difficulty: Float[np.ndarray, " examples"],
  label: int,
  count: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the positions of a class's easiest and hardest examples.

  Both in rising difficulty, ties by position; up to `count` each, none in
  both.
  """
  members = np.flatnonzero(np.asarray(labels) == label)
  order = members[np.argsort(difficulty[members], kind="stable")]
  hardest = min(count, len(order) // 2)
  easiest = min(count, len(order) - hardest)
  return order[:easiest], order[len(order) - hardest :]


def _draw(axes: Axes, example, limits) -> None:
  if limits is None:
    axes.imshow(example, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
  else:
    low, high = limits
    axes.plot(example, color=COLOURS[0], linewidth=0.9)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
  axes.set_xticks([])
  axes.set_yticks([])
  for spine in axes.spines.values():
    spine.set(visible=limits is not None, color="0.8", linewidth=0.6)


def _short(value: float) -> str:
  """A score in few characters."""
  return f"{value:.3g}" if np.isfinite(value) else "∞"
