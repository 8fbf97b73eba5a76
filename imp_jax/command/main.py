"""Runs a study: imp-jax --config=FILE --workdir=DIR, from anywhere.

In a clone also python -m launch.main --config=configs/X.py --workdir=DIR. With
--describe it prints every option, its value and its meaning, with --plan what
there is to do and what that takes, and runs nothing. Of a workdir alone:

  imp-jax --status --workdir=DIR        how far its studies are
  imp-jax --gc [--dry_run] --workdir=DIR     puts away what none of them needs
"""

from absl import flags, logging

from imp_jax.command.cli import BAD_INPUT, BadInput, run_program, start
from imp_jax.command.output import say
from imp_jax.command.studies import run_study
from imp_jax.command.workdirs import put_away_unneeded, show_plan, show_status
from imp_jax.engine import hosts
from imp_jax.study.options import described


def define_flags() -> None:
  """Defines the program's flags."""
  from ml_collections import config_flags

  config_flags.DEFINE_config_file(
    "config",
    help_string="FILE.py or FILE.py:VARIANT; --config.FIELD=VALUE sets one.",
  )
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
  flags.DEFINE_bool("plan", False, "Print what there is to do; run nothing.")
  flags.DEFINE_bool("status", False, "Print how far a workdir's studies are.")
  flags.DEFINE_bool("gc", False, "Put away what no study of a workdir needs.")
  flags.DEFINE_bool(
    "distributed",
    False,
    "Be one of the processes of a TPU pod or a SLURM job that run one program.",
  )
  flags.DEFINE_string(
    "coordinator_address", None, "HOST:PORT of process 0, where not found out."
  )
  flags.DEFINE_integer("num_processes", None, "Of one program; likewise.")
  flags.DEFINE_integer("process_id", None, "This one's, from 0; likewise.")
  flags.DEFINE_bool("dry_run", False, "Of --gc: list it, and move nothing.")


def main(argv: list[str]) -> int:
  """Runs what the flags ask for; returns the exit code."""
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  logging.set_verbosity(logging.WARNING)  # Orbax and JAX are talkative
  given = flags.FLAGS
  if given.status or given.gc:
    if given.config is not None or given.workdir is None:
      raise BadInput("--status and --gc are of a --workdir, without --config")
    if given.status:
      return show_status(given.workdir)
    return put_away_unneeded(given.workdir, dry_run=given.dry_run)
  if given.config is None:
    raise BadInput("--config must name a config file")
  if given.only is not None and not any(given.only):
    raise BadInput("--only must name an experiment, or several with commas")
  try:
    join_if_asked()
    start(given.config)
    if given.workdir is None and not given.describe:
      raise ValueError("--workdir must name a directory")
  except BAD_INPUT as error:  # the file did not load
    if not hosts.have_joined():
      raise BadInput(error) from None
    # `prepare` says it again, for all processes to hear.
  if given.describe:
    for line in described(given.config):
      say(line)
    return 0
  if given.plan:
    return show_plan(given.config, given.workdir or "", given.only or ())
  return run_study(given.config, given.workdir or "", given.only or ())


def join_if_asked() -> None:
  """Makes this process one of several, if the flags say so.

  Raises:
    ValueError: they do so in part, or the others are not there.
  """
  given = flags.FLAGS
  places = given.coordinator_address, given.num_processes, given.process_id
  if given.distributed:
    hosts.join(*places)
  elif any(place is not None for place in places):
    raise ValueError("--coordinator_address and the like need --distributed")


def run() -> None:
  """The entry point."""
  define_flags()
  run_program(main)


if __name__ == "__main__":
  run()
