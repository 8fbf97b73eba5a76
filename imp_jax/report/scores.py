"""A study's scores as files: source order, records, how reliable they are."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from imp_jax.data.dataset import Dataset
from imp_jax.exchange import save_scores
from imp_jax.files import read_json
from imp_jax.report.example_figures import example_grid_figure
from imp_jax.report.parts import Parts
from imp_jax.report.score_figures import (
  histogram_figure,
  reliability_figure,
  scatter_figure,
)
from imp_jax.store import Artefact, Store, StoreError

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
  parts: Parts, ids: Mapping[str, str], dataset: Dataset
) -> None:
  """Writes the scores of these and earlier runs that are finished.

  scores.json (where they are stored), reliability.csv, for each score
  scores/NAME.npy, .csv and .json as `exchange` reads them, and as .png and
  .svg: histograms, scatter (of several scores), reliability and
  scores/NAME_examples.

  Args:
    parts: of the study.
    ids: artefact by the score's name.
    dataset: the training examples they are of.
  """
  store, study, folder = parts.store, parts.study, parts.folder
  known = load_score_ids(store, study)
  for name, object_id in ids.items():
    if object_id in known.values():
      continue
    # A name keeps its first meaning.
    known[name if name not in known else f"{name}-{object_id[:6]}"] = object_id
  if not known:
    return
  parts.text("scores.json", lambda: json.dumps(known, indent=1))
  found: dict[str, Artefact] = {}
  for name, object_id in known.items():
    try:
      found[name] = store.load(object_id)
    except StoreError:
      continue  # not computed yet, or a network failed
  for name, artefact in found.items():
    assert artefact.arrays is not None  # scores, by construction
    for suffix in ("npy", "csv"):
      with parts.attempt(f"scores/{name}.{suffix}"):
        save_scores(
          str(folder / "scores" / f"{name}.{suffix}"),
          artefact.arrays["scores"],
          dataset,
          {k: v for k, v in artefact.record.items() if k != "checksums"},
        )
  _draw(parts, found, dataset)
  table = parts.table(
    "reliability",
    lambda: reliability_table(
      study, {name: artefact.record for name, artefact in found.items()}
    ),
  )
  if table is not None and len(table):
    parts.figure("reliability", lambda: reliability_figure(table))


def load_score_ids(store: Store, study: str) -> dict[str, str]:
  """Returns where the study's scores are stored, by name."""
  file = store.study_dir(study) / "scores.json"
  return read_json(file, str(file)) if file.exists() else {}


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


def _draw(parts, found, dataset):
  values = {name: artefact.arrays["scores"] for name, artefact in found.items()}
  if values:
    parts.figure("histograms", lambda: histogram_figure(values))
  if len(values) > 1:
    parts.figure("scatter", lambda: scatter_figure(values))
  train = dataset.train
  for name, artefact in found.items():
    sign = 1 if artefact.record["larger_is_harder"] else -1
    parts.figure(
      f"scores/{name}_examples",
      functools.partial(
        example_grid_figure,
        train.inputs,
        train.labels,
        sign * values[name],
        dataset.class_names,
      ),
    )
