"""Claims: which process is at which item, where several share a workdir.

claims/<id>.<generation>    holds the name of the process that is at it

A claim is a file that is created only where there is none, on a disk or in a
bucket. One of a process
that is dead is not removed but followed by the next generation, which again one
alone can create: of two that see a death only one takes over.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from etils import epath

from imp_jax.core.buckets import (
  create_file,
  entries,
  exists,
  make_folder,
  read_file,
  remove,
  write_file,
)
from imp_jax.core.processes import FOLDER, Heart, Peers, this_process
from imp_jax.core.store import Store
from imp_jax.engine.provenance import version

POLL_SECONDS = 0.5


class ClaimLostError(Exception):
  """This process was taken for dead, and others are at what it was at."""


class Claims:
  """The claims of this process in one workdir, and those of others."""

  def __init__(self, root: epath.Path, heart: Heart, peers: Peers):
    """Opens them.

    Args:
      root: the workdir.
      heart: of this process.
      peers: tells who else is alive.

    Raises:
      OSError: nothing can be written there.
    """
    self._folder, self._heart, self._peers = root / "claims", heart, peers
    make_folder(self._folder)
    self._mine: set[str] = set()

  def take(self, name: str) -> bool:
    """Claims something; False if another living process is at it.

    Args:
      name: of an item, or of what else one alone may do.

    Raises:
      OSError: nothing can be written there.
    """
    while True:
      generations = self._generations(name)
      if generations:
        owner = self._owner(name, generations[-1])
        if owner == this_process():
          self._mine.add(name)
          return True
        if owner is None:
          continue  # it was released just now
        if self._is_alive(name, generations[-1], owner):
          return False
      number = generations[-1] + 1 if generations else 0
      try:
        create_file(self._file(name, number), this_process().encode())
      except FileExistsError:
        continue  # another was first
      self._mine.add(name)
      return True

  def is_mine(self, name: str) -> bool:
    """Returns whether this process still has a claim."""
    generations = self._generations(name)
    return bool(generations) and (
      self._owner(name, generations[-1]) == this_process()
    )

  def release(self, name: str) -> None:
    """Gives a claim of this process up, if it still has it."""
    self._mine.discard(name)
    generations = self._generations(name)
    if not generations:
      return
    if self._owner(name, generations[-1]) == this_process():
      # The oldest first: while one is left, no other begins anew.
      for number in generations:
        remove(self._file(name, number))

  def check(self) -> None:
    """Makes sure that this process has what it claimed, where that may be lost.

    Cheap, for it looks only where the heart was late.

    Raises:
      ClaimLostError: it has not.
    """
    if self._heart.was_late() and not all(map(self.is_mine, self._mine)):
      raise ClaimLostError

  def held_by_others(self) -> dict[str, str]:
    """Returns what other living processes are at, and which ones."""
    return held(self._folder.parent, self._peers)

  @contextlib.contextmanager
  def alone(self, name: str) -> Iterator[None]:
    """Waits for a claim and holds it for the block.

    Args:
      name: what one process alone may do.
    """
    while not self.take(name):
      time.sleep(POLL_SECONDS / 5)
    try:
      yield
    finally:
      self.release(name)

  def _file(self, name: str, number: int) -> epath.Path:
    return self._folder / f"{name}.{number}"

  def _generations(self, name: str) -> list[int]:
    found = []
    for file in entries(self._folder):
      of, _, number = file.name.rpartition(".")
      if of == name and number.isdigit():
        found.append(int(number))
    return sorted(found)

  def _owner(self, name: str, number: int) -> str | None:
    return _owner(self._file(name, number))

  def _is_alive(self, name: str, number: int, owner: str) -> bool:
    return _is_alive(self._peers, f"{name}.{number}", owner)


def held(root: epath.Path, peers: Peers) -> dict[str, str]:
  """Returns what other living processes of a workdir are at, and which ones."""
  folder, latest = root / "claims", {}
  for file in entries(folder):
    name, _, number = file.name.rpartition(".")
    if number.isdigit():
      latest[name] = max(int(number), latest.get(name, 0))
  found = {}
  for name, number in latest.items():
    owner = _owner(folder / f"{name}.{number}")
    if owner is None or owner == this_process():
      continue
    if _is_alive(peers, f"{name}.{number}", owner):
      found[name] = owner
  return found


def _owner(file: epath.Path) -> str | None:
  """Who made a claim, "" if it is being made; None if there is none."""
  try:
    return read_file(file).decode()
  except FileNotFoundError:
    return None


def _is_alive(peers: Peers, claim: str, owner: str) -> bool:
  if not owner:  # its maker is about to write its name, or was killed
    return peers.has_changed(claim, "being made")
  return peers.is_alive(owner)


@contextlib.contextmanager
def working_in(store: Store, lease: float) -> Iterator[Claims]:
  """Lets this process be seen at work in a workdir, for the block.

  What dead ones have left half-written is removed, before and after.

  Args:
    store: of the workdir.
    lease: seconds without a sign of life after which others take over.

  Raises:
    OSError: nothing can be written there.
  """
  peers = Peers(store.root, lease)
  heart = Heart(store.root, lease, {"version": version()})
  try:
    peers.sweep()
    yield Claims(store.root, heart, peers)
    peers.sweep()
  finally:
    heart.close()


def check_company(store: Store, lease: float) -> None:
  """Refuses a workdir in which a process of another version is at work.

  It is watched for a lease before it counts as dead.

  Raises:
    ValueError: there is one.
    OSError: what processes share cannot be written to.
  """
  root, mine = store.root, version()
  for folder in ("claims", FOLDER):
    probe = root / folder / f".{this_process()}.probe"
    if not exists(probe.parent):
      continue
    try:
      write_file(probe, b"")
      remove(probe)  # if no other has, which cannot know whose it is
    except OSError as error:
      raise OSError(
        f"{probe.parent}, by which processes share a workdir, is not writable: "
        f"{error.strerror or error}"
      ) from error
  peers, deadline = Peers(root, lease), time.monotonic() + lease
  beats: dict[str, Any] = {}
  while True:
    strangers = {
      name: facts
      for name, facts in peers.others().items()
      if facts.get("version") != mine
    }
    for name, facts in strangers.items():
      if beats.setdefault(name, facts.get("beat")) != facts.get("beat"):
        raise ValueError(
          f"process {facts.get('pid')} on {facts.get('host')} is at work in "
          f"this workdir with version {facts.get('version')} of imp_jax, and "
          f"this is {mine}: wait for its end, or take another --workdir"
        )
    if not strangers or time.monotonic() > deadline:
      return
    time.sleep(POLL_SECONDS)
