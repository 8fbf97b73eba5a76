"""Every command in README and docs is one that runs.

Studies by --describe, which reads their flags and config as a run does (each
config's :smoke is run by test_cli.py); what takes minutes by --help, which is
answered once all flags were read; the others as they are, on a small study.
"""

import importlib.util
import re
import shlex
import shutil

import pytest

from benchmarks.__main__ import cases
from tests.places import ROOT
from tests.tiny import copy_of

PAGES = [
  ROOT / "README.md",
  ROOT / "CONTRIBUTING.md",
  ROOT / "benchmarks" / "README.md",
  *sorted((ROOT / "docs").glob("*.md")),
]
# What stands for something of the reader's.
STANDS_FOR = {
  "FILE": "configs/mnist1d.py:smoke",
  "C": "configs/mnist1d.py:smoke",
  "...": "",
}
SLOW = ("coverage", "seeds", "stability", "sweep", "tpu")


def commands(page):
  """The commands of a page, of its blocks and of its text."""
  text = page.read_text().replace("\\\n", " ")
  blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
  plain = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
  lines = [line for block in blocks for line in block.splitlines()]
  lines += re.findall(r"`([^`]+)`", plain)
  for line in lines:
    line = " ".join(line.partition(" #")[0].split())
    if re.match(r"(\.venv/bin/)?python -m |imp-jax", line):
      yield line


COMMANDS = sorted({c for page in PAGES for c in commands(page)})


def arguments(command):
  """(module, its arguments): as the reader would fill them in."""
  words = shlex.split(re.sub(r"[\[\]]", "", command))
  if words[0].startswith("imp-jax"):
    module = "imp_jax.command." + (words[0].partition("imp-jax-")[2] or "main")
    words = words[1:]
  else:
    module, words = words[2], words[3:]
  given = []
  for word in words:
    flag, equals, value = word.partition("=")
    if value in STANDS_FOR and flag == "--config":
      value = STANDS_FOR[value]
    if word != "...":
      given.append(flag + equals + value)
  return module, given


def test_there_are_commands():
  assert len(COMMANDS) > 20
  assert len({arguments(c)[0] for c in COMMANDS}) > 10


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_runs(command, zygote, finished, tmp_path):
  module, given = arguments(command)
  name = module.rpartition(".")[2]
  if module in ("benchmarks", "tests.same_tables"):
    assert importlib.util.find_spec(module)
    known = [*cases(), "gpu"]
    for word in given if module == "benchmarks" else []:
      if not word.startswith("-") and not word.isdigit():
        assert any(case.startswith(word) for case in known), word
    return
  workdir = str(copy_of(finished, tmp_path))
  other = shutil.copytree(workdir, tmp_path / "other")
  if name in SLOW:
    done = zygote.launch(module, *given, "--help")
    assert done.returncode == 1, done.stderr  # as absl has it
    assert "flags:" in done.stdout
    return
  if name == "main":
    given.append("--describe")
  elif name == "verdicts":
    given = [str(ROOT / "results" / "mnist1d" / "verdicts.csv")]
  elif name == "side_by_side":
    given = [f"--out={tmp_path}", "results/data_diet_mnist1d"]
  elif name == "figures":
    given = [str(tmp_path)]
  else:
    places = {"workdir": workdir, "out": tmp_path / "out"}
    places["compare"] = f"{other}:mnist1d-smoke"
    flags = {g.partition("=")[0].removeprefix("--"): g for g in given}
    if "figure" in flags:
      flags.setdefault("out", "")
    given = [
      f"--{flag}={places[flag]}" if flag in places else whole
      for flag, whole in flags.items()
    ]
  done = zygote.launch(module, *given, painted=True)
  assert done.returncode == 0, done.stderr
