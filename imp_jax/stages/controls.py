"""Controls: IMP's tickets with other masks, or other weights."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from imp_jax.core.graph import Edge, Item, Node, Outcome, Stage
from imp_jax.core.masks import init_masks, kept_counts, total_counts
from imp_jax.core.options import option, read
from imp_jax.core.ranges import choice, in_range, several, whole
from imp_jax.engine.context import Context
from imp_jax.models.settings import ModelSettings
from imp_jax.pruning import Network
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
    groups = tuple((path,) for path in prunable)
    totals = total_counts(shapes, prunable)
    dense = init_masks(shapes)
    outcomes = {}
    for item in items:
      kept = kept_counts(context.load_masks(item, shapes), prunable)
      drops = [totals[p] - kept[p] for p in prunable]
      key = context.key("random_mask", item.replicate, self.level)
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


@dataclasses.dataclass(frozen=True)
class Control:
  """What a control trains in place of IMP's ticket of the same level.

  Attributes:
    masks: of its weights.
    weights: that it starts from; None = W_r's.
  """

  masks: Node
  weights: Node | None = None


def _random_mask(name: str, trunk: Trunk, masks: Node, level: int) -> Control:
  node = Node(
    RandomMask(trunk.model, level),
    (Edge("masks", masks),),
    f"{name} random masks of level {level}",
  )
  return Control(masks=node)


def _reinit(name: str, trunk: Trunk, masks: Node, level: int) -> Control:
  optim = optim_before(trunk.optim, 0)
  weights = Node(
    Train(trunk.model, trunk.stream, optim, stop=0, draw=level),
    (),
    f"{name} fresh weights",
  )
  return Control(weights=weights, masks=masks)


# name -> (experiment's name, trunk, IMP's masks, level) -> what is trained from
# t_r to the end, whatever the experiment's own ticket kind.
CONTROLS: Mapping[str, Callable[[str, Trunk, Node, int], Control]] = {
  "random_mask": _random_mask,
  "reinit": _reinit,
}


@dataclasses.dataclass(frozen=True)
class ControlSettings:
  """Which controls are trained, and at which levels."""

  kinds: tuple[str, ...] = option(
    (),
    several(choice(CONTROLS)),
    "random_mask: as many weights of each layer, at random, of W_r's; reinit: "
    "the same mask, fresh weights",
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
  return read(ControlSettings, controls, levels=chosen)
