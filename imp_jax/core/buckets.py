"""Files on disks and in buckets, where one needs other calls than the other.

A disk has folders and renames. A bucket (gs://, s3://) has objects alone: one
appears whole once its last byte is there, can be created where there is none,
and is listed and read by all from then on. It has neither folders nor renames:
what would be renamed is copied, file by file, and removed.

Every function here raises OSError, whatever goes wrong, and of kinds of it
FileNotFoundError, FileExistsError and PermissionError alone in a bucket.
"""

import contextlib
import functools
import importlib
import logging
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etils import epath

# By scheme, fsspec's: the package, its class, and our extra with it. Not what
# fsspec itself takes for gs://, which asks for buckets' kinds by another way.
_CLIENTS = {
  "gs": ("gcsfs", "GCSFileSystem", "gcs"),
  "s3": ("s3fs", "S3FileSystem", "s3"),
}
SCHEMES = tuple(_CLIENTS)


def scheme_of(path: str) -> str | None:
  """Returns what a path has before "://"; None of one of this machine."""
  scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
  return scheme[1] if scheme else None


def is_remote(path: epath.Path) -> bool:
  """Returns whether a path is in a bucket."""
  return "://" in str(path)


def open_path(text: str) -> epath.Path:
  """Returns a path that can be used; nothing is looked for there.

  Args:
    text: of this machine ("~" is the home directory), gs://... or s3://...

  Raises:
    ImportError: the package for its kind of bucket is not installed.
  """
  if (scheme := scheme_of(text)) in _CLIENTS:
    _filesystem(scheme)
  return epath.Path(text).expanduser()


def exists(path: epath.Path) -> bool:
  """Returns whether there is a file, or a folder with something in it."""
  if not is_remote(path):
    return path.exists()
  try:
    with _bucket(path) as bucket:
      bucket.info(str(path))
  except FileNotFoundError:
    return False
  return True


def entries(folder: epath.Path) -> list[epath.Path]:
  """Returns what a folder holds, in order of names; [] if it is not there."""
  try:
    if not is_remote(folder):
      return sorted(folder.iterdir())
    with _bucket(folder) as bucket:
      found = bucket.ls(str(folder), detail=False)
      itself = bucket._strip_protocol(str(folder)).rstrip("/")
  except FileNotFoundError:
    return []
  # Other programs make an object that stands for the folder itself.
  paths = {path.rstrip("/") for path in found} - {itself}
  return sorted(folder / path.rpartition("/")[2] for path in paths)


def tree_bytes(folder: epath.Path) -> int:
  """Returns how many bytes a folder's files have."""
  if not is_remote(folder):
    return sum(
      tree_bytes(path) if path.is_dir() else path.stat().length
      for path in entries(folder)
    )
  with _bucket(folder) as bucket:
    return sum(bucket.du(str(folder), total=False).values())


def tree_files(folder: epath.Path) -> list[str]:
  """Returns the paths of all files below a folder, from there."""
  found = []
  for path in entries(folder):
    below = tree_files(path) if is_folder(path) else None
    if below is None:
      found.append(path.name)
    else:
      found += [f"{path.name}/{name}" for name in below]
  return found


def read_file(path: epath.Path) -> bytes:
  """Returns a file's bytes."""
  if not is_remote(path):
    return path.read_bytes()
  with _bucket(path) as bucket:
    return bucket.cat_file(str(path))


def write_file(path: epath.Path, data: bytes) -> None:
  """Writes a file; in a bucket a reader sees all of it or nothing."""
  if is_remote(path):
    with _bucket(path) as bucket:
      bucket.pipe_file(str(path), data)
  else:
    path.write_bytes(data)


def replace_file(
  path: epath.Path, data: bytes, partial: epath.Path | None = None
) -> None:
  """Writes a file whole: a reader sees what was there, or the new one.

  Args:
    path: whose folder is made if need be.
    data: its bytes.
    partial: where they are written first on a disk; None is beside it.
  """
  if is_remote(path):
    write_file(path, data)
    return
  partial = partial or path.parent / f".{path.name}.{uuid.uuid4().hex}"
  try:
    for file in (path, partial):
      make_folder(file.parent)
    partial.write_bytes(data)
    partial.replace(path)
  except BaseException:
    remove(partial)  # a disk that is full has need of it
    raise


def create_file(path: epath.Path, data: bytes) -> None:
  """Writes a file where there is none; of several writers one alone does.

  On a disk a reader may see it before its bytes.

  Args:
    path: whose folder is there.
    data: no two writers have the same.

  Raises:
    FileExistsError: there is one.
  """
  if not is_remote(path):
    with Path(path).open("xb") as file:
      file.write(data)
    return
  try:
    with _bucket(path) as bucket:
      bucket.pipe_file(str(path), data, mode="create")
  except OSError as error:
    # Amazon's word for two who do it at the same time.
    there = "ConditionalRequestConflict" in f"{error} {error.__cause__}"
    if not there and not isinstance(error, FileExistsError):
      raise
    with contextlib.suppress(FileNotFoundError):
      if read_file(path) == data:
        return  # the first answer was lost, and it was asked again
    raise FileExistsError(f"{path} exists") from error


