"""Images averaged to fewer pixels; a class-balanced draw of the examples."""

import jax
import numpy as np
import pytest

from imp_jax.data.dataset import make_dataset, with_subsample, with_valid_split
from imp_jax.data.score_files import load_keep_list, load_scores
from imp_jax.data.sources import CONSTANTS, load_dataset
from tests.score_files import saved
from tests.tiny import random_arrays, write_npz

# By hand: the blocks of 2 x 2 sum to 10, 6, 1018 and 2; halves go up.
PIXELS = [[1, 2, 0, 1], [3, 4, 2, 3], [255, 254, 0, 1], [254, 255, 1, 0]]
MEANS = [[3, 2], [255, 1]]


def image_arrays(rng, height=8, width=8, channels=3, train=30):
  def split(n):
    shape = (n, height, width, channels)
    return rng.integers(0, 256, shape).astype(np.uint8), np.arange(n) % 3

  return {"train": split(train), "test": split(12)}


def block_means(images, block):
  """Each block's mean, half up, by loops over exact integers."""
  count, height, width, channels = images.shape
  out = np.zeros((count, height // block, width // block, channels), np.uint8)
  for at in np.ndindex(*out.shape):
    n, i, j, c = at
    rows = slice(i * block, (i + 1) * block)
    columns = slice(j * block, (j + 1) * block)
    total = sum(map(int, images[n, rows, columns, c].ravel()))
    out[at] = (2 * total + block**2) // (2 * block**2)
  return out


def test_a_block_of_pixels_becomes_its_mean_and_halves_go_up():
  images = np.array([PIXELS, np.zeros((4, 4))], np.uint8)
  dataset = make_dataset("x", {"train": (images, np.array([0, 1]))}, side=2)
  one = dataset.train.inputs[np.asarray(dataset.train.labels) == 0]
  np.testing.assert_array_equal(one[0, ..., 0], MEANS)


@pytest.mark.parametrize(
  "height,width,side,block", [(8, 8, 4, 2), (8, 8, 1, 8), (12, 6, 2, 3)]
)
def test_averaged_images_are_the_reference(rng, height, width, side, block):
  arrays = image_arrays(rng, height, width)
  dataset = make_dataset("x", arrays, side=side)
  for name, split in dataset.splits.items():
    wanted = block_means(arrays[name][0], block)[split.source_index]
    np.testing.assert_array_equal(split.inputs, wanted)
    assert split.inputs.dtype == np.uint8
  # As if the source had had them so: constants, order and fingerprint.
  small = {
    name: (block_means(inputs, block), labels)
    for name, (inputs, labels) in arrays.items()
  }
  wanted = make_dataset("x", small)
  assert dataset.fingerprint == wanted.fingerprint
  assert (dataset.mean, dataset.std) == (wanted.mean, wanted.std)
  assert dataset.fingerprint != make_dataset("x", arrays).fingerprint


def test_a_resize_to_the_same_side_changes_nothing(rng):
  arrays = image_arrays(rng)
  same = make_dataset("x", arrays, side=8)
  assert same.fingerprint == make_dataset("x", arrays).fingerprint


@pytest.mark.parametrize(
  "height,width,side,sides",
  [(8, 8, 3, "1, 2, 4, 8"), (8, 8, 16, "1, 2, 4, 8"), (12, 8, 1, "2, 4, 8")],
)
def test_a_side_that_does_not_divide_is_refused_with_those_that_do(
  rng, tmp_path, height, width, side, sides
):
  path = write_npz(tmp_path / "d.npz", image_arrays(rng, height, width))
  with pytest.raises(ValueError) as caught:
    load_dataset("npz", path=path, resize=side)
  line = str(caught.value)
  assert f"data.resize={side} does not divide images of {height} x {width}" in (
    line
  )
  assert line.endswith(f"sides that do: {sides}") and "\n" not in line


def test_the_papers_constants_are_not_those_of_reduced_images(rng, monkeypatch):
  arrays = image_arrays(rng)
  monkeypatch.setattr(
    "imp_jax.data.sources.prepared_arrays", lambda *_: (arrays, "abc")
  )
  for given in ({}, {"resize": 8}):  # 8 x 8 they are
    whole = load_dataset("tfds", name="cifar10", **given)
    assert (whole.mean, whole.std) == CONSTANTS["cifar10"]
  for reduced in ({"resize": 4}, {"subsample": 12}):
    dataset = load_dataset("tfds", name="cifar10", **reduced)
    x = np.asarray(dataset.train.inputs, np.float64) / 255
    np.testing.assert_allclose(dataset.mean, x.mean((0, 1, 2)), atol=2e-6)
    np.testing.assert_allclose(dataset.std, x.std((0, 1, 2)), atol=2e-6)
    given = {"mean": (0.5,) * 3, "std": (0.2,) * 3}
    dataset = load_dataset("tfds", name="cifar10", **reduced, **given)
    assert (dataset.mean, dataset.std) == ((0.5,) * 3, (0.2,) * 3)


@pytest.mark.parametrize("size", [3, 11, 30])
def test_a_subsample_has_as_many_of_each_class(rng, size):
  dataset = make_dataset("x", image_arrays(rng))
  drawn = with_subsample(dataset, size)
  counts = np.bincount(drawn.train.labels, minlength=3).tolist()
  assert counts == [size // 3 + (c < size % 3) for c in range(3)]
  whole = dict(
    zip(dataset.train.source_index, dataset.train.inputs, strict=True)
  )
  for i, image in zip(
    drawn.train.source_index, drawn.train.inputs, strict=True
  ):
    np.testing.assert_array_equal(image, whole[i])
  assert (drawn.fingerprint == dataset.fingerprint) == (size == 30)
  assert drawn.splits["test"] is dataset.splits["test"]


def test_a_subsample_depends_on_what_the_examples_are_alone(rng):
  arrays = image_arrays(rng)
  inputs, labels = arrays["train"]
  order = rng.permutation(30)
  other = arrays | {"train": (inputs[order], labels[order])}
  one, two = (with_subsample(make_dataset("x", a), 12) for a in (arrays, other))
  assert one.fingerprint == two.fingerprint
  np.testing.assert_array_equal(
    one.train.source_index, order[two.train.source_index]
  )


def test_files_of_all_examples_serve_a_subsample_and_its_training_split(
  rng, tmp_path
):
  dataset = make_dataset("x", image_arrays(rng))
  values = rng.normal(size=30).astype(np.float32)
  path = saved(tmp_path, values, dataset)
  by_source = dict(zip(dataset.train.source_index, values, strict=True))
  drawn = with_subsample(dataset, 12)
  left = with_valid_split(drawn, 4, jax.random.key(0))
  sizes = [len(listing) for listing in left.listings]
  assert sizes == [8, 12, 30]
  for some in (drawn, left):
    wanted = [by_source[i] for i in some.train.source_index]
    np.testing.assert_array_equal(load_scores(path, some)[0], wanted)
  # Scores of the subsample serve what a validation split left of it.
  of_drawn = np.arange(12, dtype=np.float32)
  path = saved(tmp_path, of_drawn, drawn, "drawn.csv")
  by_source = dict(zip(drawn.train.source_index, of_drawn, strict=True))
  wanted = [by_source[i] for i in left.train.source_index]
  np.testing.assert_array_equal(load_scores(path, left)[0], wanted)
  # A list of positions in the source keeps those that are left.
  positions = np.arange(0, 30, 2)
  np.save(tmp_path / "keep.npy", positions)
  with pytest.warns(UserWarning, match="without a record|no record"):
    kept = load_keep_list(str(tmp_path / "keep.npy"), left)
  assert sorted(left.train.source_index[kept]) == sorted(
    set(positions) & set(left.train.source_index)
  )


@pytest.mark.parametrize(
  "size,message",
  [
    (31, r"data.subsample must be 0 \(all\) or in 3\.\.30, .*, got 31"),
    (2, r"data.subsample must be 0 \(all\) or in 3\.\.30, .*, got 2"),
  ],
)
def test_a_subsample_that_cannot_be_is_refused(rng, size, message):
  dataset = make_dataset("x", image_arrays(rng))
  with pytest.raises(ValueError, match=message):
    with_subsample(dataset, size)


def test_a_class_that_is_smaller_than_its_share_is_named(rng):
  inputs, _ = random_arrays(rng)["train"]
  labels = np.array([0] * 20 + [1] * 4)
  dataset = make_dataset("x", {"train": (inputs, labels)})
  with pytest.raises(
    ValueError,
    match="data.subsample=10: .* asks for 5 examples of class 1, which has 4",
  ):
    with_subsample(dataset, 10)
