"""Controls' masks: drawn, chosen early, or taken from another replicate."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.graph import Item, Node, Outcome, Relative, Stage
from imp_jax.core.masks import (
  flat_leaves,
  init_masks,
  kept_counts,
  leaf_shapes,
  pack_masks,
  total_counts,
)
from imp_jax.engine.context import Context
from imp_jax.landscape.permutations import permuted, units_of
from imp_jax.models import layers_in_order
from imp_jax.models.settings import ModelSettings
from imp_jax.pruning import Network, leaf_groups
from imp_jax.pruning.allocate import erk_counts, smart_ratio_counts
from imp_jax.stages.matched import load_permutation
from imp_jax.stages.prune import planned_total
from imp_jax.stages.selection import checked_masks, selected_masks

PyTree = Any
Groups = tuple[tuple[str, ...], ...]
Counts = Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class RandomMask(Stage):
  """A random mask at the layerwise densities of its edge "masks".

  Nothing survives by merit, but each layer's count is kept: it is that mask
  shuffled within its layers.

  Attributes:
    exclude: layers that pruning leaves out: they stay dense.
  """

  NAME = "random_mask"

  model: ModelSettings
  level: int
  exclude: tuple[str, ...] = ()

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    return {item: self._mask(context, item) for item in items}

  def groups(self, paths: Sequence[str]) -> Groups:
    """Returns the layers whose weights are drawn from together."""
    return tuple((path,) for path in paths)

  def counts(self, shapes: Mapping[str, Sequence[int]], kept: Counts) -> Counts:
    """Returns how many weights each layer keeps, of as many in all.

    Args:
      shapes: of the layers' kernels, in the network's order.
      kept: weights of each that the edge's mask keeps.

    Raises:
      ValueError: the layers cannot have these densities.
    """
    del shapes
    return kept

  def _mask(self, context: Context, item: Item) -> Outcome:
    name = f"{item.node.label}, replicate {item.replicate}"
    model = context.model(self.model)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    prunable = model.prunable(params)
    paths = free_layers(layers_in_order(model), self.exclude)
    groups, shapes = self.groups(paths), leaf_shapes(params, paths)
    dense = init_masks(params)
    kept = kept_counts(context.load_masks(item, params), paths)
    try:
      wanted = self.counts(shapes, kept)
    except ValueError as error:
      return Failure(f"{name}: {error}")
    drops = [
      sum(math.prod(shapes[p]) - wanted[p] for p in group) for group in groups
    ]
    key = context.key(self.NAME, item.replicate, self.level)
    (masks,) = selected_masks(
      context,
      [Network(dense, {}, key)],
      [dense],
      [[drops]],
      model=model,
      criterion="random",
      groups=groups,
      rule="exact",
    )
    return checked_masks(
      name, masks, dense, prunable, groups=groups, drops=drops, rule="exact"
    )


@dataclasses.dataclass(frozen=True)
class GlobalRandomMask(RandomMask):
  """A random mask at the density of its edge "masks", layers drawn together.

  Each layer is left about that density, and not what pruning leaves it: it is
  that mask shuffled over all layers.
  """

  NAME = "global_random_mask"

  def groups(self, paths: Sequence[str]) -> Groups:
    return (tuple(paths),)


@dataclasses.dataclass(frozen=True)
class ErkMask(RandomMask):
  """A random mask of as many weights, layers' densities by `erk_counts`."""

  NAME = "erk_mask"

  def counts(self, shapes: Mapping[str, Sequence[int]], kept: Counts) -> Counts:
    sizes = {path: math.prod(shape) for path, shape in shapes.items()}
    return erk_counts(shapes, sizes, sum(kept.values()))


@dataclasses.dataclass(frozen=True)
class SmartRatioMask(RandomMask):
  """A random mask of as many weights, by `smart_ratio_counts`."""

  NAME = "smart_ratio_mask"

  def counts(self, shapes: Mapping[str, Sequence[int]], kept: Counts) -> Counts:
    return smart_ratio_counts(shapes, sum(kept.values()))

  def check(self, node: Node, context: Context, replicates: int) -> None:
    model, masks = context.model(self.model), node.edge("masks")
    assert masks is not None  # by construction
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    ordered = layers_in_order(model)
    shapes = leaf_shapes(params, ordered)
    free = leaf_shapes(params, free_layers(ordered, self.exclude))
    fixed = sum(math.prod(shapes[p]) for p in shapes if p not in free)
    try:
      smart_ratio_counts(free, planned_total(masks.node, shapes) - fixed)
    except ValueError as error:
      raise ValueError(f"{node.label}: {error}") from None


# Whose mask a replicate takes: whichever there are, it is one of them.
OTHER = Relative("r - 1, of 0 is 1", lambda r: r - 1 if r else 1)


