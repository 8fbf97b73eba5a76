"""Charts of claim 3: what of W_r correlates with sparse accuracy."""

from typing import Any

import numpy as np
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
  series_styles,
  whiskers,
)
from imp_jax.results.charts.diet import kind_style
from imp_jax.results.landscape import variant_paths
from imp_jax.results.predictors import LEAST_MEANS, NEGATIVE, PREDICTORS
from imp_jax.statistics.intervals import rank_correlation

_NONE = "none"
_MEANS = "between the variants' means"
_ACROSS = (
  ("connected", "share of connected training examples (%)", True),
  ("mean_barrier", "mean barrier (nats)", False),
)


def landscape_chart(landscape: pd.DataFrame, level: int) -> Chart | None:
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
  panels, styles = [], {}
  for column, label, percent in _ACROSS:
    shown = rows.dropna(subset=[column, "accuracy"])
    both = [shown[c].to_numpy(np.float64) for c in (column, "accuracy")]
    rho = rank_correlation(*both) if len(shown) else np.nan
    said = f"ρ = {rho:+.2f}" if rho == rho else "ρ undefined"
    layers, own = _variant_lines(shown, column)
    styles |= own
    panels.append(
      Panel(
        f"Spearman's {said} ({len(shown)} points)",
        Axis(label, percent=percent),
        Axis("sparse test accuracy (%)", percent=True),
        tuple(layers),
      )
    )
  density = 100 * float(np.mean(rows["density"]))
  return Chart(
    f"{rows['study'].iloc[0]}, level {level} ({density:.1f} % of weights); "
    "lines: means, by increasing t_r",
    tuple(panels),
    styles,
    columns=2,
    width=320,
    height=250,
  )


def predictor_chart(predictors: pd.DataFrame, level: int) -> Chart | None:
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
  rows: Any = predictors.query("level == @level").dropna(subset=["rho"])
  spearman: Any = rows.query("method == 'spearman'")
  if not len(spearman):
    return None
  scopes = list(dict.fromkeys(spearman["scope"]))
  means = rows[rows["method"] == "means"]
  means = means[(means["points"] >= LEAST_MEANS) & means["scope"].isin(scopes)]
  names = [n for n in PREDICTORS if n in set(spearman["predictor"])]
  said = {
    n: PREDICTORS[n] + (" (negative expected)" if n in NEGATIVE else "")
    for n in names
  }

  def placed(table: Any) -> Any:
    """Below each other in a scope's group, which is one high."""
    table = table[table["predictor"].isin(names)]
    of_scope = np.array([scopes.index(s) for s in table["scope"]], float)
    within = np.array([names.index(p) + 1 for p in table["predictor"]], float)
    return table.assign(
      x=table["rho"],
      y=of_scope + within / (len(names) + 1) - 0.5,
      name=[said[p] for p in table["predictor"]],
    )

  drawn, hollow = placed(spearman), placed(means)
  drawn = drawn.assign(
    low=drawn["low"].clip(-1, 1), high=drawn["high"].clip(-1, 1)
  )
  styles = series_styles(said.values())
  for name, style in list(styles.items()):
    styles[f"{name}, means"] = Style(style.colour, shape="diamond", hollow=True)
  counts = spearman.groupby("scope")["variants"].max()
  labels = {
    i: f"{'over all diets' if s == 'all' else s}\n{counts[s]} variants"
    for i, s in enumerate(scopes)
  }
  lines = pd.DataFrame(
    {"y": [i - 0.5 for i in range(1, len(scopes))], "name": ZERO}
  )
  hollow = hollow.assign(name=[f"{name}, means" for name in hollow["name"]])
  panel = Panel(
    "",
    Axis("Spearman's ρ with sparse test accuracy", domain=(-1.02, 1.02)),
    Axis(
      "",
      ticks=tuple(labels),
      labels=labels,
      domain=(-0.5, len(scopes) - 0.5),
      reverse=True,
    ),
    (
      Layer("level", lines),
      Layer("plumb", pd.DataFrame({"x": [0.0], "name": ZERO})),
      *whiskers(drawn, lying=True),
      Layer("point", hollow),
    ),
  )
  return Chart(
    f"{rows['study'].iloc[0]}, level {level}: ρ and interval over variants × "
    f"{max(spearman['replicates'])} replicates"
    + ("\nhollow: " + _MEANS if len(hollow) else ""),
    (panel,),
    styles | {ZERO: Style(GREY, shape="stroke", width=0.8)},
    width=380,
    height=20 * len(scopes) * (len(names) + 1),
    unnamed=(ZERO, *(f"{n}, means" for n in said.values())),
  )


def _variant_lines(
  rows: Any, column: str
) -> tuple[list[Layer], dict[str, Style]]:
  """Replicates as points, each variant's means as a line over t_r; styles."""
  columns = ["variant", "diet", "base", "rewind_step"]
  each: Any = rows.groupby("experiment", sort=False)
  means = each[columns].first().join(each[[column, "accuracy"]].mean())
  means = means.assign(x=means[column], y=means["accuracy"])
  points = rows.assign(
    x=rows[column],
    y=rows["accuracy"],
    name=rows["variant"].where(rows["rewind_step"] > 0, _NONE),
  )
  none = means.query("rewind_step == 0").assign(name=_NONE)
  styles, lines, last = {}, [], []
  of_kind: dict[str, int] = {}
  for variant, path in variant_paths(means).items():
    own = path.query("rewind_step > 0").assign(name=variant)
    if not len(own):
      continue
    kind = str(own["diet"].iloc[0]).split()[0]
    of_kind[kind] = of_kind.get(kind, -1) + 1
    styles[variant] = kind_style(kind, of_kind[kind])
    lines.append(path.assign(name=variant))
    last.append(own.iloc[-1:].assign(text=f"{own['rewind_step'].iloc[-1]:g}"))
  if len(none):
    styles[_NONE] = Style(COLOURS[-1], shape="square")
  kept = ["x", "y", "name", "variant", "rewind_step"]
  joined = pd.concat(lines) if lines else means.iloc[:0].assign(name="")
  marked = pd.concat([joined[joined["rewind_step"] > 0], none])
  layers = [
    Layer("faint", points[[*kept, "replicate"]]),
    Layer("line", joined[kept]),
    Layer("point", marked[kept], {"size": 60}),
  ]
  if last:
    written = pd.concat(last)[["x", "y", "name", "text"]]
    layers.append(Layer("text", written, {"above": -7}))
  return layers, styles
