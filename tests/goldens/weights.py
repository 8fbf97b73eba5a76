"""Weights, inputs and labels that both sides of the golden tests draw alike.

Only numpy, so that PyTorch's script and the Flax test share it: neither the
weights nor the inputs are committed. Kernels are in Flax's layouts: [height,
width, in, out] and [in, out].
"""

import zlib

import numpy as np

# Larger leaves are compared in this many entries, and in their norm.
MAX_WHOLE = 1024
ENTRIES = 48


def _random(name: str) -> np.random.RandomState:
  # RandomState's streams are frozen; those of default_rng may change.
  return np.random.RandomState(zlib.crc32(name.encode()))


def golden_leaf(path: str, shape: tuple[int, ...]) -> np.ndarray:
  """Returns the float32 leaf at a Flax path such as "stem_conv/kernel".

  Nothing is 0 or 1 as after initialisation, where a forgotten bias, scale or
  running statistic would not show.
  """
  random, kind = _random(path), path.split("/")[-1]
  if kind == "kernel":
    fan_in = np.prod(shape[:-1])
    leaf = random.standard_normal(shape) * np.sqrt(2 / fan_in)
  elif kind == "scale":
    leaf = random.uniform(0.2, 1, shape)
  elif kind == "var":
    # Makes up for the scales, so that the signal lives through 13 layers: the
    # mean of 1 / var is 2.3, of scale ** 2 0.41.
    leaf = random.uniform(0.2, 0.8, shape)
  elif kind in ("bias", "mean"):
    leaf = random.standard_normal(shape) * 0.1
  else:
    raise ValueError(f"no rule for a leaf named {kind!r} ({path})")
  return leaf.astype(np.float32)


def golden_batch(
  shape: tuple[int, ...], classes: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns float32 normal inputs [batch, height, width, channels], labels."""
  # One draw of thousands, for which no ReLU input lies so near to zero that
  # float32 may take the other side: one such unit changes gradients by 1e-4.
  inputs = _random("inputs 1255").standard_normal(shape).astype(np.float32)
  labels = _random("labels").randint(classes, size=shape[0]).astype(np.int32)
  return inputs, labels


def golden_entries(path: str, leaf: np.ndarray) -> np.ndarray:
  """Returns a small leaf flattened, ENTRIES fixed entries of a large one."""
  flat = leaf.ravel()
  if flat.size <= MAX_WHOLE:
    return flat
  return flat[_random(f"{path} entries").randint(flat.size, size=ENTRIES)]
