"""The store: artefacts and checkpoints in a directory or bucket, no pickle.

objects/<id>/        record.json, and what the artefact has of arrays.npz and
                     nested arrays: tree.msgpack, or tree/ (Orbax) of a large
                     or sharded tree
checkpoints/<id>/<step>/   the same of an item in progress, always Orbax
damaged/             what a run found damaged, set aside
partial/             what is being written, by whom
claims/, processes/  who is at what: `engine.claims`, `core.processes`
studies/<name>/      what describes one study

A directory is finished when its record.json is there: it is written last, holds
the checksum of every other file and says whose artefact it is.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import uuid
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import serialization

from imp_jax.core.files import scheme_of
from imp_jax.core.processes import remove, this_process

PyTree = Any

# Bytes of a tree above which it is written by Orbax: many files, in parallel.
LARGE = 2**26
MISSING = "missing"  # what is wrong with an artefact that is not there
# Files of an artefact that are not Orbax's.
_OWN = ("tree.msgpack", "arrays.npz")


class StoreError(Exception):
  """An artefact that is needed is missing or damaged."""


class DamagedError(StoreError):
  """An artefact that is needed is damaged."""


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
      ValueError: workdir is empty, or of a scheme that is not supported.
      OSError: it cannot be made or written to.
    """
    if not workdir:
      raise ValueError("workdir must name a directory, got ''")
    if scheme_of(workdir) not in (None, "gs"):
      raise ValueError(
        f"workdir {workdir}: {scheme_of(workdir)}:// is not supported; give a "
        "directory or gs://BUCKET/..."
      )
    root = epath.Path(workdir).expanduser()
    # Orbax takes absolute paths only.
    self.root = root if _is_remote(root) else root.absolute()
    if not writable:
      return
    probe = self.root / f".probe-{uuid.uuid4().hex}"
    try:
      self.root.mkdir(parents=True, exist_ok=True)
      probe.write_text("")
      probe.unlink()
    except (OSError, ImportError) as error:
      raise OSError(f"workdir {workdir} is not writable: {error}") from error

  @property
  def is_remote(self) -> bool:
    """Whether it is a bucket, which has no rename."""
    return _is_remote(self.root)

  def fault(
    self, object_id: str, facts: Mapping[str, Any] | None = None
  ) -> str | None:
    """Returns what is wrong with an artefact: MISSING, its damage, or None.

    Damage is a checksum or a record that is wrong, and that it is another
    artefact than the one that its name or the facts say.

    Args:
      object_id: its identity.
      facts: entries that its record must have.

    Raises:
      OSError: it is there and cannot be read; that is no damage.
    """
    return _fault(self.root / "objects" / object_id, object_id, facts)

  def has(self, object_id: str) -> bool:
    """Returns whether an artefact is there; damage is not looked for."""
    return (self.root / "objects" / object_id / "record.json").exists()

  def is_finished(
    self, object_id: str, facts: Mapping[str, Any] | None = None
  ) -> bool:
    """Returns whether the artefact is there and intact; see `fault`."""
    return self.fault(object_id, facts) is None

  def set_aside(self, object_id: str, fault: str) -> str | None:
    """Moves a damaged artefact to damaged/.

    Args:
      object_id: its identity.
      fault: what is wrong with it.

    Returns:
      A line about it; None if another process was first.
    """
    return self._set_aside(self.root / "objects" / object_id, fault)

  def set_file_aside(self, file: epath.Path) -> str:
    """Moves a damaged file of a study to damaged/; returns a line about it."""
    where = f"{file.parent.name}-{file.name}-{uuid.uuid4().hex[:8]}"
    aside = self.root / "damaged" / where
    aside.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):  # another process was first
      file.rename(aside)
    return f"{file} is damaged; set aside in damaged/ and made anew"

  def save(self, object_id: str, artefact: Artefact) -> None:
    """Writes an artefact, unless another writer has finished it already.

    Raises:
      OSError: it cannot be written, or reads back as something else. Nothing of
        it is left.
    """
    in_one = _is_small(artefact.tree)
    self._write(self.root / "objects" / object_id, object_id, artefact, in_one)

  def load(
    self, object_id: str, facts: Mapping[str, Any] | None = None
  ) -> Artefact:
    """Returns a finished artefact, its checksums verified.

    Args:
      object_id, facts: as of `fault`.

    Raises:
      StoreError: it is missing or damaged.
      OSError: it cannot be read.
    """
    with _needed(object_id):
      return _read(self.root / "objects" / object_id, object_id, facts)

  def load_record(self, object_id: str) -> dict[str, Any]:
    """Returns a finished artefact's record alone.

    Raises:
      StoreError: it is missing or damaged.
      OSError: it cannot be read.
    """
    with _needed(object_id):
      return _record(self.root / "objects" / object_id, object_id)[0]

  def checkpoint(self, object_id: str) -> "Checkpoint":
    """Returns the checkpoint hook of one item."""
    return Checkpoint(self, self.root / "checkpoints" / object_id)

  def study_dir(self, name: str) -> epath.Path:
    """Returns the folder that describes one study."""
    return self.root / "studies" / name

  def write_text(self, path: epath.Path, text: str) -> None:
    """Replaces a small text file whole: a reader sees the old or the new."""
    self.write_bytes(path, text.encode())

  def write_bytes(self, path: epath.Path, data: bytes) -> None:
    """Replaces a small file whole: a reader sees the old or the new."""
    if self.is_remote:
      replace_file(path, data)
      return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = self._partial()
    try:
      partial.parent.mkdir(exist_ok=True)
      partial.write_bytes(data)
      partial.replace(path)
    except BaseException:
      remove(partial)
      raise

  def _partial(self) -> epath.Path:
    """What is being written, and by whom: a later run removes a dead one's."""
    return self.root / "partial" / f"{this_process()}.{uuid.uuid4().hex}"

  def _set_aside(self, folder: epath.Path, fault: str) -> str | None:
    aside = self.root / "damaged" / f"{folder.name}-{uuid.uuid4().hex[:8]}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
      folder.rename(aside)
    except FileNotFoundError:
      return None
    return f"artefact {folder.name} is {fault}; set aside in damaged/"

  def _write(
    self, target: epath.Path, name: str, artefact: Artefact, in_one: bool
  ) -> None:
    # A local directory appears by one rename. A bucket has no rename: there
    # the record, which is written last, is what makes it appear.
    if self.is_remote:
      target.mkdir(parents=True, exist_ok=True)
      _fill(target, name, artefact, in_one)
      return
    partial = self._partial()
    try:
      partial.mkdir(parents=True)
      _fill(partial, name, artefact, in_one)
    except BaseException:
      remove(partial)  # a disk that is full has need of it
      raise
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
      partial.rename(target)
    except OSError:
      remove(partial)
      if not (target / "record.json").exists():
        raise
      # Another writer was first, with the same content.


