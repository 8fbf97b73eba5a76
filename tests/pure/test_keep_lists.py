"""Keep lists from files."""

import json
import warnings

import jax
import numpy as np
import pytest

from imp_jax.data.dataset import make_dataset, with_valid_split
from imp_jax.data.score_files import (
  load_keep_list,
  save_keep_list,
)
from tests.score_files import refusal, shuffled
from tests.tiny import random_arrays


@pytest.fixture
def arrays(rng):
  return random_arrays(rng)


@pytest.fixture
def dataset(arrays):
  return make_dataset("x", arrays)


def listed(folder, numbers, suffix=".npy", dataset=None):
  """A list's path; with a record beside it if its data are given."""
  path = str(folder / f"keep{suffix}")
  if dataset:
    record = {
      "fingerprint": dataset.fingerprint,
      "source_order": dataset.train.source_order,
    }
    (folder / "keep.json").write_text(json.dumps(record))
  if suffix == ".npy":
    np.save(path, numbers)
  else:
    with open(path, "w") as file:
      file.write("\n".join(["source_index", *map(str, numbers)]))
  return path


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_keep_lists_name_positions_in_the_source(tmp_path, arrays, rng, suffix):
  dataset = shuffled(arrays, rng.permutation(24))

  def load(numbers):
    return load_keep_list(listed(tmp_path, numbers, suffix, dataset), dataset)

  index = load([20, 3, 11])
  assert index.dtype == np.int32 and (np.diff(index) > 0).all()
  assert sorted(dataset.train.source_index[index]) == [3, 11, 20]
  whole = load([2.0, 1.0])
  assert sorted(dataset.train.source_index[whole]) == [1, 2]
  all_of_it = load(range(24))
  np.testing.assert_array_equal(all_of_it, np.arange(24))


@pytest.mark.parametrize(
  "numbers,message",
  [
    ([1, 5, 1], "lists an example twice"),
    ([1, 24], "24 is no training example; they are 24 in 0..23"),
    ([1, -1], "-1 is no training example"),
    ([1, 2**40], "1099511627776 is no training example"),
    ([1.5, 2.0], "must list whole numbers"),
    ([np.nan, 2.0], "must list whole numbers"),
    (np.zeros(0, np.int64), "lists no example"),
    ([[1, 2]], "one column of numbers, got int64 of shape (1, 2)"),
    (np.ones(24, bool), "one column of numbers, got bool"),
    (["a"], "one column of numbers"),
  ],
)
def test_lists_of_no_training_examples_are_refused(
  tmp_path, dataset, numbers, message
):
  path = listed(tmp_path, numbers)
  line = refusal(load_keep_list, path, dataset)
  assert message in line and path in line


def test_an_infinity_in_a_keep_list_is_refused(tmp_path, dataset):
  line = refusal(load_keep_list, listed(tmp_path, [1.0, np.inf]), dataset)
  assert "must list whole numbers" in line


def test_examples_set_apart_for_validation_are_dropped(tmp_path, dataset):
  """A list of the undivided data serves what is left of them."""
  left = with_valid_split(dataset, 7, jax.random.key(0))
  gone = left.splits["valid"].source_index.tolist()
  path = listed(tmp_path, range(24), dataset=dataset)
  np.testing.assert_array_equal(load_keep_list(path, left), np.arange(17))
  stays = int(left.train.source_index[5])
  path = listed(tmp_path, [gone[0], stays], dataset=left)
  assert load_keep_list(path, left).tolist() == [5]
  line = refusal(load_keep_list, listed(tmp_path, gone), left)
  assert "lists no example that training has left" in line


def test_a_list_without_a_record_warns_of_what_is_assumed(tmp_path, dataset):
  path = listed(tmp_path, [1, 2])
  with pytest.warns(UserWarning) as told:
    assert len(load_keep_list(path, dataset)) == 2
  (line,) = (str(w.message) for w in told)
  assert path in line and "in the order of this source" in line
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    load_keep_list(listed(tmp_path, [1, 2], dataset=dataset), dataset)


def test_a_record_beside_a_keep_list_must_name_data_and_order(
  tmp_path, dataset
):
  path = listed(tmp_path, [1, 2], dataset=dataset)
  file = tmp_path / "keep.json"
  record = json.loads(file.read_text())
  for field in record:
    file.write_text(json.dumps({k: v for k, v in record.items() if k != field}))
    line = refusal(load_keep_list, path, dataset)
    assert f"must have {field!r}, a str, got None" in line
  file.write_text(json.dumps(record | {"fingerprint": "abc"}))
  line = refusal(load_keep_list, path, dataset)
  assert "abc" in line and dataset.fingerprint in line
  file.write_text(json.dumps(record | {"source_order": "abc"}))
  assert "another source's order" in refusal(load_keep_list, path, dataset)
  file.write_text("[")
  assert "keep.json must be JSON" in refusal(load_keep_list, path, dataset)


def test_labels_beside_a_keep_list_are_checked(tmp_path, arrays, dataset):
  path = listed(tmp_path, [1, 2], ".csv", dataset)
  labels = arrays["train"][1]
  rows = ["source_index,label", f"5,{labels[5]}", f"3,{labels[3]}"]
  (tmp_path / "keep.csv").write_text("\n".join(rows))
  index = load_keep_list(path, dataset)
  assert sorted(dataset.train.source_index[index]) == [3, 5]
  rows[1] = f"5,{(labels[5] + 1) % 3}"
  (tmp_path / "keep.csv").write_text("\n".join(rows))
  line = refusal(load_keep_list, path, dataset)
  assert "labels differs from the data's in 1 of 2 rows" in line


def test_a_csv_keep_list_needs_its_column(tmp_path, dataset):
  path = listed(tmp_path, [1], ".csv")
  (tmp_path / "keep.csv").write_text("index\n1\n")
  line = refusal(load_keep_list, path, dataset)
  assert "lacks the column 'source_index'; has index" in line


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_saved_keep_lists_come_back(tmp_path, dataset, suffix):
  keep, path = np.asarray([3, 5, 17], np.int32), str(tmp_path / f"k{suffix}")
  save_keep_list(path, keep, dataset)
  np.testing.assert_array_equal(load_keep_list(path, dataset), keep)


def test_canonical_order_is_not_taken_for_the_sources(tmp_path, dataset):
  np.save(tmp_path / "k.npy", np.arange(3))
  record = {"fingerprint": dataset.fingerprint, "order": "canonical"}
  (tmp_path / "k.json").write_text(json.dumps(record))
  line = refusal(load_keep_list, str(tmp_path / "k.npy"), dataset)
  assert "it is in 'canonical' order, not the source's" in line
