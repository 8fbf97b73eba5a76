"""Runs a study: python -m launch.main --config=configs/X.py --workdir=DIR."""

import sys

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console
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

from imp_jax.report.printed import accuracy_table, matching_step_table
from imp_jax.report.scores import reliability_lines
from imp_jax.report.summary import summary_lines
from imp_jax.study import Progress, execute, prepare

_CONFIG = config_flags.DEFINE_config_file("config", help_string="a study")
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Where artefacts and results lie; extended, never emptied.",
)
flags.mark_flags_as_required(["config", "workdir"])


class BadInput(SystemExit):
  """Ends the program with exit code 2 and one line."""

  def __init__(self, error: BaseException | str):
    if isinstance(error, KeyError):  # str() of it is a repr
      error = str(error.args[0])
    lines = str(error).strip().splitlines() or [repr(error)]
    if any(line.startswith("Traceback") for line in lines):
      lines = lines[-1:]  # a config file's own error, quoted whole by absl
    print("error:", " ".join(" ".join(lines).split()), file=sys.stderr)
    super().__init__(2)


class Bar(Progress):
  """A progress bar with the time left, on a terminal; else warnings only."""

  def __init__(self):
    self._console = Console(stderr=True)
    self._bar = RichProgress(
      TextColumn("{task.description}"),
      BarColumn(),
      MofNCompleteColumn(),
      TextColumn("steps"),
      TimeElapsedColumn(),
      TimeRemainingColumn(),
      console=self._console,
      disable=not self._console.is_terminal,
    )
    self._task = self._bar.add_task("", total=None)

  def __enter__(self):
    self._bar.start()
    return self

  def __exit__(self, *_):
    self._bar.stop()

  def begin(self, total_steps: int) -> None:
    self._bar.update(self._task, total=total_steps)

  def node(self, label: str) -> None:
    self._bar.update(self._task, description=label)

  def steps(self, count: int) -> None:
    self._bar.advance(self._task, count)

  def warn(self, message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def main(argv) -> int:
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  logging.set_verbosity(logging.WARNING)  # Orbax and JAX are talkative
  try:
    plan = prepare(_CONFIG.value, str(_WORKDIR.value))
  except (ValueError, OSError, TypeError, OverflowError, ImportError) as error:
    raise BadInput(error) from None
  with Bar() as bar:
    results = execute(plan, bar)
  table = results.table
  console = Console(width=None if sys.stdout.isatty() else 120)
  claims, matching = plan.study.claims, results.read_table("matching")
  if len(table):
    console.print(accuracy_table(table))
  if len(matching):
    console.print(matching_step_table(matching, claims.margin))
  lines = summary_lines(table, results.read_table("layers"), claims)
  if plan.scores:
    lines += reliability_lines(results.read_table("reliability"))
  for line in lines:
    console.print(line, highlight=False)
  folder = plan.store.study_dir(plan.study.name)
  console.print(f"results and figures: {folder}")
  return 1 if (folder / "failures.txt").exists() else 0


def _parse_flags(argv):
  """Flags as absl reads them, but errors in one line and exit code 2."""
  try:
    return flags.FLAGS(argv)
  except Exception as error:  # config files raise anything while they load
    raise BadInput(error) from None


def run() -> None:
  """The entry point."""
  app.run(main, flags_parser=_parse_flags)


if __name__ == "__main__":
  run()
