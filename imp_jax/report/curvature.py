"""Curvature as a table and as figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from imp_jax.landscape.spectrum import density_on_grid
from imp_jax.report.curvature_figures import spectrum_figure
from imp_jax.store import Artefact

CURVATURE_COLUMNS = (
  "study",
  "experiment",
  "replicate",
  "level",
  "density",
  "matrix",
  "layer",
  "quantity",
  "value",
)
# Of the widest spectrum's span: the width of one eigenvalue's peak.
_WIDTH, _POINTS = 0.01, 1000

Curved = Sequence[tuple[Any, Artefact]]  # (ViewEntry, artefact)


def curvature_table(
  study: str,
  curved: Curved,
  densities: Mapping[tuple[str, int, int], float],
) -> pd.DataFrame:
  """Returns one row per network, matrix, layer ("all", or one) and quantity.

  Quantities: dimension (coordinates in use), eigenvalue_1 (the largest),
  eigenvalue_2, ..., smallest_eigenvalue, trace and trace_error (its standard
  error).

  Args:
    study: its name.
    curved: what was measured, and where.
    densities: kept fraction by (experiment, level, replicate).
  """
  rows = []
  for entry, artefact in curved:
    place = (entry.experiment, entry.level, entry.replicate)
    start = (
      study,
      entry.experiment,
      entry.replicate,
      entry.level,
      densities.get(place, float("nan")),
    )
    for matrix, layers in artefact.record["curvature"].items():
      for layer, found in layers.items():
        values = {
          "dimension": found["dimension"],
          **{
            f"eigenvalue_{i}": value
            for i, value in enumerate(found["eigenvalues"], start=1)
          },
          "smallest_eigenvalue": found["smallest"],
          "trace": found["trace"],
          "trace_error": found["trace_error"],
        }
        rows += [(*start, matrix, layer, *item) for item in values.items()]
  return pd.DataFrame(rows, columns=list(CURVATURE_COLUMNS))


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
