"""Sources: MNIST-1D, prepared TFDS directories, `.npz` files."""

import pathlib
from collections.abc import Sequence

from imp_jax.data.dataset import (
  Dataset,
  make_dataset,
  measured,
  with_subsample,
)
from imp_jax.data.npz import npz_arrays
from imp_jax.data.prepared import prepared_arrays
from imp_jax.data.signals import CLASSES, TEST_EXAMPLES, signal_arrays

SOURCES = ("mnist1d", "npz", "tfds")

# Per-channel mean and standard deviation of the training images in [0, 1], as
# the paper's code has them; other data sets' are measured.
CONSTANTS = {
  "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
  "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
  "cinic10": ((0.4789, 0.4723, 0.4305), (0.2421, 0.2383, 0.2587)),
}


def load_dataset(
  source: str,
  *,
  name: str = "cifar10",
  path: str = "",
  merge_valid: bool = True,
  mean: Sequence[float] = (),
  std: Sequence[float] = (),
  generator_seed: int = 42,
  train_examples: int = 4000,
  test_examples: int | None = None,
  cache_dir: str = "",
  resize: int = 0,
  subsample: int = 0,
) -> Dataset:
  """Returns a data set in canonical order, as host arrays.

  Args:
    source: "mnist1d" (generated), "tfds" (a prepared directory) or "npz".
    name: which TFDS data set.
    path: the `.npz` file, or TFDS's data_dir ("" = TFDS's default).
    merge_valid: CINIC-10 only: train on its train and valid folders together.
    mean, std: normalisation constants per channel; () = the paper's for a data
      set it names, unless reduced; else measured on the training split.
    generator_seed, train_examples: MNIST-1D's seed and training size.
    test_examples: MNIST-1D's; None = 10,000. Others bring their own test set.
    cache_dir: where generated and decoded arrays are kept; "" = the user's
      cache.
    resize: pixels of the shorter side that images are averaged to; 0 = as they
      are.
    subsample: training examples to draw, as many of each class; 0 = all.

  Raises:
    ValueError: unknown source or name, arrays that are no data set or cannot be
      reduced so, or test examples asked of a source that has its own.
    FileNotFoundError: nothing at path, or TFDS data that is not prepared; the
      message holds the command that prepares it.
  """
  if source not in SOURCES:
    raise ValueError(
      f"unknown data source {source!r}; known: {', '.join(SOURCES)}"
    )
  if source != "mnist1d" and test_examples is not None:
    raise ValueError(
      f"data.test_examples is for data.source='mnist1d', got {test_examples}: "
      f"{source!r} brings its own test set"
    )
  if source == "mnist1d":
    if test_examples is None:
      test_examples = TEST_EXAMPLES
    arrays = signal_arrays(
      generator_seed, train_examples, test_examples, cache_dir
    )
    class_names = tuple(map(str, range(CLASSES)))
    label = "mnist1d"
  elif source == "npz":
    arrays, class_names = npz_arrays(path)
    label = pathlib.Path(path).stem
  else:
    arrays, class_names = prepared_arrays(name, path, merge_valid, cache_dir)
    label = name
    side = min(arrays["train"][0].shape[1:3])
    reduced = subsample or resize not in (0, side)
    if not (mean or std or reduced) and name in CONSTANTS:
      mean, std = CONSTANTS[name]
  try:
    dataset = make_dataset(
      label,
      arrays,
      class_names=class_names,
      mean=mean,
      std=std,
      one_order=source == "mnist1d",
      side=resize,
    )
    if not subsample:
      return dataset
    drawn = with_subsample(dataset, subsample)
    return drawn if mean else measured(drawn)
  except ValueError as error:
    if source != "npz":
      raise
    raise ValueError(f"data.path {path}: {error}") from error
