"""Sources: MNIST-1D, prepared TFDS directories, `.npz` files."""

import pathlib
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np

from imp_jax.data.dataset import Dataset, make_dataset
from imp_jax.data.decoded import decoded_once
from imp_jax.data.npz import npz_arrays
from imp_jax.data.prepared import prepared_arrays

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
  cache_dir: str = "",
) -> Dataset:
  """Returns a data set in canonical order, as host arrays.

  Args:
    source: "mnist1d" (generated), "tfds" (a prepared directory) or "npz".
    name: which TFDS data set.
    path: the `.npz` file, or TFDS's data_dir ("" = TFDS's default).
    merge_valid: CINIC-10 only: train on its train and valid folders together.
    mean, std: normalisation constants per channel; () = the paper's for a data
      set it names, else measured on the training split.
    generator_seed, train_examples: MNIST-1D's seed and training size.
    cache_dir: where generated and decoded arrays are kept; "" = the user's
      cache.

  Raises:
    ValueError: unknown source or name, or arrays that are no data set.
    FileNotFoundError: nothing at path, or TFDS data that is not prepared; the
      message holds the command that prepares it.
  """
  if source == "mnist1d":
    arrays = _mnist1d(generator_seed, train_examples, cache_dir)
    class_names = tuple(map(str, range(10)))
    label = "mnist1d"
  elif source == "npz":
    arrays, class_names = npz_arrays(path)
    label = pathlib.Path(path).stem
  elif source == "tfds":
    arrays, class_names = prepared_arrays(name, path, merge_valid, cache_dir)
    label = name
    if not mean and not std and name in CONSTANTS:
      mean, std = CONSTANTS[name]
  else:
    raise ValueError(
      f"unknown data source {source!r}; known: {', '.join(SOURCES)}"
    )
  try:
    return make_dataset(
      label,
      arrays,
      class_names=class_names,
      mean=mean,
      std=std,
      one_order=source == "mnist1d",
    )
  except ValueError as error:
    if source != "npz":
      raise
    raise ValueError(f"data.path {path}: {error}") from error


def _mnist1d(seed: int, train_examples: int, cache_dir: str):
  """MNIST-1D (Greydanus & Kobak 2020): signals of length 40, 10 classes.

  The package draws from NumPy's global generator and reseeds it: its state is
  put back. It splits what it makes 4 to 1 into training and test.
  """
  if train_examples < 4 or train_examples % 4:
    raise ValueError(
      "data.train_examples must be a multiple of 4 (a fifth of all is for "
      f"testing), got {train_examples}"
    )

  def generate():
    from mnist1d import data as generator

    args: Any = generator.get_dataset_args()
    args.seed, args.num_samples = seed, train_examples * 5 // 4
    state = np.random.get_state()
    try:
      made = generator.make_dataset(args)
    finally:
      np.random.set_state(state)
    arrays = {
      "train": (made["x"].astype(np.float32), made["y"]),
      "test": (made["x_test"].astype(np.float32), made["y_test"]),
    }
    return arrays, ()

  made_by = "-".join(f"{p}{metadata.version(p)}" for p in ("mnist1d", "scipy"))
  key = f"{made_by}-{seed}-{train_examples}"
  return decoded_once(key, cache_dir, generate)[0]