def try_creating(path: epath.Path) -> None:
  """Makes sure that files can be created at a place, and each only once.

  Args:
    path: of a file that is not there; nor is it afterwards.

  Raises:
    OSError: they cannot.
  """
  create_file(path, b"one")
  try:
    if is_remote(path):
      with contextlib.suppress(FileExistsError):
        create_file(path, b"another")
        raise OSError(
          "its service overwrites what is to be created only where there is "
          "none, by which processes tell who is at what"
        )
  finally:
    remove(path)


def make_folder(folder: epath.Path) -> None:
  """Makes a folder where there is such a thing; fsspec would make buckets."""
  if not is_remote(folder):
    folder.mkdir(parents=True, exist_ok=True)


def move(path: epath.Path, to: epath.Path) -> None:
  """Moves a file or folder; in a bucket not at once.

  Raises:
    FileNotFoundError: it is not there; another process may have moved it.
  """
  make_folder(to.parent)
  if not is_remote(path):
    path.rename(to)
    return
  with _bucket(path) as bucket:
    start = bucket._strip_protocol(str(path))
    files = bucket.find(start)
    if not files:
      raise FileNotFoundError(f"{path} is not there")
    goal = bucket._strip_protocol(str(to))
    bucket.copy(files, [goal + file.removeprefix(start) for file in files])
    bucket.rm(files)


def remove(path: epath.Path) -> None:
  """Removes a file or folder; another process may be doing the same."""
  if not is_remote(path):
    with contextlib.suppress(FileNotFoundError):
      path.rmtree() if path.is_dir() else path.unlink()
    return
  with _bucket(path) as bucket, contextlib.suppress(FileNotFoundError):
    files = bucket.find(str(path))
    if files == [bucket._strip_protocol(str(path))]:
      bucket.rm_file(files[0])  # another may be there at once: a claim, say
    elif files:
      with contextlib.suppress(FileNotFoundError):
        bucket.rm(files)
      # Of many files, Amazon's client does not say that one was not removed.
      if left := bucket.find(str(path)):
        raise OSError(f"{left[0]} cannot be removed")


def upload(folder: Path, to: epath.Path) -> None:
  """Copies a folder of this machine into a bucket, where there is none yet."""
  with _bucket(to) as bucket:
    files = tree_files(epath.Path(folder))
    goal = bucket._strip_protocol(str(to))
    bucket.put(
      [str(folder / file) for file in files],
      [f"{goal}/{file}" for file in files],
    )


def download(folder: epath.Path, to: Path) -> None:
  """Copies a folder of a bucket to this machine, where there is none yet."""
  with _bucket(folder) as bucket:
    start = bucket._strip_protocol(str(folder))
    files = bucket.find(start)
    goals = [to / file.removeprefix(f"{start}/") for file in files]
    for goal in goals:
      goal.parent.mkdir(parents=True, exist_ok=True)
    bucket.get(files, list(map(str, goals)))


def is_folder(path: epath.Path) -> bool:
  """Returns whether there is a folder."""
  if not is_remote(path):
    return path.is_dir()
  with _bucket(path) as bucket, contextlib.suppress(FileNotFoundError):
    return bucket.info(str(path))["type"] == "directory"
  return False


@contextlib.contextmanager
def _bucket(path: epath.Path) -> Iterator[Any]:
  """What serves a path in a bucket, for the block.

  Raises:
    OSError: whatever goes wrong in it; see this file's beginning.
  """
  try:
    yield _filesystem(scheme_of(str(path)) or "")
  except (FileNotFoundError, FileExistsError, PermissionError):
    raise
  except Exception as error:  # of clients of many makes
    reason = " ".join(str(error).split()) or type(error).__name__
    raise OSError(f"{path} cannot be reached: {reason}") from error


@functools.cache
def _filesystem(scheme: str) -> Any:
  """A client that remembers no listing, for others write there as well.

  Raises:
    ImportError: its package is not installed.
    OSError: its credentials are none.
  """
  package, name, extra = _CLIENTS[scheme]
  try:
    client = getattr(importlib.import_module(f"{package}.core"), name)
  except ImportError as error:
    advice = f"pip install 'imp-jax[{extra}]'"
    raise ImportError(
      f"{scheme}://... needs {package}: {advice} ({error})"
    ) from None
  # What it logs is raised as well, and said once.
  logging.getLogger(package).setLevel(logging.CRITICAL)
  try:
    return client(use_listings_cache=False)
  except Exception as error:  # of clients of many makes
    reason = " ".join(str(error).split()) or type(error).__name__
    raise OSError(f"{package} finds no credentials: {reason}") from error
