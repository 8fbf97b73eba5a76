"""What a chart shows, out of its tables."""

import numpy as np


def shown(chart, mark, name=None, panel=None, columns=("x", "y")):
  """The rows of one kind of mark as lists of numbers, rounded.

  Args:
    chart: whose.
    mark: of its layers.
    name: of a series, or None for all.
    panel: its number, or None for all.
    columns: of each row.
  """
  panels = chart.panels if panel is None else [chart.panels[panel]]
  rows = []
  for each in panels:
    for layer in each.layers:
      if layer.mark != mark:
        continue
      table = layer.table
      if name is not None:
        table = table[table["name"] == name]
      rows += table[list(columns)].to_numpy(float).tolist()
  return np.round(rows, 9).tolist()


def texts(chart, panel=0):
  """What is written in a panel."""
  return [
    text
    for layer in chart.panels[panel].layers
    if layer.mark == "text"
    for text in layer.table["text"]
  ]


def titles(chart):
  return [panel.title for panel in chart.panels]


def names(chart, panel, mark="line"):
  """The series that a panel has, in the order of their rows."""
  found = [
    name
    for layer in chart.panels[panel].layers
    if layer.mark == mark
    for name in layer.table["name"]
  ]
  return list(dict.fromkeys(found))
