"""The store: artefacts and checkpoints in a directory or bucket, no pickle.

objects/<id>/        record.json, and what the artefact has of arrays.npz and
                     nested arrays: tree.msgpack, or tree/ (Orbax) of a large
                     or sharded tree
checkpoints/<id>/<step>/   the same of an item in progress, always Orbax
damaged/             what failed its checksums, set aside
studies/<name>/      what describes one study

A directory is finished when its record.json is there: it is written last and
holds the checksum of every other file.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import serialization

PyTree = Any

# Bytes of a tree above which it is written by Orbax: many files, in parallel.
LARGE = 2**26


class StoreError(Exception):
  """An artefact that is needed is missing or damaged."""


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


class Store:
  """Artefacts of one workdir, by identity; a local path or gs://..."""

  def __init__(self, workdir: str, *, writable: bool = True):
    """Opens the workdir, making it if need be.

    Args:
      workdir: a local path ("~" is the home directory) or gs://...
      writable: False opens it for reading only, wherever it is.

    Raises:
      ValueError: workdir is empty.
      OSError: it cannot be made or written to.
    """
    if not workdir:
      raise ValueError("workdir must name a directory, got ''")
    root = epath.Path(workdir).expanduser()
    # Orbax takes absolute paths only.
    self.root = root if _is_remote(root) else root.absolute()
    self._warned: list[str] = []
    if not writable:
      return
    probe = self.root / f".probe-{uuid.uuid4().hex}"
    try:
      self.root.mkdir(parents=True, exist_ok=True)
      probe.write_text("")
      probe.unlink()
    except (OSError, ImportError) as error:
      raise OSError(f"workdir {workdir} is not writable: {error}") from error

  def is_finished(self, object_id: str) -> bool:
    """Returns whether the artefact is there and intact.

    A damaged one is moved to damaged/ and named in `take_warnings`.
    """
    return self._is_intact(self.root / "objects" / object_id)

  def save(self, object_id: str, artefact: Artefact) -> None:
    """Writes an artefact, unless another writer has finished it already."""
    in_one = _is_small(artefact.tree)
    self._write(self.root / "objects" / object_id, artefact, in_one)

  def load(self, object_id: str) -> Artefact:
    """Returns a finished artefact, its checksums verified.

    Raises:
      StoreError: it is missing or damaged.
    """
    folder = self.root / "objects" / object_id
    if not self._is_intact(folder):
      raise StoreError(f"artefact {object_id} is missing or damaged")
    return _read(folder)

  def load_record(self, object_id: str) -> dict[str, Any]:
    """Returns a finished artefact's record alone."""
    file = self.root / "objects" / object_id / "record.json"
    try:
      return json.loads(file.read_text())
    except (OSError, ValueError) as error:
      raise StoreError(f"artefact {object_id} has no record") from error

  def checkpoint(self, object_id: str) -> "Checkpoint":
    """Returns the checkpoint hook of one item."""
    return Checkpoint(self, self.root / "checkpoints" / object_id)

  def study_dir(self, name: str) -> epath.Path:
    """Returns the folder that describes one study."""
    return self.root / "studies" / name

  def take_warnings(self) -> list[str]:
    """Returns the warnings of damaged artefacts since the last call."""
    warnings, self._warned = self._warned, []
    return warnings

  def write_text(self, path: epath.Path, text: str) -> None:
    """Replaces a small text file whole: a reader sees the old or the new."""
    self.write_bytes(path, text.encode())

  def write_bytes(self, path: epath.Path, data: bytes) -> None:
    """Replaces a small file whole: a reader sees the old or the new."""
    replace_file(path, data)

  def _is_intact(self, folder: epath.Path) -> bool:
    if not folder.exists():
      return False
    if _is_remote(folder) and not (folder / "record.json").exists():
      return False  # in a bucket: being written, or its writer was killed
    try:
      record = json.loads((folder / "record.json").read_text())
      wanted = record.pop("checksums")
      intact = wanted == _checksums(folder, record, wanted)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
      intact = False
    if not intact:
      aside = self.root / "damaged" / f"{folder.name}-{uuid.uuid4().hex[:8]}"
      aside.parent.mkdir(parents=True, exist_ok=True)
      try:
        folder.rename(aside)
      except FileNotFoundError:
        return False  # another process was first
      self._warned.append(
        f"damaged artefact {folder.name} set aside in damaged/{aside.name}"
      )
    return intact

  def _write(
    self, target: epath.Path, artefact: Artefact, in_one: bool
  ) -> None:
    # A local directory appears by one rename. A bucket has no rename: there
    # the record, which is written last, is what makes it appear.
    is_local = not _is_remote(target)
    partial = self.root / "partial" / uuid.uuid4().hex
    folder = partial if is_local else target
    folder.mkdir(parents=True, exist_ok=True)
    if artefact.tree is not None and in_one:
      data = serialization.msgpack_serialize(artefact.tree)
      (folder / "tree.msgpack").write_bytes(data)
    elif artefact.tree is not None:
      _save_tree(folder / "tree", artefact.tree)
    if artefact.arrays is not None:
      buffer = io.BytesIO()
      np.savez(buffer, **artefact.arrays)  # pyright: ignore
      (folder / "arrays.npz").write_bytes(buffer.getvalue())
    # As JSON gives it back, so that its own checksum can be verified.
    record = json.loads(json.dumps(artefact.record))
    names = [f.relative_to(folder).as_posix() for f in _files(folder)]
    record["checksums"] = _checksums(folder, record, [*names, "record.json"])
    (folder / "record.json").write_text(json.dumps(record, indent=1))
    if is_local:
      target.parent.mkdir(parents=True, exist_ok=True)
      try:
        partial.rename(target)
      except OSError:
        if not (target / "record.json").exists():
          raise
        partial.rmtree()  # another writer was first, with the same content


