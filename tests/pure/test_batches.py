"""Batch plans, augmentation and normalisation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.data.augment import augment_images, normalise
from imp_jax.data.batches import batch_plan, is_padded, steps_per_epoch


@pytest.mark.parametrize(
  "num,batch,last,steps,padded",
  [
    (50_000, 128, "drop", 390, False),
    (50_000, 128, "keep", 391, True),
    (256, 128, "keep", 2, False),
    (100, 128, "drop", 1, True),
    (100, 128, "keep", 1, True),
  ],
)
def test_steps_per_epoch(num, batch, last, steps, padded):
  assert steps_per_epoch(num, batch, last) == steps
  assert is_padded(num, batch, last) == padded


def plan(
  num=10, start=0, stop=12, batch=4, last="drop", words=(1, 2), keep=None
):
  keep = np.arange(num) if keep is None else keep
  return batch_plan(
    keep, words, start=start, stop=stop, batch_size=batch, last_batch=last
  )


def test_every_epoch_is_a_permutation():
  kept = plan(last="keep")  # 3 steps an epoch, the last with 2 of 4 examples
  for epoch in kept.reshape(4, 12):
    assert sorted(epoch) == [-1, -1, *range(10)]
  assert (kept.reshape(4, 12)[:, 10:] == -1).all()
  dropped = plan(last="drop")  # 2 steps an epoch
  for epoch in dropped.reshape(6, 8):
    assert len(set(epoch)) == 8 and min(epoch) >= 0
  assert len({tuple(e) for e in dropped.reshape(6, 8)}) == 6


@pytest.mark.parametrize("last", ["drop", "keep"])
def test_a_stream_can_be_entered_at_any_step(last):
  whole = plan(last=last)
  for start in range(12):
    for stop in (start, start + 1, 12):
      np.testing.assert_array_equal(
        plan(last=last, start=start, stop=stop), whole[start:stop]
      )


def test_a_subset_smaller_than_a_batch_is_used_whole_and_padded():
  keep = np.array([30, 40, 50])
  for last in ("drop", "keep"):
    small = plan(keep=keep, last=last)
    assert small.shape == (12, 4)
    for step in small:
      assert sorted(step) == [-1, 30, 40, 50]


def test_the_data_order_of_a_key_never_changes():
  """Golden: raw PCG64 bits, which NumPy keeps stable. It changes every run."""
  assert plan(stop=2).tolist() == GOLDEN_PLAN


GOLDEN_PLAN = [[5, 6, 9, 3], [2, 1, 0, 8]]


# -- augmentation ------------------------------------------------------------


def test_augmentation_against_numpy(key, rng):
  """Every image is a flip or not of one crop of its zero-padded self."""
  images = rng.integers(1, 256, (16, 6, 6, 3), dtype="uint8")
  pad = 2
  for order in ("crop_flip", "flip_crop"):
    out = np.asarray(
      jax.jit(augment_images, static_argnames=("crop_pad", "flip", "order"))(
        key, jnp.asarray(images), crop_pad=pad, flip=True, order=order
      )
    )
    seen = set()
    for image, got in zip(images, out, strict=True):
      padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
      options = {}
      for flip in (False, True):
        for y in range(2 * pad + 1):
          for x in range(2 * pad + 1):
            crop = padded[y : y + 6, x : x + 6]
            if flip and order == "crop_flip":
              crop = crop[:, ::-1]
            elif flip:
              crop = padded[:, ::-1][y : y + 6, x : x + 6]
            options[crop.tobytes()] = (flip, y, x)
      assert got.tobytes() in options
      seen.add(options[got.tobytes()])
    assert {flip for flip, _, _ in seen} == {False, True}
    assert len({(y, x) for _, y, x in seen}) > 8


def test_augmentation_off_is_identity(key, rng):
  images = jnp.asarray(rng.integers(0, 256, (4, 6, 6, 3), dtype="uint8"))
  chex.assert_trees_all_equal(
    augment_images(key, images, crop_pad=0, flip=False), images
  )


def test_normalise_by_hand():
  images = jnp.array([[[[0, 255]]]], "uint8")
  out = normalise(images, (0.5, 0.0), (0.5, 2.0))
  assert out.ravel().tolist() == [-1.0, 0.5]
  assert normalise(jnp.array([[3.0]]), (1.0,), (4.0,)).tolist() == [[0.5]]
