"""GraSP: the preservation of the gradient's norm."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from imp_jax.models import Model
from imp_jax.pruning.criteria.network import Network, mean_loss, only

PyTree = Any

_TEMPERATURE = 200.0  # of the logits, as in its authors' code


def grasp_scores(network: Network, model: Model) -> PyTree:
  """Returns w (H g) of each weight: by how much it raises the gradient's norm.

  GraSP (Wang et al. 2020, arXiv 2002.07376, eq. 8), whose weights with the
  most negative products go first. g and H are the gradient and the Hessian, in
  the prunable weights that are left, of the mean cross-entropy at a temperature
  of 200.
  """
  used = only(network.masks, model.prunable(network.params))

  def gradient(params: PyTree) -> PyTree:
    found = jax.grad(mean_loss)(params, network, model, _TEMPERATURE)
    return jax.tree.map(jnp.multiply, found, used)

  fixed = jax.lax.stop_gradient(gradient(network.params))
  product = jax.grad(lambda params: optax.tree.vdot(fixed, gradient(params)))
  return jax.tree.map(jnp.multiply, network.params, product(network.params))
