"""Two scores that are called movement: how far, and which way."""

from typing import Any

import jax
import jax.numpy as jnp

from imp_jax.models import Model
from imp_jax.pruning.criteria.network import Network

PyTree = Any


def movement_scores(network: Network, model: Model) -> PyTree:
  """Returns |w - w_0|, how far each weight has moved since it was drawn.

  Zhou et al. 2019 (arXiv 1905.01067), section 2, "movement"; not the criterion
  of that name of Sanh et al. 2020, which sums products with gradients.
  """
  del model
  return jax.tree.map(
    lambda w, drawn: jnp.abs(w - drawn), network.params, network.initial
  )


def sanh_movement_scores(network: Network, model: Model) -> PyTree:
  """Returns the sum over training's steps of -w dL/dw of each weight.

  Movement pruning's score (Sanh et al. 2020, arXiv 2005.07683, section 4), less
  its learning rate: what moves away from 0 stays. The loss is without weight
  decay; they prune while they train, here it is at the end.
  """
  del model
  return network.movement
