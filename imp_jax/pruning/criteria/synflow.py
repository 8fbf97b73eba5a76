"""SynFlow: the share of the flow through a network."""

from typing import Any

import jax
import jax.numpy as jnp

from imp_jax.models import Model
from imp_jax.pruning.criteria.network import Network

PyTree = Any


def synflow_scores(network: Network, model: Model) -> PyTree:
  """Returns |w| dR/d|w| / R, each weight's share in what flows through.

  SynFlow (Tanaka et al. 2020, arXiv 2006.05467, eq. 4): R is the sum of the
  outputs for an input of ones, of the network with the absolute value of every
  parameter and running statistic, in evaluation mode. No data enter. Dividing
  by R changes no ranking. In float64 where there is that: through a ResNet-56
  flows 1e54, and float32 ends at 3e38; where R is too large, or not positive,
  scores are no numbers, and the masks are refused. Its authors prune in 100
  rounds (`prune.rounds`).
  """
  wide = jnp.result_type(float)
  model = model.of_prepared().in_dtype(wide)
  ones = jnp.ones((1, *model.input_shape), wide)

  def positive(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.abs(leaf).astype(wide), tree)

  params, stats = positive(network.params), positive(network.batch_stats)

  def flow(params: PyTree) -> jax.Array:
    return jnp.log(model.apply(params, stats, ones).sum())

  return jax.tree.map(jnp.multiply, params, jax.grad(flow)(params))
