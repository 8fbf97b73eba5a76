"""Exports what is finished of a study, experiment by experiment.

  python -m launch.export --workdir=runs/c10 --out=results/cifar10_jpeg

What other machines exported of the same study to that folder stays, and the
verdicts are of all of it.
"""

from absl import flags

from imp_jax.command.cli import BAD_INPUT, BadInput, run_program
from imp_jax.command.output import say
from imp_jax.results.export import export
from imp_jax.results.load import load


def define_flags() -> None:
  """Defines the program's flags."""
  flags.DEFINE_string("workdir", None, "Where artefacts and results lie.")
  flags.DEFINE_string("study", None, "Its name, where there are several.")
  flags.DEFINE_string("out", None, "The folder of what is exported.")
  flags.mark_flags_as_required(["workdir", "out"])


def main(argv: list[str]) -> int:
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  given = flags.FLAGS
  try:
    results = load(str(given.workdir), given.study)
    written, unfinished, ways = export(results, str(given.out))
  except BAD_INPUT as error:
    raise BadInput(error) from None
  say(f"exported to {given.out}: {', '.join(written)}")
  if ways > 1:
    say(
      f"what is there was made in {ways} ways, which round differently "
      "(experiment.json): replicates are paired by seed, not bit for bit"
    )
  if unfinished:
    say(f"unfinished, left out: {', '.join(unfinished)}")
  return 0


if __name__ == "__main__":
  define_flags()
  run_program(main)
