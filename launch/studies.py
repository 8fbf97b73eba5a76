"""A study as a program runs it: checked, executed, its findings printed."""

import sys
from typing import Any

from rich.console import Console

from imp_jax.report.landscape_files import landscape_lines
from imp_jax.report.printed import accuracy_table, matching_step_table
from imp_jax.report.scores import reliability_lines
from imp_jax.report.summary import summary_lines
from imp_jax.study import execute, prepare
from launch.cli import BAD_INPUT, BadInput, Bar


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
  lines += landscape_lines(results, claims)
  for line in lines:
    console.print(line, highlight=False)
  folder = plan.store.study_dir(plan.study.name)
  console.print(f"results and figures: {folder}")
  return 1 if (folder / "failures.txt").exists() else 0
