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
  is_remote,
  is_small,
  read_artefact,
  read_record,
  write_artefact,
)
from imp_jax.core.files import scheme_of
from imp_jax.core.processes import remove, this_process


class StoreError(Exception):
  """An artefact that is needed is missing or damaged."""


class DamagedError(StoreError):
  """An artefact that is needed is damaged."""


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
    self.root = root if is_remote(root) else root.absolute()
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
      write_artefact(target, name, artefact, in_one)
      return
    partial = self._partial()
    try:
      partial.mkdir(parents=True)
      write_artefact(partial, name, artefact, in_one)
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
    if not (target / "record.json").exists():
      remove(target)  # what a killed writer left in a bucket
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
        return int(folder.name), read_artefact(folder, self._name(folder))
      except Damage as damage:
        if str(damage) == MISSING:
          remove(folder)  # likewise
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


@contextlib.contextmanager
def _needed(object_id: str) -> Iterator[None]:
  """Says of which artefact the block's damage is."""
  try:
    yield
  except Damage as damage:
    kind = StoreError if str(damage) == MISSING else DamagedError
    raise kind(f"artefact {object_id} is {damage}") from None
