"""Pruning criteria: one score per weight; the smallest scores are removed."""

from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def magnitude_scores(params: PyTree, key: jax.Array) -> PyTree:
  """Returns |w| of each weight (Han et al. 2015; the paper's criterion)."""
  del key
  return jax.tree.map(jnp.abs, params)


def random_scores(params: PyTree, key: jax.Array) -> PyTree:
  """Returns an independent uniform score in [0, 1) for each weight."""
  leaves, treedef = jax.tree.flatten(params)
  keys = jax.random.split(key, len(leaves))
  return treedef.unflatten(
    [
      jax.random.uniform(k, leaf.shape)
      for k, leaf in zip(keys, leaves, strict=True)
    ]
  )


# name -> (params, key) -> scores; a new criterion is one more line.
CRITERIA = {"magnitude": magnitude_scores, "random": random_scores}
