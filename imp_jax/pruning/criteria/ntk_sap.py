"""NTK-SAP: what the trace of the neural tangent kernel owes to a weight."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from imp_jax.models import Model
from imp_jax.pruning.criteria.network import Network, only

PyTree = Any

_EPSILON = 0.01  # of the finite differences


def ntk_sap_scores(network: Network, model: Model) -> PyTree:
  """Returns |d/dm of the sum over x of |f(x; m w') - f(x; m (w' + e))|^2|.

  NTK-SAP (Wang et al. 2023, arXiv 2304.02840, eq. 5 and algorithm 1): the trace
  of the neural tangent kernel by finite differences, at weights w' drawn anew,
  for inputs x drawn from a standard normal, as many as the criterion has
  examples. e is normal with a standard deviation of 0.01, in prunable weights.
  Both networks normalise by their own batch, as in training.
  """
  assert network.inputs is not None
  for_weights, for_noise, for_inputs = jax.random.split(network.key, 3)
  params, stats = model.init(for_weights)
  shape = (len(network.inputs), *model.input_shape)
  inputs = jax.random.normal(for_inputs, shape)
  noise = optax.tree.random_like(for_noise, params, jax.random.normal)
  noise = jax.tree.map(
    jnp.multiply, noise, only(network.masks, model.prunable(params))
  )
  moved = jax.tree.map(lambda w, e: w + _EPSILON * e, params, noise)

  def change(masks: PyTree) -> jax.Array:
    first, second = (
      model.of_prepared().apply_train(
        jax.tree.map(jnp.multiply, weights, masks), stats, inputs, None
      )[0]
      for weights in (params, moved)
    )
    return jnp.square(first - second).sum()

  present = jax.tree.map(jnp.float32, network.masks)
  return jax.tree.map(jnp.abs, jax.grad(change)(present))
