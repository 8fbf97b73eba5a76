"""Arrays that cost time to make, kept on disk under a key."""

import os
import pathlib
import uuid
from collections.abc import Callable

import numpy as np
from etils import epath

from imp_jax.core.files import read_arrays


def decoded_once(key: str, cache_dir: str, decode: Callable):
  """Reads decoded arrays from the cache, or decodes and puts them there."""
  root = cache_dir or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or "~/.cache", "imp_jax", "decoded"
  )
  file = pathlib.Path(os.path.expanduser(root)) / f"{key}.npz"
  if file.is_file():
    try:
      data = read_arrays(epath.Path(file), str(file))
      splits = sorted({k.split("/")[0] for k in data if "/" in k})
      arrays = {s: (data[f"{s}/image"], data[f"{s}/label"]) for s in splits}
      return arrays, tuple(str(n) for n in data["class_names"])
    except (ValueError, OSError, KeyError):
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
