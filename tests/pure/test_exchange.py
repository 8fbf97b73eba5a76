"""Exchange: files in source order, their records, and every refusal."""

import json
import os

import jax
import numpy as np
import pytest

from imp_jax.data.dataset import make_dataset, with_valid_split
from imp_jax.data.score_files import (
  load_keep_list,
  load_scores,
  save_keep_list,
  save_scores,
)
from imp_jax.engine.imports import Imports
from tests.score_files import (
  RECORD,
  change_record,
  in_source_order,
  refusal,
  saved,
  shuffled,
)
from tests.tiny import random_arrays


@pytest.fixture
def arrays(rng):
  return random_arrays(rng)


@pytest.fixture
def dataset(arrays):
  return make_dataset("x", arrays)


@pytest.fixture
def values(rng):
  values = rng.normal(size=24).astype(np.float32)
  values[[3, 7]] = np.inf
  return values


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_scores_come_back_as_they_went(tmp_path, dataset, values, suffix):
  path = saved(tmp_path, values, dataset, f"s{suffix}", networks=3)
  got, record = load_scores(path, dataset)
  assert got.dtype == np.float32
  np.testing.assert_array_equal(got, values)
  assert record == RECORD | {
    "networks": 3,
    "fingerprint": dataset.fingerprint,
    "order": "source",
    "source_order": dataset.train.source_order,
    "examples": 24,
    "content": record["content"],
  }


def test_files_list_scores_in_source_order(tmp_path, arrays, dataset, values):
  want = in_source_order(values, dataset)
  np.testing.assert_array_equal(np.load(saved(tmp_path, values, dataset)), want)
  with open(saved(tmp_path, values, dataset, "s.csv")) as file:
    header, *lines = file.read().splitlines()
  assert header == "source_index,label,score"
  rows = [line.split(",") for line in lines]
  assert [int(r[0]) for r in rows] == list(range(24))
  assert [int(r[1]) for r in rows] == arrays["train"][1].tolist()
  assert [np.float32(r[2]) for r in rows] == want.tolist()


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_a_validation_split_takes_its_examples_along(
  tmp_path, dataset, rng, suffix
):
  """The training examples that are left have gaps in their positions."""
  left = with_valid_split(dataset, 7, jax.random.key(0))
  values = rng.normal(size=17).astype(np.float32)
  path = saved(tmp_path, values, left, f"s{suffix}")
  got, _ = load_scores(path, left)
  np.testing.assert_array_equal(got, values)
  assert "it is of other data" in refusal(load_scores, path, dataset)


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_a_shuffled_source_of_the_same_data_is_another_order(
  tmp_path, arrays, dataset, values, rng, suffix
):
  order = rng.permutation(24)
  other = shuffled(arrays, order)
  assert other.fingerprint == dataset.fingerprint
  # Its own files fit it, and score the same examples (in canonical order).
  path = saved(tmp_path, values, other, f"s{suffix}")
  np.testing.assert_array_equal(load_scores(path, other)[0], values)
  line = refusal(load_scores, path, dataset)
  assert "lists the examples in another source's order" in line
  assert other.train.source_order in line
  assert dataset.train.source_order in line


def test_a_plain_array_with_a_minimal_record_is_enough(
  tmp_path, dataset, values
):
  np.save(tmp_path / "s.npy", in_source_order(values, dataset).astype(float))
  record = RECORD | {
    "fingerprint": dataset.fingerprint,
    "source_order": dataset.train.source_order,
  }
  (tmp_path / "s.json").write_text(json.dumps(record))
  got, found = load_scores(str(tmp_path / "s.npy"), dataset)
  np.testing.assert_array_equal(got, values)
  assert found == record
  np.save(tmp_path / "s.npy", np.arange(24))  # whole numbers
  got, _ = load_scores(str(tmp_path / "s.npy"), dataset)
  np.testing.assert_array_equal(got, dataset.train.source_index)


def test_csv_rows_may_come_in_any_order(tmp_path, dataset, values, rng):
  path = saved(tmp_path, values, dataset, "s.csv")
  with open(path) as file:
    header, *lines = file.read().splitlines()
  with open(path, "w") as file:
    file.write("\n".join([header, *(lines[i] for i in rng.permutation(24))]))
  np.testing.assert_array_equal(load_scores(path, dataset)[0], values)


def test_csv_without_positions_is_in_source_order(tmp_path, dataset, values):
  path = saved(tmp_path, values, dataset, "s.csv")
  lines = [str(v) for v in in_source_order(values, dataset)]
  (tmp_path / "s.csv").write_text("\n".join(["score", *lines]))
  np.testing.assert_array_equal(load_scores(path, dataset)[0], values)


