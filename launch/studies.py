"""A study as a program runs it: checked, executed, its findings printed."""

from typing import Any

from imp_jax.report.landscape_files import landscape_lines
from imp_jax.report.printed import accuracy_table, matching_step_table
from imp_jax.report.scores import reliability_lines
from imp_jax.report.summary import summary_lines
from imp_jax.results import Results
from imp_jax.study import Plan, execute, prepare
from launch.cli import BAD_INPUT, BadInput, Bar
from launch.output import LineConsole, stdout, warn


def run_study(config: Any, workdir: str) -> int:
  """Runs what is missing of a study and prints what it found.

  Returns:
    The program's exit code: 1 if a replicate failed, else 0.

  Raises:
    BadInput: nothing has been written.
  """
  try:
    plan = prepare(config, workdir)
  except BAD_INPUT as error:
    raise BadInput(error) from None
  with Bar() as bar:
    results = execute(plan, bar)
  stream = stdout()
  console = LineConsole(stream, width=None if stream.isatty() else 120)
  for what, found in _findings(plan, results).items():
    try:
      for table_or_line in found():
        console.print(table_or_line, highlight=False)
    except Exception as error:  # what was computed is worth more
      reason = " ".join(f"{type(error).__name__}: {error}".split())
      warn(f"{what} could not be printed: {reason}")
  folder = plan.store.study_dir(plan.study.name)
  console.print(f"results and figures: {folder}")
  return int(results.has_failures)


def _findings(plan: Plan, results: Results) -> dict[str, Any]:
  """Functions by what they find: () -> tables and lines of text."""
  claims = plan.study.claims

  def accuracy():
    table = results.table
    return [accuracy_table(table)] if len(table) else []

  def matching():
    table = results.read_table("matching")
    return [matching_step_table(table, claims.margin)] if len(table) else []

  def summary():
    layers, experiments = map(results.read_table, ("layers", "experiments"))
    return summary_lines(results.table, layers, experiments, claims)

  def reliability():
    if not plan.scores:
      return []
    return reliability_lines(results.read_table("reliability"))

  return {
    "accuracy table": accuracy,
    "matching table": matching,
    "summary": summary,
    "reliability of scores": reliability,
    "landscape": lambda: landscape_lines(results, claims),
  }
