"""Figures of curvature: spectral densities, and sharpness against density."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imp_jax.landscape.spectrum import density_on_grid
from imp_jax.probes.curvature import Curved
from imp_jax.results.figures.accuracy import (
  COLOURS,
  control_marker,
  set_density_axis,
)

# One of 10^7 weights has this share of the mass: what lies below the highest
# peak by more is the tail of a smoothing kernel, not an eigenvalue.
_LEAST_SHARE = 1e-8


# Of the widest spectrum's span: the width of one eigenvalue's peak.
_WIDTH, _POINTS = 0.01, 1000


def first_spectrum_figure(curved: Curved) -> Figure | None:
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
  return spectrum_figure(
    {
      label: (grid, density_on_grid(ritz, weights, grid, width))
      for label, (ritz, weights) in spectra.items()
    }
  )


def spectrum_figure(
  densities: Mapping[
    str, tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]
  ],
) -> Figure:
  """Returns spectral densities on a logarithmic axis, one line each.

  Args:
    densities: by label, (grid of eigenvalues, density at each of them), the
      density of integral 1. Grids may differ.

  Raises:
    ValueError: there is no density, one and its grid differ in length, or none
      is positive anywhere.
  """
  if not densities:
    raise ValueError("densities must be at least 1, got 0")
  figure = Figure(figsize=(7, 4), layout="constrained")
  axes = figure.subplots()
  for i, (label, (grid, density)) in enumerate(densities.items()):
    if len(grid) != len(density):
      raise ValueError(
        f"densities of {label!r} must be as many as grid points, got "
        f"{len(density)} and {len(grid)}"
      )
    axes.semilogy(
      grid,
      density,
      ("-", "--", "-.")[i // len(COLOURS) % 3],
      color=COLOURS[i % len(COLOURS)],
      lw=1.3,
      label=label,
    )
  peak = max(float(np.max(d, initial=0)) for _, d in densities.values())
  if not 0 < peak < np.inf:
    raise ValueError(f"densities must be finite and positive, got peak {peak}")
  axes.set_ylim(_LEAST_SHARE * peak, 3 * peak)
  axes.set_xlabel("eigenvalue")
  axes.set_ylabel("spectral density")
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)
  return figure


def eigenvalue_figure(table: pd.DataFrame) -> Figure:
  """Returns the largest eigenvalue against density, one panel per matrix.

  Args:
    table: columns experiment, replicate, level, density (kept fraction),
      matrix (e.g. "hessian"), layer, quantity, value. Only rows with quantity
      "eigenvalue_1" and layer "all" are drawn.

  Returns:
    Means over replicates with bands of one standard deviation (ddof = 1), one
    line per experiment; controls ("name:control") dotted, with open markers,
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
  matrices = list(dict.fromkeys(rows["matrix"]))
  figure = Figure(
    figsize=(max(4.4 * len(matrices), 5.5), 4), layout="constrained"
  )
  grid = figure.subplots(1, len(matrices), squeeze=False)[0]
  names = list(dict.fromkeys(rows["experiment"]))
  parents = list(dict.fromkeys(n.partition(":")[0] for n in names))
  for axes, matrix in zip(grid, matrices, strict=True):
    shown = rows.query("matrix == @matrix")
    for name, own in shown.groupby("experiment", sort=False):
      place = parents.index(str(name).partition(":")[0])
      _eigenvalues(axes, own, str(name), place)
    set_density_axis(axes, shown["density"])
    axes.set_title(matrix, fontsize=10)
    axes.grid(alpha=0.3)
  grid[0].set_ylabel("largest eigenvalue")
  replicates = rows["replicate"].nunique()
  figure.suptitle(f"mean ± std over {replicates} replicates", fontsize=10)
  handles = {}
  for axes in grid:
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
      handles.setdefault(label, handle)
  figure.legend(
    [handles[name] for name in names],
    names,
    loc="outside lower center",
    ncols=4,
    fontsize=8,
  )
  return figure


def _eigenvalues(axes: Axes, rows: pd.DataFrame, name: str, place: int) -> None:
  """One experiment's line and band."""
  levels = rows.groupby("level").agg(
    density=("density", "mean"), mean=("value", "mean"), std=("value", "std")
  )
  spread = levels["std"].fillna(0)  # of a single replicate
  colour = COLOURS[place % len(COLOURS)]
  control = name.partition(":")[2]
  axes.plot(
    levels["density"],
    levels["mean"],
    marker=control_marker(control) if control else "o",
    markersize=4,
    markerfacecolor="white" if control else colour,
    linestyle=":" if control else ("-", "--", "-.")[place // len(COLOURS) % 3],
    color=colour,
    label=name,
  )
  axes.fill_between(
    levels["density"],
    levels["mean"] - spread,
    levels["mean"] + spread,
    color=colour,
    alpha=0.15,
    linewidth=0,
  )
