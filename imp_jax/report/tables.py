"""Tidy tables of one study, made from its artefacts' records."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from imp_jax.files import read_json
from imp_jax.report.diet_figures import diet_figure, size_figure
from imp_jax.report.figures import accuracy_figure
from imp_jax.report.matching import matching_table
from imp_jax.report.parts import Parts
from imp_jax.report.published import published_curves
from imp_jax.settings import ClaimSettings
from imp_jax.store import Store, StoreError

RESULT_COLUMNS = (
  "study",
  "experiment",
  "replicate",
  "level",
  "density",
  "split",
  "metric",
  "value",
  "step",
)
LAYER_COLUMNS = (
  "study",
  "experiment",
  "replicate",
  "level",
  "layer",
  "kept",
  "total",
  "density",
  "channels",
  "emptied_channels",
)


@dataclasses.dataclass(frozen=True)
class Entry:
  """Where one ticket of one replicate is stored: a row of tickets.json.

  Attributes:
    experiment: its name.
    ticket: "imp", or the control: "random_mask", "reinit".
    level, replicate: numbers from 0.
    rewind_step: t_r.
    pretrain, train, masks: identities; masks is None at level 0.
    metrics, pretrained_metrics: identities of their evaluations.
  """

  experiment: str
  ticket: str
  level: int
  replicate: int
  rewind_step: int
  pretrain: str
  train: str
  masks: str | None
  metrics: str
  pretrained_metrics: str

  @property
  def key(self) -> tuple:
    return (self.experiment, self.ticket, self.level, self.replicate)

  @property
  def row_name(self) -> str:
    """The experiment's name in tables; a control's is "name:control"."""
    if self.ticket == "imp":
      return self.experiment
    return f"{self.experiment}:{self.ticket}"


# (entry, train record, what was evaluated of it, and of W_r) of finished
# tickets
Records = list[tuple[Entry, dict[str, Any], dict[str, Any], dict[str, Any]]]


def load_entries(store: Store, study: str) -> list[Entry]:
  """Returns where the study's tickets are stored, of all runs so far."""
  file = store.study_dir(study) / "tickets.json"
  if not file.exists():
    return []
  return [Entry(**row) for row in read_json(file, str(file))]


def _load_records(store: Store, entries: Iterable[Entry]) -> Records:
  """Returns the records of finished tickets."""
  found = []
  for e in entries:
    try:
      records = [store.load_record(i) for i in (e.train, e.metrics)]
    except StoreError:
      continue  # not run yet, or its replicate failed
    before: dict[str, Any] = {"metrics": {}}
    with contextlib.suppress(StoreError):
      before = store.load_record(e.pretrained_metrics)
    found.append((e, *records, before))
  return found


def write_report(
  parts: Parts,
  entries: Sequence[Entry],
  failures: Sequence[str],
  claims: ClaimSettings,
) -> Records:
  """Writes the study's tables and figures, of these and earlier entries.

  Returns the records of the tickets that are finished.

  tickets.json, results.csv, experiments.csv, layers.csv, curves.csv,
  matching.csv, metrics.jsonl, failures.txt (while there are any), and as .png
  and .svg: accuracy, and of studies with subsets diet and sizes.
  """
  store, study, folder = parts.store, parts.study, parts.folder
  known = {e.key: e for e in load_entries(store, study)}
  known |= {e.key: e for e in entries}
  rows = [dataclasses.asdict(e) for e in known.values()]
  parts.text("tickets.json", lambda: json.dumps(rows, indent=0))
  failed = folder / "failures.txt"
  if failures:
    parts.text(failed.name, lambda: "\n".join(failures) + "\n")
  elif failed.exists():
    failed.unlink()
  records = _load_records(store, known.values())
  meaning = json.loads((folder / "config.json").read_text())
  results = parts.table("results", lambda: results_table(study, records))
  experiments = parts.table("experiments", lambda: experiments_table(meaning))
  parts.table("layers", lambda: layers_table(study, records))
  parts.table("curves", lambda: history_table(study, records, "test"))
  if other := sum(_has_other_curves(*r) for r in records):
    parts.failed.append(
      f"curves.csv of study {study} lacks {other} tickets: their curves were "
      "drawn in training, on other test data, and nothing is trained again"
    )
  parts.text(
    "metrics.jsonl",
    # Not to_json, which keeps ten decimals.
    lambda: "".join(
      json.dumps(row) + "\n"
      for row in history_table(study, records, "train_batches").to_dict(
        "records"
      )
    ),
  )
  if results is None:
    return records
  if len(results):
    parts.figure("accuracy", lambda: accuracy_figure(results, experiments))
  if experiments is None:
    return records
  parts.table("matching", lambda: matching_table(results, experiments, claims))
  if len(results):
    _draw_diets(parts, results, experiments, claims)
  return records


