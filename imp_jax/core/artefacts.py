"""One artefact's directory: written, sealed and verified.

record.json, and what the artefact has of arrays.npz and nested arrays:
tree.msgpack, or tree/ (Orbax) of a large or sharded tree. It is finished when
its record is there: that is written last, holds the checksum of every other
file and says whose artefact it is. In a bucket, where folders do not appear at
once, each writer has a folder of its own below, and the record says which one's
files are the artefact's. No pickle.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import serialization

from imp_jax.core.buckets import (
  create_file,
  download,
  exists,
  is_remote,
  read_file,
  tree_files,
  upload,
  write_file,
)

PyTree = Any

# Bytes of a tree above which it is written by Orbax: many files, in parallel.
LARGE = 2**26
MISSING = "missing"  # what is wrong with an artefact that is not there
# Files of an artefact that are not Orbax's.
_OWN = ("tree.msgpack", "arrays.npz")


@dataclasses.dataclass(frozen=True)
class Artefact:
  """What a stage made for one replicate.

  Attributes:
    record: JSON-able facts: metrics, history, context, ...
    tree: a nested dict of arrays, or None.
    arrays: a flat dict of arrays for `arrays.npz`, or None.
  """

  record: dict[str, Any]
  tree: PyTree | None = None
  arrays: Mapping[str, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Failure:
  """Why one replicate of a node has no artefact."""

  message: str


class Damage(Exception):
  """Why an artefact is of no use; the words go on after "is"."""


def fault_of(
  folder: epath.Path, name: str, facts: Mapping[str, Any] | None = None
) -> str | None:
  """Returns what is wrong with an artefact; None if it is intact.

  Args:
    folder: where it lies.
    name: what its record must say that it is.
    facts: entries that its record must have.

  Raises:
    OSError: it is there and cannot be read.
  """
  try:
    _verified(folder, name, facts)
  except Damage as damage:
    return str(damage)
  return None


def read_record(
  folder: epath.Path, name: str, facts: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
  """Returns a record whose own checksum is right, and all files' checksums.

  Args:
    folder, name, facts: as of `fault_of`.

  Raises:
    Damage: it is missing, damaged or another's.
    OSError: it cannot be read.
  """
  # In a bucket without a record it is being written, or its writer was killed.
  if not exists(folder) or (
    is_remote(folder) and not exists(folder / "record.json")
  ):
    raise Damage(MISSING)
  data = _bytes(folder / "record.json")
  try:
    record = json.loads(data)
    sums = dict(record.pop("checksums"))
    wanted = sums.pop("record.json")
  except (ValueError, KeyError, TypeError, AttributeError):
    raise Damage("damaged (record.json)") from None
  if wanted != _digest(_canonical(record)):
    raise Damage("damaged (record.json)")
  wanted = {"id": name, **(facts or {})}
  # One of an earlier version does not say which it is.
  wrong = [k for k, v in wanted.items() if k in record and record[k] != v]
  wrong += [k for k in facts or {} if k not in record]
  if wrong:
    raise Damage(f"damaged (another's: {', '.join(wrong)})")
  return record, sums


def _verified(
  folder: epath.Path, name: str, facts: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
  """The record of an intact artefact, the bytes of its files, where Orbax's."""
  record, sums = read_record(folder, name, facts)
  files = {}
  for file, wanted in sums.items():
    data = _bytes(folder / file)
    if _digest(data) != wanted:
      raise Damage(f"damaged ({file})")
    if (own := PurePosixPath(file).name) in _OWN:
      files[own] = data
    elif "tree/" in file:
      files["tree"] = f"{file.partition('tree/')[0]}tree"
  return record, files


def read_artefact(
  folder: epath.Path, name: str, facts: Mapping[str, Any] | None = None
) -> Artefact:
  """Returns an artefact, its checksums verified.

  Args:
    folder, name, facts: as of `fault_of`.

  Raises:
    Damage, OSError: as of `read_record`.
  """
  record, files = _verified(folder, name, facts)
  tree = arrays = None
  try:
    if data := files.get("tree.msgpack"):
      tree = serialization.msgpack_restore(data)
    if data := files.get("arrays.npz"):
      with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
  except Exception as error:  # parsers raise anything
    raise Damage(f"damaged ({type(error).__name__}: {error})") from error
  if where := files.get("tree"):
    tree = _load_tree(folder / where)
  return Artefact(record, tree, arrays)


