"""Chart: differences between variants, of studies and of the paper."""

from typing import Any

import pandas as pd

from imp_jax.results.charts.chart import (
  COLOURS,
  GREY,
  SHAPES,
  ZERO,
  Axis,
  Chart,
  Layer,
  Panel,
  Style,
  whiskers,
)
from imp_jax.results.side_by_side import PAIRS


def side_by_side_chart(table: pd.DataFrame) -> Chart:
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
  left, right, styles = [], [], {}
  for place, (where, step) in enumerate(settings):
    own = rows[(rows["where"] == where) & (rows["rewind_step"] == step)]
    offset = (place - (len(settings) - 1) / 2) * 0.8 / len(settings)
    name = (
      f"{where}, t_r = {step:.0f} ({100 * own['rewind_share'].iloc[0]:.2g} %)"
    )
    styles[name] = Style(
      COLOURS[place % len(COLOURS)], shape=SHAPES[place % len(SHAPES)]
    )
    own = own.assign(
      x=own["estimate"], y=own["what"].map(names.index) + offset, name=name
    )
    own = own[["x", "low", "high", "y", "name", "what"]]
    values = ["x", "low", "high"]
    left.append(own.assign(**100 * own[values]))
    gain = own[own["what"] == "all - none"]
    if len(gain) and gain["low"].iloc[0] > 0:
      others = own[own["what"] != "all - none"]
      right.append(others.assign(**others[values] / gain["x"].iloc[0]))
  ticks = {i: name.replace("-", "−") for i, name in enumerate(names)}
  y = Axis(
    ticks=tuple(ticks),
    labels=ticks,
    domain=(-0.5, len(names) - 0.5),
    reverse=True,
  )
  between = pd.DataFrame(
    {"y": [i - 0.5 for i in range(1, len(names))], "name": ZERO}
  )
  panels = tuple(
    Panel(
      "",
      Axis(title),
      y,
      (
        Layer("level", between),
        Layer("plumb", pd.DataFrame({"x": [0.0], "name": ZERO})),
        *(whiskers(pd.concat(parts), lying=True) if parts else ()),
      ),
    )
    for title, parts in (
      ("difference in test accuracy (points), 95 % intervals", left),
      ("the same over all − none of the setting", right),
    )
  )
  return Chart(
    "differences between variants",
    panels,
    styles | {ZERO: Style(GREY, shape="stroke", width=0.8)},
    columns=2,
    width=330,
    height=20 * len(names) * (len(settings) + 1),
    unnamed=(ZERO,),
  )
