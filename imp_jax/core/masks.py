"""Mask pytrees: boolean trees with the structure of params, True = kept.

Every leaf is present. Which leaves are prunable is the model's word (a tuple
of leaf paths such as "stem/kernel"); all others stay True, and density counts
prunable weights only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.typing import ArrayLike

PyTree = Any


def flat_leaves(tree: PyTree) -> dict[str, Any]:
  """Returns {"path/to/leaf": leaf} of a nested dict, sorted by path."""
  return dict(sorted(traverse_util.flatten_dict(tree, sep="/").items()))


def nested_leaves(flat: Mapping[str, Any]) -> PyTree:
  """Returns the nested dict of {"path/to/leaf": leaf}."""
  return traverse_util.unflatten_dict(dict(flat), sep="/")


def init_masks(params: PyTree) -> PyTree:
  """Returns the dense network's masks: True everywhere, on the host."""
  return jax.tree.map(lambda p: np.ones(p.shape, bool), params)


def apply_masks(tree: PyTree, masks: PyTree) -> PyTree:
  """Returns `tree` with exactly +0.0 wherever the mask is False.

  Of host arrays it is one of host arrays.
  """

  def masked(x: ArrayLike, mask: ArrayLike) -> ArrayLike:
    on_host = isinstance(x, np.ndarray) and isinstance(mask, np.ndarray)
    xp = np if on_host else jnp
    # where, not multiplication: NaN * 0 is NaN and -1 * 0 is -0.
    return xp.where(mask, x, xp.zeros_like(x))

  return jax.tree.map(masked, tree, masks)


def kept_counts(masks: PyTree, prunable: Sequence[str]) -> dict[str, int]:
  """Returns the number of kept weights of each prunable leaf, exactly."""
  flat = flat_leaves(masks)
  return {p: int(np.count_nonzero(np.asarray(flat[p]))) for p in prunable}


def total_counts(params: PyTree, prunable: Sequence[str]) -> dict[str, int]:
  """Returns the number of weights of each prunable leaf."""
  flat = flat_leaves(params)
  return {p: int(np.prod(flat[p].shape)) for p in prunable}


def leaf_shapes(
  params: PyTree, prunable: Sequence[str]
) -> dict[str, tuple[int, ...]]:
  """Returns the shape of each prunable leaf, by its path."""
  flat = flat_leaves(params)
  return {path: tuple(np.shape(flat[path])) for path in prunable}


def density(masks: PyTree, prunable: Sequence[str]) -> float:
  """Returns the kept fraction of prunable weights, in [0, 1]."""
  kept = sum(kept_counts(masks, prunable).values())
  return kept / sum(total_counts(masks, prunable).values())


def layer_table(masks: PyTree, prunable: Sequence[str]) -> list[dict]:
  """Returns one row per prunable leaf: kept and total weights and channels.

  A channel is an index of a kernel's last axis (an output unit); it is emptied
  when none of its incoming weights is kept.
  """
  rows = []
  flat = flat_leaves(masks)
  for path in prunable:
    mask = np.asarray(flat[path])
    alive = mask.reshape(-1, mask.shape[-1]).any(axis=0)
    rows.append(
      {
        "layer": path,
        "kept": int(np.count_nonzero(mask)),
        "total": int(mask.size),
        "density": float(np.count_nonzero(mask) / mask.size),
        "channels": int(alive.size),
        "emptied_channels": int(np.count_nonzero(~alive)),
      }
    )
  return rows


def pack_masks(masks: PyTree, prunable: Sequence[str]) -> dict[str, np.ndarray]:
  """Returns the prunable leaves bit-packed, eight weights to a byte.

  Args:
    masks: one replicate's masks.
    prunable: paths of the prunable leaves.

  Returns:
    "paths" (str[leaves]), "shapes" (i32[leaves, rank], 0 = no such axis) and
    "bits" (uint8), the leaves flattened one after another. It needs no pickle
    in an `.npz`.
  """
  flat = flat_leaves(masks)
  leaves = [np.asarray(flat[p], bool) for p in prunable]
  rank = max(leaf.ndim for leaf in leaves)
  return {
    "paths": np.asarray(list(prunable), np.str_),
    "shapes": np.asarray(
      [leaf.shape + (0,) * (rank - leaf.ndim) for leaf in leaves], np.int32
    ),
    "bits": np.packbits(np.concatenate([leaf.ravel() for leaf in leaves])),
  }


def unpack_masks(packed: Mapping[str, np.ndarray], params: PyTree) -> PyTree:
  """Returns masks with the structure of `params` from `pack_masks` output.

  Raises:
    ValueError: a packed leaf is missing from params or has another shape.
  """
  masks = {
    path: np.ones(np.shape(leaf), bool)
    for path, leaf in flat_leaves(params).items()
  }
  for path, mask in unpacked_leaves(packed).items():
    if path not in masks or masks[path].shape != mask.shape:
      shape = masks[path].shape if path in masks else "no such leaf"
      raise ValueError(f"masks hold {path} {mask.shape}, params have {shape}")
    masks[path] = mask
  return nested_leaves(masks)


def unpacked_leaves(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns {path: mask} of the prunable leaves from `pack_masks` output."""
  shapes = [tuple(n for n in row if n) for row in packed["shapes"].tolist()]
  sizes = [int(np.prod(shape)) for shape in shapes]
  bits = np.unpackbits(packed["bits"], count=sum(sizes)).astype(bool)
  pieces = np.split(bits, np.cumsum(sizes)[:-1])
  return {
    str(path): piece.reshape(shape)
    for path, shape, piece in zip(packed["paths"], shapes, pieces, strict=True)
  }


def regrown_leaf(masks: PyTree, parent: PyTree) -> str | None:
  """Returns the first leaf that keeps a weight its parent removed, or None."""
  parents = flat_leaves(parent)
  for path, mask in flat_leaves(masks).items():
    if np.any(np.asarray(mask) & ~np.asarray(parents[path])):
      return path
  return None


def pruned_at_level(levels: Sequence[PyTree]) -> PyTree:
  """Returns the level at which each weight of a nested run was removed.

  Args:
    levels: masks of levels 0, 1, ..., each nested in the one before.

  Returns:
    uint8 per weight: k if level k's mask is the first that is False there, 255
    if the last level keeps it.
  """

  def first_false(*masks: Any) -> np.ndarray:
    removed = np.stack([~np.asarray(m) for m in masks])
    return np.where(removed.any(axis=0), removed.argmax(axis=0), 255).astype(
      np.uint8
    )

  return jax.tree.map(first_false, *levels)
