"""Sources: MNIST-1D, prepared TFDS directories, `.npz` files, CINIC-10."""

import hashlib
import os
import pathlib
import uuid
import zipfile
import zlib
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from imp_jax.data.dataset import Dataset, make_dataset

TFDS_NAMES = (
  "cifar10",
  "cifar100",
  "cinic10",
  "fashion_mnist",
  "mnist",
  "svhn_cropped",
)
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
    class_names = None
    label = "mnist1d"
  elif source == "npz":
    arrays, class_names = _npz(path)
    label = pathlib.Path(path).stem
  elif source == "tfds":
    arrays, class_names = _tfds(name, path, merge_valid, cache_dir)
    label = name
    if not mean and not std and name in CONSTANTS:
      mean, std = CONSTANTS[name]
  else:
    raise ValueError(
      f"unknown data source {source!r}; known: {', '.join(SOURCES)}"
    )
  return make_dataset(
    label, arrays, class_names=class_names, mean=mean, std=std
  )


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
  return _decoded_once(key, cache_dir, generate)[0]


def _npz(path: str):
  wanted = [f"{s}_{k}" for s in ("train", "test") for k in ("image", "label")]
  file = pathlib.Path(path).expanduser()
  if not path or not file.is_file():
    raise FileNotFoundError(f"data.path: no .npz file at {path!r}")
  try:
    with np.load(file, allow_pickle=False) as data:
      missing = [key for key in wanted if key not in data.files]
      if missing:
        raise ValueError(
          f"{path}: lacks {', '.join(missing)}; has {', '.join(data.files)}"
        )
      found = {key: _plain_array(data, key, path) for key in wanted}
      names = None
      if "class_names" in data.files:
        names = [str(n) for n in _plain_array(data, "class_names", path)]
  except (zipfile.BadZipFile, zlib.error, EOFError, TypeError) as error:
    raise ValueError(f"{path}: no readable .npz file ({error})") from error
  arrays = {
    s: (found[f"{s}_image"], found[f"{s}_label"]) for s in ("train", "test")
  }
  return arrays, names


def _plain_array(data, key, path):
  try:
    return data[key]
  except ValueError as error:  # NumPy refuses object arrays without pickle
    raise ValueError(
      f"{path}: {key} is an object array; save it as numbers ({error})"
    ) from error


def _tfds(name: str, path: str, merge_valid: bool, cache_dir: str):
  if name not in TFDS_NAMES:
    raise ValueError(
      f"unknown data set {name!r}; known: {', '.join(TFDS_NAMES)}"
    )
  data_dir = path or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  folder = _prepared_folder(name, pathlib.Path(data_dir).expanduser())
  if name == "cinic10":
    merged = "train+valid" if merge_valid else "train"
    parts = {"train": merged, "test": "test"}
    if not merge_valid:
      parts["valid"] = "valid"
  else:
    parts = {"train": "train", "test": "test"}
  files = [(f.name, f.stat().st_size) for f in sorted(folder.iterdir())]
  stamp = hashlib.sha256(repr((name, parts, files)).encode()).hexdigest()[:16]
  return _decoded_once(
    f"{name}-{stamp}", cache_dir, lambda: _decode_tfds(name, folder, parts)
  )


def _prepared_folder(name: str, data_dir: pathlib.Path) -> pathlib.Path:
  """The newest prepared version's folder, the configuration's if there is one.

  Raises:
    FileNotFoundError: not prepared as array_record, with the command to do so.
  """
  found = [
    f.parent
    for f in data_dir.glob(f"{name}/**/dataset_info.json")
    if any(f.parent.glob("*.array_record*"))
  ]
  if found:
    return max(found)
  if name == "cinic10":
    code = "from imp_jax.data.cinic10 import Cinic10 as builder"
    make = f"builder(data_dir='{data_dir}', file_format='array_record')"
  else:
    code = "import tensorflow_datasets as tfds"
    make = (
      f"tfds.builder('{name}', data_dir='{data_dir}', "
      "file_format='array_record')"
    )
  raise FileNotFoundError(
    f"{name} is not prepared as array_record in {data_dir}; to prepare it "
    "(downloads it; needs TensorFlow installed once): "
    f'python -c "{code}; {make}.download_and_prepare()"'
  )


def _decode_tfds(name, folder, parts):
  import tensorflow_datasets as tfds  # no TensorFlow behind data_source

  builder: Any = tfds.builder_from_directory(folder)
  arrays = {}
  for split, part in parts.items():
    source = builder.as_data_source(split=part)
    images = np.empty((len(source), *_image_shape(source[0])), np.uint8)
    labels = np.empty(len(source), np.int32)
    for i, example in enumerate(source):
      images[i] = example["image"].reshape(images.shape[1:])
      labels[i] = example["label"]
    arrays[split] = (images, labels)
  return arrays, tuple(builder.info.features["label"].names)


def _image_shape(example):
  shape = example["image"].shape
  return shape if len(shape) == 3 else (*shape, 1)


def _decoded_once(key: str, cache_dir: str, decode: Callable):
  """Reads decoded arrays from the cache, or decodes and puts them there."""
  root = cache_dir or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or "~/.cache", "imp_jax", "decoded"
  )
  file = pathlib.Path(root).expanduser() / f"{key}.npz"
  if file.is_file():
    try:
      with np.load(file, allow_pickle=False) as data:
        splits = {k.split("/")[0] for k in data.files if "/" in k}
        arrays = {
          s: (data[f"{s}/image"], data[f"{s}/label"]) for s in sorted(splits)
        }
        return arrays, tuple(str(n) for n in data["class_names"])
    except (
      ValueError,
      OSError,
      KeyError,
      EOFError,
      zlib.error,
      zipfile.BadZipFile,
    ):
      file.unlink(missing_ok=True)  # damaged: it is made anew below
  arrays, names = decode()
  flat = {f"{s}/image": x for s, (x, _) in arrays.items()}
  flat |= {f"{s}/label": y for s, (_, y) in arrays.items()}
  partial = file.with_name(f"{file.stem}.{uuid.uuid4().hex}.partial.npz")
  try:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(partial, class_names=np.asarray(names, np.str_), **flat)
    os.replace(partial, file)
  except OSError:  # a full or read-only cache costs time, not the run
    partial.unlink(missing_ok=True)
  return arrays, names
