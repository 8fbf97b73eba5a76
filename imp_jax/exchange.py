"""Scores and keep lists as files in source order, with a record beside them.

FILE.npy   numbers in the order of the source's training examples
FILE.csv   the same as columns source_index, label, score
FILE.json  the record: at least {"score", "larger_is_harder", "fingerprint"};
           "order" must be "source" if it says one, and "content", a hash of
           the scores, must be theirs
"""

import hashlib
import io
import json
import re
import zipfile
from typing import Any

import numpy as np
import pandas as pd
from etils import epath

from imp_jax.data.dataset import Dataset
from imp_jax.settings import NAME, ImportSettings
from imp_jax.store import replace_file

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
  file = _checked_suffix(path)
  train = dataset.train
  if np.shape(values) != (len(train),):
    raise ValueError(
      f"scores must be one number for each of {len(train)} training examples, "
      f"got shape {np.shape(values)}"
    )
  _check_same_data(
    {"fingerprint": record.get("fingerprint", dataset.fingerprint)},
    dataset,
    "the record of the scores to save",
  )
  record = record | {
    "fingerprint": dataset.fingerprint,
    "order": "source",
    "source_order": train.source_order,
    "examples": len(train),
    "content": _content(np.asarray(values, np.float32)),
  }
  # Before anything is written.
  text = json.dumps(record, indent=1, allow_nan=False)
  order = np.argsort(train.source_index, kind="stable")
  if file.suffix == ".npy":
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values)[order], allow_pickle=False)
    data = buffer.getvalue()
  else:
    table = pd.DataFrame(
      {
        "source_index": train.source_index[order],
        "label": np.asarray(train.labels)[order],
        "score": np.asarray(values)[order],
      }
    )
    data = table.to_csv(index=False).encode()
  replace_file(file.with_suffix(".json"), text.encode())
  replace_file(file, data)


def load_scores(
  path: str, dataset: Dataset
) -> tuple[np.ndarray, dict[str, Any]]:
  """Returns (float32 scores in canonical order, their record).

  Args:
    path: a .npy or .csv file in source order with its record beside it.
    dataset: whose training examples they must score.

  Raises:
    FileNotFoundError: no such file, or no record beside it.
    ValueError: the record's data are not these, the length differs, the values
      are not numbers, or one of them is NaN, -inf or larger than float32 holds.
  """
  what = f"scores.file {path}"
  file = _checked_suffix(path)
  values, positions = _read_numbers(file, what, "score")
  record_file = file.with_suffix(".json")
  if not record_file.exists():
    raise FileNotFoundError(
      f"{what} has no record {record_file.name} beside it; it must say at "
      'least {"score": its name, "larger_is_harder": true or false, '
      f'"fingerprint": "{dataset.fingerprint}"}} (these data\'s)'
    )
  record = _read_record(record_file, what)
  for key, kind in (
    ("score", str),
    ("larger_is_harder", bool),
    ("fingerprint", str),
  ):
    if not isinstance(record.get(key), kind):
      raise ValueError(
        f"{what}: its record must have {key!r}, a {kind.__name__}, got "
        f"{record.get(key)!r}"
      )
  if not re.fullmatch(NAME, record["score"]):
    raise ValueError(
      f"{what}: its record's score must be a name of letters, digits, . + = - "
      f"_, got {record['score']!r}"
    )
  _check_same_data(record, dataset, what)
  if len(values) != len(dataset.train):
    raise ValueError(
      f"{what}: {len(values)} scores for {len(dataset.train)} training examples"
    )
  largest = np.finfo(np.float32).max
  wrong = int((~((abs(values) <= largest) | (values == np.inf))).sum())
  if wrong:
    raise ValueError(
      f"{what}: scores must be float32 numbers or +inf; {wrong} are NaN, -inf "
      "or larger"
    )
  canonical = _canonical(values, positions, dataset, what)
  if record.get("content", content := _content(canonical)) != content:
    raise ValueError(
      f"{what}: these are not the scores of its record, whose content is "
      f"{record['content']}, theirs {content}"
    )
  return canonical, record


