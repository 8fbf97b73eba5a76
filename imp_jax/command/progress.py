"""What a run tells while it goes on, and how it is asked to end."""

import contextlib
import os
import signal
import time
from types import FrameType
from typing import Any

from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  TextColumn,
  TimeElapsedColumn,
  TimeRemainingColumn,
)
from rich.progress import (
  Progress as RichProgress,
)

from imp_jax.command.output import LineConsole, complain, stderr, warn
from imp_jax.study import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LINE_SECONDS = 30.0  # between two lines where there is no terminal


class Bar(Progress):
  """A bar with the time left on a terminal, else a plain line now and then.

  Within its block the first of SIGNALS asks the run to end, what is in
  progress saved; a second one ends the process at once.
  """

  def __init__(self):
    self._console = LineConsole(stderr())
    self._is_terminal = self._console.is_terminal
    self._bar = RichProgress(
      TextColumn("{task.description}"),
      BarColumn(),
      MofNCompleteColumn(),
      TextColumn("steps"),
      TimeElapsedColumn(),
      TimeRemainingColumn(),
      console=self._console,
      disable=not self._is_terminal,
    )
    self._task = self._bar.add_task("", total=None)
    self._done = self._total = 0
    self._label, self._told_at = "", time.monotonic()
    self._asked: str | None = None
    self._handlers: dict[int, Any] = {}

  def __enter__(self):
    self._bar.start()
    for number in SIGNALS:
      # What is ignored stays so: nohup's SIGHUP, SIGINT in the background.
      if signal.getsignal(number) != signal.SIG_IGN:
        with contextlib.suppress(ValueError):  # not in the main thread
          self._handlers[number] = signal.signal(number, self._ask)
    return self

  def __exit__(self, *_):
    self._bar.stop()
    if self._asked is None:
      for number, handler in self._handlers.items():
        signal.signal(number, handler)

  def begin(self, total_steps: int) -> None:
    self._done, self._total = 0, total_steps
    self._bar.update(self._task, total=total_steps)

  def node(self, label: str) -> None:
    self._label = label
    self._bar.update(self._task, description=label)

  def steps(self, count: int) -> None:
    self._done += count
    self._bar.advance(self._task, count)
    now = time.monotonic()
    if not self._is_terminal and now - self._told_at >= LINE_SECONDS:
      self._told_at = now
      complain(f"{self._label}: {self._done:,} of {self._total:,} steps")

  def warn(self, message: str) -> None:
    warn(message)

  def stop(self) -> str | None:
    return self._asked

  def _ask(self, number: int, _: FrameType | None) -> None:
    self._asked = signal.Signals(number).name
    for known in self._handlers:
      signal.signal(known, signal.SIG_DFL)
    # Not by print, which the signal may have come in the middle of.
    told = f"\n{self._asked}: saving what is in progress; again: end at once\n"
    with contextlib.suppress(OSError):
      os.write(2, told.encode())
