"""MNIST-1D (Greydanus & Kobak 2020): signals of length 40, 10 classes.

The training signals are the package's own. Test signals cost nothing but their
evaluation, so there are as many as one asks for, drawn by a seed of their own.
"""

import hashlib
import random
from importlib import metadata
from typing import Any

import numpy as np

from imp_jax.data.decoded import decoded_once

CLASSES = 10
# 0.3 points of sampling error at an accuracy of 90 %; the package's own 1,000
# have 0.9, more than most differences between tickets.
TEST_EXAMPLES = 10_000


def signal_arrays(
  seed: int, train_examples: int, test_examples: int, cache_dir: str = ""
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Returns {"train": (signals, labels), "test": ...}, as generated.

  Args:
    seed: the generator's.
    train_examples: the package makes as many of each class and sets a fifth of
      all apart, so it is a multiple of 8. They do not depend on
      `test_examples`, bit for bit.
    test_examples: drawn with `test_seed(seed)`, as many of each class as of
      any other, or one more of the first ones; shifted and scaled as the
      package did the training signals, not by their own moments.
    cache_dir: where the arrays are kept; "" = the user's cache.

  The package reseeds Python's and NumPy's global generators: their states are
  put back.

  Raises:
    ValueError: a number of examples that cannot be had.
  """
  if train_examples < 8 or train_examples % 8:
    raise ValueError(
      "data.train_examples must be a multiple of 8 (the generator makes as "
      "many of each of 10 classes, and sets a fifth of all apart), got "
      f"{train_examples}"
    )
  if test_examples < CLASSES:
    raise ValueError(
      f"data.test_examples must be at least {CLASSES}, one of each class, got "
      f"{test_examples}"
    )

  def generate():
    states = random.getstate(), np.random.get_state()
    try:
      from mnist1d import data as generator

      args: Any = generator.get_dataset_args()
      args.seed, args.num_samples = seed, train_examples * 5 // 4
      made = generator.make_dataset(args)
      # What the package standardised, which it does not give away; its mean
      # is of them in this order.
      each = args.num_samples // CLASSES
      raw = raw_signals(seed, np.repeat(np.arange(CLASSES), each))
      raw = raw[np.random.permutation(len(raw))]
      labels = np.sort(np.arange(test_examples) % CLASSES)
      test = raw_signals(test_seed(seed), labels)
    finally:
      random.setstate(states[0])
      np.random.set_state(states[1])
    test = (test - raw.mean()) / raw.std()
    arrays = {
      "train": (made["x"].astype(np.float32), made["y"]),
      "test": (test.astype(np.float32), labels),
    }
    return arrays, ()

  made_by = "-".join(f"{p}{metadata.version(p)}" for p in ("mnist1d", "scipy"))
  key = f"{made_by}-{seed}-{train_examples}-test{test_examples}"
  return decoded_once(key, cache_dir, generate)[0]


def test_seed(seed: int) -> int:
  """Returns the seed that test signals are drawn with: 32 bits of a hash.

  A hash, so that no two studies' test signals are each other's training ones,
  as they would be with seed + 1.
  """
  digest = hashlib.sha256(f"mnist1d test signals {seed}".encode()).digest()
  return int.from_bytes(digest[:4], "little")


def raw_signals(seed: int, labels: np.ndarray) -> np.ndarray:
  """Returns one signal per label as the package draws them, not standardised.

  It reseeds Python's and NumPy's global generators.

  Args:
    seed: the generator's.
    labels: classes 0..9, in the order in which signals are drawn.
  """
  from mnist1d import data as generator

  templates, args = generator.get_templates(), generator.get_dataset_args()
  generator.set_seed(seed)
  x, t = templates["x"], templates["t"]
  return np.stack([generator.transform(x[y], t, args)[0] for y in labels])
