"""Charts of examples: the easiest and the hardest of each class."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer

from imp_jax.results.charts.chart import (
  COLOURS,
  Axis,
  Chart,
  Layer,
  Panel,
  Style,
)

DEFAULT_CLASSES = 10  # rows, where a data set has more
# In pixels: the names' column, the gap between the ends, the heads' line, and
# the place of one example.
_NAMES, _GAP, _HEADS, _WIDE, _HIGH = 90, 24, 24, 44, 58
_SIGNAL = "signal"


def example_chart(
  inputs: np.ndarray,
  labels: Integer[np.ndarray, " examples"],
  scores: Float[np.ndarray, " examples"],
  class_names: Sequence[str],
  *,
  larger_is_harder: bool = True,
  count: int = 8,
  classes: Sequence[int] | None = None,
) -> Chart:
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
  width = _NAMES + 2 * count * _WIDE + _GAP
  height = _HEADS + len(classes) * _HIGH
  placed, names = [], []
  for row, c in enumerate(classes):
    y = height - _HEADS - (row + 1) * _HIGH
    names.append((_NAMES - 8, y + 0.6 * _HIGH, class_names[c]))
    easiest, hardest = end_examples(labels, difficulty, c, count)
    columns = [
      *range(len(easiest)),
      *range(2 * count - len(hardest), 2 * count),
    ]
    for column, example in zip(columns, [*easiest, *hardest], strict=True):
      x = _NAMES + column * _WIDE + (_GAP if column >= count else 0)
      placed.append(
        (int(example), x + 1, x + _WIDE - 1, y + 14, y + 12 + _WIDE)
      )
  table = pd.DataFrame(
    placed, columns=["example", "left", "right", "bottom", "top"]
  )
  said = pd.DataFrame(
    {
      "x": (table["left"] + table["right"]) / 2,
      "y": table["bottom"] - 7,
      "text": [_short(float(scores[example])) for example in table["example"]],
    }
  )
  heads = pd.DataFrame(
    {
      "x": [_NAMES + (count / 2) * _WIDE, _NAMES + 1.5 * count * _WIDE + _GAP],
      "y": height - _HEADS / 2,
      "text": ["easiest", "hardest"],
    }
  )
  drawn = _images(inputs, table) if is_image else _signals(inputs, table)
  named = pd.DataFrame(names, columns=["x", "y", "text"])
  panel = Panel(
    "",
    Axis(domain=(0, width), shown=False),
    Axis(domain=(0, height), shown=False),
    (
      *drawn,
      Layer("text", said, {"side": "center", "size": 8}),
      Layer("text", named, {"side": "right"}),
      Layer("text", heads, {"side": "center", "size": 11}),
    ),
    width=width,
    height=height,
  )
  styles = {
    _SIGNAL: Style(COLOURS[0], shape="stroke", width=1.0),
    "frame": Style("#cccccc", shape="stroke", width=0.8),
  }
  return Chart(
    "the easiest and the hardest examples of each class; below, their scores",
    (panel,),
    styles,
    unnamed=(_SIGNAL, "frame"),
  )


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


def _images(inputs: np.ndarray, table: pd.DataFrame) -> list[Layer]:
  urls = [_url(inputs[example]) for example in table["example"]]
  return [Layer("image", table.assign(url=urls))]


def _url(image: np.ndarray) -> str:
  """A small image as a PNG that is an address itself."""
  from PIL import Image

  buffer = io.BytesIO()
  Image.fromarray(image.squeeze(-1) if image.shape[2] == 1 else image).save(
    buffer, "png"
  )
  return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _signals(inputs: np.ndarray, table: Any) -> list[Layer]:
  """Lines, of one scale for all, each in a frame."""
  low, span = float(inputs.min()), float(np.ptp(inputs)) or 1.0
  lines, frames = [], []
  for row in table.itertuples():
    signal = (inputs[row.example] - low) / span
    x = np.linspace(row.left, row.right, len(signal))
    y = row.bottom + (0.05 + 0.9 * signal) * (row.top - row.bottom)
    piece = f"example {row.example}"
    lines.append(pd.DataFrame({"x": x, "y": y, "piece": piece}))
    corners = [
      (row.left, row.bottom),
      (row.right, row.bottom),
      (row.right, row.top),
      (row.left, row.top),
      (row.left, row.bottom),
    ]
    frames.append(pd.DataFrame(corners, columns=["x", "y"]).assign(piece=piece))
  return [
    Layer("line", pd.concat(parts, ignore_index=True).assign(name=name))
    for parts, name in ((lines, _SIGNAL), (frames, "frame"))
  ]


def _short(value: float) -> str:
  """A score in few characters."""
  return f"{value:.3g}" if np.isfinite(value) else "∞"
