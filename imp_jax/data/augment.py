"""Augmentation and normalisation of a batch, inside the compiled loop."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, UInt8

from imp_jax.core.keys import named_key

AUGMENT_ORDERS = ("crop_flip", "flip_crop")


def augment_images(
  key: jax.Array,
  images: UInt8[Array, "batch height width channels"],
  *,
  crop_pad: int,
  flip: bool,
  order: str = "crop_flip",
) -> UInt8[Array, "batch height width channels"]:
  """Returns the images randomly cropped and mirrored, each on its own.

  Args:
    key: the step's augmentation key.
    images: a batch, before normalisation (padding is black, as in the paper).
    crop_pad: zero padding in pixels on each side before a crop of the original
      size; 0 = no crop.
    flip: mirror left to right with probability 1/2.
    order: "crop_flip" or "flip_crop"; the distribution is the same, the images
      of one key are not.
  """
  steps = {
    "crop": lambda x: _random_crop(named_key(key, "crop"), x, crop_pad),
    "flip": lambda x: _random_flip(named_key(key, "flip"), x),
  }
  if not crop_pad:
    steps["crop"] = lambda x: x
  if not flip:
    steps["flip"] = lambda x: x
  for name in order.split("_"):
    images = steps[name](images)
  return images


def normalise(
  inputs: Num[Array, "batch ..."],
  mean: Sequence[float],
  std: Sequence[float],
) -> Float[Array, "batch ..."]:
  """Returns (x - mean) / std per channel as float32; uint8 is scaled to 0..1.

  Signals, float32[batch, length], have one channel.
  """
  if inputs.ndim == 2:
    return (inputs - mean[0]) / std[0]
  x = inputs.astype(jnp.float32) / 255
  return (x - jnp.asarray(mean)) / jnp.asarray(std)


def _random_crop(key: jax.Array, images: jax.Array, pad: int) -> jax.Array:
  num, height, width, channels = images.shape
  padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  offsets = jax.random.randint(key, (num, 2), 0, 2 * pad + 1)

  def crop(image: jax.Array, offset: jax.Array) -> jax.Array:
    return jax.lax.dynamic_slice(
      image, (offset[0], offset[1], 0), (height, width, channels)
    )

  return jax.vmap(crop)(padded, offsets)


def _random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
  mirrored = jax.random.bernoulli(key, 0.5, (len(images), 1, 1, 1))
  return jnp.where(mirrored, images[:, :, ::-1], images)
