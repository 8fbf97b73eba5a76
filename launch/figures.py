"""Draws the figures of committed results from their tables.

  python -m launch.figures results/mnist1d [results/...]

Writes NAME.svg for each table of a folder that a figure is made of: accuracy
or diet and sizes of results.csv, and instability, landscape, predictors,
eigenvalues and side_by_side of the files of those names. Nothing is computed.
"""

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from imp_jax.command.cli import BAD_INPUT, BadInput, run_program
from imp_jax.command.output import say
from imp_jax.results.charts.chart import Chart


def charts_in(folder: pathlib.Path) -> dict[str, Chart]:
  """Returns the charts that a folder's tables make, by name.

  Raises:
    OSError, ValueError: there is no such folder, or a table is none of ours.
  """
  from imp_jax.results.charts.accuracy import accuracy_chart
  from imp_jax.results.charts.curvature import eigenvalue_chart
  from imp_jax.results.charts.diet import diet_chart, size_chart
  from imp_jax.results.charts.landscape import instability_chart
  from imp_jax.results.charts.predictors import (
    landscape_chart,
    predictor_chart,
  )
  from imp_jax.results.charts.side_by_side import side_by_side_chart

  if not folder.is_dir():
    raise FileNotFoundError(f"{folder}: no such folder")

  def table(name: str) -> Any:
    file = folder / f"{name}.csv"
    return pd.read_csv(file, keep_default_na=False, na_values=[""])

  def has(*names: str) -> bool:
    return all((folder / f"{name}.csv").exists() for name in names)

  made: dict[str, Callable[[], Chart | None]] = {}
  if has("results", "experiments"):
    results, experiments = table("results"), table("experiments")
    level = _level(folder, results)
    diet = diet_chart(results, experiments)
    made["diet"] = lambda: diet
    made["sizes"] = lambda: size_chart(results, experiments, level)
    if diet is None:
      made["accuracy"] = lambda: accuracy_chart(results, experiments)
  if has("instability"):
    made["instability"] = lambda: instability_chart(table("instability"))
  if has("landscape"):
    landscape = table("landscape")
    made["landscape"] = lambda: landscape_chart(
      landscape, _level(folder, landscape)
    )
  if has("predictors"):
    predictors = table("predictors")
    made["predictors"] = lambda: predictor_chart(
      predictors, _level(folder, predictors)
    )
  if has("curvature"):
    made["eigenvalues"] = lambda: eigenvalue_chart(table("curvature"))
  if has("side_by_side"):
    made["side_by_side"] = lambda: side_by_side_chart(table("side_by_side"))
  charts = {name: make() for name, make in made.items()}
  return {name: chart for name, chart in charts.items() if chart is not None}


def _level(folder: pathlib.Path, results: Any) -> int:
  """The level that a study declared, or the last."""
  file = folder / "config.json"
  claims = json.loads(file.read_text())["claims"] if file.exists() else {}
  levels = [c.get("level") for c in claims.values() if isinstance(c, dict)]
  declared = [level for level in levels if level is not None]
  return declared[0] if declared else int(results["level"].max())


def main(argv: Sequence[str]) -> int:
  from imp_jax.results.charts.drawing import drawn

  if len(argv) < 2:
    raise BadInput("give the folders of one study's results or more")
  try:
    for name in argv[1:]:
      folder = pathlib.Path(name)
      for figure, chart in charts_in(folder).items():
        file = folder / f"{figure}.svg"
        file.write_bytes(drawn(chart, "svg"))
        say(str(file))
  except BAD_INPUT as error:
    raise BadInput(error) from None
  return 0


if __name__ == "__main__":
  run_program(main)
