"""Figures: accuracy against density."""

import io
from collections.abc import Iterable

import numpy as np
import pandas as pd
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imp_jax.core.store import Store
from imp_jax.results.accuracy import sampling_note, test_accuracy
from imp_jax.stages.controls import CONTROLS

# Okabe and Ito's colours, which stay apart for colour-blind readers.
COLOURS = (
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
  "#000000",
)

WITHIN = 10  # so many names leave room for the lines
FEW = 4  # so many levels leave room for the density of each
# Open ones, in the order in which controls are registered.
CONTROL_MARKERS = "vsD^P*X<>hdp8H"


def control_marker(control: str) -> str:
  """Returns the marker of a control, by its name."""
  return CONTROL_MARKERS[list(CONTROLS).index(control) % len(CONTROL_MARKERS)]


def accuracy_figure(
  results: pd.DataFrame, experiments: pd.DataFrame | None = None
) -> Figure:
  """Returns test accuracy against density, one line per experiment.

  Args:
    results: rows of results.csv.
    experiments: rows of experiments.csv, for the number of test examples.

  Returns:
    Means over replicates with bands of one standard deviation (ddof = 1), the
    dense networks' mean as a dashed line, controls as dotted lines with open
    markers.
  """
  rows = test_accuracy(results).query("density > 0")  # x is logarithmic
  figure = Figure(figsize=(7, 4.5), layout="constrained")
  axes = figure.subplots()
  names = list(dict.fromkeys(rows.experiment))
  parents = [n for n in names if ":" not in n]
  for name in names:
    parent, _, control = name.partition(":")
    place = parents.index(parent)
    colour = COLOURS[place % len(COLOURS)]
    line = ("-", "--", "-.")[place // len(COLOURS) % 3]
    levels = rows.query("experiment == @name").groupby("level")
    table = levels.agg(
      density=("density", "mean"),
      mean=("value", "mean"),
      std=("value", "std"),
    )
    spread = table["std"].fillna(0)
    if control:
      axes.errorbar(
        table.density,
        table["mean"],
        spread,
        color=colour,
        capsize=3,
        linestyle=":",
        marker=control_marker(control),
        markerfacecolor="white",
        label=name,
      )
      continue
    axes.plot(
      table.density,
      table["mean"],
      marker="o",
      linestyle=line,
      color=colour,
      label=name,
    )
    axes.fill_between(
      table.density,
      table["mean"] - spread,
      table["mean"] + spread,
      color=colour,
      alpha=0.15,
      linewidth=0,
    )
  dense = float(np.mean(rows.query("level == 0")["value"]))
  if np.isfinite(dense):
    axes.axhline(dense, color="grey", linestyle="--", label="dense")
  set_density_axis(axes, rows.density)
  axes.set_ylabel("test accuracy")
  replicates = rows.replicate.nunique()
  note = sampling_note(results, experiments)
  axes.set_title(
    f"{rows.study.iloc[0]}: mean ± std over {replicates} replicates"
    + (f"\n{note}" if note else ""),
    fontsize=10,
  )
  axes.grid(alpha=0.3)
  if len(names) > WITHIN:
    figure.legend(fontsize=8, loc="outside right upper")
  else:
    axes.legend(fontsize=8)
  return figure


def set_density_axis(axes: Axes, densities: Iterable[float]) -> None:
  """Makes x the density: logarithmic, from all weights down.

  Args:
    axes: whose x it is.
    densities: that are shown; few levels are all named.
  """
  axes.set_xscale("log")
  levels = {float(f"{d:.2g}") for d in densities}
  round_ones = (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
  ticks = sorted(levels) if len(levels) <= FEW else round_ones
  ticks = [d for d in ticks if d >= min(levels) * 0.95]
  axes.set_xticks(ticks, [f"{100 * d:g}" for d in ticks])
  axes.minorticks_off()
  axes.invert_xaxis()
  axes.set_xlabel("weights left (%)")


def save_figure(store: Store, path: epath.Path, figure: Figure) -> None:
  """Writes a figure as PATH.png and PATH.svg."""
  for kind in ("png", "svg"):
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=150)
    store.write_bytes(path.parent / f"{path.name}.{kind}", buffer.getvalue())
