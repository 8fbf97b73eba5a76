"""Paths between networks as tables: barriers, curves, how far apart."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.core.artefacts import Artefact
from imp_jax.landscape.barriers import FORMS, barriers, connected_share
from imp_jax.probes.paths import example_array

_PATH = ("study", "experiment", "replicate", "level", "kind", "pair")
BARRIER_COLUMNS = (*_PATH, "split", "metric", "value")
CURVE_COLUMNS = (*_PATH, "split", "batch_stats", "alpha", "metric", "value")

# (where it lies, in columns _PATH but the study; what was measured)
Measured = Sequence[tuple[tuple[Any, ...], Artefact]]


def barriers_table(
  study: str, paths: Measured, thresholds: Mapping[str, Sequence[float]]
) -> pd.DataFrame:
  """Returns one row per path, split and barrier.

  Metrics are QUANTITY_FORM_BATCHSTATS: of the mean loss (nats) and the error
  (fraction), each form of `landscape.barriers`, each way to get BatchNorm's
  statistics. connected_FORM_THRESHOLD_BATCHSTATS is the share of examples whose
  own loss barrier is below the threshold, right_throughout_BATCHSTATS the share
  whose prediction is right along the whole path.

  Args:
    study: its name.
    paths: what was measured.
    thresholds: in nats, by experiment.
  """
  rows = []
  for place, artefact in paths:
    assert artefact.arrays is not None  # a path, by construction
    for split, modes in artefact.record["paths"].items():
      for mode, curve in modes.items():
        values = {}
        for quantity in ("loss", "error"):
          forms = barriers(np.asarray(curve[quantity]), curve["alpha"])
          values |= {
            f"{quantity}_{f}": float(forms[f]) for f in FORMS if f in forms
          }
        for form, threshold in itertools.product(FORMS, thresholds[place[0]]):
          each = artefact.arrays.get(example_array(split, mode, form))
          if each is not None:
            name = f"connected_{form}_{threshold:g}"
            values[name] = connected_share(each, threshold)
        right = artefact.arrays[example_array(split, mode, "right_throughout")]
        values["right_throughout"] = float(right.mean())
        rows += [
          (study, *place, split, f"{name}_{mode}", value)
          for name, value in values.items()
        ]
  return pd.DataFrame(rows, columns=list(BARRIER_COLUMNS))


def curves_table(study: str, paths: Measured) -> pd.DataFrame:
  """Returns mean loss (nats) and error (fraction) at every point of a path."""
  rows = [
    (study, *place, split, mode, alpha, quantity, value)
    for place, artefact in paths
    for split, modes in artefact.record["paths"].items()
    for mode, curve in modes.items()
    for quantity in ("loss", "error")
    for alpha, value in zip(curve["alpha"], curve[quantity], strict=True)
  ]
  return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def mean_example_barriers(
  paths: Measured, *, split: str = "train", batch_stats: str = "average"
) -> dict[str, np.ndarray]:
  """Returns each experiment's midpoint barrier of every example, in nats.

  The mean over the children of W_r, by pairs and replicates.
  """
  arrays: dict[str, list[np.ndarray]] = {}
  name = example_array(split, batch_stats, "midpoint")
  for (experiment, _, level, kind, _), artefact in paths:
    assert artefact.arrays is not None  # a path, by construction
    if kind == "children" and level == 0 and name in artefact.arrays:
      arrays.setdefault(experiment, []).append(artefact.arrays[name])
  return {e: np.mean(rows, axis=0) for e, rows in arrays.items()}
