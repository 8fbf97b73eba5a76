"""The report of a study: tables and figures of what is finished."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from imp_jax.core.index import LABELS
from imp_jax.data.dataset import Dataset
from imp_jax.data.study_data import load_study_data
from imp_jax.probes.barriers import mean_example_barriers
from imp_jax.results.charts.chart import Chart
from imp_jax.results.labels import write_labels
from imp_jax.results.load import Results
from imp_jax.results.page.page import (
  PAGE,
  comparison_page,
  write_page,
  write_section,
)
from imp_jax.results.parts import Parts
from imp_jax.results.published import published_curves
from imp_jax.results.scores import draw_scores, write_scores
from imp_jax.results.tables import Tables
from imp_jax.results.tickets import other_curves


def report(results: Results, dataset: Dataset | None = None) -> list[str]:
  """Writes a study's tables and figures, as far as it has come.

  Every table that `Tables.names` has as NAME.csv; metrics.jsonl; as .png and
  .svg accuracy and, of what there is, diet, sizes, paths, instability,
  levels_BATCHSTATS, barriers, landscape, predictors, eigenvalues, spectrum,
  plane_EXPERIMENT_NETWORKS; scores and noisy labels in source order; and of the
  workdir report.html, which has all of it to look at.

  Args:
    results: of the study, in a workdir that can be written to.
    dataset: its data, if they are at hand; else they are loaded where scores or
      labels need them.

  Returns:
    What could not be written, a line each; it costs nothing else.
  """
  tables, parts = results.tables, write_tables(results)
  with parts.attempt("curves.csv"):
    if other := other_curves(tables.records):
      parts.failed.append(
        f"curves.csv of study {tables.study} lacks {other} tickets: their "
        "curves were drawn in training, on other test data, and nothing is "
        "trained again"
      )
  with parts.attempt("figures of tickets"):
    _draw_tickets(parts, tables)
  with parts.attempt("figures of the landscape"):
    _draw_landscape(parts, tables)
  labels = {e.between: e.ids[LABELS] for e in tables.index if e.kind == LABELS}
  if tables.scores or labels:
    with parts.attempt("scores and labels"):
      if dataset is None:
        meaning = tables.meaning
        dataset = load_study_data(meaning["data"], meaning["seed"])
      write_scores(parts, tables.scores, dataset)
      write_labels(parts, labels, dataset)
  with parts.attempt(PAGE):
    write_section(parts, tables)
    write_page(parts.store)
  return parts.failed


def charts_of(results: Results) -> tuple[dict[str, Chart], list[str]]:
  """Returns a study's charts by name, of what is finished; writes nothing.

  All but the pictures of examples, for which data are needed. And what could
  not be made, a line each.
  """
  parts = _unwritten(results)
  return {n: chart for n, (chart, _) in parts.charts.items()}, parts.failed


def comparison(studies: Mapping[str, Results]) -> str:
  """Returns a page on several studies, which compares them with the first.

  Args:
    studies: by their names on the page.
  """
  return comparison_page(
    [(name, study, _unwritten(study)) for name, study in studies.items()]
  )


def _unwritten(results: Results) -> Parts:
  """A study's charts, and what could not be made; nothing is written."""
  tables = results.tables
  parts = Parts(tables.store, tables.study, draws=False)
  with parts.attempt("figures of tickets"):
    _draw_tickets(parts, tables)
  with parts.attempt("figures of the landscape"):
    _draw_landscape(parts, tables)
  if tables.scores:
    with parts.attempt("figures of scores"):
      draw_scores(parts, tables.scores)
  return parts


def write_tables(results: Results) -> Parts:
  """Writes a study's tables alone, as far as it has come; returns the parts."""
  tables = results.tables
  parts = Parts(tables.store, tables.study)
  for name in tables.names:
    parts.table(name, functools.partial(tables.get, name))
  parts.text("metrics.jsonl", lambda: _json_lines(tables))
  return parts


def _json_lines(tables: Tables) -> str:
  """The running loss of every ticket; not by to_json, with ten decimals."""
  rows = tables.get("training").to_dict("records")
  return "".join(json.dumps(row) + "\n" for row in rows)


