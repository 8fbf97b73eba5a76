"""Processes that share a workdir: who is alive, by heartbeats, not by clocks.

processes/<name>     one of each process at work, rewritten as it lives

A process's name tells where it runs, so that one that has ended on this machine
is known at once. Others are dead when their heartbeat has not changed for a
lease of the observer's own clock: clocks need not agree, and may jump.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from etils import epath

from imp_jax.core.buckets import (
  entries,
  is_remote,
  make_folder,
  read_file,
  remove,
  replace_file,
)

FOLDER = "processes"


@functools.cache
def this_process() -> str:
  """Returns this process's name: PLACE-PID-START-RANDOM."""
  return f"{_place()}-{os.getpid()}-{_start_of(os.getpid())}-{_random()}"


class Heart:
  """Shows in a workdir that this process is alive, until it is closed.

  Attributes:
    lease: seconds without a beat after which others take it for dead.
  """

  def __init__(self, root: epath.Path, lease: float, facts: dict[str, Any]):
    """Begins to beat.

    Args:
      root: the workdir.
      lease: in seconds.
      facts: of this process, for others to read.

    Raises:
      OSError: nothing can be written there.
    """
    self.lease = lease
    self._facts = {"host": socket.gethostname(), "pid": os.getpid(), **facts}
    self._file = root / FOLDER / this_process()
    make_folder(self._file.parent)
    self._over = threading.Event()
    self._count = 0
    self._was_late = False
    self._beaten = time.monotonic()
    self._beat()
    self._thread = threading.Thread(target=self._live, daemon=True)
    self._thread.start()

  def close(self) -> None:
    """Stops beating and leaves the workdir."""
    self._over.set()
    self._thread.join()
    remove(self._file)

  def was_late(self) -> bool:
    """Returns whether others may have taken this process for dead.

    Since this was last asked: it was stopped, or could not write.
    """
    late = self._was_late or self._is_late()
    self._was_late = False
    return late

  def _is_late(self) -> bool:
    return time.monotonic() - self._beaten > self.lease / 2

  def _live(self) -> None:
    while not self._over.wait(self.lease / 6):
      with contextlib.suppress(OSError):  # a full disk may have room again
        self._beat()

  def _beat(self) -> None:
    self._count += 1
    text = json.dumps({**self._facts, "beat": self._count})
    replace_file(self._file, text.encode())
    # Before the time is set anew, or nobody would know.
    self._was_late = self._was_late or self._is_late()
    self._beaten = time.monotonic()


class Peers:
  """What this process has seen of others in a workdir."""

  def __init__(self, root: epath.Path, lease: float):
    """Has seen nothing yet.

    Args:
      root: the workdir.
      lease: seconds without a beat after which a process counts as dead.
    """
    self._root, self._lease = root, lease
    self._seen: dict[str, tuple[str, float]] = {}

  def is_alive(self, name: str) -> bool:
    """Returns whether a process is at work, as far as is known.

    One that has not been watched for a lease yet is, unless it was of this
    machine and has ended.

    Args:
      name: of `this_process`; anything else is none.
    """
    if name == this_process():
      return True
    place, *numbers = name.split("-")
    if len(numbers) != 3:
      return False
    is_here = place == _place()
    if is_here and not _is_running(*numbers[:2]):
      return False
    try:
      sign = read_file(self._root / FOLDER / name).decode()
    except FileNotFoundError:
      return is_here  # it writes, a report say, without being at work
    return self.has_changed(name, sign)

  def has_changed(self, name: str, sign: str) -> bool:
    """Returns whether a sign of life is another than it was a lease ago.

    Args:
      name: whose it is.
      sign: that is seen now.
    """
    now = time.monotonic()
    known, since = self._seen.get(name, ("", now))
    if known != sign:
      since = now
    self._seen[name] = sign, since
    return now - since < self._lease

  def others(self) -> dict[str, dict[str, Any]]:
    """Returns the facts of all other living processes, by name."""
    found = {}
    for file in entries(self._root / FOLDER):
      if file.name == this_process() or not self.is_alive(file.name):
        continue
      with contextlib.suppress(OSError, ValueError):
        found[file.name] = json.loads(read_file(file))
    return found

  def sweep(self) -> None:
    """Removes what dead processes have left in partial/ and processes/."""
    for folder in ("partial", FOLDER):
      for file in entries(self._root / folder):
        owner = file.name.removeprefix(".").partition(".")[0]
        if not self.is_alive(owner):
          remove(epath.Path(file))
    if is_remote(self._root):
      return
    for file in Path(self._root).glob("studies/*/.*"):  # of earlier versions
      if re.fullmatch(r"\..+\.[0-9a-f]+", file.name):
        remove(epath.Path(file))


@functools.cache
def _place() -> str:
  """Tells machines, their boots and containers on them apart."""
  parts = [socket.gethostname()]
  with contextlib.suppress(OSError):  # not on Linux
    parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    parts.append(os.readlink("/proc/self/ns/pid"))
  return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]


def _start_of(pid: int) -> str:
  """When a process of this machine began, in ticks; "" if there is none."""
  try:
    stat = Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return ""
  fields = stat.rpartition(")")[2].split()  # names may hold anything
  return "" if fields[0] in "ZX" else fields[19]


def _is_running(pid: str, start: str) -> bool:
  """Whether a process is there; unknown where the system does not tell."""
  if not start:
    return True
  return pid.isdigit() and _start_of(int(pid)) == start


def _random() -> str:
  return uuid.uuid4().hex[:8]
