"""Figures of claim 3: what of W_r correlates with sparse accuracy."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from imp_jax.results.figures.accuracy import COLOURS
from imp_jax.results.figures.diet import KIND_COLOURS, STYLES
from imp_jax.results.landscape import variant_paths
from imp_jax.results.predictors import LEAST_MEANS, NEGATIVE, PREDICTORS
from imp_jax.statistics.intervals import rank_correlation

_DIAMOND: Any = {
  "linestyle": "none",
  "marker": "D",
  "markersize": 4.5,
  "markerfacecolor": "white",
}
_PERCENT = FuncFormatter(lambda y, _: f"{100 * y:g}")


def landscape_figure(landscape: pd.DataFrame, level: int) -> Figure | None:
  """Returns sparse accuracy against the share and depth of connection.

  Args:
    landscape: from `results.landscape.landscape_table`.
    level: of the sparse networks.

  Returns:
    Two panels, in each diet's colour: a faint point per replicate, and the
    means of each variant joined in the order of t_r, from 0 (a black square)
    to the last, which is written; each panel's title is Spearman's rank
    correlation of the points. None without rows of that level.
  """
  rows = landscape.query("level == @level")
  if not len(rows):
    return None
  figure = Figure(figsize=(10, 4.2), layout="constrained")
  panels = figure.subplots(1, 2, sharey=True)
  for axes, column, label in zip(
    panels,
    ("connected", "mean_barrier"),
    ("share of connected training examples (%)", "mean barrier (nats)"),
    strict=True,
  ):
    shown = rows.dropna(subset=[column, "accuracy"])
    _variant_lines(axes, shown, column)
    both = [shown[c].to_numpy(np.float64) for c in (column, "accuracy")]
    rho = rank_correlation(*both) if len(shown) else np.nan
    said = f"ρ = {rho:+.2f}" if rho == rho else "ρ undefined"
    axes.set_title(f"Spearman's {said} ({len(shown)} points)", fontsize=10)
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)
  panels[0].xaxis.set_major_formatter(_PERCENT)
  panels[0].yaxis.set_major_formatter(_PERCENT)
  panels[0].set_ylabel("sparse test accuracy (%)")
  density = 100 * float(np.mean(rows["density"]))
  figure.suptitle(
    f"{rows['study'].iloc[0]}, level {level} ({density:.1f} % of weights); "
    "lines: means, by increasing $t_r$",
    fontsize=11,
  )
  handles, labels = panels[0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside right upper", fontsize=8)
  return figure


def predictor_figure(predictors: pd.DataFrame, level: int) -> Figure | None:
  """Returns each predictor's correlation with sparse accuracy, by scope.

  Args:
    predictors: from `results.predictors.predictors_table`.
    level: of the sparse networks.

  Returns:
    Spearman's rho with its interval as a horizontal bar (from -1 to 1 where it
    is unbounded), a colour per predictor, a group of bars per scope, and rho
    between the means of five or more variants as a hollow diamond. None where
    there is none.
  """
  rows = predictors.query("level == @level").dropna(subset=["rho"])
  spearman = rows.query("method == 'spearman'")
  if not len(spearman):
    return None
  scopes = list(dict.fromkeys(spearman["scope"]))
  means = rows[rows["method"] == "means"]
  means = means[means["points"] >= LEAST_MEANS]
  names = [n for n in PREDICTORS if n in set(spearman["predictor"])]
  figure = Figure(
    figsize=(7.5, 1.5 + 0.2 * len(scopes) * (len(names) + 1)),
    layout="constrained",
  )
  axes = figure.subplots()
  for i, name in enumerate(names):
    sign = " (negative expected)" if name in NEGATIVE else ""
    # Below each other in a scope's group, which is one high.
    shift = (i + 1) / (len(names) + 1) - 0.5
    own = spearman[spearman["predictor"] == name]
    low, high = (own[c].clip(-1, 1) for c in ("low", "high"))
    axes.errorbar(
      own["rho"],
      [scopes.index(s) + shift for s in own["scope"]],
      xerr=[own["rho"] - low, high - own["rho"]],
      linestyle="none",
      marker="o",
      markersize=4,
      capsize=2,
      color=COLOURS[i],
      label=f"{PREDICTORS[name]}{sign}",
    )
    own = means[means["predictor"] == name]
    places = [scopes.index(s) + shift for s in own["scope"]]
    axes.plot(own["rho"], places, color=COLOURS[i], **_DIAMOND)
  if len(means):
    label = "between the variants' means"
    axes.plot([], [], color="0.4", label=label, **_DIAMOND)
  axes.axvline(0, color="grey", linewidth=0.8)
  for i in range(1, len(scopes)):
    axes.axhline(i - 0.5, color="0.9", linewidth=0.8)
  counts = {
    s: max(n for t, n in spearman[["scope", "variants"]].to_numpy() if t == s)
    for s in scopes
  }
  said = {"all": "over all diets"}  # of which one may be called "all" too
  axes.set_yticks(
    range(len(scopes)),
    [f"{said.get(s, s)}\n{n} variants" for s, n in counts.items()],
  )
  axes.set_ylim(len(scopes) - 0.5, -0.5)
  axes.set_xlim(-1.02, 1.02)
  axes.grid(axis="x", alpha=0.3)
  axes.set_xlabel("Spearman's ρ with sparse test accuracy")
  figure.suptitle(
    f"{rows['study'].iloc[0]}, level {level}: ρ and interval over variants × "
    f"{max(spearman['replicates'])} replicates",
    fontsize=10,
  )
  figure.legend(loc="outside lower center", ncols=2, fontsize=8)
  return figure


def _variant_lines(axes: Axes, rows: pd.DataFrame, column: str) -> None:
  """Replicates as points, and each variant's means as a line over t_r."""
  columns = ["variant", "diet", "base", "rewind_step"]
  each: Any = rows.groupby("experiment", sort=False)
  means = each[columns].first().join(each[[column, "accuracy"]].mean())
  none = means.query("rewind_step == 0")
  of_kind: dict[str, int] = {}
  for variant, path in variant_paths(means).items():
    own = path.query("rewind_step > 0")
    if not len(own):
      continue
    kind = str(own["diet"].iloc[0]).split()[0]
    place = of_kind[kind] = of_kind.get(kind, -1) + 1
    marker, line = STYLES[place % len(STYLES)]
    colour = KIND_COLOURS.get(kind, "0.5")
    _points(axes, rows.loc[rows["variant"] == variant], column, marker, colour)
    axes.plot(path[column], path["accuracy"], linestyle=line, color=colour)
    _means(axes, own, column, marker, colour, variant)
    last = own.iloc[-1]
    axes.annotate(
      f"{last['rewind_step']:g}",
      (last[column], last["accuracy"]),
      xytext=(5, 5),
      textcoords="offset points",
      fontsize=8,
      color=colour,
    )
  for variant, own in none.groupby("variant", sort=False):
    _points(axes, rows.loc[rows["variant"] == variant], column, "s", "black")
    _means(axes, own, column, "s", "black", str(variant))


def _points(
  axes: Axes, rows: pd.DataFrame, column: str, marker: str, colour: str
) -> None:
  axes.plot(
    rows[column],
    rows["accuracy"],
    linestyle="none",
    marker=marker,
    markersize=4,
    markeredgewidth=0,
    alpha=0.3,
    color=colour,
  )


def _means(
  axes: Axes,
  means: pd.DataFrame,
  column: str,
  marker: str,
  colour: str,
  label: str,
) -> None:
  axes.plot(
    means[column],
    means["accuracy"],
    linestyle="none",
    marker=marker,
    markersize=7,
    markeredgecolor="white",
    color=colour,
    label=label,
  )