def test_imports_are_known_by_their_content(tmp_path, dataset, values):
  imports = Imports()
  one = imports.scores(saved(tmp_path, values, dataset, "a.npy"), dataset)
  two = imports.scores(saved(tmp_path, values, dataset, "b.csv"), dataset)
  other = imports.scores(saved(tmp_path, values + 1, dataset, "c.npy"), dataset)
  assert one == two != other
  assert (one.name, one.larger_is_harder) == ("el2n", True)
  np.testing.assert_array_equal(imports.arrays[one.content], values)
  np.testing.assert_array_equal(imports.arrays[other.content], values + 1)
  save_keep_list(str(tmp_path / "k.npy"), np.array([2, 0]), dataset)
  content, size = imports.keep_list(str(tmp_path / "k.npy"), dataset)
  assert size == 2 and imports.arrays[content].dtype == np.int32


def test_scores_without_a_record_are_refused(tmp_path, dataset, values):
  """The message holds what a record must say, the source's order too."""
  path = saved(tmp_path, values, dataset)
  os.remove(tmp_path / "s.json")
  line = refusal(load_scores, path, dataset)
  assert "no record s.json" in line and "larger_is_harder" in line
  assert f'"fingerprint": "{dataset.fingerprint}"' in line
  assert f'"source_order": "{dataset.train.source_order}"' in line


def test_a_record_must_say_the_source_order(
  tmp_path, arrays, dataset, values, rng
):
  """Or scores of the same images in another order would be taken."""
  other = shuffled(arrays, rng.permutation(24))
  path = saved(tmp_path, values, other)
  change_record(path, source_order=None)
  line = refusal(load_scores, path, dataset)
  assert "must have 'source_order', a str, got None" in line
  assert dataset.train.source_order in line


def test_data_that_come_in_one_order_need_not_say_it(tmp_path, arrays, values):
  """Generated ones; a record that names another order is refused there too."""
  generated = make_dataset("x", arrays, one_order=True)
  path = saved(tmp_path, values, generated)
  change_record(path, source_order=None)
  np.testing.assert_array_equal(load_scores(path, generated)[0], values)
  change_record(path, source_order="abc")
  assert "another source's order" in refusal(load_scores, path, generated)


@pytest.mark.parametrize("names", [None, ("cat", "dog", "newt")])
def test_a_column_of_labels_is_checked_against_the_data(
  tmp_path, arrays, values, rng, names
):
  dataset = make_dataset("x", arrays, class_names=names)
  path = saved(tmp_path, values, dataset, "s.csv")
  header, *lines = (tmp_path / "s.csv").read_text().splitlines()
  rows = [line.split(",") for line in lines]
  if names:  # by name
    rows = [(i, names[int(label)], score) for i, label, score in rows]
    (tmp_path / "s.csv").write_text("\n".join([header, *map(",".join, rows)]))
    np.testing.assert_array_equal(load_scores(path, dataset)[0], values)
  shifted = rows[1:] + rows[:1]  # labels are 0 1 2 0 1 2 ... shuffled
  wrong = [
    (i, label, score)
    for (i, _, score), (_, label, _) in zip(rows, shifted, strict=True)
  ]
  count = sum(a[1] != b[1] for a, b in zip(rows, wrong, strict=True))
  assert count > 5
  (tmp_path / "s.csv").write_text("\n".join([header, *map(",".join, wrong)]))
  line = refusal(load_scores, path, dataset)
  assert f"labels differs from the data's in {count} of 24 rows" in line


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_scores_of_the_undivided_data_serve_what_is_left(
  tmp_path, dataset, values, suffix
):
  """Held-out examples are dropped; the record may name either data."""
  path = saved(tmp_path, values, dataset, f"s{suffix}")
  left = with_valid_split(dataset, 7, jax.random.key(0))
  by_source = dict(
    zip(dataset.train.source_index.tolist(), values, strict=True)
  )
  wanted = [by_source[i] for i in left.train.source_index.tolist()]
  np.testing.assert_array_equal(load_scores(path, left)[0], wanted)
  change_record(path, fingerprint=left.fingerprint)
  np.testing.assert_array_equal(load_scores(path, left)[0], wanted)
  np.save(tmp_path / "t.npy", np.zeros(20))
  (tmp_path / "t.json").write_bytes((tmp_path / "s.json").read_bytes())
  line = refusal(load_scores, str(tmp_path / "t.npy"), left)
  assert "20 scores for 17 or, undivided, 24" in line


def test_scores_of_other_data_are_refused_by_both_names(
  tmp_path, arrays, dataset, values
):
  inputs, labels = arrays["train"]
  other = make_dataset("z", arrays | {"train": (inputs, (labels + 1) % 3)})
  line = refusal(load_scores, saved(tmp_path, values, dataset), other)
  assert "it is of other data" in line
  assert dataset.fingerprint in line and other.fingerprint in line


