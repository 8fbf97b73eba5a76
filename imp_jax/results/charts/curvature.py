"""Charts of curvature: spectral densities, and sharpness against density."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from imp_jax.landscape.spectrum import density_on_grid
from imp_jax.probes.curvature import Curved
from imp_jax.results.charts.accuracy import ticket_styles
from imp_jax.results.charts.chart import (
  Axis,
  Chart,
  Layer,
  Panel,
  density_axis,
  mean_lines,
  series_styles,
  spread,
)

# One of 10^7 weights has this share of the mass: what lies below the highest
# peak by more is the tail of a smoothing kernel, not an eigenvalue.
_LEAST_SHARE = 1e-8
# Of the widest spectrum's span: the width of one eigenvalue's peak.
_WIDTH, _POINTS = 0.01, 1000


def first_spectrum_chart(curved: Curved) -> Chart | None:
  """Returns the spectra of replicate 0's first matrix; None without one."""
  spectra = {}
  for entry, artefact in curved:
    if entry.replicate:
      continue
    assert artefact.arrays is not None  # curvature, by construction
    matrix = next(iter(artefact.record["curvature"]))
    spectra[f"{entry.experiment} level {entry.level}, {matrix}"] = [
      artefact.arrays[f"{matrix}:all:{name}"] for name in ("ritz", "weights")
    ]
  if not spectra:
    return None
  ends = np.concatenate([ritz.ravel() for ritz, _ in spectra.values()])
  width = _WIDTH * float(np.ptp(ends)) or 1.0
  grid = np.linspace(ends.min() - 5 * width, ends.max() + 5 * width, _POINTS)
  return spectrum_chart(
    {
      label: (grid, density_on_grid(ritz, weights, grid, width))
      for label, (ritz, weights) in spectra.items()
    }
  )


def spectrum_chart(
  densities: Mapping[
    str, tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]
  ],
) -> Chart:
  """Returns spectral densities on a logarithmic axis, one line each.

  Args:
    densities: by label, (grid of eigenvalues, density at each of them), the
      density of integral 1. Grids may differ.

  Returns:
    Their lines, left out where a density is below 1e-8 of the highest peak.

  Raises:
    ValueError: there is no density, one and its grid differ in length, or none
      is positive anywhere.
  """
  if not densities:
    raise ValueError("densities must be at least 1, got 0")
  for label, (grid, density) in densities.items():
    if len(grid) != len(density):
      raise ValueError(
        f"densities of {label!r} must be as many as grid points, got "
        f"{len(density)} and {len(grid)}"
      )
  peak = max(float(np.max(d, initial=0)) for _, d in densities.values())
  if not 0 < peak < np.inf:
    raise ValueError(f"densities must be finite and positive, got peak {peak}")
  low, high = _LEAST_SHARE * peak, 3 * peak
  table = pd.concat(
    [
      pd.DataFrame({"x": grid, "y": density, "name": label})
      for label, (grid, density) in densities.items()
    ],
    ignore_index=True,
  )
  # Pieces of a line, for it is not drawn across what is left out.
  seen = table["y"] >= low
  table = table.assign(piece=table["name"] + (~seen).cumsum().astype(str))[seen]
  return Chart(
    "spectral density of eigenvalues, replicate 0",
    (
      Panel(
        "",
        Axis("eigenvalue"),
        Axis("spectral density", "log", domain=(low, high)),
        (Layer("line", table),),
      ),
    ),
    series_styles(densities),
    width=480,
    height=260,
  )


def eigenvalue_chart(table: pd.DataFrame) -> Chart:
  """Returns the largest eigenvalue against density, one panel per matrix.

  Args:
    table: columns experiment, replicate, level, density (kept fraction),
      matrix (e.g. "hessian"), layer, quantity, value. Only rows with quantity
      "eigenvalue_1" and layer "all" are drawn.

  Returns:
    Means over replicates with bands of one standard deviation (ddof = 1), one
    line per experiment; controls ("name:control") dotted, with hollow points,
    in the colour of theirs.

  Raises:
    ValueError: the table has no such row.
  """
  rows = table.query(  # x is logarithmic
    "quantity == 'eigenvalue_1' and layer == 'all' and density != 0"
  )
  if not len(rows):
    raise ValueError(
      "table must have rows with quantity 'eigenvalue_1' and layer 'all'"
    )
  panels = []
  for matrix, shown in rows.groupby("matrix", sort=False):
    means = spread(shown, ["experiment", "level"], "density")
    means = means.rename(columns={"experiment": "name"})
    of_control = means["name"].str.contains(":", regex=False)
    panels.append(
      Panel(
        str(matrix),
        density_axis(shown["density"]),
        Axis("largest eigenvalue"),
        (*mean_lines(means[~of_control]), *mean_lines(means[of_control])),
      )
    )
  return Chart(
    f"largest eigenvalue: mean ± std over {rows['replicate'].nunique()} "
    "replicates",
    tuple(panels),
    ticket_styles(list(dict.fromkeys(rows["experiment"]))),
    columns=min(len(panels), 3),
    width=300,
    height=230,
  )
