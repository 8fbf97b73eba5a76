"""Data: canonical order and sources."""

import functools
import io

import chex
import numpy as np
import pytest
from PIL import Image

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


def test_mnist1d_leaves_numpys_global_generator_alone(tmp_path):
  np.random.seed(7)
  expected = np.random.RandomState(7).rand(3)
  dataset = load_dataset("mnist1d", train_examples=80, cache_dir=str(tmp_path))
  np.testing.assert_array_equal(np.random.rand(3), expected)
  assert dataset.train.inputs.shape == (80, 40)
  assert dataset.train.inputs.dtype == np.float32
  assert len(dataset.splits["test"]) == 20
  again = load_dataset("mnist1d", train_examples=80)
  other = load_dataset("mnist1d", train_examples=80, generator_seed=1)
  assert dataset.fingerprint == again.fingerprint != other.fingerprint


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
  for changed in (dict(generator_seed=1), dict(train_examples=160)):
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


def test_npz_reads_what_was_written(tmp_path, rng):
  found = load_dataset("npz", path=npz(tmp_path / "d.npz"))
  assert found.fingerprint == random_dataset(rng).fingerprint
  assert found.name == "d" and found.num_classes == 3


@pytest.mark.parametrize(
  "changes,message",
  [
    (dict(test_label=None), "lacks test_label; has train_image"),
    (
      dict(train_label=np.array([[1], [2]])),
      r"shape \(n,\), got int64 \(2, 1\)",
    ),
    (dict(train_image=np.zeros((24, 8), "uint8")), "images uint8"),
    (
      dict(test_image=np.zeros((10, 9, 9, 3), "uint8")),
      "splits differ in shape",
    ),
    (dict(train_image=np.array([None] * 24)), "train_image is an object array"),
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
  with pytest.raises(ValueError, match="no readable .npz"):
    load_dataset("npz", path=str(tmp_path / "empty.npz"))
  with (tmp_path / "array.npz").open("wb") as file:
    np.save(file, np.zeros(3))
  with pytest.raises(ValueError, match="no readable .npz"):
    load_dataset("npz", path=str(tmp_path / "array.npz"))
  (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 no zip")
  with pytest.raises(ValueError, match="no readable .npz"):
    load_dataset("npz", path=str(tmp_path / "d.npz"))
  with pytest.raises(FileNotFoundError, match=r"no \.npz file"):
    load_dataset("npz", path=str(tmp_path / "e.npz"))
  with pytest.raises(ValueError, match="source 'csv'; known: mnist1d, npz"):
    load_dataset("csv")
  with pytest.raises(ValueError, match="data set 'imagenet'; known: cifar10"):
    load_dataset("tfds", name="imagenet", path=str(tmp_path))
  with pytest.raises(FileNotFoundError) as error:
    load_dataset("tfds", name="mnist", path=str(tmp_path))
  assert 'python -c "import tensorflow_datasets as tfds' in str(error.value)
  assert "download_and_prepare()" in str(error.value)


def prepare_tfds(folder, arrays):
  """A prepared CIFAR-10 look-alike, as array_record, without TensorFlow."""
  import tensorflow_datasets as tfds

  with tfds.core.registered.skip_registration():

    class Cifar10(tfds.core.GeneratorBasedBuilder):
      name = "cifar10"
      VERSION = tfds.core.Version("3.0.2")

      def _info(self):
        features = {
          "image": tfds.features.Image(shape=(8, 8, 3), encoding_format="png"),
          "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
        }
        return tfds.core.DatasetInfo(
          builder=self, features=tfds.features.FeaturesDict(features)
        )

      def _split_generators(self, dl_manager):
        return {s: self._generate_examples(s) for s in arrays}

      def _generate_examples(self, split):
        for i, (image, label) in enumerate(zip(*arrays[split], strict=True)):
          png = io.BytesIO()
          Image.fromarray(image).save(png, format="png")
          png.seek(0)
          yield i, {"image": png, "label": int(label)}

  Cifar10(
    data_dir=str(folder), file_format="array_record"
  ).download_and_prepare()


def test_tfds_equals_npz_and_is_decoded_once(tmp_path, rng, monkeypatch):
  arrays = random_arrays(rng)
  prepare_tfds(tmp_path, arrays)
  found = load_dataset("tfds", name="cifar10", path=str(tmp_path))
  by_npz = make_dataset("x", arrays)
  assert found.fingerprint == by_npz.fingerprint
  chex.assert_trees_all_equal(found.train.inputs, by_npz.train.inputs)
  chex.assert_trees_all_equal(found.train.labels, by_npz.train.labels)
  assert found.class_names == ("a", "b", "c")
  assert found.mean == (0.4914, 0.4822, 0.4465)
  monkeypatch.setattr("imp_jax.data.sources._decode_tfds", None)  # not again
  again = load_dataset("tfds", name="cifar10", path=str(tmp_path))
  assert again.fingerprint == found.fingerprint


def test_tfds_reads_without_tensorflow(tmp_path, rng):
  import sys

  prepare_tfds(tmp_path, random_arrays(rng))
  load_dataset(
    "tfds", name="cifar10", path=str(tmp_path), cache_dir=str(tmp_path / "c")
  )
  assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("merge,train", [(True, 20), (False, 10)])
def test_cinic10_merged_or_separate(tmp_path, rng, merge, train):
  import tensorflow_datasets as tfds

  from imp_jax.data.cinic10 import CLASS_NAMES, Cinic10

  for split in ("train", "valid", "test"):
    for label in CLASS_NAMES:
      folder = tmp_path / "manual" / "CINIC-10" / split / label
      folder.mkdir(parents=True)
      image = rng.integers(0, 256, (32, 32, 3), dtype="uint8")
      mode = "L" if label == "ship" else "RGB"  # some are grey
      Image.fromarray(image).convert(mode).save(folder / "x.png")
  Cinic10(
    data_dir=str(tmp_path), file_format="array_record"
  ).download_and_prepare(
    download_config=tfds.download.DownloadConfig(
      manual_dir=str(tmp_path / "manual")
    )
  )
  found = load_dataset(
    "tfds", name="cinic10", path=str(tmp_path), merge_valid=merge
  )
  assert len(found.train) == train
  assert ("valid" in found.splits) == (not merge)
  assert found.class_names == CLASS_NAMES
