"""Prints verdicts.csv files as one table for a README.

  python -m launch.verdicts results/*/verdicts.csv

The files are what runs wrote; nothing is decided here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from imp_jax.command.cli import BadInput, run_program
from imp_jax.command.output import say
from imp_jax.results.verdicts import STATEMENTS, VERDICT_COLUMNS

HEAD = (
  "| claim | study, at its level | what | estimate, interval | margin "
  "| replicates | verdict | seconds |\n"
  "|---|---|---|---|---|---|---|---|"
)


def markdown(files: Sequence[str]) -> str:
  """Returns the verdicts of several files as a Markdown table.

  Accuracies and margins are in points, correlations as they are; intervals are
  95 % where nothing else is said.

  Raises:
    OSError, ValueError: a file that is none of verdicts.
  """
  tables = []
  for file in files:
    table = pd.read_csv(file)
    if missing := [c for c in VERDICT_COLUMNS if c not in table]:
      raise ValueError(
        f"{file} is no table of verdicts: it has no column {missing[0]}"
      )
    tables.append(table)
  rows = pd.concat(tables, ignore_index=True)
  rows = rows.sort_values("claim", kind="stable")
  return "\n".join([HEAD, *map(_line, rows.to_dict("records"))])


def _line(row: Mapping[str, Any]) -> str:
  points = row["claim"] != 3
  scale = 100 if points else 1
  estimate, low, high = (
    f"{scale * row[column]:+.2f}" for column in ("estimate", "low", "high")
  )
  level = f"{100 * row['confidence']:g} %"
  at = "" if level == "95 %" else f" ({level})"
  cells = (
    f"{row['claim']}: {STATEMENTS[row['claim']]}",
    f"{row['study']}, {100 * row['density']:.0f} %",
    row["what"].replace(" - ", " − "),
    f"{estimate} [{low}, {high}]{at}".replace("-", "−"),
    f"{100 * row['margin']:g}" if points else "",
    f"{row['replicates']}",
    f"**{row['verdict']}**",
    f"{row['seconds']:.0f}",
  )
  return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str]) -> int:
  if len(argv) < 2:
    raise BadInput("name at least one verdicts.csv")
  try:
    say(markdown(argv[1:]))
  except (OSError, ValueError) as error:
    raise BadInput(error) from None
  return 0


if __name__ == "__main__":
  run_program(main)
