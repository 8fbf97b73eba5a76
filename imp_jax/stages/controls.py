"""Controls: IMP's tickets with other masks, or other weights."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from imp_jax.core.artefacts import Artefact
from imp_jax.core.code import code_hash
from imp_jax.core.graph import Edge, Item, Node, Outcome, Stage
from imp_jax.core.masks import (
  flat_leaves,
  init_masks,
  kept_counts,
  nested_leaves,
  total_counts,
)
from imp_jax.core.options import option, read
from imp_jax.core.ranges import Range, in_range, one_of, several, text, whole
from imp_jax.engine.context import Context
from imp_jax.models.settings import ModelSettings, model_code
from imp_jax.pruning import Network
from imp_jax.pruning.alterations import ALTERATIONS, altered_leaf
from imp_jax.stages.prune import checked_masks, selected_masks
from imp_jax.stages.train import Train
from imp_jax.stages.trunk import Trunk
from imp_jax.training.settings import optim_before


@dataclasses.dataclass(frozen=True)
class RandomMask(Stage):
  """A random mask at the layerwise densities of its edge "masks".

  Nothing survives by merit, but each layer's count is kept.
  """

  NAME = "random_mask"

  model: ModelSettings
  level: int

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    model = context.model(self.model)
    shapes, _ = jax.eval_shape(model.init, jax.random.key(0))
    prunable = model.prunable(shapes)
    groups = self.groups(prunable)
    totals = total_counts(shapes, prunable)
    dense = init_masks(shapes)
    outcomes = {}
    for item in items:
      kept = kept_counts(context.load_masks(item, shapes), prunable)
      drops = [sum(totals[p] - kept[p] for p in group) for group in groups]
      key = context.key(self.NAME, item.replicate, self.level)
      (masks,) = selected_masks(
        context,
        [Network(dense, {}, key)],
        [dense],
        [drops],
        model=model,
        criterion="random",
        groups=groups,
        rule="exact",
      )
      outcomes[item] = checked_masks(
        f"{item.node.label}, replicate {item.replicate}",
        masks,
        dense,
        prunable,
        groups=groups,
        drops=drops,
        rule="exact",
      )
    return outcomes

  def groups(self, prunable: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Returns the layers whose weights are drawn from together."""
    return tuple((path,) for path in prunable)


@dataclasses.dataclass(frozen=True)
class GlobalRandomMask(RandomMask):
  """A random mask at the density of its edge "masks", layers drawn together.

  Each layer is left about that density, and not what pruning leaves it.
  """

  NAME = "global_random_mask"

  def groups(self, prunable: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return (tuple(prunable),)


@dataclasses.dataclass(frozen=True)
class AlteredWeights(Stage):
  """A network whose surviving prunable weights are altered.

  Edges: "weights" (the network), and "masks" (what survives). Biases,
  BatchNorm and the optimiser's state stay.

  Attributes:
    how: one of `pruning.alterations.ALTERATIONS`.
  """

  NAME = "altered_weights"

  model: ModelSettings
  level: int
  how: str

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    return {item: self._altered(context, item) for item in items}

  def code(self) -> dict[str, str]:
    altered = code_hash(ALTERATIONS[self.how])
    return {f"control {self.how}": altered} | model_code(self.model)

  def _altered(self, context: Context, item: Item) -> Artefact:
    model, tree = context.model(self.model), context.load_tree(item, "weights")
    masks = flat_leaves(context.load_masks(item, tree["params"]))
    key = context.key(self.how, item.replicate, self.level)
    draw, own = jax.random.split(key)
    drawn = flat_leaves(jax.device_get(model.init(draw)[0]))
    params = flat_leaves(tree["params"])
    paths = model.prunable(tree["params"])
    for path, k in zip(paths, jax.random.split(own, len(paths)), strict=True):
      leaf, mask = np.asarray(params[path]), np.asarray(masks[path])
      params[path] = altered_leaf(self.how, leaf, mask, drawn[path], k)
    return Artefact({}, tree | {"params": nested_leaves(params)})


@dataclasses.dataclass(frozen=True)
class Control:
  """What a control trains in place of IMP's ticket of the same level.

  Attributes:
    masks: of its weights.
    weights: that it starts from; None = W_r's.
  """

  masks: Node
  weights: Node | None = None


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a control stands: what it may be made of.

  Attributes:
    name: of the experiment.
    trunk: its settings.
    pretrain: the training that ends at W_r.
    masks: IMP's, of the level.
    level: of IMP.
  """

  name: str
  trunk: Trunk
  pretrain: Node
  masks: Node
  level: int


def _random_mask(place: Place, stage: type[RandomMask] = RandomMask) -> Control:
  node = Node(
    stage(place.trunk.model, place.level),
    (Edge("masks", place.masks),),
    f"{place.name} random masks of level {place.level}",
  )
  return Control(masks=node)


def _altered(how: str, place: Place) -> Control:
  edges = (Edge("weights", place.pretrain), Edge("masks", place.masks))
  weights = Node(
    AlteredWeights(place.trunk.model, place.level, how),
    edges,
    f"{place.name} {how.replace('_', ' ')} of level {place.level}",
  )
  return Control(weights=weights, masks=place.masks)


def _reinit(place: Place) -> Control:
  name, trunk, level = place.name, place.trunk, place.level
  optim = optim_before(trunk.optim, 0)
  weights = Node(
    Train(trunk.model, trunk.stream, optim, stop=0, draw=level),
    (),
    f"{name} fresh weights",
  )
  return Control(weights=weights, masks=place.masks)


# name -> (where it stands) -> what is trained from t_r to the end, whatever the
# experiment's own ticket kind.
CONTROLS: Mapping[str, Callable[[Place], Control]] = {
  "random_mask": _random_mask,
  "reinit": _reinit,
  "random_global": functools.partial(_random_mask, stage=GlobalRandomMask),
  **{how: functools.partial(_altered, how) for how in ALTERATIONS},
}
# Of controls.kinds: all of them.
ALL = "all"


def _check_kind(field: str, value: Any) -> None:
  text(field, value)
  one_of(field, value, (*CONTROLS, ALL))


_KIND = Range(lambda: " | ".join((*CONTROLS, ALL)), _check_kind)


@dataclasses.dataclass(frozen=True)
class ControlSettings:
  """Which controls are trained, and at which levels."""

  kinds: tuple[str, ...] = option(
    (),
    several(_KIND),
    "random_mask: as many weights of each layer, at random; random_global: of "
    "all layers together; reinit: the same mask, fresh weights; and W_r's own "
    "survivors with their places shuffled in each layer, with constant or "
    "redrawn magnitudes under their signs, or with random signs; all of these",
    where=True,
  )
  levels: tuple[int, ...] = option(
    (), several(whole(1)), "at which", where=True
  )


def resolve_controls(controls: Any, levels: int) -> ControlSettings:
  """Returns which controls are trained.

  Args:
    controls: the config's group.
    levels: of IMP.

  Raises:
    ValueError: a level is not run, or none is given.
  """
  if controls.kinds and not controls.levels:
    raise ValueError(
      f"controls.kinds is {tuple(controls.kinds)}, but controls.levels is "
      "empty: say of which levels"
    )
  for level in controls.levels:
    in_range("controls.levels", level, 1, levels)
  chosen = tuple(sorted(set(controls.levels)))
  kinds = tuple(CONTROLS) if ALL in controls.kinds else tuple(controls.kinds)
  return read(ControlSettings, controls, kinds=kinds, levels=chosen)
