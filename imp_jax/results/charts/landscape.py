"""Charts of linear mode connectivity: barriers, paths, instability."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from imp_jax.results.charts.chart import (
  COLOURS,
  DASHED,
  GREY,
  ZERO,
  Axis,
  Chart,
  Layer,
  Panel,
  Style,
  grid_columns,
  mean_lines,
  over_replicates,
  series_styles,
  shared_domain,
  spread,
  whiskers,
)
from imp_jax.results.landscape import STABLE, variant_paths

_BINS = 40
_NONE = "none"
_STABLE = f"stable: {100 * STABLE:g} %"
# Panels over levels or paths: metric, label, whether a fraction.
_BARRIERS = (
  ("error_rise_above_mean", "rise of test error (%)", True),
  ("loss_midpoint", "midpoint barrier of test loss (nats)", False),
)
_ALONG = (("error", "error (%)", True), ("loss", "loss (nats)", False))
_ZERO = pd.DataFrame({"y": [0.0], "name": [ZERO]})
_GREY_LINE = Style(GREY, shape="stroke", width=0.8)


def instability_chart(table: pd.DataFrame) -> Chart | None:
  """Returns the error barrier of children against t_r, a line per variant.

  Args:
    table: from `results.landscape.instability_table`.

  Returns:
    Means with their intervals (none where unbounded); the point without
    pre-training starts every variant of its base, in black; a dashed line at
    2 %. None without rows.
  """
  if not len(table):
    return None
  paths: Mapping[str, Any] = variant_paths(table)
  named = [n for n, own in paths.items() if max(own["rewind_step"]) > 0]
  styles = series_styles(named, colours=COLOURS[:-1])  # black is for none
  styles |= {_NONE: Style(COLOURS[-1])}
  styles |= {_STABLE: Style(GREY, DASHED, "stroke")}
  lines, points = [], []
  middle = min(len(named), 5) // 2
  own: Any
  for i, (variant, own) in enumerate(paths.items()):
    rows = own.assign(
      x=own["rewind_step"].astype(float),
      y=own["mean"],
      name=variant if variant in named else _NONE,
    )
    lines.append(rows)
    # Side by side, so that no error bar hides another.
    aside = 1.015 ** (i % 5 - middle)
    points.append(rows[rows["x"] > 0].assign(x=aside * rows["x"]))
  none = table.query("rewind_step == 0")
  points.append(none.assign(x=0.0, y=none["mean"], name=_NONE))
  steps = sorted({float(t) for t in table["rewind_step"]})
  positive = [t for t in steps if t > 0]
  return Chart(
    f"{table['study'].iloc[0]}: instability, mean and interval over "
    f"{table['replicates'].max()} replicates",
    (
      Panel(
        "",
        Axis(
          "t_r (steps)",
          "symlog" if positive else "linear",
          ticks=tuple(steps),
          labels={t: f"{t:,.0f}" for t in steps},
          linear_to=positive[0] if positive else 1.0,
        ),
        Axis(
          "largest rise of test error above the mean of the ends (%)",
          percent=True,
        ),
        (
          Layer("line", pd.concat(lines, ignore_index=True)),
          *whiskers(pd.concat(points, ignore_index=True)),
          Layer("level", pd.DataFrame({"y": [STABLE], "name": [_STABLE]})),
          Layer("level", _ZERO.assign(name=ZERO)),
        ),
      ),
    ),
    styles | {ZERO: _GREY_LINE},
    unnamed=(ZERO,),
    width=420,
    height=270,
  )


def barrier_chart(
  values: Mapping[str, Float[np.ndarray, " examples"]],
  *,
  thresholds: Sequence[float] = (0.1,),
  limits: tuple[float, float] | None = None,
) -> Chart:
  """Returns how per-example barriers spread: a panel each, on shared axes.

  Args:
    values: by label, one barrier per example, in nats.
    thresholds: in nats, drawn as dashed lines; each panel says the share of
      examples below each.
    limits: (lowest, highest) barrier shown; what lies beyond is counted in the
      bin at that end. By default 98 % of all barriers and every threshold.

  Returns:
    Shares of the examples in bins, on a logarithmic axis.

  Raises:
    ValueError: there is no label, or one has no examples or a NaN.
  """
  if not values:
    raise ValueError("values must have at least one label, got none")
  arrays = {name: np.asarray(v, np.float64) for name, v in values.items()}
  for name, array in arrays.items():
    if not len(array) or np.isnan(array).any():
      raise ValueError(f"{name!r} must have examples and no NaN")
  low, high = limits or _limits(arrays.values(), thresholds)
  edges = np.linspace(low, high, _BINS + 1)
  floor = 0.5 / max(map(len, arrays.values()))
  x = Axis(
    "barrier (nats); the end bins hold what lies beyond", domain=(low, high)
  )
  y = Axis("examples (%)", "log", percent=True, domain=(floor, 1.0))
  panels = []
  for name, array in arrays.items():
    counts, _ = np.histogram(np.clip(array, low, high), edges)
    bars = pd.DataFrame(
      {
        "left": edges[:-1],
        "right": edges[1:],
        "y": counts / len(array),
        "examples": counts,
        "name": "examples",
      }
    )
    below = [(array < bar).mean() for bar in thresholds]
    lines = pd.DataFrame(
      {"x": thresholds, "share below": below, "name": "threshold"},
    )
    said = pd.DataFrame(
      {
        "x": high,
        # Below each other, on a logarithmic axis.
        "y": [floor ** (0.06 * (i + 1)) for i in range(len(below))],
        "text": [
          f"{100 * share:.1f} % < {bar:g}"
          for bar, share in zip(thresholds, below, strict=True)
        ],
        "name": "threshold",
      }
    )
    layers = (
      Layer("bar", bars[bars["y"] > 0]),
      Layer("plumb", lines),
      Layer("text", said, {"side": "right"}),
    )
    panels.append(Panel(name, x, y, layers))
  columns = grid_columns(len(panels))
  return Chart(
    "barriers of single training examples between dense children",
    tuple(panels),
    {
      "examples": Style(COLOURS[0], shape="square"),
      "threshold": Style(COLOURS[1], DASHED, "stroke", width=1.0),
    },
    columns=columns,
    width=400 if columns == 1 else 190,
    height=150,
    unnamed=("examples", "threshold"),
  )


def levels_chart(
  barriers: pd.DataFrame,
  densities: Mapping[int, float] | pd.Series,
  *,
  batch_stats: str = "average",
) -> Chart | None:
  """Returns barriers between networks of different levels, against level.

  Args:
    barriers: rows of barriers.csv.
    densities: by level, fractions; said below the levels.
    batch_stats: of the rows shown.

  Returns:
    Four panels, of successive levels and of the dense network and level k: the
    largest rise of test error above the mean of the ends and the midpoint
    barrier of test loss; a line per experiment, mean ± std over replicates
    (ddof = 1). None without such barriers.
  """
  kinds = {"successive": "levels k and k + 1", "from_dense": "levels 0 and k"}
  metrics = [f"{metric}_{batch_stats}" for metric, *_ in _BARRIERS]
  rows = barriers.loc[
    barriers["kind"].isin(kinds)
    & (barriers["split"] == "test")
    & barriers["metric"].isin(metrics)
  ]
  if not len(rows):
    return None
  panels = []
  for metric, (_, label, fraction) in zip(metrics, _BARRIERS, strict=True):
    drawn = {
      said: (
        shown := rows.loc[(rows["metric"] == metric) & (rows["kind"] == kind)],
        [*_mean_lines(shown, "level"), Layer("level", _ZERO)],
      )
      for kind, said in kinds.items()
    }
    domain = shared_domain(layers for _, layers in drawn.values())
    for said, (shown, layers) in drawn.items():
      levels = sorted(set(shown["level"]))
      levels = levels[:: -(-len(levels) // 8)] if levels else []
      x = Axis(
        "level k (weights left, %)",
        ticks=tuple(levels),
        labels={k: _level_tick(k, densities) for k in levels},
      )
      y = Axis(label, percent=fraction, domain=domain)
      panels.append(Panel(said, x, y, tuple(layers)))
  return Chart(
    over_replicates(
      rows, f"barriers between levels (BatchNorm: {batch_stats}), "
    ),
    tuple(panels),
    _styles(rows),
    columns=2,
    width=300,
    height=180,
    unnamed=(ZERO,),
  )


def matrix_chart(
  barriers: pd.DataFrame, *, batch_stats: str = "average"
) -> Chart | None:
  """Returns barriers between every two levels: a panel per experiment.

  Args:
    barriers: rows of barriers.csv.
    batch_stats: of the rows shown.

  Returns:
    Cells at (one level, the other), the mean over replicates of the largest
    rise of test error above the mean of the ends, in percent. None without
    paths of kind "matrix".
  """
  rows: Any = barriers[
    (barriers["kind"] == "matrix")
    & (barriers["split"] == "test")
    & (barriers["metric"] == f"error_rise_above_mean_{batch_stats}")
  ]
  if not len(rows):
    return None
  ends = rows["pair"].str.split("-", expand=True).astype(int)
  means: Any = (
    rows.assign(lower=ends[0], upper=ends[1])
    .groupby(["experiment", "lower", "upper"], sort=False)["value"]
    .mean()
    .reset_index()
  )
  # Either side of the diagonal, as a matrix is read.
  turned = means.rename(columns={"lower": "upper", "upper": "lower"})
  both = pd.concat([means, turned], ignore_index=True)
  cells = both.assign(
    left=both["lower"] - 0.5,
    right=both["lower"] + 0.5,
    bottom=both["upper"] - 0.5,
    top=both["upper"] + 0.5,
    value=100 * both["value"],
  )
  levels = sorted(set(both["lower"]))
  axis = Axis(
    "level",
    ticks=tuple(levels),
    labels={k: str(k) for k in levels},
    domain=(levels[0] - 0.5, levels[-1] + 0.5),
  )
  options = {"title": "rise of test error (%)"}
  names = list(dict.fromkeys(cells["experiment"]))
  return Chart(
    over_replicates(
      rows, f"barriers between all levels (BatchNorm: {batch_stats}), "
    ),
    tuple(
      Panel(
        name,
        axis,
        axis,
        (Layer("cell", cells[cells["experiment"] == name], options),),
      )
      for name in names
    ),
    {},
    columns=min(len(names), 3),
    width=200,
    height=200,
  )


def path_chart(
  paths: pd.DataFrame, *, split: str = "test", batch_stats: str = "average"
) -> Chart | None:
  """Returns error and loss along the line between two dense children of W_r.

  Args:
    paths: columns study, experiment, replicate, level, kind, pair, split,
      batch_stats, alpha, metric ("loss" or "error") and value.
    split, batch_stats: of the rows shown.

  Returns:
    Two panels, a line per experiment: means over pairs and replicates, with
    bands of one standard deviation over replicates (ddof = 1). None without
    such rows.
  """
  rows = paths.query(
    "kind == 'children' and level == 0 and split == @split"
    " and batch_stats == @batch_stats"
  )
  if not len(rows):
    return None
  panels = tuple(
    Panel(
      "",
      Axis("α, from one child to the other"),
      Axis(f"{split} {label}", percent=fraction),
      tuple(_mean_lines(rows[rows["metric"] == metric], "alpha", False)),
    )
    for metric, label, fraction in _ALONG
  )
  return Chart(
    over_replicates(rows, "paths between dense children, "),
    panels,
    _styles(rows),
    columns=2,
    width=300,
    height=220,
    unnamed=(ZERO,),
  )


def _mean_lines(rows: Any, x: str, points: bool = True) -> list[Layer]:
  """A line and a band per experiment, pairs averaged before replicates."""
  by = ["experiment", x, "replicate"]
  each: Any = rows.groupby(by, sort=False)["value"].mean().reset_index()
  table = spread(each, ["experiment", x], x)
  table = table.drop(columns=x).rename(columns={"experiment": "name"})
  return mean_lines(table, points=points)


def _styles(rows: Any) -> dict[str, Style]:
  return series_styles(rows["experiment"]) | {ZERO: _GREY_LINE}


def _limits(
  arrays: Iterable[np.ndarray], thresholds: Sequence[float]
) -> tuple[float, float]:
  """Between the first and last percentile of all, thresholds well inside."""
  pooled = np.concatenate([*arrays, [0.0]])
  low, high = np.quantile(pooled[np.isfinite(pooled)], (0.01, 0.99))
  low, high = min(low, 0.0, *thresholds), max(high, 0.0, *thresholds)
  margin = 0.1 * (high - low) or 1.0
  return float(low - margin), float(high + margin)


def _level_tick(level: int, densities: Mapping[int, float] | pd.Series) -> str:
  density = densities.get(level)
  return str(level) if density is None else f"{level}\n({100 * density:.3g})"
