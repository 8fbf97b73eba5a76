"""Scores that are drawn."""

from typing import Any

import jax

from imp_jax.models import Model
from imp_jax.pruning.criteria.network import Network

PyTree = Any


def random_scores(network: Network, model: Model) -> PyTree:
  """Returns an independent uniform score in [0, 1) for each weight."""
  del model
  leaves, treedef = jax.tree.flatten(network.params)
  keys = jax.random.split(network.key, len(leaves))
  return treedef.unflatten(
    [
      jax.random.uniform(k, leaf.shape)
      for k, leaf in zip(keys, leaves, strict=True)
    ]
  )
