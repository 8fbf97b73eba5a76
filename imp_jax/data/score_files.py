"""Scores, keep lists and labels as files in source order, with a record.

FILE.npy   numbers in the order of the source's training examples; of a keep
           list their positions in the source
FILE.csv   the same as columns source_index, label, score (or noisy_label); the
           labels are checked against the data's
FILE.json  the record: at least {"fingerprint", "source_order"} and, of scores,
           {"score", "larger_is_harder"}; "order" must be "source" if it says
           one, and "content", a hash of the scores, must be theirs

Where a validation split or a subsample was taken, a file may also list all the
training examples that there were before: those left out are dropped.
"""

import json
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from imp_jax.core.files import NAME, NAME_BYTES, shown
from imp_jax.data.dataset import Dataset
from imp_jax.data.source_order import (
  canonical_column,
  check_labels,
  check_same_data,
  content_hash,
  listed_file,
  order_of,
  read_columns,
  read_record,
  save_listed,
  warn_of_assumption,
  write_columns,
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
  content = content_hash(np.asarray(values, np.float32))
  save_listed(path, "score", values, dataset, record | {"content": content})


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
  save_listed(path, "noisy_label", labels, dataset, record)


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
  file = listed_file(path, path)
  positions = np.sort(dataset.train.source_index[keep_index])
  write_columns(
    file, {"source_index": positions}, "source_index", order_of(dataset)
  )


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
  file = listed_file(path, what)
  columns = read_columns(file, what, "score")
  record = read_record(file, what)
  if record is None:
    raise FileNotFoundError(
      f"{what} has no record {file.with_suffix('.json').name} beside it; it "
      'must say at least {"score": its name, "larger_is_harder": true or '
      f"false, {json.dumps(order_of(dataset))[1:-1]}}} if they are of these "
      "data in this source's order"
    )
  _check_fields(record, {"score": str, "larger_is_harder": bool}, what)
  name = record["score"]
  if not re.fullmatch(NAME, name) or len(name.encode()) > NAME_BYTES:
    raise ValueError(
      f"{what}: its record's score must be a name of letters, digits, . + = - "
      f"_, of at most {NAME_BYTES} bytes, got {shown(name)}"
    )
  check_same_data(record, dataset, what)
  values, listing = canonical_column(columns, "score", dataset, what)
  largest = np.finfo(np.float32).max
  wrong = int((~((abs(values) <= largest) | (values == np.inf))).sum())
  if wrong:
    raise ValueError(
      f"{what}: scores must be float32 numbers or +inf; {wrong} are NaN, -inf "
      "or larger"
    )
  values = values.astype(np.float32)
  if record.get("content", content := content_hash(values)) != content:
    raise ValueError(
      f"{what}: these are not the scores of its record, whose content is "
      f"{shown(record['content'])}, theirs {content}"
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
  file = listed_file(path, what)
  columns = read_columns(file, what, "noisy_label")
  record = read_record(file, what)
  if record is not None:
    check_same_data(record, dataset, what)
  values, listing = canonical_column(columns, "noisy_label", dataset, what)
  known = np.isin(values, np.arange(dataset.num_classes))
  if not known.all():
    raise ValueError(
      f"{what}: labels must be classes 0..{dataset.num_classes - 1}, got "
      f"{values[~known][0]:g}"
    )
  noisy = values.astype(np.int32)
  if record is None:
    warn_of_assumption(what)
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
  file = listed_file(path, what)
  columns = read_columns(file, what, "source_index")
  record = read_record(file, what)
  if record is not None:
    check_same_data(record, dataset, what)
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
    check_labels(columns["label"], listing.labels[chosen], dataset, what)
  kept = np.flatnonzero(np.isin(listing.kept, chosen)).astype(np.int32)
  if not len(kept):
    raise ValueError(f"{what}: lists no example that training has left")
  if record is None:
    warn_of_assumption(what)
  return kept


def _check_fields(
  record: Mapping[str, Any], fields: Mapping[str, type], what: str
) -> None:
  for key, kind in fields.items():
    if not isinstance(record.get(key), kind):
      raise ValueError(
        f"{what}: its record must have {key!r}, a {kind.__name__}, got "
        f"{shown(record.get(key))}"
      )
