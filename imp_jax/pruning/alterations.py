"""A layer's surviving weights, altered: what of them does a ticket need?

Each keeps one thing of the weights and replaces the rest.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float


class Survivors(NamedTuple):
  """A layer's surviving weights, and what they may be replaced by.

  Attributes:
    kept: float[n], the weights.
    other: float[n], of another network at the same places.
    key: of what is drawn.
    share: of the weights that are altered, where not all are.
  """

  kept: np.ndarray
  other: np.ndarray
  key: jax.Array
  share: float


def shuffled(of: Survivors) -> np.ndarray:
  """Returns the weights in another order: all is kept but which is where."""
  return of.kept[np.asarray(jax.random.permutation(of.key, len(of.kept)))]


def constant_magnitudes(of: Survivors) -> np.ndarray:
  """Returns sign(w) times the root mean square of all: signs are kept.

  After Zhou et al. 2019 (arXiv 1905.01067), section 4.1, whose constant is the
  standard deviation of the layer's initialisation; here the norm stays.
  """
  square = np.mean(np.square(of.kept, dtype=np.float64))
  return np.sign(of.kept) * np.sqrt(square)


def other_magnitudes(of: Survivors) -> np.ndarray:
  """Returns sign(w) |w'| with w' of the other network: signs are kept."""
  return np.sign(of.kept) * np.abs(of.other)


def other_signs(of: Survivors) -> np.ndarray:
  """Returns |w| sign(w') with w' of the other network: magnitudes are kept."""
  return np.abs(of.kept) * np.sign(of.other)


def random_signs(of: Survivors) -> np.ndarray:
  """Returns |w| with random signs: magnitudes are kept."""
  signs = jax.random.rademacher(of.key, of.kept.shape, jnp.float32)
  return np.abs(of.kept) * np.asarray(signs)


def flipped_signs(of: Survivors) -> np.ndarray:
  """Returns the weights, a share of them (to whole ones) with another sign."""
  count = round(of.share * len(of.kept))
  flipped = np.asarray(jax.random.permutation(of.key, len(of.kept)))[:count]
  new = np.array(of.kept)
  new[flipped] *= -1
  return new


# How surviving weights are altered.
ALTERATIONS: Mapping[str, Callable[[Survivors], np.ndarray]] = {
  "shuffled_weights": shuffled,
  "constant_magnitudes": constant_magnitudes,
  "redrawn_magnitudes": other_magnitudes,
  "random_signs": random_signs,
  "flipped_signs": flipped_signs,
  "other_signs": other_signs,
}


def altered_leaf(
  how: str,
  leaf: Float[np.ndarray, " *shape"],
  mask: Bool[np.ndarray, " *shape"],
  other: Float[np.ndarray, " *shape"],
  key: jax.Array,
  share: float = 1.0,
) -> Float[np.ndarray, " *shape"]:
  """Returns a layer whose surviving weights are altered; the others stay.

  Args:
    how: one of `ALTERATIONS`.
    leaf, mask: the layer's weights, and which survive.
    other: the layer of another network.
    key: of what is drawn.
    share: of the survivors that are altered, for "flipped_signs".
  """
  new = np.array(leaf)
  if mask.any():
    survivors = Survivors(leaf[mask], other[mask], key, share)
    new[mask] = ALTERATIONS[how](survivors)
  return new


def displacement(
  directions: Mapping[str, Float[np.ndarray, " *_"]],
  weights: Mapping[str, Float[np.ndarray, " *_"]],
  masks: Mapping[str, Bool[np.ndarray, " *_"]],
  finer: Mapping[str, Bool[np.ndarray, " *_"]],
  *,
  scale: float = 1.0,
) -> dict[str, np.ndarray]:
  """Returns a random displacement as long as the one that pruning causes.

  That is the L2 norm, over all layers together, of the weights that masks keep
  and finer ones do not.

  Args:
    directions: of any length, by layer.
    weights: that are displaced.
    masks: of what is displaced.
    finer: nested in them.
    scale: times that length.
  """
  along = {
    path: np.where(masks[path], np.asarray(d, np.float64), 0.0)
    for path, d in directions.items()
  }
  wanted = scale * _norm(weights[p][masks[p] & ~finer[p]] for p in weights)
  length = _norm(along.values())
  return {
    path: (d * (wanted / length if length else 0.0)).astype(weights[path].dtype)
    for path, d in along.items()
  }


def _norm(parts: Iterable[np.ndarray]) -> float:
  squares = [np.square(part, dtype=np.float64).sum() for part in parts]
  return float(np.sqrt(sum(squares)))
