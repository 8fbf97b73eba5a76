"""Runs a study: python -m launch.main --config=configs/X.py --workdir=DIR."""

from imp_jax.command.main import run

if __name__ == "__main__":
  run()
