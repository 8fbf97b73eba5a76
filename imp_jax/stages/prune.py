"""The stage that prunes: a trained network's masks become the next level's."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.code import code_hash
from imp_jax.core.graph import Item, Outcome, Stage
from imp_jax.core.keys import key_words
from imp_jax.core.masks import (
  apply_masks,
  density,
  flat_leaves,
  kept_counts,
  pack_masks,
  total_counts,
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
  drop_counts,
  excluded_count,
  leaf_groups,
  select_masks,
)
from imp_jax.pruning.invariants import wrong_masks

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
    10, whole(1), "training examples for a criterion that needs any (snip)"
  )
  fraction: float = option(
    0.2, between("(0", "1)"), "of the survivors, removed at each level"
  )
  densities: tuple[float, ...] = option(
    (), several(between("(0", "1]")), "or the density of levels 1, 2, ..."
  )
  allocation: str = option(
    "global", choice(ALLOCATIONS), "which weights compete"
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


@dataclasses.dataclass(frozen=True)
class Prune(Stage):
  """The next level's masks.

  Edges: "weights" (a training whose network the criterion scores), "masks" (the
  level before; without them it is dense), and "initial" (the network as it was
  drawn, for a criterion that needs it).

  Attributes: see `PruneSettings`; `density` is that of this level, in
  place of the fraction, where densities are given.
    examples_per_class: drawn anew for each replicate and level; 0 where the
      criterion needs none.
    fingerprint: of the training examples; "" likewise.
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
    totals = total_counts(shapes, prunable)
    excluded = excluded_count(
      totals, groups, allocation=self.allocation, rule=self.rule
    )
    drops = [
      drop_counts(
        _group_counts(kept_counts(parent, prunable), groups),
        _group_counts(totals, groups),
        fraction=self.fraction,
        density=self.density,
        excluded=excluded,
      )
      for parent in parents
    ]
    masks = selected_masks(
      context,
      networks,
      parents,
      drops,
      model=model,
      criterion=self.criterion,
      groups=groups,
      rule=self.rule,
    )
    return {
      item: checked_masks(
        f"{item.node.label}, replicate {item.replicate}",
        new,
        parent,
        prunable,
        groups=groups,
        drops=drop,
        rule=self.rule,
      )
      for item, new, parent, drop in zip(
        items, masks, parents, drops, strict=True
      )
    }

  def code(self) -> dict[str, str]:
    criterion = {
      f"prune.criterion {self.criterion}": code_hash(CRITERIA[self.criterion])
    }
    return criterion | model_code(self.model)

  def _network(self, context: Context, item: Item) -> Network:
    """What the criterion is given of one replicate."""
    network = Network(
      **context.load_network(item, "weights"),
      key=context.key("prune", item.replicate, self.level),
    )
    if item.node.edge("initial"):
      initial = context.load_tree(item, "initial")["params"]
      network = network._replace(initial=initial)
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


def selected_masks(
  context: Context,
  networks: Sequence[Network],
  parents: Sequence[PyTree],
  drops: Sequence[Sequence[int]],
  *,
  model: Model,
  criterion: str,
  groups: Groups,
  rule: str,
) -> list[PyTree | None]:
  """Returns new masks for several networks, chosen together.

  None for a network to whose kept weights the criterion gives scores that are
  no numbers.

  Args:
    context: what stages run with.
    networks, parents: the networks, and the masks that the new ones are nested
      in; a weight that these remove is scored as 0.
    drops: how many weights each group of each network gives up.
    model: the networks'.
    criterion: one of `CRITERIA`.
    groups: leaves whose weights compete with each other.
    rule: one of `RULES`.
  """
  program = _prune_program(model, criterion, groups, rule, context.execution)
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
  execution: ExecutionSettings,
) -> Callable[..., PyTree]:
  def prune(
    network: Network, masks: PyTree, drops: jax.Array
  ) -> tuple[PyTree, jax.Array]:
    params = apply_masks(network.params, masks)
    scores = CRITERIA[criterion].scores(network._replace(params=params), model)
    new = select_masks(scores, masks, drops, groups=groups, rule=rule)
    kept = flat_leaves(apply_masks(scores, masks))
    numbers = [jnp.isfinite(kept[path]).all() for g in groups for path in g]
    return new, jnp.stack(numbers).all()

  return compiled(prune, execution, shared=0)


def _group_counts(counts: Mapping[str, int], groups: Groups) -> tuple[int, ...]:
  return tuple(sum(counts[path] for path in group) for group in groups)