@pytest.mark.parametrize(
  "changes,message",
  [
    ({"score": None}, "must have 'score', a str, got None"),
    ({"score": 3}, "must have 'score', a str, got 3"),
    ({"larger_is_harder": None}, "'larger_is_harder', a bool, got None"),
    ({"larger_is_harder": 1}, "'larger_is_harder', a bool, got 1"),
    ({"larger_is_harder": "yes"}, "'larger_is_harder', a bool, got 'yes'"),
    ({"fingerprint": None}, "'fingerprint', a str, got None"),
    ({"fingerprint": "abc"}, "its record's fingerprint is 'abc', these data's"),
  ],
)
def test_records_that_lack_a_field_are_refused(
  tmp_path, dataset, values, changes, message
):
  path = saved(tmp_path, values, dataset)
  change_record(path, **changes)
  assert message in refusal(load_scores, path, dataset)


@pytest.mark.parametrize(
  "text,message",
  [
    ("{", "s.json must be JSON"),
    ("", "s.json must be JSON"),
    ("[1, 2]", "must hold one record, got [1, 2]"),
    ("null", "must hold one record, got None"),
    (b"\xff\xfe", "s.json must be JSON"),
  ],
)
def test_broken_records_are_refused(tmp_path, dataset, values, text, message):
  path = saved(tmp_path, values, dataset)
  text = text if isinstance(text, bytes) else text.encode()
  (tmp_path / "s.json").write_bytes(text)
  assert message in refusal(load_scores, path, dataset)


@pytest.mark.parametrize(
  "array,message",
  [
    (np.zeros(23), "23 scores for 24 training examples"),
    (np.zeros(25), "25 scores for 24 training examples"),
    (np.zeros(0), "0 scores for 24"),
    (np.zeros((24, 2)), "float64 of shape (24, 2)"),
    (np.float64(1), "float64 of shape ()"),
    (np.full(24, np.nan), "24 are NaN, -inf or larger"),
    (np.where(np.arange(24) == 5, -np.inf, 1.0), "1 are NaN, -inf or larger"),
    (np.where(np.arange(24) == 5, np.nan, 1.0), "1 are NaN, -inf or larger"),
    (np.zeros(24, complex), "must hold one column of numbers, got complex128"),
    (np.zeros(24, bool), "must hold one column of numbers, got bool"),
    (np.full(24, "a"), "must hold one column of numbers, got <U1"),
  ],
)
def test_arrays_that_are_no_scores_are_refused(
  tmp_path, dataset, values, array, message
):
  path = saved(tmp_path, values, dataset)
  np.save(path, array)
  line = refusal(load_scores, path, dataset)
  assert message in line and path in line


class Trap:
  """Says so when it is unpickled."""

  def __init__(self, folder):
    self.folder = folder

  def __reduce__(self):
    return os.mkdir, (self.folder,)


def test_pickles_are_never_opened(tmp_path, dataset, values):
  path = saved(tmp_path, values, dataset)
  trap = str(tmp_path / "sprung")
  np.save(path, np.asarray([Trap(trap)] * 24), allow_pickle=True)
  assert "Python objects" in refusal(load_scores, path, dataset)
  assert "Python objects" in refusal(load_keep_list, path, dataset)
  assert not os.path.exists(trap)
  np.load(path, allow_pickle=True)  # the trap does work
  assert os.path.exists(trap)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array at all"])
def test_files_that_are_no_arrays_are_refused(
  tmp_path, dataset, values, content
):
  path = saved(tmp_path, values, dataset)
  (tmp_path / "s.npy").write_bytes(content)
  assert path in refusal(load_scores, path, dataset)


@pytest.mark.parametrize("whole", [True, False])
def test_an_archive_named_npy_is_refused(tmp_path, dataset, values, whole):
  path = saved(tmp_path, values, dataset)
  with open(path, "wb") as file:
    if whole:
      np.savez(file, scores=values)
    else:
      file.write(b"PK\x03\x04 no archive")
  assert path in refusal(load_scores, path, dataset)


ROWS = [f"{i},{i}.5" for i in range(24)]
HEADER = "source_index,score"