class Checkpoint:
  """The checkpoint hook of one item: its last state, in progress."""

  def __init__(self, store: Store, folder: epath.Path):
    self._store, self._folder = store, folder

  def save(self, step: int, artefact: Artefact) -> None:
    """Keeps this state in place of earlier ones.

    Raises:
      OSError: as of `Store.save`; earlier ones are still there.
    """
    target = self._folder / f"{step:09d}"
    if not target.exists():
      self._store._write(target, self._name(target), artefact, in_one=False)
    for older in self._folder.iterdir():
      if older.name < target.name:
        remove(older)

  def restore(self) -> tuple[int, Artefact] | None:
    """Returns (step, state) of the latest intact checkpoint, or None.

    Raises:
      OSError: it cannot be read.
    """
    for folder in self._latest_first():
      try:
        return int(folder.name), _read(folder, self._name(folder))
      except _Damage as damage:
        self._store._set_aside(folder, str(damage))
    return None

  def load_record(self) -> dict[str, Any]:
    """Returns the record of the latest checkpoint alone, {} without one."""
    for folder in self._latest_first():
      with contextlib.suppress(_Damage):
        return _record(folder, self._name(folder))[0]
    return {}

  def _latest_first(self) -> list[epath.Path]:
    if not self._folder.exists():
      return []
    return sorted(self._folder.iterdir(), reverse=True)

  def _name(self, folder: epath.Path) -> str:
    """What a checkpoint's record says that it is."""
    return f"{self._folder.name}/{folder.name}"

  def clear(self) -> None:
    """Removes the checkpoints of a finished item."""
    if self._folder.exists():
      remove(self._folder)


def replace_file(path: epath.Path, data: bytes) -> None:
  """Writes a small file whole, in place of what was there."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.parent / f".{path.name}.{uuid.uuid4().hex}"
  partial.write_bytes(data)
  partial.replace(path)


@contextlib.contextmanager
def if_finished() -> Iterator[None]:
  """Leaves out the rest of a block where an artefact that it reads is missing.

  So where one is damaged, with a warning.
  """
  try:
    yield
  except DamagedError as error:
    warnings.warn(f"{error}; what needs it is left out", stacklevel=3)
  except StoreError:
    pass  # it is to come, or its replicate failed


class _Damage(Exception):
  """Why an artefact is of no use; the words go on after "is"."""


@contextlib.contextmanager
def _needed(object_id: str) -> Iterator[None]:
  """Says of which artefact the block's damage is."""
  try:
    yield
  except _Damage as damage:
    kind = StoreError if str(damage) == MISSING else DamagedError
    raise kind(f"artefact {object_id} is {damage}") from None


def _fault(
  folder: epath.Path, name: str, facts: Mapping[str, Any] | None = None
) -> str | None:
  try:
    _verified(folder, name, facts)
  except _Damage as damage:
    return str(damage)
  return None


