"""The stage that prunes as much as a network bears."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from imp_jax.core.graph import Item
from imp_jax.core.masks import apply_masks
from imp_jax.engine.replicates import stack_trees
from imp_jax.engine.trainer import evaluate_networks
from imp_jax.stages.prune import Prune, Pruning
from imp_jax.stages.selection import selected_masks


@dataclasses.dataclass(frozen=True)
class AdaptivePrune(Prune):
  """The next level's masks, at the largest fraction that a network bears.

  A fraction is borne if the trained network under the new mask, not trained
  again, errs on the training data at most `tolerance` more than without it: its
  projection (after the adaptive pruning of Paul et al. 2022, HITY workshop,
  which keeps levels connected; this rule is ours). If none is, it is the
  smallest. BatchNorm keeps its running statistics. The record has the
  "fraction" that was taken of all "fractions", the "error" before, and the
  "projected_errors".

  Attributes:
    fractions: rising.
    tolerance: a fraction of the training examples.
  """

  NAME = "adaptive_prune"

  fractions: tuple[float, ...] = ()
  tolerance: float = 0.01

  def drops(
    self,
    plan: Pruning,
    items: Sequence[Item],
    kept: Sequence[Mapping[str, int]],
  ) -> tuple[list[tuple[int, ...]], list[dict[str, Any]]]:
    if items[0].node.edge("like"):  # of a control
      return super().drops(plan, items, kept)
    found, told = [], []
    for network, parent, counts in zip(
      plan.networks, plan.parents, kept, strict=True
    ):
      each = [self.level_drops(plan, counts, f) for f in self.fractions]
      masks = selected_masks(
        plan.context,
        [network] * len(each),
        [parent] * len(each),
        [self.in_rounds(plan, counts, drop) for drop in each],
        model=plan.scoring,
        criterion=self.criterion,
        groups=plan.groups,
        rule=self.rule,
      )
      if any(m is None for m in masks):  # no numbers: `checked_masks` says so
        found.append(each[0])
        told.append({})
        continue
      projected = [apply_masks(network.params, m) for m in (parent, *masks)]
      wrong, *each_wrong = _wrong(plan, network.batch_stats, projected)
      count = len(plan.context.dataset.train)
      # Of whole examples, so that no rounding decides.
      most = wrong + math.floor(Fraction(str(self.tolerance)) * count)
      chosen = largest_borne(each_wrong, most)
      found.append(each[chosen])
      told.append(
        {
          "fraction": self.fractions[chosen],
          "fractions": list(self.fractions),
          "error": wrong / count,
          "projected_errors": [n / count for n in each_wrong],
        }
      )
    return found, told


def largest_borne(wrong: Sequence[int], most: int) -> int:
  """Returns which of several counts is the last at most so large, else 0.

  Args:
    wrong: predictions after removing rising fractions; a count between two that
      are borne is no hindrance.
    most: the largest that is borne.
  """
  return max((i for i, n in enumerate(wrong) if n <= most), default=0)


def _wrong(plan: Pruning, batch_stats: Any, params: Sequence[Any]) -> list[int]:
  """How many training examples each of several networks gets wrong."""
  networks = stack_trees(
    [{"params": p, "batch_stats": batch_stats} for p in params]
  )
  found = evaluate_networks(
    networks,
    plan.context.dataset.train,
    model=plan.model,
    execution=plan.context.execution,
  )
  return [int(row) for row in np.count_nonzero(~found["correct"], axis=1)]
