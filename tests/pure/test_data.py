"""Data: canonical order and sources."""

import functools
import pickle
import random
import warnings
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.data import signals
from imp_jax.data.augment import normalise
from imp_jax.data.dataset import make_dataset, with_valid_split
from imp_jax.data.sources import load_dataset
from tests.tiny import random_arrays, random_dataset


def permuted(arrays, order):
  inputs, labels = arrays["train"]
  return arrays | {"train": (inputs[order], labels[order])}


def test_class_sorted_and_shuffled_sources_are_one_data_set(rng):
  arrays = random_arrays(rng)
  by_class = np.argsort(arrays["train"][1], kind="stable")
  one = make_dataset("sorted", permuted(arrays, by_class))
  two = make_dataset("shuffled", permuted(arrays, rng.permutation(24)))
  assert one.fingerprint == two.fingerprint
  np.testing.assert_array_equal(one.train.inputs, two.train.inputs)
  np.testing.assert_array_equal(one.train.labels, two.train.labels)
  assert not np.array_equal(one.train.source_index, two.train.source_index)
  # The canonical order is no class order.
  assert (np.diff(one.train.labels) < 0).any()


def test_source_index_leads_back_to_the_source(rng):
  arrays = random_arrays(rng)
  train = make_dataset("x", arrays).train
  np.testing.assert_array_equal(
    arrays["train"][0][train.source_index], train.inputs
  )
  np.testing.assert_array_equal(
    arrays["train"][1][train.source_index], train.labels
  )


def test_duplicates_keep_source_order_among_themselves(rng):
  inputs, labels = random_arrays(rng)["train"]
  inputs[5], labels[5] = inputs[17], labels[17]
  train = make_dataset("x", {"train": (inputs, labels)}).train
  where = [int(i) for i in train.source_index if i in (5, 17)]
  assert where == [5, 17]
  assert (
    abs(
      np.flatnonzero(train.source_index == 5)[0]
      - np.flatnonzero(train.source_index == 17)[0]
    )
    == 1
  )


@pytest.mark.parametrize(
  "change",
  [
    lambda x, y: (x, (y + 1) % 3),
    lambda x, y: (
      np.where(np.arange(x.size).reshape(x.shape) == 7, 255 - x, x),
      y,
    ),
    lambda x, y: (x[:-1], y[:-1]),
  ],
)
def test_the_fingerprint_sees_every_label_pixel_and_example(rng, change):
  arrays = random_arrays(rng)
  other = arrays | {"train": change(*arrays["train"])}
  assert (
    make_dataset("x", arrays).fingerprint
    != make_dataset("x", other).fingerprint
  )


@pytest.mark.parametrize(
  "train,message",
  [
    ((np.zeros((0, 4, 4, 3), "uint8"), np.zeros(0, int)), "holds no example"),
    (
      (np.zeros((3, 4, 4, 3), "uint8"), np.zeros(3, int)),
      "at least two classes",
    ),
    (
      (np.zeros((3, 4, 4, 3), "uint8"), np.array([0, 1, 5])),
      r"0\.\.2 .*got 0\.\.5",
    ),
    ((np.zeros((3, 4, 4, 3), "uint8"), np.array([0, 1, -1])), r"got -1\.\.1"),
    (
      (np.zeros((3, 4, 4, 3), "uint8"), np.array([0, 1])),
      "3 inputs but 2 labels",
    ),
    (
      (np.zeros((2, 4, 4, 3), "uint8"), np.array([0.0, 1.0])),
      "must be integers",
    ),
    ((np.zeros((2, 4, 4, 3)), np.array([0, 1])), "images uint8"),
    ((np.array([[1.0, np.nan], [0, 0]]), np.array([0, 1])), "must be finite"),
  ],
)
def test_bad_arrays_are_refused(train, message):
  with pytest.raises(ValueError, match=message):
    make_dataset("bad", {"train": train}, class_names=("a", "b", "c"))


def test_measured_constants_are_the_channel_moments(rng):
  arrays = random_arrays(rng)
  dataset = make_dataset("x", arrays)
  x = arrays["train"][0] / 255
  np.testing.assert_allclose(dataset.mean, x.mean((0, 1, 2)), atol=1e-6)
  np.testing.assert_allclose(dataset.std, x.std((0, 1, 2)), atol=1e-6)


