"""Runs a sweep: python -m launch.sweep --config=X --sweep=Y --workdir=DIR."""

from imp_jax.command.sweep import run

if __name__ == "__main__":
  run()