@pytest.mark.parametrize(
  "lines,message",
  [
    (["source_index,value", *ROWS], "lacks the column 'score'; has"),
    ([HEADER, *ROWS[:-1]], "23 scores for 24"),
    ([HEADER, *ROWS[:-1], "23,"], "1 are NaN, -inf or larger"),
    ([HEADER, *ROWS[:-1], "23,abc"], "one column of numbers"),
    ([HEADER, *ROWS[:-1], ROWS[0]], "must name each example once"),
    ([HEADER, *ROWS[:-1], "24,1.5"], "must name each example once"),
    ([HEADER, *ROWS[:-1], "23.5,1.5"], "must name each example once"),
    ([HEADER, *ROWS[:-1], ",1.5"], "must name each example once"),
    ([HEADER, *ROWS[:-1], "x,1.5"], "must name each example once"),
    ([], "No columns to parse"),
    ([HEADER], "one column of numbers"),
  ],
)
def test_csv_files_that_are_no_scores_are_refused(
  tmp_path, dataset, values, lines, message
):
  path = saved(tmp_path, values, dataset, "s.csv")
  (tmp_path / "s.csv").write_text("\n".join(lines))
  line = refusal(load_scores, path, dataset)
  assert message in line and path in line


def test_a_csv_row_with_too_many_fields_is_refused_in_one_line(
  tmp_path, dataset, values
):
  path = saved(tmp_path, values, dataset, "s.csv")
  (tmp_path / "s.csv").write_text("\n".join([HEADER, *ROWS, "1,2,3,4,5"]))
  assert "Expected 2 fields" in refusal(load_scores, path, dataset)


def test_csv_positions_that_do_not_sort_are_refused(tmp_path, dataset, values):
  path = saved(tmp_path, values, dataset, "s.csv")
  rows = [HEADER, *ROWS[:-2], "x,1.5", ",1.5"]
  (tmp_path / "s.csv").write_text("\n".join(rows))
  assert "each example once" in refusal(load_scores, path, dataset)


def test_scores_too_large_for_float32_are_refused(tmp_path, dataset, values):
  path = saved(tmp_path, values, dataset)
  np.save(path, np.full(24, 1e300))
  assert path in refusal(load_scores, path, dataset)


@pytest.mark.parametrize("load", [load_scores, load_keep_list])
def test_missing_and_unknown_files_are_refused(tmp_path, dataset, load):
  assert "no such file" in refusal(load, str(tmp_path / "s.npy"), dataset)
  for path in ("s.txt", "s", "", str(tmp_path)):
    line = refusal(load, path, dataset)
    assert ".npy or .csv files, got" in line
  (tmp_path / "folder.npy").mkdir()
  line = refusal(load, str(tmp_path / "folder.npy"), dataset)
  assert "is a folder" in line
  line = refusal(load, "https://example.org/s.npy", dataset)
  assert "is a URL" in line and "https://example.org/s.npy" in line


def test_saving_takes_npy_and_csv_only(tmp_path, dataset, values):
  line = refusal(save_scores, str(tmp_path / "s.txt"), values, dataset, RECORD)
  assert ".npy or .csv" in line
  assert not list(tmp_path.iterdir())


def test_saving_refuses_another_number_of_scores(tmp_path, dataset, values):
  many = np.append(values, np.float32(1))
  line = refusal(save_scores, str(tmp_path / "s.npy"), many, dataset, RECORD)
  assert "each of 24 training examples, got shape (25,)" in line


@pytest.mark.parametrize("value", [np.float32(1), float("nan")])
def test_records_are_plain_json_or_nothing_is_written(
  tmp_path, dataset, values, value
):
  def no_constant(name):
    raise AssertionError(f"{name} is no JSON")

  try:
    save_scores(
      str(tmp_path / "s.npy"), values, dataset, RECORD | {"extra": value}
    )
  except (TypeError, ValueError):
    assert not list(tmp_path.iterdir())
  else:
    text = (tmp_path / "s.json").read_text()
    json.loads(text, parse_constant=no_constant)


def test_scores_that_are_not_their_records_are_refused(
  tmp_path, dataset, values
):
  path = saved(tmp_path, values, dataset)
  np.save(path, np.load(path)[::-1])
  line = refusal(load_scores, path, dataset)
  assert "these are not the scores of its record" in line


def test_a_scores_name_may_not_lead_elsewhere(tmp_path, dataset, values):
  path = saved(tmp_path, values, dataset)
  for name in ("../../x", "x" * 101):
    change_record(path, score=name)
    line = refusal(load_scores, path, dataset)
    assert "must be a name of letters" in line


def test_what_a_record_says_is_told_in_short(tmp_path, dataset, values):
  path = saved(tmp_path, values, dataset)
  for field in ("fingerprint", "source_order", "order", "content", "score"):
    change_record(path, **{field: "y" * 10**6})
    assert len(refusal(load_scores, path, dataset)) < 600
    saved(tmp_path, values, dataset)


def test_scores_may_be_a_column(tmp_path, dataset, values):
  path = saved(tmp_path, values, dataset)
  np.save(path, np.load(path)[:, None])
  np.testing.assert_array_equal(load_scores(path, dataset)[0], values)
