"""Draws the figures of committed results from their tables.

  python -m launch.figures results/mnist1d [results/...]
  python -m launch.figures --data=cifar10.npz results/scores_cifar10_quick

Writes NAME.svg for each table of a folder that a figure is made of: accuracy
or diet and sizes of results.csv, levels_BATCHSTATS of barriers.csv, plane_NAME
of planes.csv, SCORE_examples of SCORE.npy, and instability, landscape,
predictors, eigenvalues, trial, permutation, displacement, fields, field_rows
and side_by_side of the files of those names. Nothing is computed. Examples need
the data: generated ones are, others are read from --data, in place of the file
that config.json says.
"""

import functools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from absl import flags

from imp_jax.command.cli import BAD_INPUT, BadInput, run_program
from imp_jax.command.output import say
from imp_jax.data.dataset import Dataset
from imp_jax.data.score_files import load_scores
from imp_jax.data.study_data import load_study_data
from imp_jax.results.charts.chart import Chart

_DATA = flags.DEFINE_string("data", "", "a file of the data that are drawn")


def charts_in(folder: pathlib.Path, data: str = "") -> dict[str, Chart]:
  """Returns the charts that a folder's tables make, by name.

  Args:
    folder: of results.
    data: the file of the data whose examples are drawn, unless generated.

  Raises:
    OSError, ValueError: there is no such folder, or a file is none of ours.
  """
  from imp_jax.results.charts.accuracy import accuracy_chart
  from imp_jax.results.charts.curvature import eigenvalue_chart
  from imp_jax.results.charts.diet import diet_chart, size_chart
  from imp_jax.results.charts.fields import field_rows_chart, fields_chart
  from imp_jax.results.charts.landscape import (
    instability_chart,
    levels_chart,
    matrix_chart,
  )
  from imp_jax.results.charts.modes import displacement_chart, permutation_chart
  from imp_jax.results.charts.planes import planes_in, table_plane_chart
  from imp_jax.results.charts.predictors import (
    landscape_chart,
    predictor_chart,
  )
  from imp_jax.results.charts.side_by_side import side_by_side_chart
  from imp_jax.results.charts.trial import trial_chart

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
  if has("barriers", "results"):
    barriers = table("barriers")
    density = table("results").groupby("level")["density"].mean()
    for mode in sorted({m.rsplit("_", 1)[1] for m in barriers["metric"]}):
      made[f"matrix_{mode}"] = functools.partial(
        matrix_chart, barriers, batch_stats=mode
      )
      made[f"levels_{mode}"] = functools.partial(
        levels_chart, barriers, density, batch_stats=mode
      )
  if has("planes"):
    for name, rows in planes_in(table("planes")).items():
      made[f"plane_{name}"] = functools.partial(table_plane_chart, rows)
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
  if has("permutation"):
    made["permutation"] = lambda: permutation_chart(table("permutation"))
  if has("displacement"):
    made["displacement"] = lambda: displacement_chart(table("displacement"))
  if has("fields"):
    made["fields"] = lambda: fields_chart(table("fields"))
  if has("field_rows"):
    made["field_rows"] = lambda: field_rows_chart(table("field_rows"))
  if has("trial"):
    made["trial"] = lambda: trial_chart(table("trial"))
  if has("side_by_side"):
    made["side_by_side"] = lambda: side_by_side_chart(table("side_by_side"))
  if dataset := _dataset(folder, data):
    for file in folder.glob("*.npy"):
      made[f"{file.stem}_examples"] = functools.partial(
        _examples, file, dataset
      )
  charts = {name: make() for name, make in made.items()}
  return {name: chart for name, chart in charts.items() if chart is not None}


def _examples(file: pathlib.Path, dataset: Dataset) -> Chart:
  from imp_jax.results.charts.examples import example_chart

  scores, record = load_scores(str(file), dataset)
  return example_chart(
    np.asarray(dataset.train.inputs),
    np.asarray(dataset.train.labels),
    scores,
    dataset.class_names,
    larger_is_harder=record["larger_is_harder"],
  )


def _dataset(folder: pathlib.Path, data: str) -> Dataset | None:
  """A study's data; None where they are in a file that is not given."""
  file = folder / "config.json"
  meaning = json.loads(file.read_text()) if file.exists() else {}
  if "data" not in meaning:
    return None
  own = meaning["data"]
  if own["source"] != "mnist1d":
    if not data:
      return None
    own = own | {"path": data}
  return load_study_data(own, meaning["seed"])


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
      for figure, chart in charts_in(folder, _DATA.value).items():
        file = folder / f"{figure}.svg"
        file.write_bytes(drawn(chart, "svg"))
        say(str(file))
  except BAD_INPUT as error:
    raise BadInput(error) from None
  return 0


if __name__ == "__main__":
  run_program(main)
