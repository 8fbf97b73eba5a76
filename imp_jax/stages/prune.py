"""The stage that prunes: a trained network's masks become the next level's."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.graph import Item, Outcome, Stage
from imp_jax.core.masks import (
  density,
  kept_counts,
  pack_masks,
  total_counts,
)
from imp_jax.core.options import option
from imp_jax.core.ranges import between, choice, several, text, whole
from imp_jax.core.store import Artefact, Failure
from imp_jax.engine.context import Context
from imp_jax.engine.replicates import replicate_slice, stack_trees
from imp_jax.models.settings import ModelSettings
from imp_jax.pruning import (
  ALLOCATIONS,
  CRITERIA,
  RULES,
  drop_counts,
  excluded_count,
  leaf_groups,
  select_masks,
)
from imp_jax.pruning.invariants import wrong_masks

PyTree = Any
Groups = tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class PruneSettings:
  """How IMP prunes."""

  levels: int = option(12, whole(0), "level 0 is dense", where=True)
  criterion: str = option(
    "magnitude", choice(tuple(CRITERIA)), "whose smallest scores go"
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

  Edges: "trained" (whose weights the criterion scores), and "masks" (the level
  before; without them it is dense).

  Attributes: see `PruneSettings`; `density` is that of this level, in
  place of the fraction, where densities are given.
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

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    params = [context.load_tree(item, "trained")["params"] for item in items]
    parents = [
      context.load_masks(item, tree)
      for item, tree in zip(items, params, strict=True)
    ]
    prunable = context.model(self.model).prunable(params[0])
    groups = leaf_groups(
      prunable, allocation=self.allocation, exclude=self.exclude
    )
    totals = total_counts(params[0], prunable)
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
      params,
      parents,
      drops,
      [context.key("prune", item.replicate, self.level) for item in items],
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


def selected_masks(
  params: Sequence[PyTree],
  parents: Sequence[PyTree],
  drops: Sequence[Sequence[int]],
  keys: Sequence[jax.Array],
  *,
  criterion: str,
  groups: Groups,
  rule: str,
) -> list[PyTree]:
  """Returns new masks for several networks, chosen together.

  Args:
    params, parents: the networks' weights and masks.
    drops: how many weights each group of each network gives up.
    keys: of what a criterion draws.
    criterion: one of `CRITERIA`.
    groups: leaves whose weights compete with each other.
    rule: one of `RULES`.
  """
  program = _prune_program(criterion, groups, rule)
  masks = program(
    stack_trees(params),
    stack_trees(parents),
    jnp.asarray(np.asarray(drops), jnp.int32),
    jnp.stack(keys),
  )
  return [jax.device_get(replicate_slice(masks, i)) for i in range(len(params))]


def checked_masks(
  name: str,
  masks: PyTree,
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
    masks, parent: new masks, and those that they must be nested in.
    prunable: paths of the prunable leaves.
    groups, drops, rule: as of `selected_masks`, of one network.
  """
  wrong = wrong_masks(masks, parent, groups=groups, drops=drops, rule=rule)
  if wrong:
    return Failure(f"{name}: {wrong}")
  return Artefact(
    {"density": density(masks, prunable)}, arrays=pack_masks(masks, prunable)
  )


@functools.lru_cache(maxsize=64)
def _prune_program(
  criterion: str, groups: Groups, rule: str
) -> Callable[..., PyTree]:
  def prune(
    params: PyTree, masks: PyTree, drops: jax.Array, key: jax.Array
  ) -> PyTree:
    scores = CRITERIA[criterion](params, key)
    return select_masks(scores, masks, drops, groups=groups, rule=rule)

  return jax.jit(jax.vmap(prune))


def _group_counts(counts: Mapping[str, int], groups: Groups) -> tuple[int, ...]:
  return tuple(sum(counts[path] for path in group) for group in groups)
