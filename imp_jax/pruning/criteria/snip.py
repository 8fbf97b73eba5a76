"""SNIP: the connection sensitivity."""

from typing import Any

import jax
import jax.numpy as jnp

from imp_jax.models import Model
from imp_jax.pruning.criteria.network import Network, mean_loss

PyTree = Any


def snip_scores(network: Network, model: Model) -> PyTree:
  """Returns |w dL/dw|, the connection sensitivity (Lee et al. 2019, eq. 6).

  arXiv 1810.02340. L is the mean cross-entropy over the examples. Theirs is
  divided by its sum, which no ranking sees. Of a trained network it is the
  first-order estimate of what a weight's removal does to the loss.
  """
  gradients = jax.grad(mean_loss)(network.params, network, model)
  return jax.tree.map(lambda w, g: jnp.abs(w * g), network.params, gradients)
