"""Batch plans: which examples each step sees, as index arrays."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt64

LAST_BATCH = ("drop", "keep")


def steps_per_epoch(num_examples: int, batch_size: int, last_batch: str) -> int:
  """Returns the optimiser steps of one pass over the examples.

  Fewer examples than a batch are used whole, as one padded step.
  """
  if last_batch == "drop":
    return max(num_examples // batch_size, 1)
  return -(-num_examples // batch_size)


def batch_plan(
  keep_index: Int[np.ndarray, " n"],
  order_words: Sequence[int],
  *,
  start: int,
  stop: int,
  batch_size: int,
  last_batch: str,
) -> Int[np.ndarray, "steps batch"]:
  """Returns the example indices of steps [start, stop) of one data stream.

  The stream has no state: step s is in epoch s // steps_per_epoch, whose
  permutation depends on the key and the epoch only, so any step can be asked
  for, and a rewound run skips the batches before its first step.

  Args:
    keep_index: the examples in use, as indices into the training split.
    order_words: the data-order key's words, from `keys.key_words`.
    start: first step, 0-based, absolute.
    stop: one past the last step.
    batch_size: examples per step.
    last_batch: "drop" leaves out an epoch's last partial batch; "keep" pads
      it. A set smaller than a batch is used whole and padded either way.

  Returns:
    int32 indices; -1 is padding, which weighs nothing anywhere.
  """
  num = len(keep_index)
  per_epoch = steps_per_epoch(num, batch_size, last_batch)
  plan = np.full((stop - start, batch_size), -1, np.int32)
  for epoch in range(start // per_epoch, -(-stop // per_epoch)):
    first = epoch * per_epoch
    order = keep_index[permutation(num, (*order_words, epoch))]
    padded = np.full(per_epoch * batch_size, -1, np.int32)
    used = min(num, padded.size)
    padded[:used] = order[:used]
    low, high = max(start, first), min(stop, first + per_epoch)
    plan[low - start : high - start] = padded.reshape(per_epoch, batch_size)[
      low - first : high - first
    ]
  return plan


def is_padded(num_examples: int, batch_size: int, last_batch: str) -> bool:
  """Returns whether any step of the stream holds padding."""
  if num_examples < batch_size:
    return True
  return last_batch == "keep" and num_examples % batch_size > 0


def permutation(num: int, words: Sequence[int]) -> Int[np.ndarray, " n"]:
  """Returns a uniform permutation of `num` numbers, the same for equal words.

  Args:
    num: how many.
    words: a key's words, from `keys.key_words`, and any further numbers.
  """
  return np.argsort(random_bits(num, words), kind="stable")


def random_bits(num: int, words: Sequence[int]) -> UInt64[np.ndarray, " n"]:
  """Returns uniform 64-bit numbers; raw bits are stable across NumPy."""
  return np.random.PCG64(np.random.SeedSequence(words)).random_raw(num)