class Checkpoint:
  """The checkpoint hook of one item: its last state, in progress."""

  def __init__(self, store: Store, folder: epath.Path):
    self._store, self._folder = store, folder

  def save(self, step: int, artefact: Artefact) -> None:
    """Keeps this state in place of earlier ones."""
    target = self._folder / f"{step:09d}"
    if not target.exists():
      self._store._write(target, artefact, in_one=False)
    for older in self._folder.iterdir():
      if older.name < target.name:
        _remove(older)

  def restore(self) -> tuple[int, Artefact] | None:
    """Returns (step, state) of the latest intact checkpoint, or None."""
    if not self._folder.exists():
      return None
    for folder in sorted(self._folder.iterdir(), reverse=True):
      if self._store._is_intact(folder):
        return int(folder.name), _read(folder)
    return None

  def load_record(self) -> dict[str, Any]:
    """Returns the record of the latest checkpoint alone, {} without one."""
    if self._folder.exists():
      for folder in sorted(self._folder.iterdir(), reverse=True):
        with contextlib.suppress(OSError, ValueError):
          return json.loads((folder / "record.json").read_text())
    return {}

  def clear(self) -> None:
    """Removes the checkpoints of a finished item."""
    if self._folder.exists():
      _remove(self._folder)


def replace_file(path: epath.Path, data: bytes) -> None:
  """Writes a small file whole, in place of what was there."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.parent / f".{path.name}.{uuid.uuid4().hex}"
  partial.write_bytes(data)
  partial.replace(path)


def _read(folder: epath.Path) -> Artefact:
  record = json.loads((folder / "record.json").read_text())
  tree = arrays = None
  if "tree.msgpack" in record["checksums"]:
    data = (folder / "tree.msgpack").read_bytes()
    tree = serialization.msgpack_restore(data)
  elif (folder / "tree").exists():
    tree = _load_tree(folder / "tree")
  if (folder / "arrays.npz").exists():
    data = io.BytesIO((folder / "arrays.npz").read_bytes())
    with np.load(data, allow_pickle=False) as file:
      arrays = {key: file[key] for key in file.files}
  return Artefact(record, tree, arrays)


def _checksums(
  folder: epath.Path, record: Mapping[str, Any], names: Iterable[str]
) -> dict[str, str]:
  """SHA-256 of the named files; of record.json, of the record without them."""
  sums = {}
  for name in names:
    if name == "record.json":
      data = json.dumps(record, sort_keys=True).encode()
    else:
      data = (folder / name).read_bytes()
    sums[name] = hashlib.sha256(data).hexdigest()
  return sums


def _is_small(tree: PyTree | None) -> bool:
  """Whether the tree is of this process alone, and not large."""
  leaves = jax.tree.leaves(tree)
  return sum(leaf.nbytes for leaf in leaves) <= LARGE and all(
    leaf.is_fully_addressable for leaf in leaves if isinstance(leaf, jax.Array)
  )


def _is_remote(path: epath.Path) -> bool:
  return "://" in str(path)


def _remove(folder: epath.Path) -> None:
  """Removes a folder; another process may be doing the same."""
  with contextlib.suppress(FileNotFoundError):
    folder.rmtree()


def _files(folder: epath.Path) -> list[epath.Path]:
  """Every file below the folder; epath has no recursive glob on buckets."""
  files = []
  for path in sorted(folder.iterdir()):
    files += _files(path) if path.is_dir() else [path]
  return files


def _save_tree(path: epath.Path, tree: PyTree) -> None:
  import orbax.checkpoint as ocp

  with ocp.PyTreeCheckpointer() as checkpointer:
    checkpointer.save(path, tree)


def _load_tree(path: epath.Path) -> PyTree:
  import orbax.checkpoint as ocp

  with ocp.PyTreeCheckpointer() as checkpointer:
    return checkpointer.restore(path)
