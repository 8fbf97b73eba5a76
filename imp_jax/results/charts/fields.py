"""Charts: receptive fields, their statistics by level and some of them."""

from typing import Any

import pandas as pd

from imp_jax.results.charts.chart import (
  Axis,
  Chart,
  Layer,
  Panel,
  mean_lines,
  over_replicates,
  series_styles,
  shared_domain,
  spread,
)

_PANELS = {
  "adjacency_2": "neighbouring pairs kept, as a ratio to chance",
  "neighbours": "pairs kept, as a ratio to chance by input",
  "kurtosis": "excess kurtosis of pre-activations",
  "cavity": "kurtosis that a weight adds: kept less pruned",
}
_PIXEL = 4  # a weight's width


def fields_chart(table: pd.DataFrame) -> Chart | None:
  """Returns the statistics of receptive fields by level.

  Args:
    table: from `results.fields.fields_table`.

  Returns:
    A panel per statistic, a line per experiment. None without any number.
  """
  if not len(table):
    return None
  names = list(dict.fromkeys(table["experiment"]))
  levels = sorted(set(table["level"]))
  x = Axis("level", ticks=tuple(levels), labels={k: str(k) for k in levels})
  panels = []
  for statistic, title in _PANELS.items():
    rows: Any = table.assign(value=table[statistic]).dropna(subset="value")
    if not len(rows):
      continue
    means = spread(rows, ["experiment", "level"], "level")
    layers = mean_lines(means.assign(name=means["experiment"]))
    y = Axis(domain=shared_domain([layers]))
    panels.append(Panel(title, x, y, tuple(layers)))
  if not panels:
    return None
  return Chart(
    over_replicates(table, "receptive fields of the first layer, "),
    tuple(panels),
    series_styles(names),
    columns=2,
    width=320,
    height=200,
  )


def field_rows_chart(rows: pd.DataFrame) -> Chart | None:
  """Returns the receptive fields of the units of the largest norm.

  Args:
    rows: from `results.fields.field_rows_table`.

  Returns:
    A panel per experiment (columns) and level, a row of cells per unit: each
    weight's size, of the unit's largest. None without rows.
  """
  if not len(rows):
    return None
  names = list(dict.fromkeys(rows["experiment"]))
  size = rows["weight"].abs()
  most = size.groupby([rows[c] for c in ("experiment", "level", "unit")])
  cells: Any = rows.assign(
    value=size / most.transform("max"),
    left=rows["input"],
    right=rows["input"] + 1,
    bottom=rows["unit"],
    top=rows["unit"] + 1,
  )
  units, inputs = int(cells["top"].max()), int(cells["right"].max())
  x = Axis("input", domain=(0, inputs))
  y = Axis(ticks=(), domain=(0, units), reverse=True)
  options = {"title": "size, of the largest", "domain": (0.0, 1.0)}
  columns = ["left", "right", "bottom", "top", "value", "weight"]
  panels = []
  for level in sorted(set(rows["level"])):
    for name in names:
      own = cells[(cells["experiment"] == name) & (cells["level"] == level)]
      panels.append(
        Panel(
          f"{name}, level {level}",
          x,
          y,
          (Layer("cell", own[columns], options),),
        )
      )
  return Chart(
    f"{rows['study'].iloc[0]}: weights of the first layer's {units} units of "
    "the largest norm, of replicate 0",
    tuple(panels),
    {},
    columns=len(names),
    width=min(max(_PIXEL * inputs, 120), 320),
    height=max(4 * _PIXEL * units, 60),
  )
