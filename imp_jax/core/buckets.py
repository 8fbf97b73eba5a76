"""Files on disks and in buckets, where one needs other calls than the other.

A disk has folders and renames. A bucket (gs://, s3://) has objects alone: one
appears whole once its last byte is there, can be created where there is none,
and is listed and read by all from then on. It has neither folders nor renames:
what would be renamed is copied, file by file, and removed.
"""

import contextlib
import functools
import importlib
import logging
import re
import uuid
from pathlib import Path
from typing import Any

from etils import epath

# Of fsspec, by scheme: the package, its class, and what all its requests go
# through.
_CLIENTS = {
  "gs": ("gcsfs", "GCSFileSystem", "_call", "gcs"),
  "s3": ("s3fs", "S3FileSystem", "_call_s3", "s3"),
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


def entries(folder: epath.Path) -> list[epath.Path]:
  """Returns what a folder holds, in order of names; [] if it is not there."""
  try:
    return sorted(folder.iterdir())
  except FileNotFoundError:
    return []


def read_file(path: epath.Path) -> bytes:
  """Returns a file's bytes."""
  return _of(path).cat_file(str(path)) if is_remote(path) else path.read_bytes()


def write_file(path: epath.Path, data: bytes) -> None:
  """Writes a file; in a bucket a reader sees all of it or nothing."""
  if is_remote(path):
    _of(path).pipe_file(str(path), data)
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
    _of(path).pipe_file(str(path), data, mode="create")
  except OSError as error:
    # Amazon's word for two who do it at the same time.
    exists = "ConditionalRequestConflict" in f"{error} {error.__cause__}"
    if not exists and not isinstance(error, FileExistsError):
      raise
    with contextlib.suppress(FileNotFoundError):
      if read_file(path) == data:
        return  # it was lost who had written it, and it was asked again
    raise FileExistsError(f"{path} exists") from error


def try_creating(path: epath.Path) -> None:
  """Makes sure that files can be created at a place, and each only once.

  Args:
    path: of a file that is not there; nor is it afterwards.

  Raises:
    OSError: they cannot.
  """
  try:
    create_file(path, b"one")
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
  if is_remote(path):
    if not path.exists():
      raise FileNotFoundError(f"{path} is not there")
    _of(path).copy(str(path), str(to), recursive=True)
    remove(path)
  else:
    path.rename(to)


def remove(path: epath.Path) -> None:
  """Removes a file or folder; another process may be doing the same."""
  with contextlib.suppress(FileNotFoundError):
    path.rmtree() if path.is_dir() else path.unlink()


def upload(folder: Path, to: epath.Path) -> None:
  """Copies a folder of this machine into a bucket."""
  _of(to).put(f"{folder}/", f"{to}/", recursive=True)


def download(folder: epath.Path, to: Path) -> None:
  """Copies a folder of a bucket to this machine."""
  _of(folder).get(f"{folder}/", f"{to}/", recursive=True)


def _of(path: epath.Path) -> Any:
  """What serves a path in a bucket; fsspec's, for it can create."""
  return _filesystem(scheme_of(str(path)) or "")


@functools.cache
def _filesystem(scheme: str) -> Any:
  """Has fsspec serve a kind of bucket as is needed here, etils' paths too.

  It remembers no listing, for others write there as well, and whatever goes
  wrong is an OSError.
  """
  package, name, call, extra = _CLIENTS[scheme]
  try:
    import fsspec

    base = getattr(importlib.import_module(f"{package}.core"), name)
  except ImportError as error:
    advice = f"pip install 'imp-jax[{extra}]'"
    raise ImportError(
      f"{scheme}://... needs {package}: {advice} ({error})"
    ) from None
  # What its client logs is raised as well, and said once.
  logging.getLogger(package).setLevel(logging.CRITICAL)

  def begin(self: Any, *args: Any, **kwargs: Any) -> None:
    base.__init__(self, *args, **{**kwargs, "use_listings_cache": False})

  async def request(self: Any, *args: Any, **kwargs: Any) -> Any:
    try:
      return await getattr(base, call)(self, *args, **kwargs)
    except OSError:
      raise
    except Exception as error:  # of clients of many makes
      reason = " ".join(str(error).split()) or type(error).__name__
      raise OSError(f"{scheme}:// cannot be reached: {reason}") from error

  made = type(name, (base,), {"__init__": begin, call: request})
  for protocol in base.protocol:
    fsspec.register_implementation(protocol, made, clobber=True)
  return fsspec.filesystem(scheme)
