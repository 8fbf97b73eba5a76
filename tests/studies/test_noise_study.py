"""Label noise by class and from files, in a study, and its record."""

import json
import re
import warnings

import jax
import numpy as np
import pytest

from imp_jax.core.store import Store
from imp_jax.data.dataset import make_dataset, with_valid_split
from imp_jax.data.score_files import load_labels, save_labels
from tests.score_files import refusal
from tests.tiny import random_arrays, run_tiny
from tests.tiny_diet import diet

UNIT = tuple(tuple(float(i == j) for j in range(10)) for i in range(10))
# Class 3 becomes 4, in half of its examples.
SWAPPED = (*UNIT[:3], (0, 0, 0, 0.5, 0.5, 0, 0, 0, 0, 0), *UNIT[4:])


@pytest.fixture
def dataset(rng):
  return make_dataset("x", random_arrays(rng, train=60))


@pytest.fixture
def noisy(dataset, rng):
  labels = np.array(dataset.train.labels)
  labels[:6] = (labels[:6] + 1) % 3
  return labels


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_saved_labels_come_back(tmp_path, dataset, noisy, suffix):
  path = str(tmp_path / f"n{suffix}")
  save_labels(path, noisy, dataset, {"noise": "human"})
  got = load_labels(path, dataset)
  assert got.dtype == np.int32
  np.testing.assert_array_equal(got, noisy)
  record = json.loads((tmp_path / "n.json").read_text())
  assert record["source_order"] == dataset.train.source_order
  left = with_valid_split(dataset, 20, jax.random.key(0))
  by_source = dict(zip(dataset.train.source_index, noisy, strict=True))
  wanted = [by_source[i] for i in left.train.source_index]
  np.testing.assert_array_equal(load_labels(path, left), wanted)


def test_labels_without_a_record_warn_of_what_is_assumed(
  tmp_path, dataset, noisy
):
  order = np.argsort(dataset.train.source_index)
  np.save(tmp_path / "n.npy", noisy[order])
  with pytest.warns(UserWarning, match="in the order of this source"):
    got = load_labels(str(tmp_path / "n.npy"), dataset)
  np.testing.assert_array_equal(got, noisy)


def test_labels_that_agree_as_by_chance_warn(tmp_path, dataset, rng):
  path = str(tmp_path / "n.npy")
  other = rng.permutation(np.asarray(dataset.train.labels))
  save_labels(path, other, dataset, {})
  with pytest.warns(UserWarning, match="are they in another order"):
    load_labels(path, dataset)


@pytest.mark.parametrize(
  "change,message",
  [
    (lambda y: y[:-1], "59 noisy_labels for 60 training examples"),
    (lambda y: y + 1, r"must be classes 0\.\.2, got 3"),
    (lambda y: y + 0.5, r"must be classes 0\.\.2, got"),
    (lambda y: np.where(y == 0, np.nan, y), r"must be classes 0\.\.2, got nan"),
    (lambda y: y.astype(str), "must hold one column of numbers"),
    (lambda y: np.eye(3)[y], "must hold one column of numbers"),
  ],
)
def test_labels_that_are_no_classes_are_refused(
  tmp_path, dataset, noisy, change, message
):
  path = str(tmp_path / "n.npy")
  save_labels(path, noisy, dataset, {})
  np.save(path, change(np.load(path)))
  line = refusal(load_labels, path, dataset)

  assert re.search(message, line) and path in line


def test_a_csvs_true_labels_are_checked(tmp_path, dataset, noisy):
  path = tmp_path / "n.csv"
  save_labels(str(path), noisy, dataset, {})
  header, *rows = path.read_text().splitlines()
  assert header == "source_index,label,noisy_label"
  first = rows[0].split(",")
  rows[0] = f"{first[0]},{(int(first[1]) + 1) % 3},{first[2]}"
  path.write_text("\n".join([header, *rows]))
  line = refusal(load_labels, str(path), dataset)
  assert "labels differs from the data's in 1 of 60 rows" in line


