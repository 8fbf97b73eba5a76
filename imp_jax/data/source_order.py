"""Columns of numbers in the order of a source's training examples, as files.

A file is FILE.npy, one column, or FILE.csv, of columns source_index, label and
others; beside it lies FILE.json, the record of what they are of.
"""

import hashlib
import io
import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from etils import epath

from imp_jax.core.buckets import replace_file
from imp_jax.core.files import (
  read_array,
  read_json,
  reading,
  shown,
  user_file,
  user_path,
)
from imp_jax.data.dataset import Dataset, Listing

SUFFIXES = (".npy", ".csv")


def order_of(dataset: Dataset) -> dict[str, str]:
  """Returns a record's fields that identify the data and their order."""
  return {
    "fingerprint": dataset.fingerprint,
    "source_order": dataset.train.source_order,
  }


def save_listed(
  path: str,
  column: str,
  values: np.ndarray,
  dataset: Dataset,
  record: dict[str, Any],
) -> None:
  """Writes one number per training example, and a record.

  Args:
    path: ends in .npy or .csv.
    column: the numbers' name.
    values: [examples] in canonical order.
    dataset: whose training examples they are of.
    record: what they are; data and order are put in.

  Raises:
    ValueError, TypeError: as of `exchange.save_scores`.
  """
  file = listed_file(path, path)
  train = dataset.train
  if np.shape(values) != (len(train),):
    raise ValueError(
      f"{column}s must be one number for each of {len(train)} training "
      f"examples, got shape {np.shape(values)}"
    )
  fingerprint = record.get("fingerprint", dataset.fingerprint)
  if fingerprint != dataset.fingerprint:
    raise ValueError(
      f"the record of the {column}s to save is of other data: its fingerprint "
      f"is {fingerprint}, these data's {dataset.fingerprint}"
    )
  order = np.argsort(train.source_index, kind="stable")
  columns = {
    "source_index": train.source_index[order],
    "label": np.asarray(train.labels)[order],
    column: np.asarray(values)[order],
  }
  write_columns(
    file,
    columns,
    column,
    record | order_of(dataset) | {"examples": len(train)},
  )


def write_columns(
  file: epath.Path,
  columns: Mapping[str, np.ndarray],
  column: str,
  record: dict[str, Any],
) -> None:
  """Writes one column as .npy, or all as .csv, and the record."""
  # Before anything is written.
  text = json.dumps(record | {"order": "source"}, indent=1, allow_nan=False)
  if file.suffix == ".npy":
    buffer = io.BytesIO()
    np.save(buffer, columns[column], allow_pickle=False)
    data = buffer.getvalue()
  else:
    data = pd.DataFrame(columns).to_csv(index=False).encode()
  replace_file(file.with_suffix(".json"), text.encode())
  replace_file(file, data)


def read_columns(
  file: epath.Path, what: str, column: str
) -> dict[str, np.ndarray]:
  """Returns a column of numbers, and of a CSV source_index and label too.

  Raises:
    OSError, ValueError: as of `files.reading`; or no such column of numbers.
  """
  user_file(str(file), what)
  if file.suffix == ".npy":
    columns = {column: read_array(file, what)}
  else:
    with reading(what, f"must be a CSV table with a column {column!r}"):
      table = pd.read_csv(io.BytesIO(file.read_bytes()))
    if column not in table:
      raise ValueError(
        f"{what}: lacks the column {column!r}; has "
        f"{', '.join(map(str, table.columns[:8]))}"
      )
    wanted = (column, "source_index", "label")
    columns = {c: table[c].to_numpy() for c in wanted if c in table}
  values = columns[column]
  if values.ndim == 2 and values.shape[1] == 1:
    values = columns[column] = values[:, 0]
  if values.ndim != 1 or values.dtype.kind not in "iuf":
    raise ValueError(
      f"{what}: must hold one column of numbers, got {values.dtype} of shape "
      f"{values.shape}"
    )
  return columns


