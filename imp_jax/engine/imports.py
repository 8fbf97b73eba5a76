"""The contents of the files that a config names."""

from typing import Any

import numpy as np

from imp_jax.data.dataset import Dataset
from imp_jax.data.score_files import load_keep_list, load_labels, load_scores
from imp_jax.data.settings import NoiseSettings
from imp_jax.data.source_order import content_hash
from imp_jax.data.subsets import noise_words, noisy_labels
from imp_jax.scores.settings import ImportSettings


class Imports:
  """The contents of a study's files.

  Attributes:
    arrays: in canonical order, by the hash of their content.
    records: of the scores among them, likewise.
  """

  def __init__(self):
    self.arrays: dict[str, np.ndarray] = {}
    self.records: dict[str, dict[str, Any]] = {}

  def scores(self, path: str, dataset: Dataset) -> ImportSettings:
    """Reads scores for a data set.

    Raises:
      ValueError, OSError: as `load_scores`.
    """
    values, record = load_scores(path, dataset)
    content = content_hash(values)
    self.arrays[content], self.records[content] = values, record
    return ImportSettings(
      record["score"],
      dataset.fingerprint,
      content,
      record["larger_is_harder"],
    )

  def keep_list(self, path: str, dataset: Dataset) -> tuple[str, int]:
    """Reads the examples to keep; returns (hash of their content, how many).

    Raises:
      ValueError, OSError: as `load_keep_list`.
    """
    index = load_keep_list(path, dataset)
    content = content_hash(index)
    self.arrays[content] = index
    return content, len(index)

  def labels(self, path: str, dataset: Dataset) -> str:
    """Reads noisy labels; returns the hash of their content.

    Raises:
      ValueError, OSError: as `load_labels`.
    """
    labels = load_labels(path, dataset)
    content = content_hash(labels)
    self.arrays[content] = labels
    return content

  def train_labels(
    self, dataset: Dataset, noise: NoiseSettings, seed: int
  ) -> np.ndarray:
    """Returns the training labels with noise on them, in canonical order.

    Args:
      dataset: whose labels they are.
      noise: what is done to them.
      seed: the study's, whose key draws what is drawn.
    """
    labels = np.asarray(dataset.train.labels)
    if not noise.kind:
      return labels
    if noise.kind == "file":
      return self.arrays[noise.content]
    return noisy_labels(
      labels,
      kind=noise.kind,
      fraction=noise.fraction,
      matrix=noise.matrix,
      num_classes=dataset.num_classes,
      words=noise_words(seed),
    )
