"""The noisy labels that a study trained on, as files in source order."""

from collections.abc import Mapping

import numpy as np

from imp_jax.data.dataset import Dataset
from imp_jax.exchange import save_labels
from imp_jax.report.parts import Parts
from imp_jax.subsets import label_changes


def write_labels(
  parts: Parts, labels: Mapping[str, np.ndarray], dataset: Dataset
) -> None:
  """Writes noisy_labels/NAME.npy with its record, as `exchange` reads them.

  The record counts what changed: [true class, noisy class, examples].

  Args:
    parts: of the study.
    labels: int[examples] in canonical order, by the noise's name.
    dataset: whose training examples they label.
  """
  true = np.asarray(dataset.train.labels)
  for name, noisy in labels.items():
    changes = label_changes(true, noisy)
    record = {
      "noise": name,
      "changed": int((true != noisy).sum()),
      "changes": changes,
      "class_names": list(dataset.class_names),
    }
    with parts.attempt(f"noisy_labels/{name}.npy"):
      path = parts.folder / "noisy_labels" / f"{name}.npy"
      save_labels(str(path), noisy, dataset, record)
