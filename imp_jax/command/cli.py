"""What the command-line programs share: errors in one line, exit codes."""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import jax
from absl import app, flags

from imp_jax.command.output import complain, protect_streams, warn
from imp_jax.core.store import StoreError
from imp_jax.engine import hosts
from imp_jax.engine.compilation import use_program_cache
from imp_jax.engine.context import Stopped
from imp_jax.models.convolution import resolve_convolution
from imp_jax.study.options import check_fields

# What bad input raises, before anything is written.
BAD_INPUT = (ValueError, OSError, TypeError, OverflowError, ImportError)
NO_STORAGE = 3  # the exit code where storage failed while a run went on
NO_COMPANY = 4  # where one of several processes of a program failed

GOES_ON = (
  "What is finished is there, and training in progress is kept: the same "
  "command goes on from it"
)


class BadInput(SystemExit):
  """Ends the program with exit code 2 and one line."""

  def __init__(self, error: BaseException | str):
    if isinstance(error, KeyError):  # str() of it is a repr
      error = str(error.args[0])
    lines = str(error).strip().splitlines() or [repr(error)]
    if any(line.startswith("Traceback") for line in lines):
      lines = lines[-1:]  # a config file's own error, quoted whole by absl
    complain(f"error: {' '.join(' '.join(lines).split())}")
    super().__init__(2)


def run_program(main: Callable[[list[str]], int]) -> None:
  """Runs a program; what becomes of its output does not change its exit code.

  Args:
    main: its arguments that are no flags -> its exit code.
  """

  def whole(argv: list[str]) -> int:
    try:
      return main(argv)
    except Stopped as why:
      complain(f"ended by {why}. {GOES_ON}")
      return 128 + signal.Signals[str(why)]
    except (OSError, StoreError) as error:
      complain(f"error: {' '.join(str(error).split())}. {GOES_ON}")
      return NO_STORAGE

  def together(argv: list[str]) -> int:
    try:
      return whole(argv)
    except Exception as error:
      if not hosts.have_joined():
        raise
      # Its usual end would wait for the others.
      reason = " ".join(f"{error}".split())[:300] or type(error).__name__
      complain(
        f"error: a process of this program has failed: {reason}. {GOES_ON}"
      )
      sys.stderr.flush()
      is_storage = isinstance(error.__cause__, OSError)
      os._exit(NO_STORAGE if is_storage else NO_COMPANY)

  _adopt_help(main.__module__)
  protect_streams()
  show_user_warnings()
  app.run(together, flags_parser=parse_flags)


def _adopt_help(module: str) -> None:
  """Makes --help tell of a program's own module, from wherever it is run."""
  program = sys.modules["__main__"]
  program.__doc__ = sys.modules[module].__doc__
  for flag in flags.FLAGS.get_key_flags_for_module(module):
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def show_user_warnings() -> None:
  """Shows Python's warnings to users in one line, each once.

  Others, of deprecation say, stay as Python shows them.
  """
  show, told = warnings.showwarning, set()

  def showwarning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
  ) -> None:
    if file is not None or not issubclass(category, UserWarning):
      show(message, category, filename, lineno, file, line)
      return
    text = " ".join(str(message).split())
    if text not in told:
      told.add(text)
      warn(text)

  warnings.showwarning = showwarning


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Flags as absl reads them, but errors in one line and exit code 2."""
  try:
    return flags.FLAGS(argv)
  except Exception as error:  # config files raise anything while they load
    raise BadInput(error) from None


def start(config: Any) -> None:
  """Keeps this process's compiled programs for later runs, where that can be.

  Args:
    config: the study's.

  Raises:
    ValueError: it is none, or a field of it is out of its range.
  """
  check_fields(config)
  with contextlib.suppress(ValueError):  # said when it is resolved
    kind = resolve_convolution(
      config.execution.convolution,
      backend=jax.default_backend(),
      images=config.data.source != "mnist1d",
    )
    if kind == "onednn":  # JAX cannot write such programs
      jax.config.update("jax_enable_compilation_cache", False)
    else:
      use_program_cache()
