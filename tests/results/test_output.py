"""What becomes of a program's output does not change what the program does."""

import io
import os
import re
import shutil
import subprocess
import sys
import unicodedata
import warnings

import pytest

from configs import mnist1d
from imp_jax.command import output, studies
from imp_jax.command.cli import show_user_warnings
from imp_jax.command.output import LineConsole, Stream, encodable, say, warn
from imp_jax.command.progress import Bar
from imp_jax.core.artefacts import Artefact
from imp_jax.core.index import SCORE, Entry, load_index, save_index
from imp_jax.core.store import Store
from imp_jax.landscape.stability import StableStep
from imp_jax.results.load import load
from launch import stability
from tests.places import ROOT
from tests.studies.test_stability import with_flags

NAME = "mnist1d-smoke"
# Loading it prints, as others than the program may, and warns a user twice of
# one thing.
CONFIG = """
import warnings
from configs import mnist1d

def get_config():
  print("80 ± 3 examples")
  warnings.warn("12 of 80 ± 3 are both")
  warnings.warn("12 of 80 ± 3\\n  are both")
  return mnist1d.get_config("smoke")
"""
TOLD = "warning: 12 of 80 ± 3 are both\n"
FULL = "[Errno 28] No space left on device"
needs_full = pytest.mark.skipif(
  not os.path.exists("/dev/full"), reason="no /dev/full here"
)


def shell(command, encoding="utf-8"):
  """Runs a line of bash, in which `launch` begins a program."""
  line = f'launch() {{ "{sys.executable}" -m "launch.$@"; }}; {command}'
  return subprocess.run(
    ["bash", "-c", line],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONIOENCODING": encoding},
    capture_output=True,
    encoding="utf-8",
    timeout=300,
  )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
  """(folder, its command, what that printed when the study was run first)."""
  folder = tmp_path_factory.mktemp("output")
  (folder / "warns.py").write_text(CONFIG, encoding="utf-8")
  command = f"launch main --config={folder}/warns.py --workdir={folder}/w"
  return folder, command, shell(command)


def run_again(study, redirection, encoding="utf-8"):
  """Runs the finished study with other streams; its tables are made anew."""
  folder, command, _ = study
  results = folder / "w" / "studies" / NAME / "results.csv"
  results.unlink(missing_ok=True)
  done = shell(f"{command} {redirection}", encoding)
  assert results.exists() and done.returncode == 0, done
  return done.stdout, done.stderr


def test_a_warning_of_python_is_one_line_told_once(study):
  done = study[2]
  assert (done.returncode, done.stderr) == (0, TOLD)
  assert "test accuracy (%), mean ± std" in done.stdout


def test_a_reader_that_leaves_is_no_failure(study):
  out, err = run_again(study, "| head -1; exit ${PIPESTATUS[0]}")
  assert (out, err) == ("80 ± 3 examples\n", TOLD)


def test_closed_standard_output_is_no_failure(study):
  assert run_again(study, ">&-") == ("", TOLD)


def test_closed_standard_error_is_no_failure(study):
  """Nor does what is told there go elsewhere."""
  assert run_again(study, "2>&-") == (study[2].stdout, "")


@needs_full
def test_a_full_disk_is_told_once_and_no_failure(study):
  told = f"warning: standard output could not be written: {FULL}\n"
  out, err = run_again(study, ">/dev/full")
  # Which is first depends on whether Python buffers its output.
  assert out == "" and sorted(err.splitlines(True)) == [TOLD, told]


def test_ascii_says_the_same(study):
  out, err = run_again(study, "", encoding="ascii")
  assert err == TOLD.replace("±", "+-")
  assert out.isascii() and "?" not in out
  cells = r"\d+\.\d (?:±|\+-) \d+\.\d"
  wanted = re.findall(cells, study[2].stdout.replace("±", "+-"))
  assert len(wanted) == 8 and re.findall(cells, out) == wanted
  table = out.splitlines()[2:11]
  assert {len(line) for line in table} == {len(table[0])}, out  # aligned
  assert table[0][0] == table[-1][0] == "+" and table[1][0] == "|"