def results_table(study: str, records: Sequence[tuple]) -> pd.DataFrame:
  """Returns one row per experiment, replicate, level, split and metric.

  W_r's own metrics stand at level 0 as "pretrained_loss" and
  "pretrained_accuracy", with step t_r.
  """
  rows = []
  for entry, trained, evaluated, pretrained in records:
    for split, metrics in evaluated["metrics"].items():
      for metric in ("accuracy", "loss"):
        rows.append(
          (
            *_where(study, entry),
            trained["density"],
            split,
            metric,
            metrics[metric],
            trained["step"],
          )
        )
    if entry.level == 0:
      for split, metrics in pretrained["metrics"].items():
        for metric in ("accuracy", "loss"):
          rows.append(
            (
              *_where(study, entry),
              1.0,
              split,
              f"pretrained_{metric}",
              metrics[metric],
              entry.rewind_step,
            )
          )
  return pd.DataFrame(rows, columns=list(RESULT_COLUMNS))


def layers_table(study: str, records: Sequence[tuple]) -> pd.DataFrame:
  """Returns one row per experiment, replicate, level and prunable layer."""
  rows = [
    (*_where(study, entry), *(layer[c] for c in LAYER_COLUMNS[4:]))
    for entry, trained, *_ in records
    for layer in trained["layers"]
  ]
  return pd.DataFrame(rows, columns=list(LAYER_COLUMNS))


def history_table(
  study: str, records: Sequence[tuple], split: str
) -> pd.DataFrame:
  """Returns loss and accuracy during training, in the columns of results.

  Args:
    study: its name.
    records: of finished tickets.
    split: "test" (the curve steps) or "train_batches" (sums over each chunk's
      augmented batches, before each update). What was evaluated on other test
      data than the finished ticket is left out.
  """
  rows = [
    (
      *_where(study, entry),
      trained["density"],
      split,
      metric,
      row[metric],
      row["step"],
    )
    for entry, trained, evaluated, _ in records
    for row in trained["history"]
    if row["split"] == split and _is_of(row, evaluated)
    for metric in ("accuracy", "loss")
  ]
  return pd.DataFrame(rows, columns=list(RESULT_COLUMNS))


def _has_other_curves(entry, trained, evaluated, _) -> bool:
  tested = [row for row in trained["history"] if row["split"] == "test"]
  return any(not _is_of(row, evaluated) for row in tested)


def _is_of(row, evaluated) -> bool:
  """Whether a row of a history is of the splits that were evaluated."""
  splits = {
    s["name"]: s["fingerprint"] for s in evaluated["settings"]["splits"]
  }
  return row.get("fingerprint") == splits.get(row["split"])


def experiments_table(meaning: dict[str, Any]) -> pd.DataFrame:
  """Returns one row per experiment: its settings by dotted name."""
  rows = []
  for name, settings in meaning["experiments"].items():
    flat = pd.json_normalize(settings).iloc[0].to_dict()
    rows.append({"experiment": name, "seed": meaning["seed"]} | flat)
  return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["experiment"])


def _draw_diets(parts, results, experiments, claims):
  """Draws what a study of subsets has."""
  level = claims.primary_level
  if level is None:
    level = int(results["level"].max())
  published = parts.made(
    "the paper's curves", lambda: published_curves(experiments)
  )
  parts.figure("diet", lambda: diet_figure(results, experiments, published))
  parts.figure(
    "sizes", lambda: size_figure(results, experiments, level, published)
  )


def _where(study, entry):
  return study, entry.row_name, entry.replicate, entry.level
