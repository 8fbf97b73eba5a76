"""The stage that prunes: a trained network's masks become the next level's."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from imp_jax.core.artefacts import Artefact
from imp_jax.core.code import code_hash
from imp_jax.core.graph import Item, Node, Outcome, Stage
from imp_jax.core.keys import key_words
from imp_jax.core.masks import kept_counts, leaf_shapes, unpacked_leaves
from imp_jax.data.subsets import keep_indices
from imp_jax.engine.context import Context
from imp_jax.models import Model
from imp_jax.models.settings import ModelSettings, model_code
from imp_jax.pruning import (
  CRITERIA,
  Network,
  leaf_groups,
  level_drops,
  round_drops,
)
from imp_jax.stages.selection import Groups, checked_masks, selected_masks
from imp_jax.training.state import MOVEMENT

PyTree = Any


class Pruning(NamedTuple):
  """What is pruned together.

  Attributes:
    context: what stages run with.
    model: of all networks.
    groups: of layers whose weights compete.
    shapes: of all prunable layers.
    networks, parents: of each item, and their present masks.
    scoring: the same model, as the criterion needs it.
  """

  context: Context
  model: Model
  scoring: Model
  groups: Groups
  shapes: Mapping[str, tuple[int, ...]]
  networks: Sequence[Network]
  parents: Sequence[PyTree]


@dataclasses.dataclass(frozen=True)
class Prune(Stage):
  """The next level's masks.

  Edges: "weights" (a training whose network the criterion scores), "masks" (the
  level before; without them it is dense), "initial" (the network as it was
  drawn, for a criterion that needs it), and "like" (masks of which each group
  is to keep as many weights, in place of a fraction or density).

  Attributes: see `PruneSettings`; `density` is that of this level, in
  place of the fraction, where densities are given.
    examples_per_class: drawn anew for each replicate and level; 0 where the
      criterion needs none.
    fingerprint: of the training examples; "" likewise.
    rounds: of scoring.
    inverted: whether the largest scores go.
    progress: of "like": how far a gradual schedule has come, in (0, 1]; it has
      removed 1 - (1 - progress)^3 of what "like" removes.
  """

  NAME = "prune"

  model: ModelSettings
  level: int
  criterion: str
  fraction: float
  density: float | None
  allocation: str
  rule: str
  exclude: tuple[str, ...]
  examples_per_class: int = 0
  fingerprint: str = ""
  rounds: int = 1
  inverted: bool = False
  progress: float = 1.0

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    networks = [self._network(context, item) for item in items]
    parents = [
      context.load_masks(item, network.params)
      for item, network in zip(items, networks, strict=True)
    ]
    shapes, model = networks[0].params, context.model(self.model)
    prunable = model.prunable(shapes)
    groups = leaf_groups(
      prunable, allocation=self.allocation, exclude=self.exclude
    )
    kept = [kept_counts(parent, prunable) for parent in parents]
    plan = Pruning(
      context,
      model,
      context.model(self.model, CRITERIA[self.criterion].convolution or None),
      groups,
      leaf_shapes(shapes, prunable),
      networks,
      parents,
    )
    drops, told = self.drops(plan, items, kept)
    in_rounds = [
      self.in_rounds(plan, counts, drop)
      for counts, drop in zip(kept, drops, strict=True)
    ]
    masks = selected_masks(
      context,
      networks,
      parents,
      in_rounds,
      model=plan.scoring,
      criterion=self.criterion,
      groups=groups,
      rule=self.rule,
      inverted=self.inverted,
    )
    outcomes: dict[Item, Outcome] = {}
    for item, new, parent, drop, facts in zip(
      items, masks, parents, drops, told, strict=True
    ):
      outcome = checked_masks(
        f"{item.node.label}, replicate {item.replicate}",
        new,
        parent,
        prunable,
        groups=groups,
        drops=drop,
        rule=self.rule,
      )
      if isinstance(outcome, Artefact):
        outcome = dataclasses.replace(outcome, record=outcome.record | facts)
      outcomes[item] = outcome
    return outcomes

  def drops(
    self,
    plan: "Pruning",
    items: Sequence[Item],
    kept: Sequence[Mapping[str, int]],
  ) -> tuple[list[tuple[int, ...]], list[dict[str, Any]]]:
    """Returns what each group of each item gives up, and facts for its record.

    Args:
      plan: what is pruned.
      items: that are.
      kept: weights of each prunable layer of each, before.
    """
    found = [
      self._drops_like(plan, item, counts)
      if item.node.edge("like")
      else self.level_drops(plan, counts, self.fraction)
      for item, counts in zip(items, kept, strict=True)
    ]
    return found, [{}] * len(items)

  def in_rounds(
    self, plan: "Pruning", kept: Mapping[str, int], drops: Sequence[int]
  ) -> list[tuple[int, ...]]:
    """Returns what each round of scoring takes of what a level takes."""
    return round_drops(_group_counts(kept, plan.groups), drops, self.rounds)

  def level_drops(
    self, plan: "Pruning", kept: Mapping[str, int], fraction: float
  ) -> tuple[int, ...]:
    """Returns what each group of one network gives up at a fraction."""
    return level_drops(
      kept,
      plan.shapes,
      plan.groups,
      allocation=self.allocation,
      rule=self.rule,
      fraction=fraction,
      density=self.density,
    )

  def _drops_like(
    self, plan: "Pruning", item: Item, kept: Mapping[str, int]
  ) -> tuple[int, ...]:
    """What leaves each group as many weights as other masks do, or a part."""
    context, shapes, groups = plan.context, plan.shapes, plan.groups
    like = unpacked_leaves(context.load_arrays(item, "like"))
    gone = {path: int((~mask).sum()) for path, mask in like.items()}
    share = 1 - (1 - self.progress) ** 3
    sizes = {path: math.prod(shape) for path, shape in shapes.items()}
    return tuple(
      round(share * sum(gone[path] for path in group))
      - sum(sizes[path] - kept[path] for path in group)
      for group in groups
    )

  def code(self) -> dict[str, str]:
    # How its scores are computed, not how it is run.
    scored = dataclasses.replace(
      CRITERIA[self.criterion], convolution="", rescored=True, wide=False
    )
    name = f"prune.criterion {self.criterion}"
    return {name: code_hash(scored)} | model_code(self.model)

  def _network(self, context: Context, item: Item) -> Network:
    """What the criterion is given of one replicate."""
    # A control's draws are not its ticket's, nor those of its other parts.
    key = context.key("prune", item.replicate, self.level)
    if item.node.edge("like"):
      part = round(1000 * self.progress)
      key = context.key("prune_like", item.replicate, self.level, part)
    network = Network(**context.load_network(item, "weights"), key=key)
    if item.node.edge("initial"):
      initial = context.load_tree(item, "initial")["params"]
      network = network._replace(initial=initial)
    if CRITERIA[self.criterion].needs_movement:
      tree = context.load_tree(item, "weights")
      network = network._replace(movement=tree[MOVEMENT])
    if not self.examples_per_class:
      return network
    train, classes = context.dataset.train, context.dataset.num_classes
    key = context.key("prune_examples", item.replicate, self.level)
    indices = keep_indices(
      "random",
      np.asarray(train.labels),
      size=self.examples_per_class * classes,
      num_classes=classes,
      balanced=True,
      tie_words=(),
      draw_words=key_words(key),
    )
    return network._replace(
      inputs=train.inputs[indices], labels=train.labels[indices]
    )


def planned_total(node: Node, shapes: Mapping[str, Sequence[int]]) -> int:
  """Returns how many weights pruning's masks will keep, if none are tied.

  Args:
    node: of a `Prune` without "like".
    shapes: of the kernels of all prunable layers.
  """
  levels: list[Prune] = []
  while node.edge("masks"):
    levels.append(_pruned_by(node))
    node = node.edge("masks").node  # pyright: ignore
  levels.append(_pruned_by(node))
  kept = {path: math.prod(shape) for path, shape in shapes.items()}
  for stage in reversed(levels):
    groups = leaf_groups(
      tuple(shapes), allocation=stage.allocation, exclude=stage.exclude
    )
    drops = level_drops(
      kept,
      shapes,
      groups,
      allocation=stage.allocation,
      rule=stage.rule,
      # Of an adaptive one none can say: the most that it may take.
      fraction=max(getattr(stage, "fractions", ()), default=stage.fraction),
      density=stage.density,
    )
    for group, drop in zip(groups, drops, strict=True):
      left = drop + (1 if stage.rule == "threshold" and drop else 0)
      for path in group:  # of which layer they are matters to no sum
        taken = min(left, kept[path])
        kept[path] -= taken
        left -= taken
  return sum(kept.values())


def _pruned_by(node: Node) -> "Prune":
  assert isinstance(node.stage, Prune)  # by construction
  return node.stage


def _group_counts(counts: Mapping[str, int], groups: Groups) -> tuple[int, ...]:
  return tuple(sum(counts[path] for path in group) for group in groups)
