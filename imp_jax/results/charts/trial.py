"""Chart: what differs from the tickets that are on trial, and how much."""

from typing import Any

import pandas as pd

from imp_jax.results.charts.chart import (
  COLOURS,
  GREY,
  ZERO,
  Axis,
  Chart,
  Layer,
  Panel,
  Style,
  shared_domain,
  whiskers,
)
from imp_jax.results.trial import ALIKE, BETTER, OPEN, WORSE

_LINE = 17  # pixels of a row
_STYLES = {
  WORSE: Style(COLOURS[1], shape="triangle-left"),
  OPEN: Style(GREY, shape="circle"),
  ALIKE: Style(COLOURS[0], shape="square"),
  BETTER: Style(COLOURS[2], shape="triangle-right"),
}


def trial_chart(table: pd.DataFrame) -> Chart | None:
  """Returns differences from each baseline's ticket, with their intervals.

  Args:
    table: from `results.trial.trial_table`.

  Returns:
    A panel per baseline and level, levels side by side; a row for each that is
    compared, ordered by the mean over the levels; colours say what was found.
    None without rows.
  """
  if not len(table):
    return None
  table = table.assign(
    x=100 * table["difference"],
    # Accuracies cannot differ more; of two replicates an interval says so.
    low=(100 * table["low"]).clip(lower=-100),
    high=(100 * table["high"]).clip(upper=100),
  )
  levels = sorted(set(table["level"]))
  domain = shared_domain(
    [[Layer("upright", table.assign(name=table["found"], x=0.0, y=0.0))]]
  )
  panels = []
  rows: Any
  for baseline, rows in table.groupby("baseline", sort=False):
    means = rows.groupby("name")["difference"].mean().sort_values()
    names = [str(name) for name in means.index[::-1]]
    labels = {
      i: name.removeprefix(f"{baseline}:").replace("_", " ").replace("-", " ")
      for i, name in enumerate(names)
    }
    y = Axis(
      ticks=tuple(labels),
      labels=labels,
      domain=(-0.7, len(names) - 0.3),
      reverse=True,
    )
    for level in levels:
      own = rows[rows["level"] == level]
      density = 100 * own["density"].median()
      shown = own.assign(
        y=own["name"].map(names.index).astype(float),
        what=own["name"],
        name=own["found"],
      )
      panels.append(
        Panel(
          f"against {baseline}, {density:.2g} % of weights",
          Axis("difference (points)", domain=domain),
          y,
          (
            Layer("plumb", pd.DataFrame({"x": [0.0], "name": [ZERO]})),
            *whiskers(
              shown[["x", "y", "low", "high", "name", "what"]], lying=True
            ),
          ),
          height=_LINE * (len(names) + 1),
        )
      )
  count = table["replicates"].max()
  return Chart(
    f"{table['study'].iloc[0]}: test accuracy less the ticket's, mean over "
    f"{count} replicates\nintervals that hold for all rows of a level together",
    tuple(panels),
    _STYLES | {ZERO: Style(GREY, shape="stroke", width=0.8)},
    columns=len(levels),
    width=230 if len(levels) > 1 else 400,
    unnamed=(ZERO,),
  )
