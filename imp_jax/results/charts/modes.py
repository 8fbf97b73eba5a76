"""Charts: barriers after units are matched, and after W_r was moved."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from imp_jax.probes.permutation import UNMATCHED
from imp_jax.results.charts.chart import (
  COLOURS,
  DASHED,
  GREY,
  SHAPES,
  Axis,
  Chart,
  Layer,
  Panel,
  Style,
  grid_columns,
  series_styles,
  whiskers,
)
from imp_jax.results.landscape import STABLE

_LINE = 17  # pixels of a row
_STABLE = f"connected: {100 * STABLE:g} %"


def permutation_chart(table: pd.DataFrame) -> Chart | None:
  """Returns barriers between replicates, a row per level or step.

  Args:
    table: from `results.permutation.permutation_table`.

  Returns:
    A panel per experiment and way of BatchNorm's statistics; without a
    permutation in grey, each way of matching in a colour, the networks that it
    was found on by shapes. None without rows.
  """
  rows: Any = table[table["quantity"] == "error"]
  if not len(rows):
    return None
  step = rows["step"].fillna("").astype(str)
  places = [s or f"level {k}" for s, k in zip(step, rows["level"], strict=True)]
  rows = rows.assign(
    place=places, name=rows["matched"], x=100 * rows["barrier"]
  )
  found = [name for name in dict.fromkeys(rows["name"]) if name != UNMATCHED]
  ways = list(dict.fromkeys(name.split(", ")[0] for name in found))
  on = list(dict.fromkeys(name.split(", ")[1] for name in found))
  styles = {UNMATCHED: Style(GREY)}
  for name in found:
    way, where = name.split(", ")
    styles[name] = Style(
      COLOURS[ways.index(way)], shape=SHAPES[on.index(where)], hollow=True
    )
  panels = []
  own: Any
  for (name, mode), own in rows.groupby(
    ["experiment", "batch_stats"], sort=False
  ):
    order = list(dict.fromkeys(own["place"]))
    shown = own.assign(y=own["place"].map(order.index).astype(float))
    panels.append(
      Panel(
        f"{name} (BatchNorm: {mode})",
        Axis("error barrier (%)", domain=(-2, _most(rows["x"]))),
        _rows(order),
        (Layer("point", shown[["x", "y", "name"]]),),
        height=_LINE * (len(order) + 1),
      )
    )
  return Chart(
    f"{table['study'].iloc[0]}: barriers between replicates, mean over "
    f"{rows['pairs'].max()} pairs, as they are and with matched units",
    tuple(panels),
    styles,
    columns=grid_columns(len(panels), most=2),
    width=300,
  )


def displacement_chart(table: pd.DataFrame) -> Chart | None:
  """Returns barriers to what is trained after W_r was moved, or pruned.

  Args:
    table: from `results.displacement.displacement_table`.

  Returns:
    A panel per level and way of BatchNorm's statistics, a row for what was done
    to W_r, a colour per experiment; intervals that hold for all rows together;
    a line at 2 %. None without rows.
  """
  if not len(table):
    return None
  rows: Any = table.assign(
    x=100 * table["barrier"],
    low=(100 * table["low"]).clip(lower=-20),
    high=(100 * table["high"]).clip(upper=110),
    name=table["experiment"],
  )
  names = list(dict.fromkeys(rows["name"]))
  styles: dict[str, Style] = dict(series_styles(names))
  styles |= {_STABLE: Style(GREY, DASHED, "stroke")}
  panels = []
  own: Any
  for (level, mode), own in rows.groupby(["level", "batch_stats"], sort=False):
    order = list(dict.fromkeys(own["moved"]))
    # Beside each other, so that no interval hides another.
    aside = own["name"].map(names.index) - (len(names) - 1) / 2
    shown = own.assign(y=own["moved"].map(order.index) + 0.2 * aside)
    panels.append(
      Panel(
        f"level {level} (BatchNorm: {mode})",
        Axis("error barrier (%)", domain=(-5, _most(rows["high"]))),
        _rows(order),
        (
          Layer("plumb", pd.DataFrame({"x": [100 * STABLE], "name": _STABLE})),
          *whiskers(shown[["x", "y", "low", "high", "name"]], lying=True),
        ),
        height=2 * _LINE * len(order),
      )
    )
  return Chart(
    f"{table['study'].iloc[0]}: from the level before to what is trained after "
    f"W_r was moved, mean over {table['replicates'].max()} replicates",
    tuple(panels),
    styles,
    columns=grid_columns(len(panels), most=2),
    width=300,
  )


def _rows(order: Sequence[str]) -> Axis:
  labels = dict(enumerate(order))
  return Axis(
    ticks=tuple(labels),
    labels=labels,
    domain=(-0.7, len(order) - 0.3),
    reverse=True,
  )


def _most(values: Any) -> float:
  return 1.05 * float(values.max())
