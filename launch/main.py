"""Runs a study: python -m launch.main --config=configs/X.py --workdir=DIR."""

import sys

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console

from imp_jax.report.landscape_files import landscape_lines
from imp_jax.report.printed import accuracy_table, matching_step_table
from imp_jax.report.scores import reliability_lines
from imp_jax.report.summary import summary_lines
from imp_jax.study import execute, prepare
from launch.cli import BAD_INPUT, BadInput, Bar, parse_flags, start

_CONFIG = config_flags.DEFINE_config_file("config", help_string="a study")
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Where artefacts and results lie; extended, never emptied.",
)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv) -> int:
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  logging.set_verbosity(logging.WARNING)  # Orbax and JAX are talkative
  try:
    start(_CONFIG.value)
    plan = prepare(_CONFIG.value, str(_WORKDIR.value))
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


def run() -> None:
  """The entry point."""
  app.run(main, flags_parser=parse_flags)


if __name__ == "__main__":
  run()
