"""The store: artefacts and checkpoints in a directory or bucket, no pickle.

objects/<id>/        what was made: `core.artefacts` has its files
checkpoints/<id>/<step>/   the same of an item in progress, always Orbax
damaged/             what a run found damaged, set aside
partial/             what is being written, by whom
claims/, processes/  who is at what: `engine.claims`, `core.processes`
studies/<name>/      what describes one study
"""

import contextlib
import uuid
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from imp_jax.core.artefacts import (
  MISSING,
  Artefact,
  Damage,
  fault_of,
  is_small,
  read_artefact,
  read_record,
  write_artefact,
)
from imp_jax.core.buckets import (
  SCHEMES,
  entries,
  exists,
  is_remote,
  make_folder,
  move,
  open_path,
  read_file,
  remove,
  replace_file,
  scheme_of,
  try_creating,
)
from imp_jax.core.processes import this_process


class StoreError(Exception):
  """An artefact that is needed is missing or damaged."""


class DamagedError(StoreError):
  """An artefact that is needed is damaged."""


class Store:
  """Artefacts of one workdir, by identity."""

  def __init__(self, workdir: str, *, writable: bool = True):
    """Opens the workdir, making it if need be.

    Args:
      workdir: a local path ("~" is the home directory), gs://BUCKET/... or
        s3://BUCKET/..., whose bucket must be there.
      writable: False opens it for reading only, wherever it is.

    Raises:
      ValueError: workdir is empty, or of a scheme that is not supported.
      ImportError: the package for its kind of bucket is not installed.
      OSError: it cannot be made or written to.
    """
    if not workdir:
      raise ValueError("workdir must name a directory, got ''")
    if (scheme := scheme_of(workdir)) not in (None, *SCHEMES):
      raise ValueError(
        f"workdir {workdir}: {scheme}:// is not supported; give a directory, "
        "gs://BUCKET/... or s3://BUCKET/..."
      )
    if scheme and set("*?[]") & set(workdir):  # patterns to what lists objects
      raise ValueError(f"workdir {workdir}: a bucket's must have none of *?[]")
    try:
      root = open_path(workdir)
    except OSError as error:
      raise OSError(f"workdir {workdir}: {error}") from error
    # Orbax takes absolute paths only.
    self.root = root if is_remote(root) else root.absolute()
    if not writable:
      return
    probe = self.root / f".probe-{uuid.uuid4().hex}"
    try:
      make_folder(self.root)
      try_creating(probe)
    except OSError as error:
      if scheme and isinstance(error, FileNotFoundError):
        error = "there is no such bucket"
      raise OSError(f"workdir {workdir} is not writable: {error}") from None

  @property
  def is_remote(self) -> bool:
    """Whether it is in a bucket."""
    return is_remote(self.root)

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
    return fault_of(self.root / "objects" / object_id, object_id, facts)

  def has(self, object_id: str) -> bool:
    """Returns whether an artefact is there; damage is not looked for."""
    return exists(self.root / "objects" / object_id / "record.json")

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
    with contextlib.suppress(FileNotFoundError):  # another process was first
      move(file, self.root / "damaged" / where)
    return f"{file} is damaged; set aside in damaged/ and made anew"

  def save(self, object_id: str, artefact: Artefact) -> None:
    """Writes an artefact, unless another writer has finished it already.

    Raises:
      OSError: it cannot be written, or reads back as something else. Nothing of
        it is left.
    """
    in_one = is_small(artefact.tree)
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
      return read_artefact(self.root / "objects" / object_id, object_id, facts)

  def load_record(self, object_id: str) -> dict[str, Any]:
    """Returns a finished artefact's record alone.

    Raises:
      StoreError: it is missing or damaged.
      OSError: it cannot be read.
    """
    with _needed(object_id):
      return read_record(self.root / "objects" / object_id, object_id)[0]

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
    replace_file(path, data, self._partial())

  def _partial(self) -> epath.Path:
    """What is being written, and by whom: a later run removes a dead one's."""
    return self.root / "partial" / f"{this_process()}.{uuid.uuid4().hex}"

  def _set_aside(self, folder: epath.Path, fault: str) -> str | None:
    aside = self.root / "damaged" / f"{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
      move(folder, aside)
    except FileNotFoundError:
      return None
    return f"artefact {folder.name} is {fault}; set aside in damaged/"

  def _write(
    self, target: epath.Path, name: str, artefact: Artefact, in_one: bool
  ) -> None:
    # On a disk a folder appears by one rename. A bucket has none: there the
    # record, of which there is only one, says which writer's files are it.
    if self.is_remote:
      part = uuid.uuid4().hex[:8]
      try:
        write_artefact(target, name, artefact, in_one, part)
      except BaseException as error:
        with contextlib.suppress(OSError):
          if not _names(target / "record.json", part):
            remove(target / part)
        if isinstance(error, OSError) and fault_of(target, name) is None:
          return  # another writer was first, or an answer was lost
        raise
      for other in entries(target):  # what killed writers have left
        if other.name not in (part, "record.json"):
          remove(other)
      return
    partial = self._partial()
    try:
      partial.mkdir(parents=True)
      write_artefact(partial, name, artefact, in_one)
    except BaseException:
      remove(partial)  # a disk that is full has need of it
      raise
    try:
      move(partial, target)
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
    if not exists(target / "record.json"):
      self._store._write(target, self._name(target), artefact, in_one=False)
    for older in entries(self._folder):
      if older.name < target.name:
        remove(older)

  def restore(self) -> tuple[int, Artefact] | None:
    """Returns (step, state) of the latest intact checkpoint, or None.

    Raises:
      OSError: it cannot be read.
    """
    for folder in self._latest_first():
      try:
        return int(folder.name), read_artefact(folder, self._name(folder))
      except Damage as damage:
        if str(damage) == MISSING:
          remove(folder)  # what a killed writer left in a bucket
        else:
          self._store._set_aside(folder, str(damage))
    return None

  def load_record(self) -> dict[str, Any]:
    """Returns the record of the latest checkpoint alone, {} without one."""
    for folder in self._latest_first():
      with contextlib.suppress(Damage):
        return read_record(folder, self._name(folder))[0]
    return {}

  def _latest_first(self) -> list[epath.Path]:
    return entries(self._folder)[::-1]

  def _name(self, folder: epath.Path) -> str:
    """What a checkpoint's record says that it is."""
    return f"{self._folder.name}/{folder.name}"

  def clear(self) -> None:
    """Removes the checkpoints of a finished item."""
    remove(self._folder)


def _names(record: epath.Path, part: str) -> bool:
  """Whether an artefact's record says that a part's files are it."""
  try:
    return f'"{part}/'.encode() in read_file(record)
  except FileNotFoundError:
    return False


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


@contextlib.contextmanager
def _needed(object_id: str) -> Iterator[None]:
  """Says of which artefact the block's damage is."""
  try:
    yield
  except Damage as damage:
    kind = StoreError if str(damage) == MISSING else DamagedError
    raise kind(f"artefact {object_id} is {damage}") from None