def write_artefact(
  folder: epath.Path,
  name: str,
  artefact: Artefact,
  in_one: bool,
  part: str = "",
) -> None:
  """Writes an artefact's files, the record last; each is read back.

  What is sealed is what was meant: checksums are of the bytes in memory, and
  of Orbax's files once they give the tree again.

  Args:
    folder: that is there; without a part it is empty.
    name: what its record shall say that it is.
    artefact: of any size.
    in_one: whether its tree is one file, not Orbax's.
    part: the folder in it where all but the record is written.

  Raises:
    OSError: it cannot be written, or reads back as something else.
    FileExistsError: another writer's record is there.
  """
  files, tree = {}, artefact.tree
  if tree is not None and in_one:
    files["tree.msgpack"] = serialization.msgpack_serialize(tree)
  if artefact.arrays is not None:
    buffer = io.BytesIO()
    np.savez(buffer, **artefact.arrays)  # pyright: ignore
    files["arrays.npz"] = buffer.getvalue()
  place = folder / part
  sums = {}
  for file, data in files.items():
    write_file(place / file, data)
    sums[(place / file).relative_to(folder).as_posix()] = _digest(data)
  if tree is not None and not in_one:
    _save_tree(place / "tree", tree)
    if not _same(_load_tree(place / "tree"), tree):
      raise OSError(f"{place / 'tree'} reads back as another tree")
    for file in tree_files(place / "tree"):
      path = place / "tree" / file
      sums[path.relative_to(folder).as_posix()] = _digest(read_file(path))
  # As JSON gives it back, so that its own checksum can be verified.
  record = json.loads(json.dumps({**artefact.record, "id": name}))
  sums["record.json"] = _digest(_canonical(record))
  text = json.dumps({**record, "checksums": sums}, indent=1)
  for file, data in files.items():
    if read_file(place / file) != data:
      raise OSError(f"{place / file} reads back as something else")
  create_file(folder / "record.json", text.encode())


def _bytes(file: epath.Path) -> bytes:
  """A file of an artefact.

  Raises:
    OSError: it cannot be read; says which and why.
  """
  try:
    return read_file(file)
  except FileNotFoundError:
    raise Damage(f"damaged (without {file.name})") from None
  except OSError as error:
    kind = PermissionError if isinstance(error, PermissionError) else OSError
    raise kind(f"{file} cannot be read: {error.strerror or error}") from error


def _canonical(record: Mapping[str, Any]) -> bytes:
  return json.dumps(record, sort_keys=True).encode()


def _digest(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()


def _same(one: PyTree, other: PyTree) -> bool:
  """Whether two trees are equal bit for bit."""
  (a, one_form), (b, other_form) = map(jax.tree.flatten, (one, other))
  return one_form == other_form and all(map(_same_array, a, b))


def _same_array(one: Any, other: Any) -> bool:
  if isinstance(other, jax.Array) and not other.is_fully_addressable:
    return True  # no process has all of it
  one, other = np.asarray(one), np.asarray(other)
  if (one.dtype, one.shape) != (other.dtype, other.shape):
    return False
  return one.tobytes() == other.tobytes()


def is_small(tree: PyTree | None) -> bool:
  """Returns whether a tree is of this process alone, and not large."""
  leaves = jax.tree.leaves(tree)
  return sum(leaf.nbytes for leaf in leaves) <= LARGE and all(
    leaf.is_fully_addressable for leaf in leaves if isinstance(leaf, jax.Array)
  )


def _save_tree(path: epath.Path, tree: PyTree) -> None:
  with _orbax(path) as (checkpointer, place):
    checkpointer.save(place, tree)
    if place != path:
      upload(Path(place), path)


def _load_tree(path: epath.Path) -> PyTree:
  with _orbax(path) as (checkpointer, place):
    if place != path:
      download(path, Path(place))
    return checkpointer.restore(place)


@contextlib.contextmanager
def _orbax(path: epath.Path) -> Iterator[tuple[Any, epath.Path]]:
  """Orbax's checkpointer, and the place where it works on a path's tree.

  Of a bucket, a folder of this machine: it has no driver for Amazon's, and of
  Google's one with credentials, and an endless patience, of its own.
  """
  with contextlib.ExitStack() as stack:
    place = path
    if is_remote(path):
      folder = stack.enter_context(tempfile.TemporaryDirectory())
      place = epath.Path(folder) / "tree"
    yield stack.enter_context(_checkpointer()), place


def _checkpointer() -> Any:
  """Orbax's, of this process alone: of several, one writes and reads."""
  import orbax.checkpoint as ocp

  if jax.process_count() == 1:
    return ocp.PyTreeCheckpointer()
  number = jax.process_index()
  alone = ocp.options.MultiprocessingOptions(
    primary_host=number,
    active_processes={number},
    barrier_sync_key_prefix=f"process{number}",
  )
  return ocp.Checkpointer(
    ocp.PyTreeCheckpointHandler(multiprocessing_options=alone),
    multiprocessing_options=alone,
  )
