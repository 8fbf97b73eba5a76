"""A layer's surviving weights, altered: what of them does a ticket need?

Each keeps one thing of the weights and replaces the rest.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

Weights = Float[np.ndarray, " *shape"]


def shuffled(kept: Weights, drawn: Weights, key: jax.Array) -> np.ndarray:
  """Returns the weights in another order: all is kept but which is where."""
  del drawn
  return kept[np.asarray(jax.random.permutation(key, len(kept)))]


def constant_magnitudes(
  kept: Weights, drawn: Weights, key: jax.Array
) -> np.ndarray:
  """Returns sign(w) times the root mean square of all: signs are kept.

  After Zhou et al. 2019 (arXiv 1905.01067), section 4.1, whose constant is the
  standard deviation of the layer's initialisation; here the norm stays.
  """
  del drawn, key
  return np.sign(kept) * np.sqrt(np.mean(np.square(kept, dtype=np.float64)))


def redrawn_magnitudes(
  kept: Weights, drawn: Weights, key: jax.Array
) -> np.ndarray:
  """Returns sign(w) |w'| with w' of another initialisation: signs are kept."""
  del key
  return np.sign(kept) * np.abs(drawn)


def random_signs(kept: Weights, drawn: Weights, key: jax.Array) -> np.ndarray:
  """Returns |w| with random signs: magnitudes are kept."""
  del drawn
  signs = np.asarray(jax.random.rademacher(key, kept.shape, jnp.float32))
  return np.abs(kept) * signs


# name -> (surviving weights, others drawn for the same places, key) -> weights.
ALTERATIONS: Mapping[
  str, Callable[[Weights, Weights, jax.Array], np.ndarray]
] = {
  "shuffled_weights": shuffled,
  "constant_magnitudes": constant_magnitudes,
  "redrawn_magnitudes": redrawn_magnitudes,
  "random_signs": random_signs,
}


def altered_leaf(
  how: str,
  leaf: Float[np.ndarray, " *shape"],
  mask: Bool[np.ndarray, " *shape"],
  drawn: Float[np.ndarray, " *shape"],
  key: jax.Array,
) -> Float[np.ndarray, " *shape"]:
  """Returns a layer whose surviving weights are altered; the others stay.

  Args:
    how: one of `ALTERATIONS`.
    leaf, mask: the layer's weights, and which survive.
    drawn: the layer of another initialisation.
    key: of what is drawn besides.
  """
  new = np.array(leaf)
  if mask.any():
    new[mask] = ALTERATIONS[how](leaf[mask], drawn[mask], key)
  return new
