"""Writes a study's tables and figures from what is finished, and report.html.

  imp-jax-report --workdir=DIR [--study=NAME]

In a clone also python -m launch.report, with the same flags.

Whenever asked, also while a run goes on in that workdir; nothing is computed.
With --figure one figure is written for a page of a paper, and nothing else:

  imp-jax-report --workdir=DIR --figure=accuracy --format=pdf --width=3.25in

With --compare a page on several studies, each WORKDIR or WORKDIR:STUDY:

  imp-jax-report --workdir=DIR --compare=OTHER,ANOTHER:STUDY --out=compared.html
"""

import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from imp_jax.command.cli import BAD_INPUT, BadInput, run_program
from imp_jax.command.output import say
from imp_jax.command.studies import print_findings, write_report
from imp_jax.results.load import Results, load
from imp_jax.results.report import charts_of, comparison

_INCHES = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72}


def define_flags() -> None:
  """Defines the program's flags."""
  flags.DEFINE_string("workdir", None, "Where artefacts and results lie.")
  flags.DEFINE_string("study", None, "Its name, where there are several.")
  flags.DEFINE_string("figure", None, "Write this figure alone, by its name.")
  flags.DEFINE_enum(
    "format", "pdf", ["pdf", "svg", "png"], "Of --figure: the kind of file."
  )
  flags.DEFINE_string(
    "width", "3.25in", "Of --figure: its width, in in, cm, mm or pt."
  )
  flags.DEFINE_list(
    "compare", [], "Write a page that compares --workdir's study with these."
  )
  flags.DEFINE_string(
    "out", None, "The file of --figure or --compare; FIGURE.FORMAT here."
  )
  flags.mark_flag_as_required("workdir")


def main(argv: list[str]) -> int:
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  given = flags.FLAGS
  try:
    alone = not (given.figure or given.compare)
    results = load(given.workdir, given.study, writable=alone)
    if given.figure:
      return _write_figure(results, given.figure)
    if given.compare:
      return _write_comparison(results, given.compare)
  except BAD_INPUT as error:
    raise BadInput(error) from None
  write_report(results)
  print_findings(results)
  return 0


def _write_figure(results: Results, name: str) -> int:
  """Writes one figure as the flags say; returns the exit code.

  Raises:
    ValueError: there is no such figure, or no room for it in that width.
  """
  from imp_jax.results.charts.drawing import drawn

  given = flags.FLAGS
  charts, failed = charts_of(results)
  if name not in charts:
    raise ValueError(
      "; ".join(
        [
          f"study {results.study} has no figure {name!r}; it has: "
          f"{', '.join(charts) or 'none'}",
          *failed,
        ]
      )
    )
  out = Path(given.out or f"{name}.{given.format}").expanduser()
  out.write_bytes(drawn(charts[name], given.format, _inches(given.width)))
  say(f"{out}: {' '.join(charts[name].title.split())}")
  return 0


def _write_comparison(first: Results, others: Sequence[str]) -> int:
  """Writes a page on several studies; returns the exit code.

  Raises:
    OSError, ValueError: one is not there, or two are the same.
  """
  given = flags.FLAGS
  found = [first]
  for text in others:
    # Of "gs://B/W:STUDY" the last colon, of "gs://B/W" none.
    workdir, colon, study = text.rpartition(":")
    if not colon or study.startswith("//"):
      workdir, study = text, ""
    found.append(load(workdir, study or None))
  studies = {_named(results, 1): results for results in found}
  if len(studies) < len(found):  # folders of one name
    studies = {_named(results, None): results for results in found}
  if len(studies) < len(found):
    raise ValueError("--compare names a study twice")
  out = Path(given.out or "compared.html").expanduser()
  out.write_text(comparison(studies))
  say(f"{', '.join(studies)}: {out}")
  return 0


def _named(results: Results, parts: int | None) -> str:
  """What a study is called beside others: its workdir's end, and its name.

  Args:
    results: the study's.
    parts: of the workdir's path, from its end; None for all.
  """
  root = str(results.tables.store.root)
  place = "/".join(root.split("/")[-parts:]) if parts else root
  return f"{place}:{results.study}"


def _inches(text: str) -> float:
  """A width in inches, of one with its unit.

  Raises:
    ValueError: it is none.
  """
  found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(in|cm|mm|pt)", text.strip())
  width = float(found[1]) * _INCHES[found[2]] if found else 0.0
  if not 0 < width < 100:
    raise ValueError(f"--width is like 3.25in, 8.3cm or 234pt, got {text!r}")
  return width


def run() -> None:
  """The entry point."""
  define_flags()
  run_program(main)


if __name__ == "__main__":
  run()
