"""Scores of how large weights are, and have become."""

from typing import Any

import jax
import jax.numpy as jnp

from imp_jax.models import Model
from imp_jax.pruning.criteria.network import Network

PyTree = Any


def magnitude_scores(network: Network, model: Model) -> PyTree:
  """Returns |w| of each weight (Han et al. 2015; the paper's criterion)."""
  del model
  return jax.tree.map(jnp.abs, network.params)


def magnitude_increase_scores(network: Network, model: Model) -> PyTree:
  """Returns |w| - |w_0|, how much each weight has grown since it was drawn.

  Zhou et al. 2019 (arXiv 1905.01067), section 2, "magnitude increase".
  """
  del model
  return jax.tree.map(
    lambda w, drawn: jnp.abs(w) - jnp.abs(drawn),
    network.params,
    network.initial,
  )
