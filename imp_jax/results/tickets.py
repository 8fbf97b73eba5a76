"""Tidy tables of tickets, made from their artefacts' records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from imp_jax.core.identity import filled
from imp_jax.core.index import Entry
from imp_jax.core.store import Store, if_finished
from imp_jax.stages.trunk import Trunk

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


# (entry, train record, what was evaluated of it, and of W_r) of finished
# tickets
Records = list[tuple[Entry, dict[str, Any], dict[str, Any], dict[str, Any]]]


def load_records(store: Store, index: Iterable[Entry]) -> Records:
  """Returns the records of the tickets of an index that are finished."""
  tickets = []
  for entry in index:
    ids = entry.ids
    if "train" not in ids:
      continue  # it is no ticket
    before: dict[str, Any] = {"metrics": {}}
    with if_finished():
      before = store.load_record(ids["pretrained_metrics"])
      before["step"] = store.load_record(ids["pretrain"])["step"]
    with if_finished():
      *earlier, trained = parts_of(store, entry)
      history = [row for p in earlier for row in p["history"]]
      trained = trained | {"history": history + trained["history"]}
      evaluated = store.load_record(ids["metrics"])
      tickets.append((entry, trained, evaluated, before))
  return tickets


def parts_of(store: Store, entry: Entry) -> list[dict[str, Any]]:
  """Returns the records of a ticket's training, from W_r on.

  There are several where it was pruned on its way: the last one is the
  ticket's, each other one left its optimiser to the next.

  Raises:
    StoreError: one is not finished, or damaged.
  """
  parts = [store.load_record(entry.ids["train"])]
  begin = store.load_record(entry.ids["pretrain"])["step"]
  while _goes_on(parts[0].get("settings", {}), begin):
    parts.insert(0, store.load_record(parts[0]["inputs"]["weights"]))
  return parts


def _goes_on(train: Mapping[str, Any], begin: int) -> bool:
  """Whether a training goes on from another one's end, its optimiser too."""
  return train.get("start", 0) > begin and train["optimizer"] == "rewound"


def results_table(study: str, records: Sequence[tuple]) -> pd.DataFrame:
  """Returns one row per experiment, replicate, level, split and metric.

  W_r's own metrics stand at level 0 as "pretrained_loss" and
  "pretrained_accuracy", with step t_r.
  """
  rows = []
  for entry, trained, evaluated, pretrained in records:
    for split, metrics in evaluated["metrics"].items():
      for metric in sorted(metrics.keys() - {"count"}):
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
        for metric in sorted(metrics.keys() - {"count"}):
          rows.append(
            (
              *_where(study, entry),
              1.0,
              split,
              f"pretrained_{metric}",
              metrics[metric],
              pretrained["step"],
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


def other_curves(records: Records) -> int:
  """Returns how many tickets have curves of other test data than metrics."""
  return sum(_has_other_curves(*record) for record in records)


def _has_other_curves(
  entry: Entry, trained: Mapping[str, Any], evaluated: Mapping[str, Any], _: Any
) -> bool:
  tested = [row for row in trained["history"] if row["split"] == "test"]
  return any(not _is_of(row, evaluated) for row in tested)


def _is_of(row: Mapping[str, Any], evaluated: Mapping[str, Any]) -> bool:
  """Whether a row of a history is of the splits that were evaluated."""
  splits = {
    s["name"]: s["fingerprint"] for s in evaluated["settings"]["splits"]
  }
  return row.get("fingerprint") == splits.get(row["split"])


def experiments_table(meaning: dict[str, Any]) -> pd.DataFrame:
  """Returns one row per experiment: its settings by dotted name.

  Of options that are younger than an experiment it has the defaults.
  """
  rows = []
  for name, settings in meaning["experiments"].items():
    settings = settings | {"trunk": filled(Trunk, settings["trunk"])}
    groups = {k: v for k, v in settings.items() if k not in ("trunk", "probes")}
    groups = settings["trunk"] | groups | settings["probes"]
    flat = pd.json_normalize(groups).iloc[0].to_dict()
    # The end of a cosine, and without one nothing: "steps" has T.
    flat = {k: v for k, v in flat.items() if not k.endswith("optim.steps")}
    rows.append({"experiment": name, "seed": meaning["seed"]} | flat)
  return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["experiment"])


def _where(study: str, entry: Entry) -> tuple[str, str, int, int]:
  return study, entry.row_name, entry.replicate, entry.level
