"""Keep lists from files."""

import json

import jax
import numpy as np
import pytest

from imp_jax.data.dataset import make_dataset, with_valid_split
from imp_jax.exchange import (
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


def listed(folder, numbers, suffix=".npy"):
  path = str(folder / f"keep{suffix}")
  if suffix == ".npy":
    np.save(path, numbers)
  else:
    with open(path, "w") as file:
      file.write("\n".join(["source_index", *map(str, numbers)]))
  return path


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_keep_lists_name_positions_in_the_source(tmp_path, arrays, rng, suffix):
  dataset = shuffled(arrays, rng.permutation(24))
  index = load_keep_list(listed(tmp_path, [20, 3, 11], suffix), dataset)
  assert index.dtype == np.int32 and (np.diff(index) > 0).all()
  assert sorted(dataset.train.source_index[index]) == [3, 11, 20]
  whole = load_keep_list(listed(tmp_path, [2.0, 1.0], suffix), dataset)
  assert sorted(dataset.train.source_index[whole]) == [1, 2]
  all_of_it = load_keep_list(listed(tmp_path, range(24), suffix), dataset)
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


def test_examples_set_apart_for_validation_are_not_to_be_kept(
  tmp_path, dataset
):
  left = with_valid_split(dataset, 7, jax.random.key(0))
  gone = int(left.splits["valid"].source_index[0])
  line = refusal(load_keep_list, listed(tmp_path, [gone]), left)
  assert f"{gone} is no training example; they are 17 in" in line


def test_a_record_beside_a_keep_list_must_name_these_data(tmp_path, dataset):
  path = listed(tmp_path, [1, 2])
  file = tmp_path / "keep.json"
  for record in ({}, {"fingerprint": dataset.fingerprint}):
    file.write_text(json.dumps(record))
    assert len(load_keep_list(path, dataset)) == 2
  file.write_text(json.dumps({"fingerprint": "abc"}))
  line = refusal(load_keep_list, path, dataset)
  assert "abc" in line and dataset.fingerprint in line
  file.write_text(json.dumps({"source_order": "abc"}))
  assert "another source's order" in refusal(load_keep_list, path, dataset)
  file.write_text("[")
  assert "is no JSON" in refusal(load_keep_list, path, dataset)


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
  assert "it is in canonical order, not the source's" in line
