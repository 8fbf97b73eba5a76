"""Draws differences between variants of studies beside the paper's.

  python -m launch.side_by_side --out=results/side_by_side \
    results/cifar10_small results/data_diet_mnist1d

Each argument is a folder with results.csv, experiments.csv and config.json of a
study that has experiments without pre-training and on all examples; claim 3 is
taken from its verdicts.csv, and a study of that claim alone needs no more.
Writes side_by_side.csv, orders.csv and side_by_side.svg, and prints the table.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from absl import flags
from etils import epath

from imp_jax.command.cli import BAD_INPUT, BadInput, run_program
from imp_jax.command.output import say
from imp_jax.core.files import read_json
from imp_jax.results.side_by_side import (
  Setting,
  orders,
  published_setting,
  side_by_side,
  study_settings,
)

HEAD = (
  "| difference | where | t_r (of T) | weights left | points, 95 % "
  "| of all − none | the paper's sign |\n|---|---|---|---|---|---|---|"
)


def settings_of(folder: str) -> tuple[list[Setting], pd.DataFrame]:
  """Returns a study's settings, and its verdicts on claim 3.

  Raises:
    OSError, ValueError: a file is not there or is none of a study's.
  """
  root = pathlib.Path(folder)
  file = root / "config.json"
  claims = read_json(epath.Path(file), str(file)).get("claims", {})
  verdicts: Any = pd.DataFrame()
  if (root / "verdicts.csv").exists():
    verdicts = pd.read_csv(root / "verdicts.csv").query("claim == 3")
  compared = ("rewinding", "little_data", "easy_data")
  declared = [c for c in compared if claims.get(c)]
  if not declared and not len(verdicts):
    raise ValueError(f"{folder}/config.json declares no claim that is compared")
  if not declared:
    return [], verdicts
  results: Any = pd.read_csv(root / "results.csv")
  experiments = pd.read_csv(root / "experiments.csv", keep_default_na=False)
  (name, *others) = results["study"].unique()
  if others:
    raise ValueError(f"{folder}/results.csv is of several studies")
  level = claims[declared[0]]["level"]
  return study_settings(name, results, experiments, level), verdicts


def markdown(table: pd.DataFrame) -> str:
  """Returns the rows as a Markdown table, grouped by difference."""
  places = {what: i for i, what in enumerate(dict.fromkeys(table["what"]))}
  rows = sorted(table.to_dict("records"), key=lambda row: places[row["what"]])
  return "\n".join([HEAD, *map(_line, rows)])


def _line(row: Mapping[Any, Any]) -> str:
  differs = row["what"].count(" - ") == 1
  scale = 100 if differs else 1
  numbers = [f"{scale * row[c]:+.2f}" for c in ("estimate", "low", "high")]
  share = row["share_of_gain"]
  at = ""
  if differs:
    at = f"{row['rewind_step']:.0f} ({100 * row['rewind_share']:.2g} %)"
  cells = (
    row["what"].replace(" - ", " − "),
    row["where"],
    at,
    f"{100 * row['density']:.0f} %",
    "{} [{}, {}]".format(*numbers).replace("-", "−"),
    f"{share:+.2f}".replace("-", "−") if share == share else "",
    row["agrees"],
  )
  return f"| {' | '.join(cells)} |"


def define_flags() -> None:
  """Defines the program's flags."""
  flags.DEFINE_string("out", None, "The folder of what is written.")
  flags.mark_flag_as_required("out")


def main(argv: Sequence[str]) -> int:
  from imp_jax.results.charts.drawing import drawn
  from imp_jax.results.charts.side_by_side import side_by_side_chart

  if len(argv) < 2:
    raise BadInput("give the folders of one study's results or more")
  try:
    found = [settings_of(folder) for folder in argv[1:]]
    settings = [published_setting(), *(s for own, _ in found for s in own)]
    table = side_by_side(settings, pd.concat([v for _, v in found]))
    out = pathlib.Path(str(flags.FLAGS.out))
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "side_by_side.csv", index=False, float_format="%.6g")
    orders(settings).to_csv(out / "orders.csv", index=False)
    chart = drawn(side_by_side_chart(table), "svg")
    (out / "side_by_side.svg").write_bytes(chart)
  except BAD_INPUT as error:
    raise BadInput(error) from None
  say(markdown(table))
  for row in orders(settings).to_dict("records"):
    say(f"{row['where']}, t_r = {row['rewind_step']}: {row['order']}")
  return 0


if __name__ == "__main__":
  define_flags()
  run_program(main)
