"""What the command-line programs share: errors in one line, exit codes."""

import ast
import contextlib
import itertools
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

import jax
from absl import app, flags

from imp_jax.command.output import complain, protect_streams, warn
from imp_jax.core.options import options_of
from imp_jax.core.store import StoreError
from imp_jax.engine import hosts
from imp_jax.engine.compilation import use_program_cache
from imp_jax.engine.context import Stopped
from imp_jax.models.convolution import resolve_convolution
from imp_jax.study.options import StudyOptions, check_fields, flatten

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
    complain(f"error: {_in_one_line(error)}")
    super().__init__(2)


def _in_one_line(error: BaseException | str) -> str:
  if isinstance(error, KeyError):  # str() of it is a repr
    error = str(error.args[0])
  text = str(error).strip()
  with contextlib.suppress(Exception):
    text = str(ast.literal_eval(text))  # a repr: of a flag's unknown field
  lines = text.splitlines() or [repr(error)]
  if any(line.startswith("Traceback") for line in lines):
    lines = lines[-1:]  # quoted whole by absl
  return " ".join(" ".join(lines).split())


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
  """Flags as absl reads them, but errors in one line and exit code 2.

  A config file may import what lies beside it, or where the program is run.
  """
  files = [
    os.path.abspath(os.path.expanduser(value.partition(":")[0]))
    for value in _values_of("config", argv)
  ]
  sys.path += [os.getcwd(), *map(os.path.dirname, files)]
  try:
    return flags.FLAGS(argv)
  except Exception as error:  # config files raise anything while they load
    told = f"{_place(error, files)}{_in_one_line(error)}"
    if "'config_config' has no attribute 'get_config'" in told:
      told = f"{' '.join(files)}: has no function get_config()"
    raise BadInput(told) from None


def _values_of(flag: str, argv: Sequence[str]) -> Iterator[str]:
  """The values that a command line gives a flag, by = or as the next word."""
  for word, following in itertools.zip_longest(argv, argv[1:], fillvalue=""):
    if word in (f"--{flag}", f"-{flag}"):
      yield following
    elif word.startswith((f"--{flag}=", f"-{flag}=")):
      yield word.partition("=")[2]


def _place(error: BaseException, files: Sequence[str]) -> str:
  """Where in a config file an error is from: "FILE:LINE: NAME: ", or ""."""
  beside = {os.path.dirname(file) for file in files}
  frames = traceback.extract_tb(error.__traceback__)
  quoted = re.findall(r'File "([^"]+)", line (\d+)', str(error))
  every = [*((f.filename, f.lineno) for f in frames), *quoted]
  every = [(os.path.abspath(file), line) for file, line in every]
  places = [f"{f}:{line}" for f, line in every if os.path.dirname(f) in beside]
  if not places:
    return ""
  kind = "" if quoted else f"{type(error).__name__}: "
  return f"{places[-1]}: {kind}"


def check_overrides(config: Any) -> None:
  """Refuses --config.FIELD=VALUE where every experiment sets that field itself.

  Raises:
    ValueError: names the field; the value would change nothing.
  """
  from ml_collections import config_flags

  if "config" not in flags.FLAGS or not flags.FLAGS["config"].present:
    return
  if config.scores.compute:
    return  # scores beside the experiments are of the config itself
  given = config_flags.get_override_values(flags.FLAGS["config"])
  deltas = [flatten(delta) for delta in config.experiments]
  for field in given:
    if field in options_of(StudyOptions):
      continue  # the study's own name, which each experiment has one of too
    if deltas and all(field in delta for delta in deltas):
      raise ValueError(
        f"--config.{field} would change nothing: each of the config's "
        "experiments sets it itself"
      )


def start(config: Any) -> None:
  """Keeps this process's compiled programs for later runs, where that can be.

  Args:
    config: the study's.

  Raises:
    ValueError: it is none, a field of it is out of its range, or a flag would
      change nothing.
  """
  check_fields(config)
  check_overrides(config)
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