def _draw_tickets(parts: Parts, tables: Tables) -> None:
  from imp_jax.results.charts.accuracy import accuracy_chart
  from imp_jax.results.charts.diet import diet_chart, size_chart
  from imp_jax.results.charts.matching import smallest_density_chart
  from imp_jax.results.charts.trial import trial_chart

  results, experiments = tables.get("results"), tables.get("experiments")
  if not len(results):
    return
  parts.figure("accuracy", lambda: accuracy_chart(results, experiments))
  if "trial" in tables.names:
    parts.figure("trial", lambda: trial_chart(tables.get("trial")))
  claims = tables.claims
  parts.figure(
    "smallest_density",
    lambda: smallest_density_chart(
      tables.get("smallest_density"), experiments, claims.margin
    ),
  )
  level = claims.primary_level
  if level is None:
    level = max(map(int, results["level"]))
  published = parts.made(
    "the paper's curves", lambda: published_curves(experiments)
  )
  parts.figure("diet", lambda: diet_chart(results, experiments, published))
  parts.figure(
    "sizes", lambda: size_chart(results, experiments, level, published)
  )


def _draw_landscape(parts: Parts, tables: Tables) -> None:
  from imp_jax.results.charts.curvature import (
    eigenvalue_chart,
    first_spectrum_chart,
  )
  from imp_jax.results.charts.fields import field_rows_chart, fields_chart
  from imp_jax.results.charts.planes import planes_in, table_plane_chart
  from imp_jax.results.charts.predictors import (
    landscape_chart,
    predictor_chart,
  )

  if tables.paths:
    _draw_paths(parts, tables)
  if "landscape" in tables.names and len(tables.get("landscape")):
    landscape, (level, names) = tables.get("landscape"), tables.looked_at
    shown = landscape
    if names:
      shown = landscape.query("experiment in @names")
    parts.figure("landscape", lambda: landscape_chart(shown, level))
    parts.figure(
      "predictors",
      lambda: predictor_chart(tables.get("predictors"), level),
    )
  if tables.curved:
    table = tables.get("curvature")
    # Against density, on an axis that has no place for emptied networks.
    if len(table.query("density != 0")):
      parts.figure("eigenvalues", lambda: eigenvalue_chart(table))
    parts.figure("spectrum", lambda: first_spectrum_chart(tables.curved))
  if tables.looked:
    parts.figure(
      "fields", functools.partial(_drawn, fields_chart, tables, "fields")
    )
    parts.figure(
      "field_rows",
      functools.partial(_drawn, field_rows_chart, tables, "field_rows"),
    )
  if tables.planes:
    for name, rows in planes_in(tables.get("planes")).items():
      parts.figure(f"plane_{name}", functools.partial(table_plane_chart, rows))


def _drawn(make: Callable[..., Any], tables: Tables, name: str) -> Any:
  return make(tables.get(name))


def _draw_paths(parts: Parts, tables: Tables) -> None:
  from imp_jax.results.charts.landscape import (
    barrier_chart,
    instability_chart,
    levels_chart,
    matrix_chart,
    path_chart,
  )
  from imp_jax.results.charts.modes import displacement_chart, permutation_chart

  parts.figure("paths", lambda: path_chart(tables.get("paths")))
  for name, chart in (
    ("permutation", permutation_chart),
    ("displacement", displacement_chart),
  ):
    if name in tables.names:
      parts.figure(name, functools.partial(_drawn, chart, tables, name))
  parts.figure(
    "instability", lambda: instability_chart(tables.get("instability"))
  )
  densities = tables.get("results").groupby("level").density.mean()
  modes = {
    mode
    for _, path in tables.paths
    for modes in path.record["paths"].values()
    for mode in modes
  }
  for mode in sorted(modes):
    parts.figure(
      f"matrix_{mode}",
      functools.partial(matrix_chart, tables.get("barriers"), batch_stats=mode),
    )
    parts.figure(
      f"levels_{mode}",
      functools.partial(
        levels_chart, tables.get("barriers"), densities, batch_stats=mode
      ),
    )
  per_example = mean_example_barriers(tables.paths)
  if per_example:
    threshold = tables.shown_threshold
    shown = (threshold,) if threshold else ()
    parts.figure(
      "barriers", lambda: barrier_chart(per_example, thresholds=shown)
    )