def _record(
  folder: epath.Path, name: str, facts: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
  """A record whose own checksum is right, and all files' checksums."""
  # In a bucket without a record it is being written, or its writer was killed.
  if not folder.exists() or (
    _is_remote(folder) and not (folder / "record.json").exists()
  ):
    raise _Damage(MISSING)
  data = _bytes(folder / "record.json")
  try:
    record = json.loads(data)
    sums = dict(record.pop("checksums"))
    wanted = sums.pop("record.json")
  except (ValueError, KeyError, TypeError, AttributeError):
    raise _Damage("damaged (record.json)") from None
  if wanted != _digest(_canonical(record)):
    raise _Damage("damaged (record.json)")
  wanted = {"id": name, **(facts or {})}
  # One of an earlier version does not say which it is.
  wrong = [k for k, v in wanted.items() if k in record and record[k] != v]
  wrong += [k for k in facts or {} if k not in record]
  if wrong:
    raise _Damage(f"damaged (another's: {', '.join(wrong)})")
  return record, sums


def _verified(
  folder: epath.Path, name: str, facts: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, bytes]]:
  """The record of an intact artefact, and the bytes of its own files."""
  record, sums = _record(folder, name, facts)
  files = {}
  for file, wanted in sums.items():
    data = _bytes(folder / file)
    if _digest(data) != wanted:
      raise _Damage(f"damaged ({file})")
    if file in _OWN:
      files[file] = data
  return record, files


def _read(
  folder: epath.Path, name: str, facts: Mapping[str, Any] | None = None
) -> Artefact:
  record, files = _verified(folder, name, facts)
  tree = arrays = None
  try:
    if data := files.get("tree.msgpack"):
      tree = serialization.msgpack_restore(data)
    if data := files.get("arrays.npz"):
      with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
  except Exception as error:  # parsers raise anything
    raise _Damage(f"damaged ({type(error).__name__}: {error})") from error
  if (folder / "tree").exists():
    tree = _load_tree(folder / "tree")
  return Artefact(record, tree, arrays)


def _fill(
  folder: epath.Path, name: str, artefact: Artefact, in_one: bool
) -> None:
  """Writes an artefact's files, the record last; each is read back.

  What is sealed is what was meant: checksums are of the bytes in memory, and
  of Orbax's files once they give the tree again.
  """
  files, tree = {}, artefact.tree
  if tree is not None and in_one:
    files["tree.msgpack"] = serialization.msgpack_serialize(tree)
  if artefact.arrays is not None:
    buffer = io.BytesIO()
    np.savez(buffer, **artefact.arrays)  # pyright: ignore
    files["arrays.npz"] = buffer.getvalue()
  sums = {}
  for file, data in files.items():
    (folder / file).write_bytes(data)
    sums[file] = _digest(data)
  if tree is not None and not in_one:
    _save_tree(folder / "tree", tree)
    if not _same(_load_tree(folder / "tree"), tree):
      raise OSError(f"{folder / 'tree'} reads back as another tree")
    for file in _files(folder / "tree"):
      sums[file.relative_to(folder).as_posix()] = _digest(_bytes(file))
  # As JSON gives it back, so that its own checksum can be verified.
  record = json.loads(json.dumps({**artefact.record, "id": name}))
  sums["record.json"] = _digest(_canonical(record))
  text = json.dumps({**record, "checksums": sums}, indent=1)
  for file, data in files.items():
    if (folder / file).read_bytes() != data:
      raise OSError(f"{folder / file} reads back as something else")
  (folder / "record.json").write_text(text)


def _bytes(file: epath.Path) -> bytes:
  """A file of an artefact.

  Raises:
    OSError: it cannot be read; says which and why.
  """
  try:
    return file.read_bytes()
  except FileNotFoundError:
    raise _Damage(f"damaged (without {file.name})") from None
  except OSError as error:
    reason = error.strerror or error
    raise type(error)(f"{file} cannot be read: {reason}") from error


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


def _is_small(tree: PyTree | None) -> bool:
  """Whether the tree is of this process alone, and not large."""
  leaves = jax.tree.leaves(tree)
  return sum(leaf.nbytes for leaf in leaves) <= LARGE and all(
    leaf.is_fully_addressable for leaf in leaves if isinstance(leaf, jax.Array)
  )


def _is_remote(path: epath.Path) -> bool:
  return "://" in str(path)


def _files(folder: epath.Path) -> list[epath.Path]:
  """Every file below the folder; epath has no recursive glob on buckets."""
  files = []
  for path in sorted(folder.iterdir()):
    files += _files(path) if path.is_dir() else [path]
  return files


def _save_tree(path: epath.Path, tree: PyTree) -> None:
  with _checkpointer() as checkpointer:
    checkpointer.save(path, tree)


def _load_tree(path: epath.Path) -> PyTree:
  with _checkpointer() as checkpointer:
    return checkpointer.restore(path)


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
