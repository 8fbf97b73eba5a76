"""A study as a program runs it: checked, executed, reported, printed."""

import contextlib
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from imp_jax.command.cli import BAD_INPUT, BadInput
from imp_jax.command.output import LineConsole, stdout, warn
from imp_jax.command.progress import Bar
from imp_jax.command.writers import Place, Writers
from imp_jax.core.buckets import exists
from imp_jax.data.dataset import Dataset
from imp_jax.engine import hosts
from imp_jax.engine.leader import check_alike, leading
from imp_jax.engine.provenance import version
from imp_jax.results.load import Results
from imp_jax.results.page.page import COMMAND, PAGE
from imp_jax.results.printed import accuracy_table, matching_step_table
from imp_jax.results.report import report
from imp_jax.results.scores import reliability_lines
from imp_jax.results.summary import landscape_lines, summary_lines
from imp_jax.study import Plan, assist, execute, prepare
from imp_jax.study.extension import meaning_of
from imp_jax.study.options import flatten

TABLES_SECONDS = 60.0  # between two reports while a run goes on


def run_study(config: Any, workdir: str, only: Sequence[str] = ()) -> int:
  """Runs what is missing of a study, writes its report, prints what it found.

  The report of what is finished is written while it goes on too, and when it
  is interrupted.

  Args:
    config, workdir, only: as of `study.prepare`.

  Returns:
    The program's exit code: 1 if a replicate failed, else 0.

  Raises:
    BadInput: nothing has been written.
  """
  if hosts.are_several():
    return _run_together(config, workdir, only)
  try:
    plan = prepare(config, workdir, only)
  except BAD_INPUT as error:
    raise BadInput(error) from None
  return _run(plan)


def _run_together(config: Any, workdir: str, only: Sequence[str]) -> int:
  """Runs a study in one of several processes, of which the first leads."""
  leads, error, plan = hosts.leads(), "", None
  try:
    plan = prepare(config, workdir, only, writes=leads, executes=leads)
  except BAD_INPUT as reason:
    error = str(reason) or repr(reason)
  facts = {"error": error, "imp_jax": version()}
  for field, value in flatten(config.to_dict()).items():
    facts[f"--config.{field}"] = repr(value)
  if plan:
    facts |= {"data's fingerprint": plan.dataset.fingerprint, **plan.way}
  try:
    check_alike(facts)
  except ValueError as reason:
    raise BadInput(reason) from None
  assert plan  # or it would have an error
  if not leads:
    with Bar() as bar:  # for its signals
      return assist(plan, bar.stop)
  return leading(lambda: _run(plan))


def _run(plan: Plan) -> int:
  """Runs a plan, reports and prints; as `run_study`."""
  write_command(plan, "imp-jax", "launch.main")
  try:
    with watching(plan) as bar, _reports_meanwhile(plan):
      results = execute(plan, bar)
  except BaseException:
    with contextlib.suppress(OSError, ValueError):  # nothing has begun
      write_report(Results(plan.store, plan.study.name), plan.dataset)
    raise
  write_report(results, plan.dataset)
  print_findings(results)
  return int(results.has_failures)


def watching(plan: Plan) -> Bar:
  """Returns what a run of a plan tells how far it is, and what it measures."""
  study = plan.study
  place = Place(plan.store, study.name, flatten(meaning_of(plan.whole)))
  writer = Writers(place, study.execution.writers)
  return Bar(study.execution.line_seconds, writer)


def write_command(plan: Plan, program: str, module: str) -> None:
  """Writes the command line that runs this process's study.

  One that runs a part of it takes no other's place.

  Args:
    plan: the study's.
    program: by which it is run where the package is installed.
    module: by which in a clone.
  """
  file = plan.store.study_dir(plan.study.name) / COMMAND
  if len(plan.study.experiments) < len(plan.whole.experiments) and exists(file):
    return
  installed = Path(sys.argv[0]).name == program
  words = [program] if installed else ["python", "-m", module]
  plan.store.write_text(file, shlex.join([*words, *sys.argv[1:]]))


@contextlib.contextmanager
def _reports_meanwhile(plan: Plan) -> Iterator[None]:
  """Writes a study's report in the background while the block goes on.

  At most once in TABLES_SECONDS, and a twentieth of the time.
  """
  over = threading.Event()

  def write() -> None:
    wait = TABLES_SECONDS
    while not over.wait(wait):
      started = time.monotonic()
      with contextlib.suppress(Exception):  # the last report will say it
        report(Results(plan.store, plan.study.name), plan.dataset)
      wait = max(TABLES_SECONDS, 20 * (time.monotonic() - started))

  writer = threading.Thread(target=write, daemon=True)
  writer.start()
  try:
    yield
  finally:
    over.set()
    writer.join()


def write_report(results: Results, dataset: Dataset | None = None) -> None:
  """Writes a study's tables and figures; says what could not be written.

  Args:
    results: the study's.
    dataset: its data, if they are at hand.
  """
  for unwritten in report(results, dataset):
    warn(unwritten)


def print_findings(results: Results) -> None:
  """Prints what a study found, as far as it has come."""
  stream = stdout()
  console = LineConsole(stream, width=None if stream.isatty() else 120)
  for what, found in _findings(results).items():
    try:
      for table_or_line in found():
        console.print(table_or_line, highlight=False)
    except Exception as error:  # what was computed is worth more
      reason = " ".join(f"{type(error).__name__}: {error}".split())
      warn(f"{what} could not be printed: {reason}")
  tables = results.tables
  folder = tables.store.study_dir(tables.study)
  console.print(f"results and figures: {folder}")
  if exists(page := tables.store.root / PAGE):
    console.print(f"all of it to look at: {page}")


def _findings(results: Results) -> dict[str, Callable[[], Iterable[Any]]]:
  """Functions by what they find: () -> tables and lines of text."""
  tables = results.tables
  claims = tables.claims

  def accuracy():
    table = tables.get("results")
    return [accuracy_table(table)] if len(table) else []

  def matching():
    table = tables.get("matching")
    return [matching_step_table(table, claims.margin)] if len(table) else []

  def summary():
    layers, experiments = tables.get("layers"), tables.get("experiments")
    return summary_lines(tables.get("results"), layers, experiments, claims)

  def reliability():
    if "reliability" not in tables.names:
      return []
    return reliability_lines(tables.get("reliability"))

  return {
    "accuracy table": accuracy,
    "matching table": matching,
    "summary": summary,
    "reliability of scores": reliability,
    "landscape": lambda: landscape_lines(tables),
  }