@dataclasses.dataclass(frozen=True)
class OtherMask(Stage):
  """The mask of another replicate, its edge "masks"."""

  NAME = "other_mask"

  model: ModelSettings

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    model = context.model(self.model)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    prunable = model.prunable(params)
    return {
      item: Artefact(
        {}, arrays=pack_masks(context.load_masks(item, params), prunable)
      )
      for item in items
    }

  def check(self, node: Node, context: Context, replicates: int) -> None:
    if replicates < 2:
      raise ValueError(
        f"{node.label}: controls.kinds={self.NAME!r} takes another replicate's "
        "mask, but replicates is 1"
      )


@dataclasses.dataclass(frozen=True)
class PermutedMask(OtherMask):
  """The mask of another replicate, permuted as its units are matched.

  Edges: "masks", the other replicate's, and "permutation", a `Match` of its
  dense network with this replicate's (Adnan et al. 2025, arXiv 2505.05143).
  """

  NAME = "permuted_mask"

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    model = context.model(self.model)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    units, prunable = units_of(model), model.prunable(params)
    outcomes: dict[Item, Outcome] = {}
    for item in items:
      masks = permuted(
        context.load_masks(item, params),
        units,
        load_permutation(context, item, units),
      )
      outcomes[item] = Artefact({}, arrays=pack_masks(masks, prunable))
    return outcomes


@dataclasses.dataclass(frozen=True)
class EarlyMask(Stage):
  """The mask of largest magnitudes, as soon as it hardly changes.

  Edges: "weights" (a dense training with snapshots) and "masks" (how many
  weights of each group are kept). Of the snapshots' masks, in order, it is the
  first that differs from each of the four before it, and those among
  themselves, in less than a share of all weights (the Hamming distance; after
  You et al. 2020, arXiv 1909.11957, whose masks are of channels), or the last.
  The record has its "step", and "settled": whether there was such a one.

  Attributes:
    distance: the share.
    allocation, exclude: of pruning.
  """

  NAME = "early_mask"

  model: ModelSettings
  distance: float
  allocation: str
  exclude: tuple[str, ...]

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    return {item: self._mask(context, item) for item in items}

  def check(self, node: Node, context: Context, replicates: int) -> None:
    model, masks = context.model(self.model), node.edge("masks")
    assert masks is not None  # by construction
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    shapes = leaf_shapes(params, model.prunable(params))
    whole = sum(math.prod(shape) for shape in shapes.values())
    density = planned_total(masks.node, shapes) / whole
    if self.distance >= 2 * density:
      raise ValueError(
        f"{node.label}: controls.early_distance is {self.distance:g}, but "
        f"masks of {100 * density:.3g} % of the weights never differ in more "
        f"than {200 * density:.3g} %"
      )

  def _mask(self, context: Context, item: Item) -> Outcome:
    model, tree = context.model(self.model), context.load_tree(item, "weights")
    snapshots: dict[str, PyTree] = tree["snapshots"]
    steps = sorted(snapshots, key=int)
    params = snapshots[steps[0]]
    prunable = model.prunable(params)
    groups = leaf_groups(
      prunable, allocation=self.allocation, exclude=self.exclude
    )
    dense, totals = init_masks(params), total_counts(params, prunable)
    kept = kept_counts(context.load_masks(item, params), prunable)
    drops = [sum(totals[p] - kept[p] for p in group) for group in groups]
    key = jax.random.key(0)  # nothing is drawn
    found = selected_masks(
      context,
      [Network(snapshots[step], {}, key) for step in steps],
      [dense] * len(steps),
      [[drops]] * len(steps),
      model=model,
      criterion="magnitude",
      groups=groups,
      rule="exact",
    )
    at = settled(_flat(found, prunable), self.distance)
    chosen = len(steps) - 1 if at is None else at
    outcome = checked_masks(
      f"{item.node.label}, replicate {item.replicate}",
      found[chosen],
      dense,
      prunable,
      groups=groups,
      drops=drops,
      rule="exact",
    )
    if isinstance(outcome, Failure):
      return outcome
    told = {"step": int(steps[chosen]), "settled": at is not None}
    return dataclasses.replace(outcome, record=outcome.record | told)


_AS_LONG = 5  # masks that must hardly differ


def settled(masks: Sequence[np.ndarray], distance: float) -> int | None:
  """Returns the first of masks that ends five which hardly differ; or None.

  Args:
    masks: bool[weights], in order of time.
    distance: a share of the weights; no two of five differ in as many.
  """
  for last in range(_AS_LONG - 1, len(masks)):
    together = masks[last - _AS_LONG + 1 : last + 1]
    pairs = itertools.combinations(together, 2)
    if max(float((a != b).mean()) for a, b in pairs) < distance:
      return last
  return None


def free_layers(
  prunable: Sequence[str], exclude: Sequence[str]
) -> tuple[str, ...]:
  """Returns the prunable layers that pruning does not leave out."""
  (paths,) = leaf_groups(prunable, allocation="global", exclude=exclude)
  return paths


def _flat(
  masks: Sequence[PyTree | None], prunable: Sequence[str]
) -> list[np.ndarray]:
  """Each network's masks as one array."""
  leaves = [flat_leaves(m) for m in masks if m is not None]
  return [
    np.concatenate([np.asarray(own[path]).ravel() for path in prunable])
    for own in leaves
  ]