@pytest.mark.parametrize(
  "command",
  [
    "launch main --config=configs/mnist1d.py:large --workdir={folder} 2>&-",
    pytest.param(
      "launch stability --config=configs/mnist1d.py:smoke --workdir={folder} "
      "--experiment=x --high=2 >/dev/full 2>&1",
      marks=needs_full,
    ),
  ],
)
def test_bad_input_exits_2_whatever_the_streams_are(command, tmp_path):
  done = shell(command.format(folder=tmp_path / "w"))
  assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.parametrize(
  "text,encoding,wanted",
  [
    ("10.0 ± 7.1 − 2 × 3", "ascii", "10.0 +- 7.1 - 2 x 3"),
    ("ρ, Δ, λ, Λ, ς, µ", "ascii", "rho, Delta, lambda, Lambda, sigma, mu"),
    ("10² ½ … ∞ → ≤", "ascii", "10^2 1/2 ... inf -> <="),
    ("Müller’s ﬁle", "ascii", "Muller's file"),
    ("┏━┳┓│x┃└─", "ascii", "+-++|x|+-"),
    ("a 漢 b \ud800", "ascii", "a ? b ?"),
    ("± ρ é −", "latin-1", "± rho é -"),
    ("± ρ €", "cp1252", "± rho €"),
    ("± ρ 漢", "utf-8", "± ρ 漢"),
    ("± \ud800", "utf-8", "± ?"),
    ("±", "no such encoding", "+-"),
  ],
)
def test_what_an_encoding_lacks_by_hand(text, encoding, wanted):
  assert encodable(text, encoding) == wanted


def test_any_character_is_told_in_ascii():
  """Something stands for each, and nothing for accents alone."""
  for code in range(0x30000):
    told = encodable(chr(code), "ascii")
    parts = unicodedata.normalize("NFKD", chr(code))
    assert told.isascii(), hex(code)
    assert told or all(map(unicodedata.combining, parts)), hex(code)


def test_bytes_of_file_names_stay():
  """As the C locale's streams write them."""
  name = os.fsencode("é").decode("ascii", "surrogateescape")
  assert encodable(f"± {name}", "ascii", "surrogateescape") == f"+- {name}"
  assert encodable(f"± {name}", "ascii", "replace") == "+- ??"


def written(encoding):
  return io.TextIOWrapper(io.BytesIO(), encoding, "strict")


def content(stream):
  stream.flush()
  return stream.buffer.getvalue().decode(stream.encoding)


def test_ascii_tables_stay_aligned():
  """Characters are replaced before columns are measured."""
  from rich.table import Table

  table = Table("ρ", "±", title="10²")
  for row in (("1 ± 2", "[red]"), ("[/]", ":smile:")):
    table.add_row(*row)
  stream = written("ascii")
  LineConsole(Stream(stream), width=80).print(table)
  title, *lines = content(stream).splitlines()
  assert title.strip() == "10^2"
  assert len({len(line) for line in lines}) == 1, lines
  cells = [re.findall(r"[^|\s][^|]*[^|\s]", line) for line in lines]
  assert [row for row in cells if len(row) == 2] == [
    ["rho", "+-"],
    ["1 +- 2", "[red]"],
    ["[/]", ":smile:"],
  ]


def unread_pipe():
  """A stream whose reader left."""
  reader, writer = os.pipe()
  os.close(reader)
  return os.fdopen(writer, "w")


def closed():
  stream = io.StringIO()
  stream.close()
  return stream


class NoMethods:
  """What some notebooks have for a stream: neither fileno nor encoding."""

  def write(self, text):
    raise OSError("cannot")

  flush = write


BROKEN = [unread_pipe, closed, NoMethods, lambda: None]


