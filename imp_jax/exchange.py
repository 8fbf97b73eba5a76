"""Scores, keep lists and labels as files in source order, with a record.

FILE.npy   numbers in the order of the source's training examples; of a keep
           list their positions in the source
FILE.csv   the same as columns source_index, label, score (or noisy_label); the
           labels are checked against the data's
FILE.json  the record: at least {"fingerprint", "source_order"} and, of scores,
           {"score", "larger_is_harder"}; "order" must be "source" if it says
           one, and "content", a hash of the scores, must be theirs

Where a validation split was taken away, a file may also list all the training
examples that there were before: those held out are dropped.
"""

import hashlib
import io
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.data.dataset import Dataset, Listing
from imp_jax.files import (
  read_array,
  read_json,
  reading,
  user_file,
  user_path,
)
from imp_jax.settings import NAME, ImportSettings, NoiseSettings
from imp_jax.store import replace_file
from imp_jax.subsets import noise_words, noisy_labels

SUFFIXES = (".npy", ".csv")


class Imports:
  """What files brought to a study.

  Attributes:
    arrays: in canonical order, by the hash of their content.
    records: of the scores among them, likewise.
  """

  def __init__(self):
    self.arrays: dict[str, np.ndarray] = {}
    self.records: dict[str, dict[str, Any]] = {}

  def scores(self, path: str, dataset: Dataset) -> ImportSettings:
    """Reads scores for a data set.

    Raises:
      ValueError, OSError: as `load_scores`.
    """
    values, record = load_scores(path, dataset)
    content = _content(values)
    self.arrays[content], self.records[content] = values, record
    return ImportSettings(
      record["score"],
      dataset.fingerprint,
      content,
      record["larger_is_harder"],
    )

  def keep_list(self, path: str, dataset: Dataset) -> tuple[str, int]:
    """Reads the examples to keep; returns (hash of their content, how many).

    Raises:
      ValueError, OSError: as `load_keep_list`.
    """
    index = load_keep_list(path, dataset)
    content = _content(index)
    self.arrays[content] = index
    return content, len(index)

  def labels(self, path: str, dataset: Dataset) -> str:
    """Reads noisy labels; returns the hash of their content.

    Raises:
      ValueError, OSError: as `load_labels`.
    """
    labels = load_labels(path, dataset)
    content = _content(labels)
    self.arrays[content] = labels
    return content

  def train_labels(
    self, dataset: Dataset, noise: NoiseSettings, seed: int
  ) -> np.ndarray:
    """Returns the training labels with noise on them, in canonical order.

    Args:
      dataset: whose labels they are.
      noise: what is done to them.
      seed: the study's, whose key draws what is drawn.
    """
    labels = np.asarray(dataset.train.labels)
    if not noise.kind:
      return labels
    if noise.kind == "file":
      return self.arrays[noise.content]
    return noisy_labels(
      labels,
      kind=noise.kind,
      fraction=noise.fraction,
      matrix=noise.matrix,
      num_classes=dataset.num_classes,
      words=noise_words(seed),
    )


def save_scores(
  path: str, values: np.ndarray, dataset: Dataset, record: dict[str, Any]
) -> None:
  """Writes scores in source order, and their record beside them.

  Args:
    path: ends in .npy or .csv; the record goes to the same name in .json.
    values: float[examples] in canonical order.
    dataset: whose training examples they score.
    record: what they are; the data's fingerprint and order, and the hash of
      the scores, are put in.

  Raises:
    ValueError, TypeError: no such suffix, not one value per training example,
      or a record of other data or that is no JSON; nothing is written.
  """
  content = _content(np.asarray(values, np.float32))
  _save_listed(path, "score", values, dataset, record | {"content": content})


def save_labels(
  path: str, labels: np.ndarray, dataset: Dataset, record: dict[str, Any]
) -> None:
  """Writes noisy labels in source order, and their record beside them.

  Args:
    path: ends in .npy or .csv.
    labels: int[examples], class numbers in canonical order.
    dataset: whose training examples they label.
    record: what they are.

  Raises:
    ValueError, TypeError: as `save_scores`.
  """
  _save_listed(path, "noisy_label", labels, dataset, record)


def save_keep_list(path: str, keep_index: np.ndarray, dataset: Dataset) -> None:
  """Writes examples to keep as positions in the source, with a record.

  Args:
    path: ends in .npy or .csv.
    keep_index: canonical indices into the training examples, e.g. of
      `Results.keep_index`.
    dataset: whose training examples they are.

  Raises:
    ValueError: no such suffix.
  """
  file = _checked_suffix(path, path)
  positions = np.sort(dataset.train.source_index[keep_index])
  _write(file, {"source_index": positions}, "source_index", _order_of(dataset))


