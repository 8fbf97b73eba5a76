"""The stage that prunes: a trained network's masks become the next level's."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.code import code_hash
from imp_jax.core.graph import Item, Node, Outcome, Stage
from imp_jax.core.keys import key_words
from imp_jax.core.masks import (
  apply_masks,
  density,
  flat_leaves,
  kept_counts,
  leaf_shapes,
  pack_masks,
  unpacked_leaves,
)
from imp_jax.core.options import option
from imp_jax.core.ranges import between, choice, several, text, whole
from imp_jax.data.subsets import keep_indices
from imp_jax.engine.context import Context
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.replicates import replicate_slice, stack_trees
from imp_jax.engine.trainer import compiled
from imp_jax.models import Model
from imp_jax.models.settings import ModelSettings, model_code
from imp_jax.pruning import (
  ALLOCATIONS,
  CRITERIA,
  RULES,
  Network,
  leaf_groups,
  level_drops,
  round_drops,
  select_masks,
)
from imp_jax.pruning.invariants import wrong_masks
from imp_jax.training.state import MOVEMENT

PyTree = Any
Groups = tuple[tuple[str, ...], ...]

SOURCES = ("trained", "rewound")


@dataclasses.dataclass(frozen=True)
class PruneSettings:
  """How IMP prunes."""

  levels: int = option(12, whole(0), "level 0 is dense", where=True)
  criterion: str = option(
    "magnitude", choice(CRITERIA), "whose smallest scores go"
  )
  source: str = option(
    "trained",
    choice(SOURCES),
    "whose weights it scores: this level's after its training, or rewound: "
    "W_r's under this level's mask (pruning at initialisation where t_r = 0)",
  )
  examples_per_class: int = option(
    10,
    whole(1),
    "training examples for a criterion that needs any (grasp, snip; ntk_sap "
    "draws as many inputs)",
  )
  rounds: int = option(
    1,
    whole(1, 10_000),
    "of scoring at each level, each leaving the same share: synflow's authors "
    "have 100. More than one needs rule='exact'",
  )
  fraction: float = option(
    0.2, between("(0", "1)"), "of the survivors, removed at each level"
  )
  adaptive: tuple[float, ...] = option(
    (),
    several(between("(0", "1)")),
    "or the largest of these (else the smallest) after which the network still "
    "has its training error, before it is trained again",
  )
  tolerance: float = option(
    0.01, between("[0", "1)"), "of adaptive: the rise of error that is none"
  )
  densities: tuple[float, ...] = option(
    (), several(between("(0", "1]")), "or the density of levels 1, 2, ..."
  )
  allocation: str = option(
    "global",
    choice(ALLOCATIONS),
    "which weights compete: all, those of a layer, or those of a layer that "
    "keeps its share by Erdos-Renyi-Kernel",
  )
  rule: str = option(
    "threshold", choice(tuple(RULES)), "the paper's, or exact counts"
  )
  exclude: tuple[str, ...] = option(
    (),
    several(text),
    'layers left out: "head", "stem_conv/kernel". Under global allocation and '
    "the paper's rule the others give up the fraction of all survivors, these "
    "among them (as both of the paper's code bases do); under the exact rule "
    "and per layer, of their own",
  )
  masks_of: str = option(
    "",
    text,
    "an experiment whose masks are taken: that one searches, by its own data, "
    "rate and t_r, and this one trains what was found",
  )


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
    twice = CRITERIA[self.criterion].twice
    prunable = model.prunable(shapes)
    groups = leaf_groups(
      prunable, allocation=self.allocation, exclude=self.exclude
    )
    kept = [kept_counts(parent, prunable) for parent in parents]
    plan = Pruning(
      context,
      model,
      context.model(self.model, "patches") if twice else model,
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
    criterion = {
      f"prune.criterion {self.criterion}": code_hash(CRITERIA[self.criterion])
    }
    return criterion | model_code(self.model)

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


def selected_masks(
  context: Context,
  networks: Sequence[Network],
  parents: Sequence[PyTree],
  drops: Sequence[Sequence[Sequence[int]]],
  *,
  model: Model,
  criterion: str,
  groups: Groups,
  rule: str,
  inverted: bool = False,
) -> list[PyTree | None]:
  """Returns new masks for several networks, chosen together.

  None for a network to whose kept weights the criterion gives scores that are
  no numbers.

  Args:
    context: what stages run with.
    networks, parents: the networks, and the masks that the new ones are nested
      in; a weight that these remove is scored as 0.
    drops: how many weights each group of each network gives up in each round.
    model: the networks'.
    criterion: one of `CRITERIA`.
    groups: leaves whose weights compete with each other.
    rule: one of `RULES`.
    inverted: whether the largest scores go.
  """
  program = _prune_program(
    model, criterion, groups, rule, inverted, context.execution
  )
  found = program(
    stack_trees(networks),
    stack_trees(parents),
    np.asarray(drops, np.int32),
  )
  masks, numbers = jax.device_get(found)
  return [
    replicate_slice(masks, i) if numbers[i] else None
    for i in range(len(networks))
  ]


def checked_masks(
  name: str,
  masks: PyTree | None,
  parent: PyTree,
  prunable: Sequence[str],
  *,
  groups: Groups,
  drops: Sequence[int],
  rule: str,
) -> Outcome:
  """Returns the artefact of masks, or what is wrong with them.

  Args:
    name: for messages.
    masks, parent: new masks of `selected_masks`, and those that they must be
      nested in.
    prunable: paths of the prunable leaves.
    groups, drops, rule: as of `selected_masks`, of one network.
  """
  if masks is None:
    return Failure(f"{name}: the criterion gives scores that are no numbers")
  wrong = wrong_masks(masks, parent, groups=groups, drops=drops, rule=rule)
  if wrong:
    return Failure(f"{name}: {wrong}")
  record = {
    "density": density(masks, prunable),
    "checked": ["exact_counts", "nested_masks"],
  }
  return Artefact(record, arrays=pack_masks(masks, prunable))


@functools.lru_cache(maxsize=64)
def _prune_program(
  model: Model,
  criterion: str,
  groups: Groups,
  rule: str,
  inverted: bool,
  execution: ExecutionSettings,
) -> Callable[..., PyTree]:
  def one_round(
    network: Network, masks: PyTree, drops: jax.Array
  ) -> tuple[PyTree, jax.Array]:
    params = apply_masks(network.params, masks)
    scores = CRITERIA[criterion].scores(
      network._replace(params=params, masks=masks), model
    )
    if inverted:
      scores = jax.tree.map(jnp.negative, scores)
    new = select_masks(scores, masks, drops, groups=groups, rule=rule)
    kept = flat_leaves(apply_masks(scores, masks))
    numbers = [jnp.isfinite(kept[path]).all() for g in groups for path in g]
    return new, jnp.stack(numbers).all()

  def prune(
    network: Network, masks: PyTree, drops: jax.Array
  ) -> tuple[PyTree, jax.Array]:
    rounds = len(drops)
    if rounds == 1:
      return one_round(network, masks, drops[0])

    def step(masks: PyTree, this: Any) -> tuple[PyTree, jax.Array]:
      key, drop = this
      return one_round(network._replace(key=key), masks, drop)

    keys = jax.random.split(network.key, rounds)
    new, numbers = jax.lax.scan(step, masks, (keys, drops))
    return new, numbers.all()

  return compiled(prune, execution, shared=0)


def _group_counts(counts: Mapping[str, int], groups: Groups) -> tuple[int, ...]:
  return tuple(sum(counts[path] for path in group) for group in groups)
