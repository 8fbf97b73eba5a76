"""Data sets that TensorFlow Datasets (TFDS) has prepared in a folder."""

import hashlib
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from imp_jax.core.files import reading, user_path
from imp_jax.data.decoded import decoded_once
from imp_jax.data.tfrecord import INFO

TFDS_NAMES = (
  "cifar10",
  "cifar100",
  "cinic10",
  "fashion_mnist",
  "mnist",
  "svhn_cropped",
)
CONVERTED = "array_record"  # within data_dir, a data_dir of converted copies


def prepared_arrays(
  name: str, path: str, merge_valid: bool, cache_dir: str
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
  """Returns a prepared data set: (inputs, labels) by split, and class names.

  Args:
    name: one of TFDS_NAMES.
    path: TFDS's data_dir; "" = TFDS's default.
    merge_valid: CINIC-10 only: train on its train and valid folders together.
    cache_dir: where decoded arrays are kept; "" = the user's cache.

  Raises:
    ValueError: unknown name, or files that are no such data set.
    FileNotFoundError: not prepared as array_record; the message ends in the
      command that does it.
  """
  if name not in TFDS_NAMES:
    raise ValueError(
      f"unknown data set {name!r}; known: {', '.join(TFDS_NAMES)}"
    )
  data_dir = path or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  folder = user_path(data_dir, f"data.path {data_dir}")
  folder = _prepared_folder(name, pathlib.Path(folder))
  if name == "cinic10":
    merged = "train+valid" if merge_valid else "train"
    parts = {"train": merged, "test": "test"}
    if not merge_valid:
      parts["valid"] = "valid"
  else:
    parts = {"train": "train", "test": "test"}
  files = [(f.name, f.stat().st_size) for f in sorted(folder.iterdir())]
  stamp = hashlib.sha256(repr((name, parts, files)).encode()).hexdigest()[:16]
  with reading(f"data.path {folder}", "must be a data set as TFDS writes it"):
    return decoded_once(
      f"{name}-{stamp}", cache_dir, lambda: _decode_tfds(folder, parts)
    )


def _prepared_folder(name: str, data_dir: pathlib.Path) -> pathlib.Path:
  """The newest version's folder that is prepared as array_record.

  Raises:
    FileNotFoundError: there is none, with the command that makes one.
  """
  data_dir = data_dir.absolute()  # the command is good from any folder
  prepared = _version_folders(data_dir / name)
  converted = _version_folders(data_dir / CONVERTED / name)
  # Sorting is stable: of one version the user's own comes first.
  for folder in sorted(prepared + converted, key=_version, reverse=True):
    if _holds(folder, "array_record"):
      return folder
  for folder in prepared:
    if _holds(folder, "tfrecord"):
      target = data_dir / CONVERTED / folder.relative_to(data_dir)
      raise FileNotFoundError(
        f"{name} is prepared in {folder}, but as tfrecord; to copy it as "
        f"array_record into {target} (no download, no TensorFlow; the tfrecord "
        'copy stays as it is): python -c "from imp_jax.data.tfrecord import '
        f'convert; convert({_quoted(folder)}, {_quoted(target)})"'
      )
  raise FileNotFoundError(
    f"{name} is not prepared as array_record in {data_dir}; to prepare it "
    "(downloads it; needs TensorFlow installed once): "
    f'python -c "{_preparing(name, data_dir)}"'
  )


def _preparing(name: str, data_dir: pathlib.Path) -> str:
  """The code that downloads a data set and prepares it."""
  options = f"data_dir={_quoted(data_dir)}, file_format='array_record'"
  if name == "cinic10":
    code = "from imp_jax.data.cinic10 import Cinic10 as builder"
    builder = f"builder({options})"
  else:
    code = "import tensorflow_datasets as tfds"
    builder = f"tfds.builder('{name}', {options})"
  return f"{code}; {builder}.download_and_prepare()"


def _version_folders(folder: pathlib.Path) -> list[pathlib.Path]:
  """Folders of a data set's versions, [CONFIG/]VERSION, the newest first."""
  folders = [
    file.parent
    for depth in ("", "*/", "*/*/")
    for file in folder.glob(f"{depth}{INFO}")
    if "incomplete" not in file.parent.name  # what a killed preparation leaves
  ]
  return sorted(folders, key=_version, reverse=True)


def _version(folder: pathlib.Path) -> tuple[int, ...]:
  """A version by its numbers, 3.10.0 above 3.9.2; other names below all."""
  if re.fullmatch(r"[0-9]+(\.[0-9]+)*", folder.name):
    return tuple(int(number) for number in folder.name.split("."))
  return ()


def _holds(folder: pathlib.Path, file_format: str) -> bool:
  """Whether a version is there in a format: it says so, and has such files."""
  file = folder / INFO
  with reading(f"data.path {file}", "must be as TFDS writes it"):
    info = json.loads(file.read_text())
    formats = {
      info.get("fileFormat") or "tfrecord",  # TFDS's only one, once
      *info.get("alternativeFileFormats", ()),
    }
  return file_format in formats and any(folder.glob(f"*.{file_format}*"))


def _quoted(path: pathlib.Path) -> str:
  """A path as a Python string that a shell's double quotes leave alone."""
  escaped = re.sub(
    r"""['"\\$`!]""", lambda match: f"\\x{ord(match[0]):02x}", str(path)
  )
  return f"'{escaped}'"


def _decode_tfds(
  folder: pathlib.Path, parts: Mapping[str, str]
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
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


def _image_shape(example: Mapping[str, Any]) -> tuple[int, ...]:
  shape = example["image"].shape
  return shape if len(shape) == 3 else (*shape, 1)
