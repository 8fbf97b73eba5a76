"""Subsets of the training examples to pre-train on, and noise on labels."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, Int

from imp_jax.core.keys import key_words, named_key
from imp_jax.data.batches import permutation, random_bits

# "none": no pre-training; "all": every example; "random"; "easy" and "hard":
# a window from that end of the difficulty order; "ccs": coverage-centric
# strata; "keep_list": given.
KINDS = ("none", "all", "random", "easy", "hard", "ccs", "keep_list")
SCORED = ("easy", "hard", "ccs")
DRAWN = ("random", *SCORED)
# On exactly a fraction of the labels; by class; given.
NOISES = ("redrawn", "symmetric", "matrix", "file")

STRATA = 50  # Zheng et al. 2023, section 4


def keep_indices(
  kind: str,
  labels: Int[np.ndarray, " examples"],
  *,
  size: int,
  num_classes: int,
  tie_words: Sequence[int],
  draw_words: Sequence[int],
  difficulty: Float[np.ndarray, " examples"] | None = None,
  offset: int = 0,
  balanced: bool = False,
  drop_hardest: float = 0.0,
) -> Int[np.ndarray, " size"]:
  """Returns the examples of a subset, ascending indices into the training set.

  Paul et al. 2022, section 3; CCS: Zheng et al. 2023 (arXiv 2210.15809),
  algorithm 1.

  Args:
    kind: "random", "easy", "hard" or "ccs".
    labels: the classes that pre-training will see.
    size: examples to keep.
    num_classes: classes, also those without an example.
    tie_words: words of the key that orders examples of equal difficulty. The
      training set is in canonical order, so ties depend on the examples'
      content and never on the order of their source.
    draw_words: words of the key that draws "random" and within "ccs" strata.
    difficulty: of every example, larger = harder; infinities are hardest.
      For "easy", "hard" and "ccs".
    offset: "easy" and "hard" skip this many at their end of the order.
    balanced: keep size // num_classes of each class, one more of the first
      size % num_classes classes, by the same rule within each class; an offset
      is shared out likewise.
    drop_hardest: fraction of the examples that "ccs" first drops.

  Returns:
    int32 indices, each once.

  Raises:
    ValueError: an unknown kind, the subset does not fit, in the data or in a
      class, or it needs scores that are not there, NaN or (for "ccs") infinite.
  """
  if kind not in DRAWN:
    raise ValueError(f"subset kind must be one of {DRAWN}, got {kind!r}")
  if kind in SCORED and (difficulty is None or np.isnan(difficulty).any()):
    raise ValueError(f"subset {kind!r} needs scores without NaN")
  shares = _shares(labels, size, num_classes, offset, balanced)
  check_fits(
    kind,
    labels,
    size=size,
    num_classes=num_classes,
    offset=offset,
    balanced=balanced,
    drop_hardest=drop_hardest,
  )
  kept = []
  for c, (pool, count, skip) in enumerate(shares):
    if difficulty is None or kind == "random":
      order = permutation(len(pool), (*draw_words, c))
    elif kind == "ccs":
      order = _strata_order(
        difficulty[pool],
        count,
        _dropped(drop_hardest, pool),
        tie_words,
        (*draw_words, c),
      )
    else:
      order = difficulty_order(difficulty[pool], tie_words)
      order = order[::-1] if kind == "hard" else order
    kept.append(pool[order[skip : skip + count]])
  return np.sort(np.concatenate(kept)).astype(np.int32)


def check_fits(
  kind: str,
  labels: Int[np.ndarray, " examples"],
  *,
  size: int,
  num_classes: int,
  offset: int = 0,
  balanced: bool = False,
  drop_hardest: float = 0.0,
) -> None:
  """Refuses a subset that the data, or a class, is too small for.

  Arguments as of `keep_indices`.

  Raises:
    ValueError: says of what there are too few.
  """
  shares = _shares(labels, size, num_classes, offset, balanced)
  for c, (pool, count, skip) in enumerate(shares):
    dropped = _dropped(drop_hardest, pool) if kind == "ccs" else 0
    if count < 0 or skip < 0 or skip + dropped + count > len(pool):
      where = f"class {c}" if balanced else "the training set"
      skipping = f" after skipping {skip}" if skip else ""
      dropping = f" and {dropped} of them dropped" if dropped else ""
      raise ValueError(
        f"subset {kind!r} asks for {count} examples{skipping} of {where}, "
        f"which has {len(pool)}{dropping}"
      )


def class_sizes(size: int, num_classes: int) -> list[int]:
  """Returns how many of each class: the remainder goes to the first ones."""
  each, rest = divmod(size, num_classes)
  return [each + (c < rest) for c in range(num_classes)]


def difficulty_order(
  values: Float[np.ndarray, " n"], tie_words: Sequence[int]
) -> Int[np.ndarray, " n"]:
  """Returns the positions by ascending value, ties by a keyed permutation."""
  return np.lexsort((permutation(len(values), tie_words), values))


def noise_words(seed: int) -> tuple[int, ...]:
  """Returns the words of the key that draws a study's label noise."""
  return key_words(named_key(jax.random.key(seed), "label_noise"))


