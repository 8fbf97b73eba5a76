"""Stages: what is computed once per (settings, inputs, replicate)."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

from imp_jax.nodes import (
  Child,
  Curvature,
  Evaluate,
  ExampleBarriers,
  ImportedScores,
  Node,
  Path,
  Plane,
  Pretrain,
  Prune,
  RandomMask,
  Score,
  Scores,
  Train,
  Trajectory,
)
from imp_jax.provenance import made_with
from imp_jax.stages.context import Context as Context
from imp_jax.stages.context import Outcome
from imp_jax.stages.curvature import run_curvature
from imp_jax.stages.evaluating import run_evaluate
from imp_jax.stages.masking import run_prune, run_random_mask
from imp_jax.stages.networks import run_pretrain, run_tickets
from imp_jax.stages.paths import run_example_barriers, run_paths
from imp_jax.stages.planes import run_plane
from imp_jax.stages.scoring import check_presentations as check_presentations
from imp_jax.stages.scoring import run_imported, run_score, run_scores
from imp_jax.store import Artefact

# The scheduler's tables: stage settings -> (context, node, replicates) ->
# {replicate: outcome}.
STAGES: Mapping[type, Callable[..., Mapping[int, Outcome]]] = {
  Pretrain: run_pretrain,
  Prune: run_prune,
  RandomMask: run_random_mask,
  Scores: run_scores,
  ImportedScores: run_imported,
  ExampleBarriers: run_example_barriers,
  Curvature: run_curvature,
  Evaluate: run_evaluate,
  Plane: run_plane,
}
# Of stages that run the nodes of one company together: (context, nodes,
# replicates) -> {(node, replicate): outcome}.
COMPANY_STAGES: Mapping[
  type, Callable[..., dict[tuple[Node, int], Outcome]]
] = {
  Train: run_tickets,
  Child: run_tickets,
  Trajectory: run_tickets,
  Path: run_paths,
  Score: run_score,
}


def run_nodes(
  context: Context, nodes: Sequence[Node], replicates: Sequence[int]
) -> dict[tuple[Node, int], Outcome]:
  """Returns the outcome of each node and replicate, run together.

  Args:
    context: what stages run with.
    nodes: one, or several of one company.
    replicates: of every node.
  """
  started = time.monotonic()
  kind = type(nodes[0].settings)
  if kind in COMPANY_STAGES:
    outcomes = COMPANY_STAGES[kind](context, nodes, replicates)
  else:
    (node,) = nodes
    found = STAGES[kind](context, node, replicates)
    outcomes = {(node, r): outcome for r, outcome in found.items()}
  seconds = time.monotonic() - started
  # Scores of one recipe share their networks.
  together = len(replicates) * (1 if kind is Score else len(nodes))
  for (node, replicate), outcome in outcomes.items():
    if isinstance(outcome, Artefact):
      header = {
        "stage": node.stage,
        "version": node.settings.VERSION,
        "settings": dataclasses.asdict(node.settings),
        "inputs": {
          name: source.object_id(context.seed, r)
          for name, source, r in node.sources(replicate)
        },
        "seed": context.seed,
        "replicate": replicate,
        "made_with": made_with(context.execution)
        | {
          "replicates_together": together,
          "seconds_together": round(seconds, 3),
        },
      }
      outcomes[node, replicate] = dataclasses.replace(
        outcome, record=header | outcome.record
      )
  return outcomes