@pytest.mark.parametrize("unit", [1e-30, 1.4e-6, 1e-3, 1.0, 50.0, 1e20])
def test_signals_are_normalised_in_any_unit(rng, unit):
  """The constants have significant digits, not decimals."""
  x = 0.3 + rng.normal(size=(200, 40))
  labels = np.arange(200) % 4
  dataset = make_dataset("x", {"train": (x * unit, labels)})
  z = np.asarray(
    normalise(jnp.asarray(dataset.train.inputs), dataset.mean, dataset.std)
  )
  np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=1e-5)
  # A unit changes the constants' exponent, not their digits.
  one = make_dataset("x", {"train": (x, labels)})
  np.testing.assert_allclose(
    [dataset.mean[0] / unit, dataset.std[0] / unit],
    [one.mean[0], one.std[0]],
    rtol=2e-5,
  )


def test_constants_have_six_significant_digits_of_the_deviation():
  x = np.float32([[1.0, 2.0], [4.0, 9.0]]) / 1024  # exact in float32
  dataset = make_dataset("x", {"train": (x, np.arange(2))})
  # mean 4 / 1024, deviation sqrt(9.5) / 1024
  assert dataset.mean == (0.00390625,)
  assert dataset.std == (0.00300997,)


@pytest.mark.parametrize(
  "mean,std,message",
  [
    (0.0, 1e-36, "beyond what float32 computes with"),
    (0.0, 3e35, "beyond what float32 computes with"),
    (1e4, 1e-2, "subtract their mean before they are saved"),
    (0.0, 1e39, "must be finite float32 numbers"),
  ],
)
def test_signals_that_float32_cannot_hold_are_refused(rng, mean, std, message):
  x = mean + std * rng.normal(size=(40, 10))
  with pytest.raises(ValueError, match=message):
    make_dataset("x", {"train": (x, np.arange(40) % 2)})


@pytest.mark.parametrize("first,empty", [((1, 2), 0), ((0, 2), 1)])
def test_a_class_without_examples_is_refused_unless_it_has_a_name(
  rng, first, empty
):
  """Labels from 1, or with a hole; label noise would draw the empty class."""
  inputs, labels = random_arrays(rng, classes=2)["train"]
  labels = np.asarray(first)[labels]
  with pytest.raises(
    ValueError, match=rf"class {empty} has no ex.* 0\.\.1, or"
  ):
    make_dataset("x", {"train": (inputs, labels)})
  names = ("a", "b", "c")
  dataset = make_dataset("x", {"train": (inputs, labels)}, class_names=names)
  assert dataset.num_classes == 3


@pytest.mark.parametrize(
  "form",
  [
    lambda y: y[:, None],
    lambda y: np.eye(3, dtype=np.uint8)[y],
    lambda y: np.eye(3)[y],
    lambda y: np.eye(3, dtype=bool)[y],
  ],
)
def test_labels_may_be_a_column_or_one_hot(rng, form):
  arrays = random_arrays(rng)
  inputs, labels = arrays["train"]
  other = arrays | {"train": (inputs, form(labels))}
  assert (
    make_dataset("x", other).fingerprint
    == make_dataset("x", arrays).fingerprint
  )


def test_images_with_channels_first_are_refused(rng):
  """Whatever the constants; grey ones too; others have so few rows."""
  for shape in ((3, 16, 16), (1, 28, 28), (4, 9, 7)):
    arrays = random_arrays(rng, shape=shape)
    with pytest.raises(ValueError, match=rf"their {shape[0]} channels first"):
      make_dataset("x", arrays)
  for shape in ((16, 16, 3), (4, 16, 3), (3, 40, 1), (16, 16, 2)):
    made = make_dataset("x", random_arrays(rng, shape=shape))
    assert made.input_shape == shape


def test_test_examples_that_are_in_training_warn_with_their_count(rng):
  arrays = random_arrays(rng)
  (x, y), (xt, yt) = arrays["train"], arrays["test"]
  leaked = np.concatenate([x[:4], xt[4:]])
  labels = np.concatenate([y[:3], [(y[3] + 1) % 3], yt[4:]])
  with pytest.warns(UserWarning) as told:
    make_dataset("x", arrays | {"test": (leaked, labels)})
  assert [str(w.message) for w in told] == [
    "x: 4 of 10 test examples are also training examples, 1 of them under "
    "another label"
  ]


def test_one_input_under_two_labels_warns_with_the_count(rng):
  arrays = random_arrays(rng)
  x, y = arrays["train"]
  again = (
    np.concatenate([x, x[:2], x[5:6]]),
    np.append(y, [*(y[:2] + 1) % 3, y[5]]),
  )
  with pytest.warns(UserWarning) as told:
    make_dataset("x", arrays | {"train": again})
  assert [str(w.message) for w in told] == [
    "x: 2 inputs are training examples under more than one label"
  ]