def noisy_labels(
  labels: Int[np.ndarray, " examples"],
  *,
  kind: str,
  fraction: float,
  num_classes: int,
  words: Sequence[int],
  matrix: Sequence[Sequence[float]] = (),
) -> Int[np.ndarray, " examples"]:
  """Returns the labels with noise on them.

  Args:
    labels: the true classes.
    kind: "redrawn": uniform over all classes, so that on average one in
      num_classes keeps its label (the paper's random labels); "symmetric":
      uniform over the other classes, so that every one changes; "matrix": every
      label is drawn from its class's row.
    fraction: of the examples, in [0, 1]; exactly round(fraction * n) of them
      have noise. Not of "matrix".
    num_classes: classes.
    words: the key's words. The noise of a smaller fraction is part of that of
      a larger one.
    matrix: [classes, classes], row i has the probabilities of the classes that
      a label of class i becomes (Patrini et al. 2017, arXiv 1609.03683).
  """
  if kind == "matrix":
    # 53 bits, as many as a float64 in [0, 1) has.
    uniform = (random_bits(len(labels), (*words, 2)) >> np.uint64(11)) / 2.0**53
    upto = np.cumsum(np.asarray(matrix, np.float64), axis=1)
    upto /= upto[:, -1:]
    return (uniform[:, None] >= upto[labels]).sum(axis=1).astype(labels.dtype)
  count = round(fraction * len(labels))
  chosen = permutation(len(labels), words)[:count]
  bits = random_bits(len(labels), (*words, 1))[chosen]
  noisy = labels.copy()
  if kind == "symmetric":
    shift = 1 + (bits % np.uint64(num_classes - 1)).astype(labels.dtype)
    noisy[chosen] = (labels[chosen] + shift) % num_classes
  else:
    noisy[chosen] = (bits % np.uint64(num_classes)).astype(labels.dtype)
  return noisy


def label_changes(
  labels: Int[np.ndarray, " n"], noisy: Int[np.ndarray, " n"]
) -> list[list[int]]:
  """Returns [true class, noisy class, how many] of all labels that changed."""
  changed = labels != noisy
  pairs, counts = np.unique(
    np.stack([labels[changed], noisy[changed]]), axis=1, return_counts=True
  )
  return [
    [*p, n] for p, n in zip(pairs.T.tolist(), counts.tolist(), strict=True)
  ]


def _strata_order(
  difficulty: np.ndarray,
  count: int,
  dropped: int,
  tie_words: Sequence[int],
  draw_words: Sequence[int],
) -> np.ndarray:
  """Positions whose first `count` are coverage-centric: every stratum's share.

  The strata cut the range of what is left into equal widths; the budget is
  spent on the smallest first, evenly over those that remain.
  """
  order = difficulty_order(difficulty, tie_words)
  left = order[: len(order) - dropped]
  values = difficulty[left].astype(np.float64)
  low, high = values.min(), values.max()
  if not np.isfinite([low, high]).all():
    raise ValueError(
      "subset 'ccs' needs finite scores; infinite ones are left after dropping "
      f"the {dropped} hardest of {len(order)}"
    )
  width = (high - low) / STRATA or 1.0
  stratum = np.minimum((values - low) // width, STRATA - 1)
  strata = [left[stratum == k] for k in range(STRATA)]
  strata.sort(key=len)  # stable: equal ones by ascending difficulty
  kept = []
  for k, members in enumerate(strata):
    budget = min(len(members), (count - len(kept)) // (STRATA - k))
    drawn = permutation(len(members), (*draw_words, k))[:budget]
    kept.extend(members[drawn].tolist())
  return np.asarray(kept, np.int64)


def _shares(
  labels: np.ndarray, size: int, num_classes: int, offset: int, balanced: bool
) -> list[tuple[np.ndarray, int, int]]:
  """(pool of examples, how many of them, after how many) per class, or once."""
  if not balanced:
    return [(np.arange(len(labels)), size, offset)]
  return [
    (np.flatnonzero(labels == c), count, skip)
    for c, (count, skip) in enumerate(
      zip(
        class_sizes(size, num_classes),
        class_sizes(offset, num_classes),
        strict=True,
      )
    )
  ]


def _dropped(fraction: float, pool: np.ndarray) -> int:
  return round(fraction * len(pool))
