"""Printing that cannot fail: a run is worth more than what it says of itself.

A standard stream may be closed, its reader gone, its disk full, or its encoding
ASCII. None of this is a failed replicate.
"""

import contextlib
import io
import os
import re
import sys
import unicodedata
from typing import Any

from rich.console import Console

# Where Unicode's own decomposition says nothing, or what reads wrong: 10² is
# not 102.
_ASCII = {
  **{raised: f"^{digit}" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
  **dict.fromkeys("−‐‑‒–─━", "-"),
  **dict.fromkeys("‘’′", "'"),
  **dict.fromkeys("“”″", '"'),
  **dict.fromkeys("│┃", "|"),
  "±": "+-",
  "×": "x",
  "÷": "/",
  "⁄": "/",
  "·": "*",
  "•": "*",
  "—": "--",
  "→": "->",
  "←": "<-",
  "≤": "<=",
  "≥": ">=",
  "≠": "!=",
  "≈": "~",
  "∞": "inf",
  "√": "sqrt",
}


class Stream(io.TextIOBase):
  """A standard stream that takes whatever is written to it.

  What its encoding lacks becomes readable ASCII. One that is closed or fails
  takes no more.

  Args:
    target: the stream, or None: it was closed when Python began.
    name: if given, a failure is told under this name on standard error; not
      that its reader left, which is usual (`| head`), or that it was closed.
  """

  def __init__(self, target: Any, name: str = ""):
    self._target, self._name, self._lost = target, name, target is None

  def __getattr__(self, attribute: str) -> Any:
    if attribute == "_target":  # of a stream that is being made
      raise AttributeError(attribute)
    return getattr(self._target, attribute)

  # Attributes by typeshed, but of io's own classes they are properties too.
  @property
  def encoding(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
    return getattr(self._target, "encoding", None) or "utf-8"

  @property
  def errors(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
    return getattr(self._target, "errors", None)

  def isatty(self) -> bool:
    with contextlib.suppress(OSError, ValueError, AttributeError):
      return self._target.isatty()
    return False

  def fileno(self) -> int:
    if self._target is None:
      raise io.UnsupportedOperation("fileno of a closed stream")
    return self._target.fileno()

  def write(self, text: str) -> int:
    if not self._lost:
      try:
        self._target.write(encodable(text, self.encoding, self.errors))
      except (OSError, ValueError) as error:
        self._lose(error)
    return len(text)

  def flush(self) -> None:
    if not self._lost:
      try:
        self._target.flush()
      except (OSError, ValueError) as error:
        self._lose(error)

  def _lose(self, error: Exception) -> None:
    """Stops writing, and warns of the reason unless it is an ordinary one."""
    self._lost = True
    # What Python still holds is written when it ends, and its exit code is 120
    # if it cannot be.
    with contextlib.suppress(OSError, ValueError, AttributeError):
      _open_null(self._target.fileno())
    left = isinstance(error, (ConnectionError, ValueError))  # or was closed
    if self._name and not left:
      warn(f"{self._name} could not be written: {error}")


class LineConsole(Console):
  """Rich's console on a safe stream; strings are text, not markup.

  Args:
    stream: from `stdout` or `stderr`.
    **options: of rich's.
  """

  def __init__(self, stream: Stream, **options: Any):
    file: Any = stream
    super().__init__(file=file, markup=False, emoji=False, **options)

  def render_str(self, text: str, **options: Any) -> Any:
    # Before columns are measured: "+-" is wider than "±".
    errors = getattr(self.file, "errors", None)
    return super().render_str(encodable(text, self.encoding, errors), **options)


def stdout() -> Stream:
  """Returns standard output as it is now, made safe."""
  return _safe(sys.stdout, "standard output")


def stderr() -> Stream:
  """Returns standard error as it is now, made safe."""
  return _safe(sys.stderr)


def say(line: str) -> None:
  """Prints a line on standard output, at once."""
  print(line, file=stdout(), flush=True)


def complain(line: str) -> None:
  """Prints a line on standard error, at once."""
  # Not print's own choice of stream: without standard error that is standard
  # output.
  print(line, file=stderr(), flush=True)


def warn(message: str) -> None:
  """Tells the user something in a line of its own, on standard error."""
  complain(f"warning: {message}")


def protect_streams() -> None:
  """Makes this process's standard streams safe for whoever prints on them."""
  for descriptor in (1, 2):
    try:
      os.fstat(descriptor)
    except OSError:
      # Else the next file opened is what C libraries print on.
      with contextlib.suppress(OSError):
        _open_null(descriptor)
  out: Any = stdout()
  err: Any = stderr()
  sys.stdout, sys.stderr = out, err


def encodable(text: str, encoding: str, errors: str | None = None) -> str:
  """Returns a text as an encoding has it: what it lacks, in ASCII.

  Args:
    text: any.
    encoding: its name; an unknown one is taken for ASCII.
    errors: how the stream that writes it handles what it lacks. Only
      "surrogateescape" counts, which restores the bytes of file names; others
      are less readable than ASCII.
  """
  handler = errors if errors == "surrogateescape" else "strict"

  def has(part: str) -> bool:
    try:
      part.encode(encoding, handler)
    except UnicodeError:
      return False
    except LookupError:
      return part.isascii()
    return True

  if has(text):
    return text
  return "".join(c if has(c) else _in_ascii(c) for c in text)


def _in_ascii(character: str) -> str:
  """One character outside ASCII, as it may be read."""
  known = character in _ASCII
  # Accents go, ligatures and the like come apart.
  parts = character if known else unicodedata.normalize("NFKD", character)
  return "".join(
    part if part.isascii() else _ASCII.get(part) or _by_name(part)
    for part in parts
    if not unicodedata.combining(part)
  )


def _by_name(character: str) -> str:
  """A Greek letter's name, a corner of a box, or a question mark."""
  name = unicodedata.name(character, "").replace("LAMDA", "LAMBDA")
  if greek := re.fullmatch(r"GREEK (\w+) LETTER (?:FINAL )?(\w+)", name):
    return greek[2].title() if greek[1] == "CAPITAL" else greek[2].lower()
  return "+" if name.startswith("BOX DRAWINGS") else "?"


def _safe(stream: Any, name: str = "") -> Stream:
  return stream if isinstance(stream, Stream) else Stream(stream, name)


def _open_null(descriptor: int) -> None:
  """Makes a file descriptor one that takes everything and keeps nothing."""
  null = os.open(os.devnull, os.O_WRONLY)
  os.dup2(null, descriptor)
  if null != descriptor:
    os.close(null)