@pytest.mark.parametrize("make", BROKEN)
def test_no_stream_raises(make, monkeypatch):
  """Neither when it is written to nor when Python, at its end, flushes it."""
  target = make()
  monkeypatch.setattr(sys, "stdout", target)
  monkeypatch.setattr(sys, "stderr", target)
  say("±")
  warn("±")
  assert output.stdout().isatty() is False
  LineConsole(output.stderr()).print("±")
  stream = output.stdout()
  assert stream.write("12345") == 5
  stream.flush()
  if make is unread_pipe:
    target.flush()  # exit code 120 if it cannot


def test_what_is_told_without_standard_error_is_not_printed(
  monkeypatch, capsys
):
  monkeypatch.setattr(sys, "stderr", None)
  warn("nobody hears it")
  say("said")
  assert capsys.readouterr().out == "said\n"


@needs_full
def test_a_loss_is_told_once_and_of_output_only(monkeypatch, capsys):
  with open("/dev/full", "w") as full, open("/dev/full", "w") as other:
    monkeypatch.setattr(sys, "stdout", Stream(full, "standard output"))
    for _ in range(3):
      say("x")
    err = capsys.readouterr().err
    assert err == f"warning: standard output could not be written: {FULL}\n"
    monkeypatch.setattr(sys, "stderr", other)
    warn("x")


def run_protected(folder, code, redirection):
  """Runs lines of Python in a process with safe streams, without JAX."""
  program = folder / "program.py"
  begin = "import os, sys\nfrom imp_jax.command import output"
  begin += "\noutput.protect_streams()"
  program.write_text(f"{begin}\n{code}")
  return shell(f'PYTHONPATH=. "{sys.executable}" {program} {redirection}')


@needs_full
def test_what_is_left_when_python_ends_is_no_failure(tmp_path):
  """It flushes standard output then, and its exit code is 120 if it cannot."""
  done = run_protected(tmp_path, "sys.stdout.write('x')", ">/dev/full")
  told = f"warning: standard output could not be written: {FULL}\n"
  assert (done.returncode, done.stderr) == (0, told)


def test_files_do_not_take_the_place_of_closed_streams(tmp_path):
  """Else what C libraries print ends in them."""
  code = f"""
with open("{tmp_path}/results", "wb") as file:
  for descriptor in (1, 2):
    os.write(descriptor, b"printed")
  file.write(b"result")
"""
  done = run_protected(tmp_path, code, ">&- 2>&-")
  assert done.returncode == 0
  assert (tmp_path / "results").read_bytes() == b"result"


class Terminal(io.TextIOWrapper):
  def isatty(self):
    return True


def test_a_bar_on_a_terminal_of_ascii(monkeypatch):
  terminal = Terminal(io.BytesIO(), "ascii", "strict")
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setattr(sys, "stderr", terminal)
  with Bar() as bar:
    bar.begin(4)
    bar.node("none level 0")
    bar.steps(4)
    bar.warn("80 ± 3")
  assert sys.stderr is terminal
  shown = content(terminal)
  assert "warning: 80 +- 3\n" in shown
  plain = re.sub(r"\x1b\[[?\d;]*\w", "", shown)
  assert f"none level 0 {40 * '-'} 4/4 steps" in plain


def test_a_bar_on_a_terminal_that_left(monkeypatch):
  terminal = Terminal(unread_pipe().detach(), "utf-8")
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setattr(sys, "stderr", terminal)
  with Bar() as bar:
    bar.begin(4)
    bar.steps(4)
    bar.warn("80 ± 3")


def test_only_warnings_to_users_are_shown_in_one_line(capsys):
  others = []
  with warnings.catch_warnings():
    warnings.simplefilter("always")
    warnings.showwarning = lambda *args: others.append(args[1])
    show_user_warnings()
    for _ in range(2):
      warnings.warn("few\n  examples", stacklevel=1)
    warnings.warn("other", stacklevel=1)
    for category in (DeprecationWarning, RuntimeWarning, FutureWarning):
      warnings.warn("few", category, stacklevel=1)
  assert capsys.readouterr().err == "warning: few examples\nwarning: other\n"
  assert others == [DeprecationWarning, RuntimeWarning, FutureWarning]