def test_a_validation_split_of_repeats_warns_and_empties_no_class(rng, key):
  x = rng.integers(0, 256, (20, 8, 8, 3), dtype="uint8")
  labels = np.arange(20) % 2
  twice = {"train": (np.concatenate([x, x]), np.append(labels, labels))}
  with pytest.warns(UserWarning, match=r"\d+ of 15 valid examples are also"):
    with_valid_split(make_dataset("x", twice), 15, key)
  rare = {"train": (x, np.array([1] + [0] * 19))}
  dataset = make_dataset("x", rare, class_names=("often", "once"))
  with pytest.raises(ValueError, match="no training example of class once"):
    with_valid_split(dataset, 19, key)


def test_data_without_repeats_are_read_without_a_word(rng):
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    random_dataset(rng)


def test_valid_split_is_disjoint_and_independent_of_source_order(rng, key):
  arrays = random_arrays(rng)
  one = with_valid_split(make_dataset("x", arrays), 6, key)
  other = make_dataset("x", permuted(arrays, rng.permutation(24)))
  two = with_valid_split(other, 6, key)
  assert (len(one.train), len(one.splits["valid"])) == (18, 6)
  both = [*one.train.source_index, *one.splits["valid"].source_index]
  assert sorted(both) == list(range(24))
  np.testing.assert_array_equal(
    one.splits["valid"].inputs, two.splits["valid"].inputs
  )
  assert one.fingerprint == two.fingerprint != other.fingerprint
  with pytest.raises(ValueError, match=r"1\.\.23, got 24"):
    with_valid_split(other, 24, key)


@pytest.mark.slow
def test_mnist1d_leaves_the_global_generators_alone(tmp_path, monkeypatch):
  np.random.seed(7)
  expected = np.random.RandomState(7).rand(3)
  put_back = []  # types checked under tests draw from Python's own
  monkeypatch.setattr(random, "setstate", put_back.append)
  dataset = load_dataset("mnist1d", train_examples=80, cache_dir=str(tmp_path))
  np.testing.assert_array_equal(np.random.rand(3), expected)
  assert len(put_back) == 1
  assert dataset.train.inputs.shape == (80, 40)
  assert dataset.train.inputs.dtype == np.float32
  assert len(dataset.splits["test"]) == 10_000
  load = functools.partial(
    load_dataset, "mnist1d", train_examples=80, test_examples=10
  )
  again, other = load(), load(generator_seed=1)
  assert dataset.fingerprint == again.fingerprint != other.fingerprint


def test_mnist1d_training_signals_are_the_packages_own(tmp_path):
  from mnist1d import data as generator

  args = generator.get_dataset_args()
  args.num_samples = 100
  made = generator.make_dataset(args)
  for test_examples in (10, 33):
    train = signals.signal_arrays(42, 80, test_examples, str(tmp_path))["train"]
    np.testing.assert_array_equal(train[0], made["x"].astype(np.float32))
    np.testing.assert_array_equal(train[1], made["y"])
  # The scale that test signals get is the one that the package gave these.
  raw = signals.raw_signals(42, np.repeat(np.arange(10), 10))
  raw = raw[np.random.permutation(100)]  # as the package goes on
  whole = np.concatenate([made["x"], made["x_test"]])
  np.testing.assert_array_equal((raw - raw.mean()) / raw.std(), whole)


@pytest.mark.slow
def test_mnist1d_test_signals_have_a_seed_and_a_scale_of_their_own(tmp_path):
  # sha256("mnist1d test signals 42"), its first four bytes, little-endian.
  assert signals.test_seed(42) == 1498327304
  arrays = signals.signal_arrays(42, 4000, 1003, str(tmp_path))
  x, y = arrays["test"]
  assert x.dtype == np.float32 and x.shape == (1003, 40)
  assert np.bincount(y).tolist() == [101] * 3 + [100] * 7
  of_train = signals.raw_signals(42, np.repeat(np.arange(10), 500))
  of_train = of_train[np.random.permutation(5000)]
  drawn = signals.raw_signals(signals.test_seed(42), y)
  expected = (drawn - of_train.mean()) / of_train.std()
  np.testing.assert_array_equal(x, expected.astype(np.float32))
  # Not standardised by themselves, and no training signal among them.
  assert x.mean() != pytest.approx(0, abs=1e-5)
  assert x.std() == pytest.approx(1, abs=0.05)
  seen = {row.tobytes() for row in arrays["train"][0]}
  assert not seen & {row.tobytes() for row in x}


