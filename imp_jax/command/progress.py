"""What a run tells while it goes on, and how it is asked to end."""

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Mapping
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
from rich.text import Text

from imp_jax.command.output import LineConsole, complain, stderr, warn
from imp_jax.command.writers import Writer
from imp_jax.study import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SPEED_SECONDS = 60.0  # over which a speed is measured


class Bar(Progress):
  """A bar with the time left on a terminal, else a plain line now and then.

  Either says how accurate the networks in training are on what they train on,
  how dense they are, and how many examples a second pass.

  Within its block the first of SIGNALS asks the run to end, what is in
  progress saved; a second one ends the process at once.
  """

  def __init__(self, line_seconds: float = 30.0, writer: Writer | None = None):
    """Tells nothing yet.

    Args:
      line_seconds: between two plain lines.
      writer: takes what is measured too, and is closed with the bar.
    """
    self._line_seconds, self._writer = line_seconds, writer
    self._console = LineConsole(stderr())
    self._is_terminal = self._console.is_terminal
    self._bar = _TwoLines(
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
    # What networks of the node in training said last: accuracy and density.
    self._said: dict[str, tuple[float, float]] = {}
    self._presented = 0  # examples since steps were last told
    self._examples, self._steps = _Speed(), _Speed()
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
    if self._writer:
      self._writer.close()
    if self._asked is None:
      for number, handler in self._handlers.items():
        signal.signal(number, handler)

  def begin(self, total_steps: int) -> None:
    self._done, self._total = 0, total_steps
    self._bar.update(self._task, total=total_steps)

  def node(self, label: str) -> None:
    self._label = label
    self._said.clear()
    self._bar.words = ""
    self._bar.update(self._task, description=label)

  def steps(self, count: int) -> None:
    self._done += count
    now = time.monotonic()
    if self._presented:  # or the steps were made before
      self._examples.count(now, self._presented)
      self._steps.count(now, count)
      self._presented = 0
      self._bar.words = ", ".join(self._words())
    self._bar.advance(self._task, count)
    if not self._is_terminal and now - self._told_at >= self._line_seconds:
      self._told_at = now
      told = [f"{self._done:,} of {self._total:,} steps", *self._words()]
      if speed := self._steps.per_second:
        left = max(self._total - self._done, 0) / speed
        told.append(f"{_duration(left)} left")
      complain(f"{self._label}: {', '.join(told)}")

  def measured(self, row: Mapping[str, Any]) -> None:
    if "examples" in row:
      self._said[row["network"]] = row["accuracy"], row["density"]
      self._presented += row["examples"]
    if self._writer:
      self._writer.write(row)

  def warn(self, message: str) -> None:
    warn(message)

  def stop(self) -> str | None:
    return self._asked

  def _words(self) -> list[str]:
    """How the networks in training are now."""
    if not self._said:
      return []
    accuracies, densities = zip(*self._said.values(), strict=True)
    accuracy = sum(accuracies) / len(accuracies)
    density = sum(densities) / len(densities)
    words = [f"training accuracy {accuracy:.1%}", f"density {density:.1%}"]
    if speed := self._examples.per_second:
      words.append(f"{speed:,.0f} examples/s")
    return words

  def _ask(self, number: int, _: FrameType | None) -> None:
    self._asked = signal.Signals(number).name
    for known in self._handlers:
      signal.signal(known, signal.SIG_DFL)
    # Not by print, which the signal may have come in the middle of.
    told = f"\n{self._asked}: saving what is in progress; again: end at once\n"
    with contextlib.suppress(OSError):
      os.write(2, told.encode())


class _TwoLines(RichProgress):
  """A bar, and words below it."""

  words = ""

  def get_renderables(self) -> Iterable[Any]:
    yield self.make_tasks_table(self.tasks)
    if self.words:
      yield Text(self.words)


class _Speed:
  """How many a second, over the last _SPEED_SECONDS or two counts."""

  def __init__(self):
    self._counts: deque[tuple[float, int]] = deque()

  def count(self, now: float, number: int) -> None:
    """Takes a number that came since the count before."""
    self._counts.append((now, number))
    while len(self._counts) > 2 and self._counts[1][0] < now - _SPEED_SECONDS:
      self._counts.popleft()

  @property
  def per_second(self) -> float:
    """Returns the speed; 0 where it is not known yet."""
    if len(self._counts) < 2:
      return 0.0
    seconds = self._counts[-1][0] - self._counts[0][0]
    numbers = sum(number for _, number in self._counts) - self._counts[0][1]
    return numbers / seconds if seconds > 0 else 0.0


def _duration(seconds: float) -> str:
  """A duration as it is read: "40 s", "5 min", "2 h 10 min"."""
  if seconds < 100:
    return f"{seconds:.0f} s"
  minutes = round(seconds / 60)
  hours = f"{minutes // 60} h " if minutes >= 60 else ""
  return f"{hours}{minutes % 60 if hours else minutes} min"
