"""The stages that make masks: prune, and the random-mask control."""

import functools

import jax
import jax.numpy as jnp

from imp_jax.invariants import wrong_masks
from imp_jax.masks import (
  density,
  init_masks,
  kept_counts,
  pack_masks,
  total_counts,
)
from imp_jax.nodes import Prune, RandomMask
from imp_jax.pruning import (
  CRITERIA,
  drop_counts,
  excluded_count,
  leaf_groups,
  select_masks,
)
from imp_jax.replicates import replicate_slice, stack_trees
from imp_jax.runs import Failure
from imp_jax.store import Artefact


def run_prune(context, node, replicates):
  settings: Prune = node.settings
  params = [context.load(node, "trained", r).tree["params"] for r in replicates]
  parents = [
    context.load_masks(node, r, p)
    for r, p in zip(replicates, params, strict=True)
  ]
  prunable = context.model(settings.model).prunable(params[0])
  groups = leaf_groups(
    prunable, allocation=settings.allocation, exclude=settings.exclude
  )
  totals = total_counts(params[0], prunable)
  excluded = excluded_count(
    totals, groups, allocation=settings.allocation, rule=settings.rule
  )
  drops = [
    drop_counts(
      _group_counts(kept_counts(parent, prunable), groups),
      _group_counts(totals, groups),
      fraction=settings.fraction,
      density=settings.density,
      excluded=excluded,
    )
    for parent in parents
  ]
  keys = jnp.stack(
    [context.key("prune", r, settings.level) for r in replicates]
  )
  new = _prune_program(settings.criterion, groups, settings.rule)(
    stack_trees(params),
    stack_trees(parents),
    jnp.asarray(drops, jnp.int32),
    keys,
  )
  outcomes = {}
  for i, r in enumerate(replicates):
    masks = jax.device_get(replicate_slice(new, i))
    wrong = wrong_masks(
      masks, parents[i], groups=groups, drops=drops[i], rule=settings.rule
    )
    outcomes[r] = (
      Failure(f"{node.label}, replicate {r}: {wrong}")
      if wrong
      else _mask_artefact(masks, prunable)
    )
  return outcomes


def run_random_mask(context, node, replicates):
  """Random masks: nothing survives by merit, but each layer's count is kept."""
  settings: RandomMask = node.settings
  model = context.model(settings.model)
  shapes, _ = jax.eval_shape(model.init, jax.random.key(0))
  prunable = model.prunable(shapes)
  groups = tuple((path,) for path in prunable)
  totals = total_counts(shapes, prunable)
  dense = init_masks(shapes)
  outcomes = {}
  for r in replicates:
    kept = kept_counts(context.load_masks(node, r, shapes), prunable)
    drops = [totals[p] - kept[p] for p in prunable]
    masks = _prune_program("random", groups, "exact")(
      stack_trees([dense]),
      stack_trees([dense]),
      jnp.asarray([drops], jnp.int32),
      context.key("random_mask", r, settings.level)[None],
    )
    masks = jax.device_get(replicate_slice(masks, 0))
    wrong = wrong_masks(masks, dense, groups=groups, drops=drops, rule="exact")
    outcomes[r] = (
      Failure(f"{node.label}, replicate {r}: {wrong}")
      if wrong
      else _mask_artefact(masks, prunable)
    )
  return outcomes


@functools.lru_cache(maxsize=64)
def _prune_program(criterion, groups, rule):
  def prune(params, masks, drops, key):
    scores = CRITERIA[criterion](params, key)
    return select_masks(scores, masks, drops, groups=groups, rule=rule)

  return jax.jit(jax.vmap(prune))


def _group_counts(counts, groups) -> tuple[int, ...]:
  return tuple(sum(counts[path] for path in group) for group in groups)


def _mask_artefact(masks, prunable) -> Artefact:
  return Artefact(
    {"density": density(masks, prunable)}, arrays=pack_masks(masks, prunable)
  )
