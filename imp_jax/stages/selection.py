"""New masks of several networks, chosen in one program and checked."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.graph import Outcome
from imp_jax.core.masks import apply_masks, density, flat_leaves, pack_masks
from imp_jax.engine.context import Context
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.replicates import replicate_slice, stack_trees
from imp_jax.engine.trainer import compiled
from imp_jax.models import Model
from imp_jax.pruning import CRITERIA, Network, select_masks
from imp_jax.pruning.invariants import wrong_masks

PyTree = Any
Groups = tuple[tuple[str, ...], ...]


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
  wide = CRITERIA[criterion].wide
  with jax.enable_x64(True) if wide else contextlib.nullcontext():
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
