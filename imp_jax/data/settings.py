"""Options and settings of the data, and of how a training sees them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from imp_jax.core.options import default_values, option, options_of, read
from imp_jax.core.ranges import (
  HUGE,
  above,
  between,
  choice,
  flag,
  numbers,
  several,
  text,
  unset_or,
  whole,
)
from imp_jax.data.augment import AUGMENT_ORDERS
from imp_jax.data.batches import LAST_BATCH
from imp_jax.data.made import MADE
from imp_jax.data.subsets import NOISES

STREAM_NOISE = ("fixed", "replicate", "level")
SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class DataOptions:
  """Which data a study is of."""

  source: str = option("mnist1d", text, "mnist1d | npz | tfds")
  name: str = option("cifar10", text, "which TFDS data set")
  path: str = option("", text, "the .npz file, or TFDS's data_dir")
  cache_dir: str = option(
    "", text, 'of decoded TFDS arrays; "" = the user\'s cache'
  )
  merge_valid: bool = option(
    True, flag, "CINIC-10: train on its train and valid folders"
  )
  resize: int = option(
    0, whole(0), "pixels of the side that images are averaged to; 0 = as is"
  )
  subsample: int = option(
    0, whole(0), "training examples drawn, class-balanced; 0 = all"
  )
  valid_examples: int = option(
    0, whole(0), 'training examples set apart as split "valid"'
  )
  generator_seed: int = option(42, whole(0, 2**32 - 1), "MNIST-1D's")
  train_examples: int = option(4000, whole(4, HUGE), "MNIST-1D's")
  test_examples: Any = option(
    None,
    unset_or(whole(10, HUGE)),
    "MNIST-1D's; unset = 10,000. Other sources bring their own test set",
  )
  mean: tuple[float, ...] = option(
    (), numbers, "per channel, inputs in [0, 1]; () = the data set's"
  )
  std: tuple[float, ...] = option((), numbers, "likewise")


@dataclasses.dataclass(frozen=True)
class StreamSettings:
  """How examples reach the train step.

  Attributes:
    fingerprint: of the training examples, all that a training sees of the data.
  """

  NAME: ClassVar[str] = "stream"

  fingerprint: str
  batch_size: int = option(128, whole(1), "examples")
  last_batch: str = option(
    "drop", choice(LAST_BATCH), "of an epoch, if partial; keep: padded"
  )
  order: str = option(
    "replicate",
    choice(STREAM_NOISE),
    "data order: the same for all, by replicate, or anew at each level too",
  )
  augment_noise: str = option(
    "replicate", choice(STREAM_NOISE), "augmentation's keys, likewise"
  )
  crop_pad: int = option(
    0, whole(0), "pixels of zero padding before a random crop"
  )
  flip: bool = option(False, flag, "random mirroring")
  augment_order: str = option(
    "crop_flip", choice(AUGMENT_ORDERS), "which comes first"
  )


@dataclasses.dataclass(frozen=True)
class SplitSettings:
  """Examples that networks are evaluated on: a split's name and fingerprint."""

  NAME: ClassVar[str] = "split"

  name: str
  fingerprint: str


@dataclasses.dataclass(frozen=True)
class NoiseSettings:
  """Noise on the training labels.

  Attributes:
    kind: "" for none.
    content: hash of the matrix, or of the labels of a "file".
  """

  NAME: ClassVar[str] = "label_noise"

  fraction: float = option(
    0.0, between("[0", "1]"), "of the examples, of redrawn and symmetric"
  )
  kind: str = option(
    "redrawn",
    choice(NOISES),
    "over all classes, over the others, by class, or given",
  )
  matrix: tuple[tuple[float, ...], ...] = option(
    (),
    several(numbers),
    "of kind matrix: a row for each class, the probabilities of what its "
    "labels become",
  )
  file: str = option(
    "", text, "of kind file: .npy or .csv of noisy labels", where=True
  )
  scoring: bool = option(
    True, flag, "the scoring networks see it too", where=True
  )
  content: str = ""

  @property
  def name(self) -> str:
    """What tells it from other noise: "noise10", "noise-file-1a2b3c"; or ""."""
    if not self.kind:
      return ""
    if self.content:
      return f"noise-{self.kind}-{self.content[:6]}"
    kind = "" if self.kind == "redrawn" else f"-{self.kind}"
    return f"noise{100 * self.fraction:g}{kind}"


NO_NOISE = NoiseSettings(kind="")


@dataclasses.dataclass(frozen=True)
class MadeSettings:
  """Examples that are made from the training data, to train levels on."""

  NAME: ClassVar[str] = "made"

  kind: str = option(
    "none",
    choice(("none", *MADE)),
    "examples that levels are trained on in place of the data's: gaussian "
    "(as many, with each class's mean and covariance), gaussian_teacher (with "
    "those of all, labelled by the dense network), class_means (of random "
    "parts of each class), distilled (by gradient matching); of signals alone",
  )
  per_class: int = option(10, whole(1, 10_000), "of class_means, distilled")
  networks: int = option(
    300, whole(1, 10_000), "drawn one after another, to distil in"
  )
  matchings: int = option(
    10, whole(1, 10_000), "steps of the distilled examples in each network"
  )
  network_steps: int = option(
    5, whole(0, 10_000), "of a network on them, between two matchings"
  )
  batch_size: int = option(
    64, whole(1, 10_000), "real examples of each class, at each matching"
  )
  learning_rate: float = option(0.01, above(0), "of the distilled examples")
  network_rate: float = option(0.01, above(0), "of the networks")


NOTHING_MADE = MadeSettings()
# What each kind has a use for, beside its name.
_USED: Mapping[str, tuple[str, ...]] = {
  "none": (),
  "gaussian": (),
  "gaussian_teacher": (),
  "class_means": ("per_class",),
  "distilled": tuple(options_of(MadeSettings)),
}


def made_settings(options: Any) -> MadeSettings:
  """Returns how examples are made; what is without effect at its default.

  Args:
    options: a config's group of fields.
  """
  plain = default_values(MadeSettings)
  used = ("kind", *_USED[options.kind])
  idle = {name: value for name, value in plain.items() if name not in used}
  return read(MadeSettings, options, **idle)