def load_scores(
  path: str, dataset: Dataset
) -> tuple[np.ndarray, dict[str, Any]]:
  """Returns (float32 scores in canonical order, their record).

  Args:
    path: a .npy or .csv file in source order with its record beside it.
    dataset: whose training examples they must score.

  Raises:
    FileNotFoundError: no such file, or no record beside it.
    ValueError: the record's data or order are not these, the length differs,
      labels beside the scores are not the data's, the values are not numbers,
      or one of them is NaN, -inf or larger than float32 holds.
  """
  what = f"scores.file {path}"
  file = _checked_suffix(path, what)
  columns = _read_columns(file, what, "score")
  record = _read_record(file, what)
  if record is None:
    raise FileNotFoundError(
      f"{what} has no record {file.with_suffix('.json').name} beside it; it "
      'must say at least {"score": its name, "larger_is_harder": true or '
      f"false, {json.dumps(_order_of(dataset))[1:-1]}}} if they are of these "
      "data in this source's order"
    )
  _check_fields(record, {"score": str, "larger_is_harder": bool}, what)
  if not re.fullmatch(NAME, record["score"]):
    raise ValueError(
      f"{what}: its record's score must be a name of letters, digits, . + = - "
      f"_, got {record['score']!r}"
    )
  _check_same_data(record, dataset, what)
  values, listing = _canonical(columns, "score", dataset, what)
  largest = np.finfo(np.float32).max
  wrong = int((~((abs(values) <= largest) | (values == np.inf))).sum())
  if wrong:
    raise ValueError(
      f"{what}: scores must be float32 numbers or +inf; {wrong} are NaN, -inf "
      "or larger"
    )
  values = values.astype(np.float32)
  if record.get("content", content := _content(values)) != content:
    raise ValueError(
      f"{what}: these are not the scores of its record, whose content is "
      f"{record['content']}, theirs {content}"
    )
  return values[listing.kept], record


def load_labels(path: str, dataset: Dataset) -> np.ndarray:
  """Returns noisy labels of the training examples, int32, canonical order.

  Warns where there is no record beside the file, and where the labels agree
  with the data's no better than another order would.

  Args:
    path: a .npy or .csv file in source order.
    dataset: whose training examples they label.

  Raises:
    FileNotFoundError: no such file.
    ValueError: as `load_scores`, or they are no classes of the data.
  """
  what = f"pretrain.noise.file {path}"
  file = _checked_suffix(path, what)
  columns = _read_columns(file, what, "noisy_label")
  record = _read_record(file, what)
  if record is not None:
    _check_same_data(record, dataset, what)
  values, listing = _canonical(columns, "noisy_label", dataset, what)
  known = np.isin(values, np.arange(dataset.num_classes))
  if not known.all():
    raise ValueError(
      f"{what}: labels must be classes 0..{dataset.num_classes - 1}, got "
      f"{values[~known][0]:g}"
    )
  noisy = values.astype(np.int32)
  if record is None:
    _warn_of_assumption(what)
  agreeing = float((noisy == listing.labels).mean())
  shares = [
    np.bincount(x, minlength=dataset.num_classes) / len(x)
    for x in (noisy, listing.labels)
  ]
  chance = float(shares[0] @ shares[1])
  if agreeing - chance < 3 * np.sqrt(chance * (1 - chance) / len(noisy)):
    warnings.warn(
      f"{what}: its labels agree with the data's for {100 * agreeing:.1f} % of "
      f"the examples, by chance it were {100 * chance:.1f} %: are they in "
      "another order?",
      stacklevel=2,
    )
  return noisy[listing.kept]


def load_keep_list(path: str, dataset: Dataset) -> np.ndarray:
  """Returns the examples to keep, ascending canonical indices, int32.

  Warns where there is no record beside the file.

  Args:
    path: a .npy file, or a .csv file with a column "source_index", of
      positions in the source's training examples, counted from 0. A record
      beside it must name these data and this order.
    dataset: whose training examples they number.

  Raises:
    FileNotFoundError: no such file.
    ValueError: not whole numbers, out of range, repeated or none; or the
      record's data or order, or labels beside the numbers, are not these.
  """
  what = f"pretrain.subset.file {path}"
  file = _checked_suffix(path, what)
  columns = _read_columns(file, what, "source_index")
  record = _read_record(file, what)
  if record is not None:
    _check_same_data(record, dataset, what)
  listed = columns["source_index"]
  if not len(listed):
    raise ValueError(f"{what}: lists no example")
  if not np.isfinite(listed).all() or (listed != np.round(listed)).any():
    raise ValueError(f"{what}: must list whole numbers")
  listing = dataset.listings[-1]
  place = {int(s): i for i, s in enumerate(listing.source_index)}
  unknown = [int(s) for s in listed if int(s) not in place]
  if unknown:
    raise ValueError(
      f"{what}: {unknown[0]} is no training example; they are "
      f"{len(place)} in {min(place)}..{max(place)}"
    )
  if len(set(listed.tolist())) < len(listed):
    raise ValueError(f"{what}: lists an example twice")
  chosen = np.asarray([place[int(s)] for s in listed])
  if "label" in columns:
    _check_labels(columns["label"], listing.labels[chosen], dataset, what)
  kept = np.flatnonzero(np.isin(listing.kept, chosen)).astype(np.int32)
  if not len(kept):
    raise ValueError(f"{what}: lists validation examples only")
  if record is None:
    _warn_of_assumption(what)
  return kept