def noisy_study(name, **noise):
  fields = {f"pretrain.noise.{k}": v for k, v in noise.items()}
  return {"name": name, "pretrain.steps": "1step"} | fields


def test_a_study_by_class_writes_its_labels_and_reads_them_back(
  tmp_path, mnist
):
  """The file of noise that was drawn gives the networks that were trained."""
  drawn, _ = run_tiny(
    tmp_path / "a",
    written=True,
    **diet(
      replicates=1,
      experiments=(noisy_study("drawn", kind="matrix", matrix=SWAPPED),),
    ),
  )
  folder = tmp_path / "a" / "studies" / drawn.study / "noisy_labels"
  (file,) = folder.glob("*.npy")
  assert file.stem.startswith("noise-matrix-")
  record = json.loads(file.with_suffix(".json").read_text())
  true = np.asarray(mnist.train.labels)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    labels = load_labels(str(file), mnist)
  changed = labels != true
  assert set(true[changed]) == {3} and set(labels[changed]) == {4}
  assert 0 < changed.sum() < (true == 3).sum()
  assert record["changed"] == changed.sum()
  assert record["changes"] == [[3, 4, int(changed.sum())]]
  store = Store(str(tmp_path / "a"))
  stored = store.load_record(
    drawn.ticket("drawn", level=0).record["inputs"]["weights"]
  )
  assert stored["label_changes"] == record["changes"]
  assert stored["changed_labels"] == changed.sum()

  given, _ = run_tiny(
    tmp_path / "b",
    **diet(
      replicates=1,
      experiments=(noisy_study("given", kind="file", file=str(file)),),
    ),
  )
  one, other = (
    r.ticket(n, level=0) for r, n in ((drawn, "drawn"), (given, "given"))
  )
  for a, b in zip(
    jax.tree.leaves(one.trained_params),
    jax.tree.leaves(other.trained_params),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  "noise,message",
  [
    (dict(kind="matrix"), "pretrain.noise.matrix goes with .*kind='matrix'"),
    (dict(matrix=UNIT), "matrix goes with .*, got .* and 'redrawn'"),
    (dict(kind="file"), "pretrain.noise.file goes with"),
    (
      dict(kind="symmetric", file="n.npy"),
      "'n.npy' and 'symmetric'",
    ),
    (
      dict(kind="matrix", matrix=UNIT, fraction=0.1),
      "fraction is for 'redrawn' and 'symmetric'.*got 0.1",
    ),
    (
      dict(kind="matrix", matrix=UNIT[1:]),
      "must be 10 rows of 10 prob",
    ),
    (dict(kind="matrix", matrix=((1.0,),) * 10), r"rows of \[1, 1, 1"),
    (
      dict(kind="matrix", matrix=((0.5,) * 10, *UNIT[1:])),
      "row 0 must be probabilities that add up to 1",
    ),
    (
      dict(kind="matrix", matrix=((-1.0, 2.0, *(0.0,) * 8), *UNIT[1:])),
      "row 0 must be probabilities",
    ),
    (
      dict(kind="file", file="none.npy"),
      "noise.file none.npy: no such",
    ),
    (dict(kind="file", file="none.txt"), "are .npy or .csv files"),
  ],
)
def test_bad_noise_is_refused_and_nothing_is_written(tmp_path, noise, message):
  with pytest.raises((ValueError, OSError), match=message):
    run_tiny(tmp_path / "w", **diet(experiments=(noisy_study("a", **noise),)))
  assert not (tmp_path / "w").exists()


def test_a_matrix_that_changes_nothing_is_no_noise(tmp_path):
  run_tiny(tmp_path, **diet(replicates=1, experiments=(noisy_study("a"),)))
  _, log = run_tiny(
    tmp_path,
    written=True,
    **diet(
      name="b",
      replicates=1,
      experiments=(noisy_study("a", kind="matrix", matrix=UNIT),),
    ),
  )
  assert log.total == 0  # the same artefacts
  assert not (tmp_path / "studies" / "b" / "noisy_labels").exists()