@pytest.mark.parametrize("examples", [9, 0])
def test_fewer_test_signals_than_classes_are_refused(examples):
  with pytest.raises(ValueError, match=f"at least 10, .*got {examples}"):
    load_dataset("mnist1d", test_examples=examples)


def test_test_signals_are_asked_of_the_generator_only():
  with pytest.raises(ValueError, match="got 500: 'npz' brings its own test"):
    load_dataset("npz", path="nowhere.npz", test_examples=500)


@pytest.mark.slow
def test_mnist1d_is_generated_once(tmp_path, monkeypatch):
  import mnist1d.data

  load = functools.partial(
    load_dataset, "mnist1d", train_examples=80, cache_dir=str(tmp_path)
  )
  first = load()
  monkeypatch.setattr(mnist1d.data, "make_dataset", None)
  again = load()
  assert again.fingerprint == first.fingerprint
  np.testing.assert_array_equal(again.train.inputs, first.train.inputs)
  assert again.train.inputs.dtype == first.train.inputs.dtype == np.float32
  for changed in (
    dict(generator_seed=1),
    dict(train_examples=160),
    dict(test_examples=10),
  ):
    with pytest.raises(TypeError):  # generated, not read
      load(**changed)


def npz(path, **changes):
  rng = np.random.default_rng(0)
  arrays = {
    f"{s}_{k}": v
    for s, (x, y) in random_arrays(rng).items()
    for k, v in (("image", x), ("label", y))
  }
  arrays |= changes
  np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
  return str(path)


def test_npz_may_bring_its_own_validation_split(tmp_path, rng):
  x, y = rng.integers(0, 256, (6, 8, 8, 3), dtype="uint8"), np.arange(6) % 3
  path = npz(tmp_path / "d.npz", valid_image=x, valid_label=y)
  found = load_dataset("npz", path=path)
  valid = found.splits["valid"]
  np.testing.assert_array_equal(valid.inputs, x[valid.source_index])
  np.testing.assert_array_equal(valid.labels, y[valid.source_index])
  assert found.fingerprint != random_dataset(rng).fingerprint


def test_arrays_that_npz_files_have_besides_are_named(tmp_path):
  path = npz(tmp_path / "d.npz", val_image=np.zeros(3))
  with pytest.warns(UserWarning, match=r"d\.npz: ignores val_image"):
    load_dataset("npz", path=path)


def header(text):
  """An .npy file with a header of one's own and no data."""
  data = text.encode() + b"\n"
  return b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data


@pytest.mark.parametrize(
  "content",
  [
    header(
      "{'descr': '|u1', 'fortran_order': False, 'shape': (999999999999, 32), }"
    ),
    header("(" * 5000),
    header("{'descr': '|O', 'fortran_order': False, 'shape': (24,), }"),
    header("{}"),
    b"",
    b"\x93NUM",
    pickle.dumps({"x": 1}),
  ],
  ids=[
    "huge",
    "parentheses",
    "objects",
    "empty record",
    "empty",
    "cut",
    "dict",
  ],
)
def test_hostile_arrays_in_an_npz_file_are_refused(tmp_path, content):
  path = npz(tmp_path / "d.npz", train_image=None)
  with zipfile.ZipFile(path, "a") as archive:
    archive.writestr("train_image.npy", content)
  with pytest.raises(
    ValueError, match="train_image: must be an array"
  ) as error:
    load_dataset("npz", path=path)
  line = str(error.value)
  assert "\n" not in line and path in line and "data.path" in line
  assert "allow_pickle" not in line


