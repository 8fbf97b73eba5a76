"""The contents of the files that a config names."""

from typing import Any

import numpy as np

from imp_jax.core.files import read_arrays, user_file
from imp_jax.data.arrays import checked_arrays
from imp_jax.data.dataset import Dataset, Split, canonical_split
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
    splits: other training examples, by their fingerprint.
  """

  def __init__(self):
    self.arrays: dict[str, np.ndarray] = {}
    self.records: dict[str, dict[str, Any]] = {}
    self.splits: dict[str, Split] = {}

  def examples(self, path: str, dataset: Dataset) -> str:
    """Reads other training examples; returns their fingerprint.

    Args:
      path: an .npz with train_image and train_label.
      dataset: whose shape, kind of numbers and classes they must have.

    Raises:
      FileNotFoundError: no such file.
      ValueError: an array is missing, or they are no such examples.
    """
    what = f"train.file {path}"
    arrays = read_arrays(user_file(path, what), what)
    missing = [n for n in ("train_image", "train_label") if n not in arrays]
    if missing:
      raise ValueError(f"{what}: lacks {', '.join(missing)}")
    inputs, labels = checked_arrays(
      what, arrays["train_image"], arrays["train_label"]
    )
    own = dataset.train.inputs
    if (inputs.shape[1:], inputs.dtype) != (own.shape[1:], own.dtype):
      raise ValueError(
        f"{what}: its examples are {inputs.dtype} of shape {inputs.shape[1:]}, "
        f"the data's {own.dtype} of {tuple(own.shape[1:])}"
      )
    if labels.min() < 0 or labels.max() >= dataset.num_classes:
      raise ValueError(
        f"{what}: labels must lie in 0..{dataset.num_classes - 1}, got "
        f"{labels.min()}..{labels.max()}"
      )
    split, _ = canonical_split(inputs, labels)
    self.splits[split.fingerprint] = split
    return split.fingerprint

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
