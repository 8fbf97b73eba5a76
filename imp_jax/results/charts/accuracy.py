"""Chart: accuracy against density."""

import dataclasses

import numpy as np
import pandas as pd

from imp_jax.results.accuracy import sampling_note, test_accuracy
from imp_jax.results.charts.chart import (
  DASHED,
  DOTTED,
  GREY,
  SHAPES,
  Axis,
  Chart,
  Layer,
  Panel,
  Style,
  Table,
  density_axis,
  mean_lines,
  over_replicates,
  series_styles,
  spread,
  whiskers,
)
from imp_jax.stages.controls import CONTROLS

DENSE = "mean of dense"  # blanks are in no experiment's name


_OF_CONTROLS = tuple(shape for shape in SHAPES if shape != "circle")


def ticket_styles(names: list[str]) -> dict[str, Style]:
  """Returns a style of each experiment and control, by their names in tables.

  A control has its experiment's colour, a dotted line and hollow points.
  """
  parents = series_styles(name.partition(":")[0] for name in names)
  controls = [c for c in CONTROLS if any(n.endswith(f":{c}") for n in names)]
  styles = {}
  for name in names:
    parent, _, control = name.partition(":")
    style = parents[parent]
    if control:
      shape = _OF_CONTROLS[controls.index(control) % len(_OF_CONTROLS)]
      style = dataclasses.replace(style, dash=DOTTED, shape=shape, hollow=True)
    styles[name] = style
  return styles


def accuracy_chart(
  results: pd.DataFrame, experiments: pd.DataFrame | None = None
) -> Chart:
  """Returns test accuracy against density, one line per experiment.

  Args:
    results: rows of results.csv.
    experiments: rows of experiments.csv, for the number of test examples.

  Returns:
    Means over replicates with bands of one standard deviation (ddof = 1), the
    dense networks' mean as a dashed line, controls as dotted lines with hollow
    points and error bars; none of more kinds than there are shapes, which the
    chart of the trial has.
  """
  rows = test_accuracy(results).query("density > 0")  # x is logarithmic
  table = spread(rows, ["experiment", "level"], "density")
  table = table.rename(columns={"experiment": "name"})
  names = list(dict.fromkeys(table["name"]))
  of_control = table["name"].str.contains(":", regex=False)
  kinds = {name.partition(":")[2] for name in table.loc[of_control, "name"]}
  if len(kinds) > len(_OF_CONTROLS):
    table, of_control = table[~of_control], of_control[~of_control]
    names = list(dict.fromkeys(table["name"]))
  dense = float(np.mean(rows.query("level == 0")["value"]))
  dashed = pd.DataFrame({"y": [dense], "name": [DENSE]})
  layers = [
    *mean_lines(table[~of_control]),
    Layer("level", dashed if np.isfinite(dense) else dashed.iloc[:0]),
    *control_lines(table[of_control]),
  ]
  note = sampling_note(results, experiments)
  return Chart(
    over_replicates(rows, "") + (f"\n{note}" if note else ""),
    (
      Panel(
        "",
        density_axis(rows["density"]),
        Axis("test accuracy (%)", percent=True),
        tuple(layers),
      ),
    ),
    ticket_styles(names) | {DENSE: Style(GREY, DASHED, "stroke")},
    width=440,
    height=300,
  )


def control_lines(table: Table) -> list[Layer]:
  """Returns a line and error bars of each control.

  Args:
    table: of `charts.chart.spread`, with a column name.
  """
  table = table.sort_values("x", kind="stable")
  return [Layer("line", table), *whiskers(table)]
