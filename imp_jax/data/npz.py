"""Data sets of one's own, from an `.npz` file."""

import warnings
from collections.abc import Iterable

import numpy as np

from imp_jax.core.files import read_arrays, user_file

PARTS = ("image", "label")


def npz_arrays(path: str):
  """Returns ({split: (inputs, labels)}, class names or None) of a file.

  Args:
    path: holds train_image, train_label, test_image and test_label; valid_image
      and valid_label for a validation split of its own; and class_names, one
      per class. Other arrays are left alone, with a warning.

  Raises:
    FileNotFoundError: no such file.
    ValueError: an array is missing, or is none of numbers.
  """
  if not path:
    raise FileNotFoundError("data.path '': no such file; name an .npz")
  what = f"data.path {path}"
  arrays = read_arrays(user_file(path, what), what)
  splits = ["train", "test"]
  if any(f"valid_{part}" in arrays for part in PARTS):
    splits.append("valid")
  wanted = [f"{split}_{part}" for split in splits for part in PARTS]
  missing = [name for name in wanted if name not in arrays]
  if missing:
    raise ValueError(
      f"{what}: lacks {', '.join(missing)}; has {_listed(arrays)}"
    )
  extra = set(arrays) - {*wanted, "class_names"}
  if extra:
    warnings.warn(f"{what}: ignores {_listed(sorted(extra))}", stacklevel=2)
  names = None
  if "class_names" in arrays:
    names = [str(name) for name in np.ravel(arrays["class_names"])]
  return {s: tuple(arrays[f"{s}_{p}"] for p in PARTS) for s in splits}, names


def _listed(names: Iterable[str]) -> str:
  """Names as text; a file may have thousands."""
  names = list(names)
  more = f" and {len(names) - 8} more" if len(names) > 8 else ""
  return ", ".join(names[:8]) + more if names else "nothing"