def canonical_column(
  columns: Mapping[str, np.ndarray], column: str, dataset: Dataset, what: str
) -> tuple[np.ndarray, Listing]:
  """Returns a column in canonical order, and which examples it lists.

  Args:
    columns: of `read_columns`.
    column: which of them.
    dataset: whose training examples they are of.
    what: the field and the file, for messages.

  Raises:
    ValueError: its length or its source_index is no listing's of the data, or
      its labels are not theirs.
  """
  count = len(columns[column])
  listing = next((x for x in dataset.listings if len(x) == count), None)
  if listing is None:
    counts = " or, undivided, ".join(str(len(x)) for x in dataset.listings)
    raise ValueError(
      f"{what}: {count} {column}s for {counts} training examples"
    )
  known = listing.source_index
  positions = columns.get("source_index", np.sort(known))
  if positions.dtype.kind not in "iuf" or not np.array_equal(
    np.sort(positions), np.sort(known)
  ):
    raise ValueError(f"{what}: source_index must name each example once")
  by_source = np.empty(count, np.int64)
  by_source[np.argsort(known, kind="stable")] = np.argsort(
    positions, kind="stable"
  )
  if "label" in columns:
    check_labels(columns["label"][by_source], listing.labels, dataset, what)
  return columns[column][by_source], listing


def check_labels(
  told: np.ndarray, labels: np.ndarray, dataset: Dataset, what: str
) -> None:
  """Refuses a column of labels, as numbers or names, that are not the data's.

  Args:
    told: the column.
    labels: the data's, of the same examples.
    dataset: for the classes' names.
    what: the field and the file, for messages.

  Raises:
    ValueError: says how many differ.
  """
  if told.dtype.kind in "iuf":
    differ = told != labels
  else:
    differ = told.astype(str) != np.asarray(dataset.class_names)[labels]
  if differ.any():
    raise ValueError(
      f"{what}: its column of labels differs from the data's in "
      f"{int(differ.sum())} of {len(labels)} rows: it is of other data, or in "
      "another source's order"
    )


def check_same_data(
  record: Mapping[str, Any], dataset: Dataset, what: str
) -> None:
  """Refuses a record of other data, or of another order of them.

  Raises:
    ValueError: names what it says and what it should.
  """
  if record.get("order", "source") != "source":
    raise ValueError(
      f"{what}: it is in {shown(record['order'])} order, not the source's; "
      "exchange.save_scores and save_keep_list write that"
    )
  # Generated data come in one order: a record need not say it.
  needed = ("fingerprint",) if dataset.one_order else tuple(order_of(dataset))
  for key, meaning in (
    ("fingerprint", "it is of other data"),
    ("source_order", "it lists the examples in another source's order"),
  ):
    ours = order_of(dataset)[key]
    if key not in record and key not in needed:
      continue
    if not isinstance(record.get(key), str):
      raise ValueError(
        f"{what}: its record must have {key!r}, a str, got "
        f"{shown(record.get(key))}; these data's, as this source lists them, "
        f"is {ours}"
      )
    if record[key] not in [getattr(x, key) for x in dataset.listings]:
      raise ValueError(
        f"{what}: {meaning}: its record's {key} is {shown(record[key])}, these "
        f"data's "
        f"{ours}"
      )


def warn_of_assumption(what: str) -> None:
  """Warns that a file without a record is taken to be of this source."""
  warnings.warn(
    f"{what}: has no record beside it: taken to be of these data, in the order "
    "of this source",
    stacklevel=3,
  )


def read_record(file: epath.Path, what: str) -> dict[str, Any] | None:
  """Returns the record beside a file, or None.

  Raises:
    OSError, ValueError: it is none.
  """
  record_file = file.with_suffix(".json")
  if not record_file.exists():
    return None
  record = read_json(record_file, what)
  if not isinstance(record, dict):
    raise ValueError(
      f"{what}: {record_file.name} must hold one record, got {str(record)[:80]}"
    )
  return record


def listed_file(path: str, what: str) -> epath.Path:
  """Returns the file of a path to read or write.

  Raises:
    ValueError: it does not end as such files do.
  """
  file = user_path(path, what)
  if file.suffix not in SUFFIXES:
    raise ValueError(
      f"{what}: scores, keep lists and labels are {' or '.join(SUFFIXES)} "
      f"files, got {path!r}"
    )
  return file


def content_hash(array: np.ndarray) -> str:
  """Returns a hash of an array's bytes: 32 hexadecimal digits."""
  return hashlib.sha256(array.tobytes()).hexdigest()[:32]
