"""Reads users' files; every failure is one line that says what is wanted."""

import contextlib
import io
import json
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from imp_jax.core.buckets import (
  SCHEMES,
  exists,
  is_folder,
  is_remote,
  open_path,
  read_file,
  scheme_of,
)

# What names of studies, experiments and scores look like: they name files too.
NAME = r"\w[\w.+=-]*"
# A file's name has at most 255 bytes, and those that a name is part of ("plane_
# EXPERIMENT_level3.svg", while written with 34 more) must stay below.
NAME_BYTES = 100

# How files begin that are taken for arrays now and then.
_KINDS = (
  (b"\x93NUMPY", "an .npy file, one array"),
  (b"PK\x03\x04", "a zip archive, as .npz files and torch's are"),
  (b"PAR1", "a parquet file"),
  (b"\x89HDF", "an HDF5 file"),
  (b"MATLAB", "a MATLAB file"),
  (b"\x1f\x8b", "compressed by gzip"),
  (b"\xfd7zXZ", "compressed by xz"),
  (b"\x80", "a Python pickle"),
)


def user_path(path: str, what: str) -> epath.Path:
  """Returns the path that a user gave.

  Args:
    path: of this machine ("~" is the home directory), gs://... or s3://...
    what: the field and the path, for messages.

  Raises:
    ValueError: it is a URL.
    ImportError: the package for its kind of bucket is not installed.
  """
  if scheme_of(path) not in (None, *SCHEMES):
    raise ValueError(
      f"{what}: is a URL; nothing is downloaded, give a file of this machine"
    )
  return open_path(path)


def user_file(path: str, what: str) -> epath.Path:
  """Returns the file that is at a path that a user gave.

  Args:
    path, what: as of `user_path`.

  Raises:
    FileNotFoundError: nothing is there.
    ValueError: it is a URL or a folder.
  """
  file = user_path(path, what)
  with reading(what, "must be a file"):
    is_there, a_folder = path and exists(file), path and is_folder(file)
  if a_folder:
    raise ValueError(f"{what}: is a folder, not a file")
  if not is_there:
    raise FileNotFoundError(f"{what}: no such file")
  return file


@contextlib.contextmanager
def reading(what: str, wanted: str) -> Iterator[None]:
  """Turns any error while a file is read into an error of one clear line.

  Args:
    what: the field and the file.
    wanted: what the file must be.

  Raises:
    OSError: it cannot be read.
    ValueError: it is something else.
  """
  try:
    yield
  except OSError as error:
    raise OSError(f"{what}: {error.strerror or error}") from error
  except Exception as error:  # parsers raise anything, MemoryError among it
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    if isinstance(error, (MemoryError, RecursionError)):
      reason = "it is nested too deep or declares too much"
    if isinstance(error, (SyntaxError, tokenize.TokenError)):
      reason = "its header is no array's"
    raise ValueError(f"{what}: {wanted} ({reason})") from error


def read_array(file: epath.Path, what: str) -> np.ndarray:
  """Returns the array of an .npy file; objects are refused.

  Raises:
    OSError, ValueError: as `reading`; or it declares more than it holds.
  """
  with reading(what, "must be an .npy file of numbers"):
    data = read_file(file)
    if not data.startswith(b"\x93NUMPY"):
      raise ValueError(_seen(data))
    return _array(io.BytesIO(data))


def read_arrays(file: epath.Path, what: str) -> Mapping[str, Any]:
  """Returns the arrays of an .npz file by name, each read when it is asked for.

  Raises:
    OSError, ValueError: as `reading`.
  """
  with reading(what, "must be an .npz file, as np.savez writes it"):
    with _opened(file) as start:
      head = start.read(512)
    if not head.startswith(b"PK"):
      raise ValueError(_seen(head))
    return _Archive(file, what)


def read_json(file: epath.Path, what: str) -> Any:
  """Returns what a JSON file holds.

  Raises:
    OSError, ValueError: as `reading`.
  """
  with reading(what, f"{file.name} must be JSON"):
    return json.loads(read_file(file))


def shown(value: Any) -> str:
  """Returns a value as it is written, in at most 80 characters."""
  if isinstance(value, int) and abs(value) >= 10**60:
    return "a number of more than 60 digits"
  text = repr(value)
  return text if len(text) <= 80 else f"{text[:77]}..."


class _Archive(Mapping[str, np.ndarray]):
  """An .npz file's arrays; NumPy's own reader would unpickle or advise to."""

  def __init__(self, file: epath.Path, what: str):
    self._file, self._what = file, what
    with _opened(file) as data, zipfile.ZipFile(data) as archive:
      self._names = [
        name.removesuffix(".npy")
        for name in archive.namelist()
        if name.endswith(".npy")
      ]

  def __getitem__(self, name: str) -> np.ndarray:
    if name not in self._names:
      raise KeyError(name)
    with (
      reading(f"{self._what}: {name}", "must be an array of numbers or text"),
      _opened(self._file) as data,
      zipfile.ZipFile(data) as archive,
      archive.open(f"{name}.npy") as member,
    ):
      return _array(member)

  def __iter__(self) -> Iterator[str]:
    return iter(self._names)

  def __len__(self) -> int:
    return len(self._names)


def _opened(file: epath.Path) -> Any:
  """A file to read from, one of a bucket as a whole."""
  return io.BytesIO(read_file(file)) if is_remote(file) else file.open("rb")


def _array(data: Any) -> np.ndarray:
  """The array of an .npy stream."""
  try:
    return np.lib.format.read_array(data, allow_pickle=False)
  except ValueError as error:
    if "allow_pickle" in str(error):  # NumPy's advice is to trust the file
      message = "it holds Python objects, or a header too long for numbers"
      raise ValueError(message) from None
    raise


def _seen(data: bytes) -> str:
  """Says in words what a file holds that is not the array asked for."""
  for start, kind in _KINDS:
    if data.startswith(start):
      return f"it is {kind}"
  return "it is empty" if not data else "it is none"
