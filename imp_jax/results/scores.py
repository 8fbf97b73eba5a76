"""A study's scores as files: source order, records, how reliable they are."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.core.artefacts import Artefact
from imp_jax.data.dataset import Dataset
from imp_jax.data.score_files import save_scores
from imp_jax.results.parts import Parts

RELIABILITY_COLUMNS = (
  "study",
  "score",
  "networks",
  "correlation",
  "low",
  "high",
  "splits",
)


def write_scores(
  parts: Parts, scores: Mapping[str, Artefact], dataset: Dataset
) -> None:
  """Writes a study's scores in source order, and draws them.

  For each score scores/NAME.npy, .csv and .json as `score_files` reads them,
  and as .png and .svg: histograms, scatter (of several scores), reliability and
  scores/NAME_examples.

  Args:
    parts: of the study.
    scores: by name.
    dataset: the training examples they are of.
  """
  for name, artefact in scores.items():
    for suffix in ("npy", "csv"):
      with parts.attempt(f"scores/{name}.{suffix}"):
        save_scores(
          str(parts.folder / "scores" / f"{name}.{suffix}"),
          values_of(artefact),
          dataset,
          {k: v for k, v in artefact.record.items() if k != "checksums"},
        )
  if scores:
    _draw(parts, scores, dataset)


def values_of(artefact: Artefact) -> np.ndarray:
  """Returns a score's values, float32[examples] in canonical order."""
  assert artefact.arrays is not None  # scores, by construction
  return artefact.arrays["scores"]


def reliability_table(
  study: str, records: Mapping[str, dict[str, Any]]
) -> pd.DataFrame:
  """Returns a row per score and size of two disjoint groups of networks.

  "correlation" is the mean rank correlation between the groups' mean scores,
  "low" and "high" its range over the splits. A score of one network has none.
  """
  rows = [
    (study, name, *(row[c] for c in RELIABILITY_COLUMNS[2:]))
    for name, record in records.items()
    for row in record["reliability"]
  ]
  return pd.DataFrame(rows, columns=list(RELIABILITY_COLUMNS))


def reliability_lines(table: pd.DataFrame) -> list[str]:
  """Returns one line per score: how far two groups of networks agree."""
  lines = []
  for name, rows in table.groupby("score", sort=False):
    found = ", ".join(
      f"{correlation:.3f} ({r} and {r})"
      for r, correlation in zip(rows.networks, rows.correlation, strict=True)
    )
    lines.append(f"rank correlation of {name} over disjoint networks: {found}")
  return lines


def draw_scores(parts: Parts, scores: Mapping[str, Artefact]) -> None:
  """Draws how scores spread, agree with each other, and repeat."""
  from imp_jax.results.charts.scores import (
    histogram_chart,
    reliability_chart,
    scatter_chart,
  )

  values = {name: values_of(artefact) for name, artefact in scores.items()}
  parts.figure("histograms", lambda: histogram_chart(values))
  if len(values) > 1:
    parts.figure("scatter", lambda: scatter_chart(values))
  records = {name: artefact.record for name, artefact in scores.items()}
  table = reliability_table(parts.study, records)
  if len(table):
    parts.figure("reliability", lambda: reliability_chart(table))


def _draw(
  parts: Parts, scores: Mapping[str, Artefact], dataset: Dataset
) -> None:
  from imp_jax.results.charts.examples import example_chart

  draw_scores(parts, scores)
  train = dataset.train
  for name, artefact in scores.items():
    parts.figure(
      f"scores/{name}_examples",
      functools.partial(
        example_chart,
        np.asarray(train.inputs),
        np.asarray(train.labels),
        values_of(artefact),
        dataset.class_names,
        larger_is_harder=artefact.record["larger_is_harder"],
      ),
    )
