"""Runs a study: python -m launch.main --config=configs/X.py --workdir=DIR."""

from absl import flags, logging
from ml_collections import config_flags

from launch.cli import BAD_INPUT, BadInput, run_program, start
from launch.studies import run_study

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
  except BAD_INPUT as error:  # the file did not load
    raise BadInput(error) from None
  return run_study(_CONFIG.value, str(_WORKDIR.value))


def run() -> None:
  """The entry point."""
  run_program(main)


if __name__ == "__main__":
  run()
