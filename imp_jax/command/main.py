"""Runs a study: imp-jax --config=FILE --workdir=DIR, from anywhere.

In a clone also python -m launch.main --config=configs/X.py --workdir=DIR. With
--describe it prints every option, its value and its meaning, and runs nothing.
"""

from absl import flags, logging

from imp_jax.command.cli import BAD_INPUT, BadInput, run_program, start
from imp_jax.command.output import say
from imp_jax.command.studies import run_study
from imp_jax.study.options import described


def define_flags() -> None:
  """Defines the program's flags."""
  from ml_collections import config_flags

  config_flags.DEFINE_config_file("config", help_string="a study")
  flags.DEFINE_string(
    "workdir",
    None,
    "Where artefacts and results lie; extended, never emptied.",
  )
  flags.DEFINE_list(
    "only", None, "Run these experiments of it alone; a later call adds others."
  )
  flags.DEFINE_bool(
    "describe", False, "Print every option of the config, and run nothing."
  )
  flags.mark_flag_as_required("config")


def main(argv: list[str]) -> int:
  """Runs what the flags ask for; returns the exit code."""
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  logging.set_verbosity(logging.WARNING)  # Orbax and JAX are talkative
  given = flags.FLAGS
  try:
    start(given.config)
    if given.workdir is None and not given.describe:
      raise ValueError("--workdir must name a directory")
  except BAD_INPUT as error:  # the file did not load
    raise BadInput(error) from None
  if given.describe:
    for line in described(given.config):
      say(line)
    return 0
  if given.only is not None and not any(given.only):
    raise BadInput("--only must name an experiment, or several with commas")
  return run_study(given.config, str(given.workdir), given.only or ())


def run() -> None:
  """The entry point."""
  define_flags()
  run_program(main)


if __name__ == "__main__":
  run()
