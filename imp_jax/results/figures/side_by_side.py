"""Figure: differences between variants, of studies and of the paper."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imp_jax.results.figures.accuracy import COLOURS
from imp_jax.results.side_by_side import PAIRS

_MARKERS = "sovD^P*X"


def side_by_side_figure(table: pd.DataFrame) -> Figure:
  """Returns differences with their intervals, in points and in units of a gain.

  Args:
    table: of `results.side_by_side.side_by_side`.

  Returns:
    Two panels with a group of rows for each difference and a colour for each
    setting. The right one has the same numbers over all - none of the same
    setting, whose own interval is not in theirs; settings where that is not
    above 0 are left out of it.
  """
  names = [" - ".join(pair) for pair in PAIRS]
  rows: Any = table[table["what"].isin(names)]
  settings = list(
    dict.fromkeys(zip(rows["where"], rows["rewind_step"], strict=True))
  )
  figure = Figure(
    figsize=(11, 1.2 + 0.2 * len(names) * (len(settings) + 1)),
    layout="constrained",
  )
  left, right = figure.subplots(1, 2, sharey=True)
  handles = []
  for place, (where, step) in enumerate(settings):
    own = rows[(rows["where"] == where) & (rows["rewind_step"] == step)]
    offset = (place - (len(settings) - 1) / 2) * 0.8 / len(settings)
    heights = np.array([names.index(w) for w in own["what"]]) + offset
    style: Any = {
      "color": COLOURS[place % len(COLOURS)],
      "marker": _MARKERS[place % len(_MARKERS)],
      "markersize": 5,
      "linestyle": "none",
      "elinewidth": 1.2,
    }
    said = (
      f"{where}, t_r = {step:.0f} ({100 * own['rewind_share'].iloc[0]:.2g} %)"
    )
    handles.append(_drawn(left, own, heights, 100.0, label=said, **style))
    gain = own.loc[own["what"] == "all - none", ["estimate", "low"]]
    if len(gain) and gain["low"].iloc[0] > 0:
      scale = 1 / gain["estimate"].iloc[0]
      kept = (own["what"] != "all - none").to_numpy()
      _drawn(right, own[kept], heights[kept], scale, **style)
  left.set_yticks(range(len(names)), [n.replace("-", "−") for n in names])
  left.set_ylim(len(names) - 0.5, -0.5)
  left.set_xlabel("difference in test accuracy (points), 95 % intervals")
  right.set_xlabel("the same over all − none of the setting")
  for axes in (left, right):
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    for height in range(1, len(names)):
      axes.axhline(height - 0.5, color="0.85", linewidth=0.8)
  figure.legend(
    handles=handles, loc="outside lower center", ncols=3, fontsize=8
  )
  return figure


def _drawn(
  axes: Axes,
  rows: Any,
  heights: np.ndarray,
  scale: float,
  **style: Any,
):
  middle = scale * rows["estimate"]
  errors = [middle - scale * rows["low"], scale * rows["high"] - middle]
  return axes.errorbar(middle, heights, xerr=errors, **style)
