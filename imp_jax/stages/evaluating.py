"""The stage that evaluates networks on whole splits."""

from collections.abc import Sequence

import numpy as np

from imp_jax.nodes import Evaluate, Node
from imp_jax.replicates import stack_trees
from imp_jax.runs import Failure, evaluate_networks, split_metrics
from imp_jax.stages.context import Context, Outcome
from imp_jax.store import Artefact


def run_evaluate(
  context: Context, node: Node, replicates: Sequence[int]
) -> dict[int, Outcome]:
  """Returns each replicate's {split: {"loss", "accuracy", "count"}}.

  A loss that is not finite is a failure of the evaluation, not of the training,
  whose weights are finite: what is trained from it goes on.
  """
  settings: Evaluate = node.settings
  networks = []
  for r in replicates:
    artefact = context.load(node, "network", r)
    assert artefact and artefact.tree is not None  # a network, by construction
    networks.append(
      {name: artefact.tree[name] for name in ("params", "batch_stats")}
    )
  stacked = stack_trees(networks)
  metrics: list[dict[str, dict]] = [{} for _ in replicates]
  for split in settings.splits:
    found = evaluate_networks(
      stacked,
      context.dataset.splits[split.name],
      model=context.model(settings.model),
      stream=settings.stream,
      execution=context.execution,
    )
    pairs = zip(found["loss"], found["correct"], strict=True)
    for one, (losses, correct) in zip(metrics, pairs, strict=True):
      one[split.name] = split_metrics(losses, correct)
  return {
    r: _finite(f"{node.label}, replicate {r}", found)
    for r, found in zip(replicates, metrics, strict=True)
  }


def _finite(name, metrics) -> Outcome:
  for split, found in metrics.items():
    if not np.isfinite(found["loss"]):
      return Failure(f"{name}: the loss on split {split!r} is not finite")
  return Artefact({"metrics": metrics})
