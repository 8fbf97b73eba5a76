"""Controls' weights: W_r's survivors, altered or displaced."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from imp_jax.core.artefacts import Artefact
from imp_jax.core.code import code_hash
from imp_jax.core.graph import Item, Outcome, Stage
from imp_jax.core.masks import flat_leaves, nested_leaves, unpack_masks
from imp_jax.engine.context import Context
from imp_jax.models.settings import ModelSettings, model_code
from imp_jax.pruning.alterations import (
  ALTERATIONS,
  altered_leaf,
  displacement,
)

PyTree = Any


@dataclasses.dataclass(frozen=True)
class AlteredWeights(Stage):
  """A network whose surviving prunable weights are altered.

  Edges: "weights" (the network), "masks" (what survives), and "other" (a
  network that something is taken of; without it one is drawn). Biases,
  BatchNorm and the optimiser's state stay.

  Attributes:
    how: one of `pruning.alterations.ALTERATIONS`.
    share: of the survivors, where not all are altered.
  """

  NAME = "altered_weights"

  model: ModelSettings
  level: int
  how: str
  share: float = 1.0

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    return {item: self._altered(context, item) for item in items}

  def code(self) -> dict[str, str]:
    altered = code_hash(ALTERATIONS[self.how])
    return {f"control {self.how}": altered} | model_code(self.model)

  def _altered(self, context: Context, item: Item) -> Artefact:
    model, tree = context.model(self.model), context.load_tree(item, "weights")
    masks = _of(context.load_masks(item, tree["params"]))
    key = context.key(self.how, item.replicate, self.level)
    draw, own = jax.random.split(key)
    if item.node.edge("other"):
      other = _of(context.load_tree(item, "other")["params"])
    else:
      other = _of(jax.device_get(model.init(draw)[0]))
    params = _of(tree["params"])
    paths = model.prunable(tree["params"])
    for path, k in zip(paths, jax.random.split(own, len(paths)), strict=True):
      params[path] = altered_leaf(
        self.how, params[path], masks[path], other[path], k, self.share
      )
    return Artefact({}, tree | {"params": nested_leaves(params)})


@dataclasses.dataclass(frozen=True)
class DisplacedWeights(Stage):
  """A network moved at random, as far as pruning would move it.

  Edges: "weights" (the network), "masks" (the level before, whose survivors
  move; without it all weights do) and "finer" (the level's). What pruning takes
  away, (m - m') w, is replaced by a normal vector of that L2 norm over what m
  keeps (Paul et al. 2023, arXiv 2210.03044, whose exact protocol is not known
  here).

  Attributes:
    scale: times that length, in the same direction.
  """

  NAME = "displaced_weights"

  model: ModelSettings
  level: int
  scale: float = 1.0

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    return {item: self._displaced(context, item) for item in items}

  def _displaced(self, context: Context, item: Item) -> Artefact:
    model, tree = context.model(self.model), context.load_tree(item, "weights")
    packed = context.load_arrays(item, "finer")
    finer = _of(unpack_masks(packed, tree["params"]))
    masks, params = (
      _of(context.load_masks(item, tree["params"])),
      _of(tree["params"]),
    )
    paths = model.prunable(tree["params"])
    key = context.key("displaced", item.replicate, self.level)
    directions = {
      path: np.asarray(jax.random.normal(k, params[path].shape))
      for path, k in zip(paths, jax.random.split(key, len(paths)), strict=True)
    }
    moves = displacement(
      directions,
      {path: params[path] for path in paths},
      masks,
      finer,
      scale=self.scale,
    )
    params |= {path: params[path] + move for path, move in moves.items()}
    return Artefact({}, tree | {"params": nested_leaves(params)})


def _of(tree: PyTree) -> dict[str, np.ndarray]:
  """A tree's leaves on the host, by path."""
  leaves: Mapping[str, Any] = flat_leaves(tree)
  return {path: np.asarray(leaf) for path, leaf in leaves.items()}
