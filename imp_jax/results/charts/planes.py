"""The chart of a loss over the plane through three networks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from imp_jax.probes.planes import GRID
from imp_jax.results.charts.chart import (
  COLOURS,
  Axis,
  Chart,
  Layer,
  Panel,
  Style,
)

# Beyond a span of these, a linear scale shows the peaks only.
_DECADE = 10
_SIDE = 320  # pixels
_RIM = Style("#ffffff", shape="stroke", width=3.6)
_CORNER = Style("#000000")


def planes_in(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
  """Returns each plane's rows of a table, by "EXPERIMENT_NETWORKS".

  Args:
    table: from `probes.planes.planes_table`.
  """
  whose = ["experiment", "replicate", "networks"]
  found = {}
  for _, rows in table.groupby(whose, sort=False):
    experiment, networks = rows[["experiment", "networks"]].iloc[0]
    name = f"{experiment}_{'_'.join(networks.split(', '))}"
    found[name.replace(" ", "")] = rows
  return found


def table_plane_chart(rows: pd.DataFrame) -> Chart:
  """Returns the training loss over one plane.

  Args:
    rows: of `planes_in`.

  Raises:
    ValueError: as `plane_chart`.
  """
  at: Any = dict(list(rows.groupby("part", sort=False)))
  grid = at.pop(GRID)
  xs, ys = grid["x"].unique(), grid["y"].unique()
  first = rows.iloc[0]
  names = first["networks"].split(", ")
  points = {part: own[["x", "y"]].to_numpy() for part, own in at.items()}
  corners = np.concatenate([points.pop(name) for name in names])
  return plane_chart(
    xs,
    ys,
    grid["loss"].to_numpy().reshape(len(ys), len(xs)),
    corners,
    names,
    list(points.values()),
    title=f"{first['experiment']}, replicate {first['replicate']}",
    quantity="training loss (nats)",
  )


def plane_chart(
  xs: Float[np.ndarray, " columns"],
  ys: Float[np.ndarray, " rows"],
  values: Float[np.ndarray, "height width"],
  corners: Float[np.ndarray, "3 2"],
  labels: Sequence[str],
  paths: Sequence[Float[np.ndarray, "_ 2"]],
  *,
  title: str,
  quantity: str,
) -> Chart:
  """Returns a quantity over a plane, with its three networks and their paths.

  Args:
    xs, ys: grid lines, rising, in L2 distance of parameters from corner a.
    values: the quantity at (ys[i], xs[j]), e.g. loss in nats: a cell around
      each, none where it is not finite. If all are positive and span more than
      a decade, colours are logarithmic.
    corners: (x, y) of the networks a, b and c.
    labels: their three names.
    paths: training trajectories projected onto the plane, in order of time.
    title: of the chart.
    quantity: what the colours say, e.g. "test loss (nats)".

  Raises:
    ValueError: values has another shape than the grid or holds no finite
      number, or the labels are not three.
  """
  if values.shape != (len(ys), len(xs)):
    raise ValueError(
      f"values must have shape {(len(ys), len(xs))}, got {values.shape}"
    )
  if len(labels) != 3:
    raise ValueError(f"labels must be 3, got {len(labels)}")
  if not np.isfinite(values).any():
    raise ValueError("values must hold a finite number, got none")
  left, right = _around(xs)
  bottom, top = _around(ys)
  cells = pd.DataFrame(
    {
      "left": np.tile(left, len(ys)),
      "right": np.tile(right, len(ys)),
      "bottom": np.repeat(bottom, len(xs)),
      "top": np.repeat(top, len(xs)),
      "value": values.ravel().astype(np.float64),
    }
  )
  cells = cells[np.isfinite(cells["value"])]
  low, high = cells["value"].min(), cells["value"].max()
  logarithmic = bool(low > 0 and high > _DECADE * low)
  names = [f"path {i + 1}" for i in range(len(paths))]
  walked = pd.DataFrame(
    [
      (x, y, name)
      for name, path in zip(names, paths, strict=True)
      for x, y in path.tolist()
    ],
    columns=["x", "y", "name"],
  )
  ends = pd.DataFrame(corners, columns=["x", "y"])
  ends = ends.assign(text=list(labels), name="networks")
  # Outside the triangle, where fewer paths run.
  above = ends["y"] > ends["y"].mean()
  shape = float((top[-1] - bottom[0]) / (right[-1] - left[0]))
  equal = 0.4 <= shape <= 1.6  # one scale shows true angles
  panel = Panel(
    "",
    Axis(
      f"distance along {labels[0]} → {labels[1]} (parameter L2)",
      domain=(float(left[0]), float(right[-1])),
    ),
    Axis(
      f"distance along the normal towards {labels[2]} (parameter L2)",
      domain=(float(bottom[0]), float(top[-1])),
    ),
    (
      Layer("cell", cells, {"title": quantity, "logarithmic": logarithmic}),
      Layer("line", walked.assign(piece=walked["name"], name="rim")),
      Layer("line", walked),
      Layer("point", walked, {"size": 12}),
      Layer("point", ends, {"size": 60}),
      *(
        Layer("text", ends[side], {"side": "center", "above": shift} | rim)
        for side, shift in ((above, -10), (~above, 12))
        for rim in ({"rim": True}, {})
      ),
    ),
    width=_SIDE,
    height=round(_SIDE * shape) if equal else _SIDE,
  )
  styles = {
    name: Style(COLOURS[i % len(COLOURS)]) for i, name in enumerate(names)
  }
  return Chart(
    title,
    (panel,),
    styles | {"rim": _RIM, "networks": _CORNER},
    unnamed=("rim", "networks", *names),
  )


def _around(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """From where to where the cell around each grid line goes."""
  if len(lines) == 1:
    return lines - 0.5, lines + 0.5
  between = (lines[1:] + lines[:-1]) / 2
  first, last = 2 * lines[0] - between[0], 2 * lines[-1] - between[-1]
  return np.array([first, *between]), np.array([*between, last])