@pytest.mark.parametrize(
  "content,kind",
  [
    (pickle.dumps({"x": 1}), "a Python pickle"),
    (b"PAR1....", "a parquet file"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x1f\x8b..", "compressed by gzip"),
    (b"hello", "it is none"),
  ],
)
def test_files_that_are_no_npz_are_named_for_what_they_are(
  tmp_path, content, kind
):
  (tmp_path / "d.npz").write_bytes(content)
  with pytest.raises(ValueError, match=rf"must be an \.npz file.*{kind}"):
    load_dataset("npz", path=str(tmp_path / "d.npz"))


@pytest.mark.parametrize(
  "path,message",
  [
    ("http://example/d.npz", "is a URL"),
    ("", "no such file"),
    (".", "is a folder"),
  ],
)
def test_paths_that_are_no_files_are_refused(path, message):
  with pytest.raises((ValueError, OSError), match=message) as error:
    load_dataset("npz", path=path)
  assert "data.path" in str(error.value)


def test_npz_reads_what_was_written(tmp_path, rng):
  found = load_dataset("npz", path=npz(tmp_path / "d.npz"))
  assert found.fingerprint == random_dataset(rng).fingerprint
  assert found.name == "d" and found.num_classes == 3


@pytest.mark.parametrize(
  "changes,message",
  [
    (dict(test_label=None), "lacks test_label; has train_image"),
    (dict(train_label=np.array([[1], [2]])), "24 inputs but 2 labels"),
    (dict(train_label=np.full((24, 3), 0.3)), r"\(24, 3\) are not one-hot"),
    (dict(train_label=np.arange(24) / 1.0), "must be integers"),
    (dict(valid_label=np.zeros(5, int)), "lacks valid_image; has train_image"),
    (
      dict(train_image=np.zeros((24, 3, 8, 8), "uint8")),
      r"3 channels first.*inputs.transpose\(0, 2, 3, 1\)",
    ),
    (
      dict(train_image=np.zeros((8, 8, 3, 24), "uint8")),
      r"8 inputs but 24 labels; examples come first: .*\(3, 0, 1, 2\)",
    ),
    (dict(train_image=np.zeros((24, 0), float)), "inputs are empty"),
    (dict(train_image=np.zeros((24, 0, 8, 3), "uint8")), "inputs are empty"),
    (dict(train_image=np.uint8(3)), "must be arrays, got shapes"),
    (dict(train_label=np.int64(3)), "must be arrays, got shapes"),
    (dict(train_image=np.zeros((24, 8), "uint8")), "images uint8"),
    (
      dict(test_image=np.zeros((10, 9, 9, 3), "uint8")),
      "splits differ in shape",
    ),
    (
      dict(train_image=np.array([None] * 24)),
      "train_image: must be an array.*Python objects",
    ),
    (dict(train_label=np.zeros(24, int)), "two classes"),
  ],
)
def test_bad_npz_files_are_refused(tmp_path, changes, message):
  with pytest.raises(ValueError, match=message):
    load_dataset("npz", path=npz(tmp_path / "d.npz", **changes))


def test_labels_outside_the_training_classes_are_refused(tmp_path):
  labels = np.arange(10) % 3
  labels[4] = 7
  with pytest.raises(ValueError, match=r"test: labels must lie in 0\.\.2"):
    load_dataset("npz", path=npz(tmp_path / "d.npz", test_label=labels))
  wraps = np.arange(24) % 3 + 2**32  # int32 would fold it to 0..2
  with pytest.raises(ValueError, match="number the classes from 0, got 42949"):
    load_dataset("npz", path=npz(tmp_path / "d.npz", train_label=wraps))
  with pytest.raises(ValueError, match="got 1000001 among 24 examples"):
    load_dataset(
      "npz", path=npz(tmp_path / "d.npz", train_label=np.arange(24) % 2 + 10**6)
    )


def test_unreadable_and_missing_files(tmp_path):
  (tmp_path / "empty.npz").write_bytes(b"")
  with pytest.raises(ValueError, match="must be an .npz file"):
    load_dataset("npz", path=str(tmp_path / "empty.npz"))
  with (tmp_path / "array.npz").open("wb") as file:
    np.save(file, np.zeros(3))
  with pytest.raises(ValueError, match="must be an .npz file"):
    load_dataset("npz", path=str(tmp_path / "array.npz"))
  (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 no zip")
  with pytest.raises(ValueError, match="must be an .npz file"):
    load_dataset("npz", path=str(tmp_path / "d.npz"))
  with pytest.raises(FileNotFoundError, match="e.npz: no such file"):
    load_dataset("npz", path=str(tmp_path / "e.npz"))
  with pytest.raises(ValueError, match="source 'csv'; known: mnist1d, npz"):
    load_dataset("csv")
  with pytest.raises(ValueError, match="data set 'imagenet'; known: cifar10"):
    load_dataset("tfds", name="imagenet", path=str(tmp_path))
  with pytest.raises(FileNotFoundError) as error:
    load_dataset("tfds", name="mnist", path=str(tmp_path))
  assert 'python -c "import tensorflow_datasets as tfds' in str(error.value)
  assert "download_and_prepare()" in str(error.value)
