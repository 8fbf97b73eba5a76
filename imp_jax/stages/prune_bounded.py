"""The stage that prunes as much as curvature allows."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imp_jax.core.graph import Item
from imp_jax.core.masks import flat_leaves
from imp_jax.landscape.bound import bounded_fraction
from imp_jax.stages.prune import Prune, Pruning

SPECTRUM = "spectrum"  # the edge to a network's curvature
MATRIX, ALL = "hessian", "all"  # of which it is, and that it is of all layers


@dataclasses.dataclass(frozen=True)
class BoundedPrune(Prune):
  """The next level's masks, at a fraction that the bound on pruning allows.

  The largest of `fractions` that is at most `share` of the bound (see
  `landscape.bound`); if none is, the smallest. Edge "spectrum": the curvature
  of the network on its surviving weights. The record has the "fraction" that
  was taken of all "fractions", and what is "allowed". The rule is ours.

  Attributes:
    fractions: rising.
    share: of the bound, 1 = all of it.
    epsilon: the rise of the loss that counts as none, nats.
  """

  NAME = "bounded_prune"

  fractions: tuple[float, ...] = ()
  share: float = 1.0
  epsilon: float = 0.05

  def drops(
    self,
    plan: Pruning,
    items: Sequence[Item],
    kept: Sequence[Mapping[str, int]],
  ) -> tuple[list[tuple[int, ...]], list[dict[str, Any]]]:
    if items[0].node.edge("like"):  # of a control
      return super().drops(plan, items, kept)
    found, told = [], []
    for item, network, parent, counts in zip(
      items, plan.networks, plan.parents, kept, strict=True
    ):
      allowed = self._allowed(plan, item, network.params, parent)
      chosen = max(
        (f for f in self.fractions if f <= self.share * allowed),
        default=self.fractions[0],
      )
      found.append(self.level_drops(plan, counts, chosen))
      told.append(
        {
          "fraction": chosen,
          "fractions": list(self.fractions),
          "allowed": allowed,
        }
      )
    return found, told

  def _allowed(
    self, plan: Pruning, item: Item, params: Any, masks: Any
  ) -> float:
    """The bound: a fraction of the surviving weights; 0 where none is left."""
    leaves, kept = flat_leaves(params), flat_leaves(masks)
    magnitudes = np.concatenate(
      [
        np.abs(np.asarray(leaves[path]))[np.asarray(kept[path])]
        for group in plan.groups
        for path in group
      ]
    )
    curved = plan.context.load(item, SPECTRUM)
    assert curved is not None and curved.arrays is not None
    if not len(magnitudes):
      return 0.0
    return bounded_fraction(
      magnitudes,
      *(
        curved.arrays[f"{MATRIX}:{ALL}:{name}"] for name in ("ritz", "weights")
      ),
      dimension=curved.record["curvature"][MATRIX][ALL]["dimension"],
      epsilon=self.epsilon,
    )