# What is printed of each block, by the function that makes it.
BLOCKS = {
  "accuracy_table": ("accuracy table", "test accuracy (%), mean ± std"),
  "matching_step_table": ("matching table", "smallest t_r at which"),
  "summary_lines": ("summary", "claim 0, rewinding matters"),
  "reliability_lines": ("reliability of scores", "rank correlation of el2n"),
  "landscape_lines": ("landscape", "claim 3"),
}


@pytest.fixture
def finished_study(study, tmp_path, monkeypatch):
  """(its function, its folder): a run of what is finished, and of more."""
  workdir = shutil.copytree(study[0] / "w", tmp_path / "copy")
  folder = workdir / "studies" / NAME
  store = Store(str(workdir))
  row = dict(networks=1, correlation=0.5, low=0.4, high=0.6, splits=2)
  store.save("score", Artefact({"reliability": [row]}))
  score = Entry("", SCORE, 0, "el2n", 0, {SCORE: "score"})
  save_index(store, NAME, [*load_index(store, NAME), score])
  monkeypatch.setattr(
    studies, "execute", lambda *_: load(str(workdir), study=NAME)
  )
  monkeypatch.setattr(studies, "write_report", lambda *_: None)
  monkeypatch.setattr(studies, "landscape_lines", lambda *_: ["claim 3"])
  config = mnist1d.get_config("smoke")
  return lambda: studies.run_study(config, str(workdir)), folder


def printed(out):
  return [name for name, (_, line) in BLOCKS.items() if line in out]


@pytest.mark.parametrize("name", BLOCKS)
def test_what_cannot_be_printed_costs_nothing_else(
  name, finished_study, monkeypatch, capsys
):
  run, folder = finished_study

  def broken(*_):
    raise KeyError("a\nb")

  monkeypatch.setattr(studies, name, broken)
  assert run() == 0
  out, err = capsys.readouterr()
  what = BLOCKS[name][0]
  assert err == f"warning: {what} could not be printed: KeyError: 'a\\nb'\n"
  assert printed(out) == [other for other in BLOCKS if other != name]
  said = re.sub(r"\s", "", out)
  page = folder.parent.parent / "report.html"
  assert said.endswith(f"resultsandfigures:{folder}allofittolookat:{page}")


def test_tables_that_are_missing_or_empty_cost_their_blocks(
  finished_study, monkeypatch, capsys
):
  run, folder = finished_study
  assert run() == 0
  out, err = capsys.readouterr()
  assert printed(out) == list(BLOCKS) and err == ""

  def broken(*_):
    raise KeyError("lost")

  for table in ("results_table", "reliability_table"):
    monkeypatch.setattr(f"imp_jax.results.tables.{table}", broken)
  (folder / "failures.txt").write_text("none level 0, replicate 0\n")
  assert run() == 1  # for the failure's sake
  out, err = capsys.readouterr()
  assert printed(out) == ["landscape_lines"]
  reasons = [line.split(" could not be printed: ") for line in err.splitlines()]
  assert [what for what, _ in reasons] == [
    "warning: accuracy table",
    "warning: matching table",
    "warning: summary",
    "warning: reliability of scores",
  ]
  assert reasons[0][1] == reasons[3][1] == "KeyError: 'lost'"
  assert reasons[1][1] == reasons[2][1] == "Unavailable: results"


def test_the_search_ends_as_it_should_on_broken_streams(monkeypatch):
  with_flags(monkeypatch, mnist1d.get_config("smoke"), "/none", "none")
  found = StableStep(2, None, {2: 0.01})
  monkeypatch.setattr(stability, "find", lambda *_, **__: found)
  monkeypatch.setattr(sys, "stdout", unread_pipe())
  assert stability.main(["stability"]) == 0

  def failed(*_, **__):
    raise stability.Unfinished("t_r = 2 ± 0")

  monkeypatch.setattr(stability, "find", failed)
  monkeypatch.setattr(sys, "stderr", written("ascii"))
  assert stability.main(["stability"]) == 1
  assert content(sys.stderr) == "error: t_r = 2 +- 0\n"
