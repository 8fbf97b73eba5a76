"""Pruning criteria: one score per weight; the smallest scores are removed."""

from collections.abc import Mapping

from imp_jax.pruning.criteria.grasp import grasp_scores
from imp_jax.pruning.criteria.magnitude import (
  magnitude_increase_scores,
  magnitude_scores,
)
from imp_jax.pruning.criteria.movement import (
  movement_scores,
  sanh_movement_scores,
)
from imp_jax.pruning.criteria.network import Criterion as Criterion
from imp_jax.pruning.criteria.network import Network as Network
from imp_jax.pruning.criteria.ntk_sap import ntk_sap_scores
from imp_jax.pruning.criteria.random import random_scores
from imp_jax.pruning.criteria.snip import snip_scores
from imp_jax.pruning.criteria.synflow import synflow_scores

# A new criterion is a file of its own, and one more line.
CRITERIA: Mapping[str, Criterion] = {
  "magnitude": Criterion(magnitude_scores, rescored=False),
  "grasp": Criterion(grasp_scores, needs_examples=True, convolution="patches"),
  "magnitude_increase": Criterion(
    magnitude_increase_scores, needs_initial=True, rescored=False
  ),
  "movement": Criterion(movement_scores, needs_initial=True, rescored=False),
  "ntk_sap": Criterion(ntk_sap_scores, needs_examples=True),
  "random": Criterion(random_scores, rescored=False),
  "sanh_movement": Criterion(
    sanh_movement_scores, needs_movement=True, rescored=False
  ),
  "snip": Criterion(snip_scores, needs_examples=True),
  "synflow": Criterion(synflow_scores, convolution="plain", wide=True),
}
