"""Where a run's measurements go as they are made, beside its artefacts.

A writer takes rows as `executor.Progress.measured` has them. One that fails is
told of and takes no more: a run is worth more than what it says of itself.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from imp_jax.command.output import warn
from imp_jax.core.buckets import make_folder, replace_file
from imp_jax.core.processes import this_process
from imp_jax.core.store import Store

Row = Mapping[str, Any]
# Numbers of a row that say where it belongs, and are not measured.
_PLACES = ("step", "count")
# Networks whose TensorBoard files are open: each takes three and two threads.
_MOST_OPEN = 16
_BUCKET_SECONDS = 60.0  # between two times that a file in a bucket is renewed


@dataclasses.dataclass(frozen=True)
class Place:
  """Where the measurements of one study lie.

  Attributes:
    store: of the workdir.
    study: its name.
    config: its settings by dotted name, for a writer that shows them.
  """

  store: Store
  study: str
  config: Mapping[str, Any]

  @property
  def folder(self) -> Any:
    """The study's own, on a disk or in a bucket."""
    return self.store.study_dir(self.study)


class Writer(Protocol):
  """Takes a run's measurements."""

  def write(self, row: Row) -> None:
    """Takes one row; it may be kept for a while."""

  def close(self) -> None:
    """Writes what is kept."""


class Lines:
  """studies/NAME/measured/PROCESS.jsonl: a row on each line, with its time.

  A process has a file of its own, which begins with its first row. On a disk a
  line is there at once, in a bucket after a minute.
  """

  def __init__(self, place: Place):
    self._file = place.folder / "measured" / f"{this_process()}.jsonl"
    self._is_remote = place.store.is_remote
    self._lines: list[str] = []
    self._written_at = time.monotonic()
    self._out: Any = None

  def write(self, row: Row) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": now, **row}) + "\n"
    if self._is_remote:
      self._lines.append(line)
      if time.monotonic() - self._written_at >= _BUCKET_SECONDS:
        self._renew()
      return
    if self._out is None:
      make_folder(self._file.parent)
      self._out = Path(self._file).open(  # noqa: SIM115
        "a", encoding="utf-8"
      )
    self._out.write(line)
    self._out.flush()

  def close(self) -> None:
    if self._out is not None:
      self._out.close()
    if self._lines:
      self._renew()

  def _renew(self) -> None:
    make_folder(self._file.parent)
    replace_file(self._file, "".join(self._lines).encode())
    self._written_at = time.monotonic()


class TensorBoard:
  """studies/NAME/tensorboard/: a run of each network, by its steps."""

  def __init__(self, place: Place):
    from tensorboardX import SummaryWriter  # pyright: ignore

    self._make: Callable[..., Any] = SummaryWriter
    self._made = 0
    self._folder = Path(place.folder) / "tensorboard"
    self._open: dict[str, Any] = {}

  def write(self, row: Row) -> None:
    network = row["network"]
    if network in self._open:
      self._open[network] = self._open.pop(network)  # the latest is last
    else:
      while len(self._open) >= _MOST_OPEN:
        self._open.pop(next(iter(self._open))).close()
      folder = self._folder / network.replace(", ", "/").replace(":", "/")
      # Files are named for the second, in which one may be opened anew.
      self._made += 1
      suffix = f".{os.getpid()}.{self._made}"
      self._open[network] = self._make(str(folder), filename_suffix=suffix)
    for name, value in _numbers(row).items():
      tag = f"{row['split']}/{name}"
      self._open[network].add_scalar(tag, value, row["step"])

  def close(self) -> None:
    for writer in self._open.values():
      writer.close()


class WandB:
  """A run of this process in Weights & Biases, of all networks it trains.

  Its variables say where: WANDB_MODE=offline keeps it on this machine,
  WANDB_PROJECT names the project, which is imp_jax else.
  """

  def __init__(self, place: Place):
    import wandb  # pyright: ignore

    folder = None
    if not place.store.is_remote:
      folder = str(place.folder)
    self._run = wandb.init(
      project=os.environ.get("WANDB_PROJECT", "imp_jax"),
      group=place.study,
      dir=folder,
      config=dict(place.config),
      settings=wandb.Settings(silent=True),
    )
    self._run.define_metric("step", hidden=True)
    self._run.define_metric("*", step_metric="step")

  def write(self, row: Row) -> None:
    start = f"{row['network']}/{row['split']}"
    numbers = {f"{start}/{k}": v for k, v in _numbers(row).items()}
    self._run.log({"step": row["step"], **numbers})

  def close(self) -> None:
    self._run.finish()


# By what execution.writers calls them.
WRITERS: Mapping[str, Callable[[Place], Writer]] = {
  "tensorboard": TensorBoard,
  "wandb": WandB,
}


class Writers:
  """Several writers as one, of which none can end a run."""

  def __init__(self, place: Place, names: tuple[str, ...]):
    """Opens them: the lines, always, and others.

    Args:
      place: where.
      names: of `WRITERS`.
    """
    self._place, self._writers = place, dict[str, Writer]()
    self._kinds = {"lines": Lines, **{n: WRITERS[n] for n in names}}

  def write(self, row: Row) -> None:
    for name, kind in list(self._kinds.items()):
      with self._kept_from_failing(name):
        if name not in self._writers:
          self._writers[name] = kind(self._place)
        self._writers[name].write(row)

  def close(self) -> None:
    for name, writer in list(self._writers.items()):
      with self._kept_from_failing(name):
        writer.close()

  @contextlib.contextmanager
  def _kept_from_failing(self, name: str):
    try:
      yield
    except Exception as error:  # a service's package raises anything
      reason = " ".join(str(error).split()) or type(error).__name__
      warn(f"measurements go no more to {name}: {reason}")
      self._kinds.pop(name, None)
      writer = self._writers.pop(name, None)
      if writer:
        with contextlib.suppress(Exception):  # that it fails is known
          writer.close()


def _numbers(row: Row) -> dict[str, float]:
  """What of a row is a measured number."""
  return {
    name: value
    for name, value in row.items()
    if name not in _PLACES
    and isinstance(value, int | float)
    and not isinstance(value, bool)
  }
