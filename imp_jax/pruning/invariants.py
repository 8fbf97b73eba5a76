"""Invariants of a lottery-ticket run: what is violated, in words, or None."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from imp_jax.core.masks import flat_leaves, kept_counts, regrown_leaf

PyTree = Any

# What a record says was checked, and found to hold, when its artefact was made.
INVARIANTS = {
  "exact_counts": "as many weights are removed as the rule says",
  "nested_masks": "no weight is kept that the level before removed",
  "faithful_rewind": "training starts bit-equal to the stored weights",
  "pruned_weights_are_0": "removed weights are exactly 0 after training",
  "finite": "loss and weights are finite after each chunk of steps",
}


def nonzero_pruned_weight(params: PyTree, masks: PyTree) -> str | None:
  """Returns which leaf holds a removed weight that is not exactly 0."""
  flat = flat_leaves(masks)
  for path, leaf in flat_leaves(params).items():
    dead = np.asarray(leaf)[~np.asarray(flat[path])]
    if np.any(dead != 0):
      worst = dead[np.argmax(np.abs(dead))]
      return (
        f"{path}: {np.count_nonzero(dead)} of {dead.size} pruned weights are "
        f"not 0 (the largest is {worst:.3g})"
      )
  return None


def unfaithful_rewind(
  handed: PyTree, stored: PyTree, masks: PyTree
) -> str | None:
  """Returns how the weights handed to training differ from the stored ones.

  Where the mask is True they must be bit-equal, elsewhere exactly 0.
  """
  flat_masks, flat_stored = flat_leaves(masks), flat_leaves(stored)
  for path, leaf in flat_leaves(handed).items():
    leaf, mask = np.asarray(leaf), np.asarray(flat_masks[path])
    wanted = np.asarray(flat_stored[path])
    differ = leaf[mask].tobytes() != wanted[mask].tobytes()
    if leaf.shape != wanted.shape or differ:
      count = np.count_nonzero(leaf[mask] != wanted[mask])
      return (
        f"{path}: {count} of {np.count_nonzero(mask)} kept weights differ from "
        "the stored ones they were to be rewound to"
      )
  return nonzero_pruned_weight(handed, masks)


def wrong_masks(
  masks: PyTree,
  parent: PyTree,
  *,
  groups: Sequence[Sequence[str]],
  drops: Sequence[int],
  rule: str,
) -> str | None:
  """Returns how new masks break their rule's exact count or nestedness.

  "exact" removes q of a group; "threshold" removes q + 1 or, on ties, more.
  """
  regrown = regrown_leaf(masks, parent)
  if regrown:
    return f"{regrown}: a weight is kept that the level before removed"
  for group, drop in zip(groups, drops, strict=True):
    before = sum(kept_counts(parent, group).values())
    after = sum(kept_counts(masks, group).values())
    extra = 1 if rule == "threshold" and drop else 0
    wanted = max(before - drop - extra, 0)
    if after > wanted or (rule == "exact" and after != wanted):
      name = group[0] if len(group) == 1 else "all layers"
      return f"{name}: {after} weights kept, the rule keeps {wanted}"
  changed = {
    path
    for path, mask in flat_leaves(masks).items()
    if not np.array_equal(mask, flat_leaves(parent)[path])
  }
  outside = sorted(changed - {path for group in groups for path in group})
  return f"{outside[0]}: pruned, but left out of pruning" if outside else None
