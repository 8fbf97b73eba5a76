"""Writes a study's report: python -m launch.report --workdir=DIR."""

from imp_jax.command.report import run

if __name__ == "__main__":
  run()