def load_keep_list(path: str, dataset: Dataset) -> np.ndarray:
  """Returns the examples to keep, ascending canonical indices, int32.

  Args:
    path: a .npy file, or a .csv file with a column "source_index", of
      positions in the source's training examples, counted from 0. A record
      beside it, if there is one, must name these data.
    dataset: whose training examples they number.

  Raises:
    FileNotFoundError: no such file.
    ValueError: not whole numbers, out of range, repeated or none; or the
      record's data are not these.
  """
  what = f"pretrain.subset.file {path}"
  file = _checked_suffix(path)
  listed, _ = _read_numbers(file, what, "source_index")
  record_file = file.with_suffix(".json")
  if record_file.exists():
    _check_same_data(_read_record(record_file, what), dataset, what)
  if not len(listed):
    raise ValueError(f"{what}: lists no example")
  if not np.isfinite(listed).all() or (listed != np.round(listed)).any():
    raise ValueError(f"{what}: must list whole numbers")
  listed = listed.astype(np.int64)
  place = {int(s): i for i, s in enumerate(dataset.train.source_index)}
  unknown = [int(s) for s in listed if int(s) not in place]
  if unknown:
    raise ValueError(
      f"{what}: {unknown[0]} is no training example; they are "
      f"{len(place)} in {min(place)}..{max(place)}"
    )
  if len(set(listed.tolist())) < len(listed):
    raise ValueError(f"{what}: lists an example twice")
  return np.sort([place[int(s)] for s in listed]).astype(np.int32)


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
  file = _checked_suffix(path)
  train = dataset.train
  positions = np.sort(train.source_index[keep_index])
  if file.suffix == ".npy":
    buffer = io.BytesIO()
    np.save(buffer, positions, allow_pickle=False)
    data = buffer.getvalue()
  else:
    table = pd.DataFrame({"source_index": positions})
    data = table.to_csv(index=False).encode()
  record = {
    "fingerprint": dataset.fingerprint,
    "order": "source",
    "source_order": train.source_order,
  }
  text = json.dumps(record, indent=1)
  replace_file(file.with_suffix(".json"), text.encode())
  replace_file(file, data)


def _read_numbers(file, what, column):
  """A file's numbers, and a CSV's source positions, else None."""
  if not file.exists():
    raise FileNotFoundError(f"{what}: no such file")
  data = io.BytesIO(file.read_bytes())
  positions = None
  try:
    if file.suffix == ".npy":
      values = np.load(data, allow_pickle=False)
    else:
      table = pd.read_csv(data)
      if column not in table:
        raise ValueError(
          f"lacks the column {column!r}; has {', '.join(table.columns)}"
        )
      values = table[column].to_numpy()
      if column != "source_index" and "source_index" in table:
        positions = table["source_index"].to_numpy()
  except (ValueError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(f"{what}: {' '.join(str(error).split())}") from error
  if not isinstance(values, np.ndarray):
    raise ValueError(f"{what}: is an archive, not one array of numbers")
  if values.ndim != 1 or values.dtype.kind not in "iuf":
    raise ValueError(
      f"{what}: must hold one column of numbers, got {values.dtype} of shape "
      f"{values.shape}"
    )
  return values, positions


def _canonical(values, positions, dataset, what):
  """Values in source order, in canonical order."""
  known = dataset.train.source_index
  if positions is None:
    positions = np.sort(known)
  if positions.dtype.kind not in "iuf" or not np.array_equal(
    np.sort(positions), np.sort(known)
  ):
    raise ValueError(f"{what}: source_index must name each example once")
  by_source = np.empty(len(values), np.int64)
  by_source[np.argsort(known, kind="stable")] = np.argsort(
    positions, kind="stable"
  )
  return values[by_source].astype(np.float32)


def _check_same_data(record, dataset, what):
  if record.get("order", "source") != "source":
    raise ValueError(
      f"{what}: it is in {record['order']} order, not the source's; "
      "exchange.save_scores and save_keep_list write that"
    )
  for key, ours in (
    ("fingerprint", dataset.fingerprint),
    ("source_order", dataset.train.source_order),
  ):
    theirs = record.get(key, ours)
    if theirs != ours:
      meaning = {
        "fingerprint": "it is of other data",
        "source_order": "it lists the examples in another source's order",
      }[key]
      raise ValueError(
        f"{what}: {meaning}: its record's {key} is {theirs}, these data's "
        f"{ours}"
      )


def _read_record(file, what):
  try:
    record = json.loads(file.read_text())
  except ValueError as error:
    raise ValueError(f"{what}: {file.name} is no JSON ({error})") from error
  if not isinstance(record, dict):
    raise ValueError(f"{what}: {file.name} must hold one record, got {record}")
  return record


def _checked_suffix(path):
  file = epath.Path(path).expanduser()
  if file.suffix not in SUFFIXES:
    raise ValueError(
      f"scores and keep lists are {' or '.join(SUFFIXES)} files, got {path!r}"
    )
  return file


def _content(array) -> str:
  return hashlib.sha256(array.tobytes()).hexdigest()[:32]
