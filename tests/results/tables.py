"""Tables for tests: results.csv and experiments.csv as written by hand."""

import numpy as np
import pandas as pd

from imp_jax.results.claims import ClaimSettings


def make_results(accuracy, study="hand"):
  """Rows of results.csv.

  Args:
    accuracy: {experiment: [replicates][levels]}, fractions; NaN leaves the row
      out. Level k has density 0.8^k.
    study: its name.
  """
  rows = []
  for experiment, matrix in accuracy.items():
    for (replicate, level), value in np.ndenumerate(np.atleast_2d(matrix)):
      if not np.isnan(value):
        where = (study, experiment, replicate, level, 0.8**level)
        rows.append((*where, "test", "accuracy", value, 9))
        rows.append((*where, "test", "loss", 100.0, 9))
        rows.append((*where, "train", "accuracy", 0.0, 9))
  columns = "study experiment replicate level density split metric value step"
  return pd.DataFrame(rows, columns=columns.split())


def make_experiments(rows, **settings):
  """Rows of experiments.csv.

  Args:
    rows: (experiment, t_r, kind, size, other settings by dotted name).
    settings: of all of them, "__" for ".".
  """
  shared = {name.replace("__", "."): v for name, v in settings.items()}
  return pd.DataFrame(
    [
      {
        "experiment": name,
        "seed": 0,
        "model.name": "conv1d",
        "model.mean": [0.0],
        "pretrain.steps": steps,
        "pretrain.subset.kind": kind,
        "pretrain.subset.size": size,
        "pretrain.subset.score": "el2n" if kind in ("easy", "hard") else "",
        "pretrain.noise.kind": "",
        "pretrain.noise.fraction": 0.0,
        "prune.levels": 2,
        "controls.kinds": [],
      }
      | shared
      | other
      for name, steps, kind, size, other in rows
    ]
  )


def make_claims(**claims):
  """Claims of which those left out are not declared."""
  return ClaimSettings(
    **(
      dict.fromkeys(("rewinding", "little_data", "easy_data", "connected"))
      | dict(margin=0.01, resamples=10_000, confidence=0.95)
      | claims
    )
  )
