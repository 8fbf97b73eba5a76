"""Selection: from scores and counts to the masks of the next level."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from imp_jax.core.masks import flat_leaves, nested_leaves

PyTree = Any


def select_masks(
  scores: PyTree,
  masks: PyTree,
  drops: Int[Array, " groups"],
  *,
  groups: Sequence[Sequence[str]],
  rule: str,
) -> PyTree:
  """Returns the next masks of one replicate; map it over many.

  Args:
    scores: one score per weight; small scores go first.
    masks: the present masks.
    drops: q of each group, from `drop_counts`.
    groups: leaf paths of each group, from `leaf_groups`.
    rule: "threshold" keeps a survivor iff its score is strictly greater than
      element q (0-based, ascending) of the group's sorted survivors: q + 1
      weights go, more on ties (the paper's rule). "exact" removes exactly the
      q smallest, ties in the order of the flattened leaves.

  Returns:
    Masks nested in `masks`. A group with q = 0 stays as it is; one with
    q >= survivors is emptied.
  """
  new = flat_leaves(masks)
  flat_scores = flat_leaves(scores)
  for group, drop in zip(groups, drops, strict=True):
    alive = jnp.concatenate([new[path].ravel() for path in group])
    score = jnp.concatenate([flat_scores[path].ravel() for path in group])
    kept = RULES[rule](score, alive, drop)
    offset = 0
    for path in group:
      size, shape = new[path].size, new[path].shape
      new[path] = kept[offset : offset + size].reshape(shape)
      offset += size
  return nested_leaves(new)


def above_threshold(
  score: Float[Array, " n"], alive: Bool[Array, " n"], drop: Int[Array, ""]
) -> Bool[Array, " n"]:
  """Returns the survivors strictly above element `drop` of the sorted ones."""
  ranked = jnp.sort(jnp.where(alive, score, jnp.inf))
  # Past the survivors the sorted array holds +inf: nothing is above it.
  threshold = ranked[jnp.minimum(drop, score.size - 1)]
  threshold = jnp.where(drop < alive.sum(), threshold, jnp.inf)
  return alive & ((score > threshold) | (drop == 0))


def all_but_smallest(
  score: Float[Array, " n"], alive: Bool[Array, " n"], drop: Int[Array, ""]
) -> Bool[Array, " n"]:
  """Returns the survivors less exactly the `drop` smallest, ties in order."""
  order = jnp.argsort(jnp.where(alive, score, jnp.inf), stable=True)
  rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size))
  return alive & (rank >= drop)


RULES = {"threshold": above_threshold, "exact": all_but_smallest}
