"""Runs command lines in forks of one process, which imported JAX for them all.

A fork is a process of its own, with its own flags, streams and exit code.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
import types

from tests.painting import painting
from tests.places import ROOT


class Zygote:
  """The process that forks; `launch` asks it for a run of a module."""

  def __init__(self):
    self._process = subprocess.Popen(
      [sys.executable, "-m", "tests.zygote"],
      cwd=ROOT,
      env=os.environ | {"JAX_PLATFORMS": "cpu"},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def launch(self, *argv: str, painted: bool = False) -> types.SimpleNamespace:
    """Returns (returncode, stdout, stderr) of `python -m argv`.

    Args:
      argv: a module and its arguments.
      painted: whether it paints its figures.
    """
    assert self._process.stdin and self._process.stdout
    self._process.stdin.write(json.dumps([painted, *argv]) + "\n")
    self._process.stdin.flush()
    return types.SimpleNamespace(**json.loads(self._process.stdout.readline()))

  def close(self) -> None:
    assert self._process.stdin
    self._process.stdin.close()
    self._process.wait(60)


def _child(painted, argv, out, err):
  for stream, descriptor in ((out, 1), (err, 2)):
    os.dup2(stream.fileno(), descriptor)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  sys.argv = list(argv)
  with painting(painted):
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


def _serve():
  import imp_jax.command.main  # noqa: F401  (all that takes long)

  for line in sys.stdin:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
      pid = os.fork()
      if not pid:
        painted, *argv = json.loads(line)
        return _child(painted, argv, out, err)  # ends as a program does
      _, status = os.waitpid(pid, 0)
      told = {"returncode": os.waitstatus_to_exitcode(status)}
      for name, stream in (("stdout", out), ("stderr", err)):
        stream.seek(0)
        told[name] = stream.read().decode()
      print(json.dumps(told), flush=True)


if __name__ == "__main__":
  _serve()
