"""Writes a study's tables and figures from what is finished.

  imp-jax-report --workdir=DIR [--study=NAME]

In a clone also python -m launch.report, with the same flags.

Whenever asked, also while a run goes on in that workdir; nothing is computed.
"""

from absl import flags

from imp_jax.command.cli import BAD_INPUT, BadInput, run_program
from imp_jax.command.studies import print_findings, write_report
from imp_jax.results.load import load


def define_flags() -> None:
  """Defines the program's flags."""
  flags.DEFINE_string("workdir", None, "Where artefacts and results lie.")
  flags.DEFINE_string("study", None, "Its name, where there are several.")
  flags.mark_flag_as_required("workdir")


def main(argv: list[str]) -> int:
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  given = flags.FLAGS
  try:
    results = load(given.workdir, given.study, writable=True)
  except BAD_INPUT as error:
    raise BadInput(error) from None
  write_report(results)
  print_findings(results)
  return 0


def run() -> None:
  """The entry point."""
  define_flags()
  run_program(main)


if __name__ == "__main__":
  run()