def _order_of(dataset) -> dict[str, str]:
  """What a record says of the data and the order it is of."""
  return {
    "fingerprint": dataset.fingerprint,
    "source_order": dataset.train.source_order,
  }


def _save_listed(path, column, values, dataset, record):
  """Writes one number per training example, and a record."""
  file = _checked_suffix(path, path)
  train = dataset.train
  if np.shape(values) != (len(train),):
    raise ValueError(
      f"{column}s must be one number for each of {len(train)} training "
      f"examples, got shape {np.shape(values)}"
    )
  told = record.get("fingerprint", dataset.fingerprint)
  if told != dataset.fingerprint:
    raise ValueError(
      f"the record of the {column}s to save is of other data: its fingerprint "
      f"is {told}, these data's {dataset.fingerprint}"
    )
  order = np.argsort(train.source_index, kind="stable")
  columns = {
    "source_index": train.source_index[order],
    "label": np.asarray(train.labels)[order],
    column: np.asarray(values)[order],
  }
  _write(
    file,
    columns,
    column,
    record | _order_of(dataset) | {"examples": len(train)},
  )


def _write(file, columns, column, record):
  """Writes a column alone as .npy, or all as .csv, and the record."""
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


def _read_columns(file, what, column) -> dict[str, np.ndarray]:
  """A file's column of numbers, and of a CSV's source_index and label too."""
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
  if values.ndim != 1 or values.dtype.kind not in "iuf":
    raise ValueError(
      f"{what}: must hold one column of numbers, got {values.dtype} of shape "
      f"{values.shape}"
    )
  return columns


def _canonical(
  columns: Mapping[str, np.ndarray], column: str, dataset: Dataset, what: str
) -> tuple[np.ndarray, Listing]:
  """A column in canonical order, and which training examples it lists."""
  count = len(columns[column])
  listing = next((x for x in dataset.listings if len(x) == count), None)
  if listing is None:
    counts = " or, with the validation examples, ".join(
      str(len(x)) for x in dataset.listings
    )
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
    _check_labels(columns["label"][by_source], listing.labels, dataset, what)
  return columns[column][by_source], listing


def _check_labels(told, labels, dataset, what):
  """Refuses a column of labels, as numbers or names, that are not the data's.

  Args:
    told: the column.
    labels: the data's, of the same examples.
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


def _check_fields(record, fields, what):
  for key, kind in fields.items():
    if not isinstance(record.get(key), kind):
      raise ValueError(
        f"{what}: its record must have {key!r}, a {kind.__name__}, got "
        f"{record.get(key)!r}"
      )


def _check_same_data(record, dataset, what):
  """Refuses a record of other data, or of another order of them."""
  if record.get("order", "source") != "source":
    raise ValueError(
      f"{what}: it is in {record['order']} order, not the source's; "
      "exchange.save_scores and save_keep_list write that"
    )
  # Generated data come in one order: a record need not say it.
  needed = ("fingerprint",) if dataset.one_order else tuple(_order_of(dataset))
  for key, meaning in (
    ("fingerprint", "it is of other data"),
    ("source_order", "it lists the examples in another source's order"),
  ):
    ours = _order_of(dataset)[key]
    if key not in record and key not in needed:
      continue
    if not isinstance(record.get(key), str):
      raise ValueError(
        f"{what}: its record must have {key!r}, a str, got "
        f"{record.get(key)!r}; these data's, as this source lists them, is "
        f"{ours}"
      )
    if record[key] not in [getattr(x, key) for x in dataset.listings]:
      raise ValueError(
        f"{what}: {meaning}: its record's {key} is {record[key]}, these data's "
        f"{ours}"
      )


def _warn_of_assumption(what):
  warnings.warn(
    f"{what}: has no record beside it: taken to be of these data, in the order "
    "of this source",
    stacklevel=3,
  )


def _read_record(file, what) -> dict[str, Any] | None:
  """The record beside a file, or None."""
  record_file = file.with_suffix(".json")
  if not record_file.exists():
    return None
  record = read_json(record_file, what)
  if not isinstance(record, dict):
    raise ValueError(
      f"{what}: {record_file.name} must hold one record, got {str(record)[:80]}"
    )
  return record


def _checked_suffix(path, what):
  """The file of a path to read or write."""
  file = user_path(path, what)
  if file.suffix not in SUFFIXES:
    raise ValueError(
      f"{what}: scores, keep lists and labels are {' or '.join(SUFFIXES)} "
      f"files, got {path!r}"
    )
  return file


def _content(array) -> str:
  return hashlib.sha256(array.tobytes()).hexdigest()[:32]
