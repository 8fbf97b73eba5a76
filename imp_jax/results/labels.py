"""The noisy labels that a study trained on, as files in source order."""

from collections.abc import Mapping

import numpy as np

from imp_jax.core.store import if_finished
from imp_jax.data.dataset import Dataset
from imp_jax.data.score_files import save_labels
from imp_jax.data.subsets import label_changes
from imp_jax.results.parts import Parts


def write_labels(
  parts: Parts, labels: Mapping[str, str], dataset: Dataset
) -> None:
  """Writes noisy_labels/NAME.npy with its record, as `score_files` reads them.

  The record counts what changed: [true class, noisy class, examples].

  Args:
    parts: of the study.
    labels: where they are stored, by the noise's name.
    dataset: whose training examples they label.
  """
  true = np.asarray(dataset.train.labels)
  for name, object_id in labels.items():
    with parts.attempt(f"noisy_labels/{name}.npy"), if_finished():
      arrays = parts.store.load(object_id).arrays
      assert arrays is not None  # labels, by construction
      noisy = arrays["labels"]
      record = {
        "noise": name,
        "changed": int((true != noisy).sum()),
        "changes": label_changes(true, noisy),
        "class_names": list(dataset.class_names),
      }
      path = parts.folder / "noisy_labels" / f"{name}.npy"
      save_labels(str(path), noisy, dataset, record)
