"""The stage that takes the curvature of the loss at a trained network."""

import jax
import numpy as np

from imp_jax.landscape.curvature import Sizes, curvature, layer_restrictions
from imp_jax.nodes import Curvature
from imp_jax.store import Artefact

ALL = "all"  # the layer that stands for all of them together


def run_curvature(context, node, replicates):
  """Takes each matrix's curvature, of all weights in use and of each layer."""
  settings: Curvature = node.settings
  # "fast" convolutions have no second derivative.
  model = context.model(settings.model, "patches")
  sizes = Sizes(
    eigenvalues=settings.eigenvalues,
    lanczos_steps=settings.lanczos_steps,
    trace_probes=settings.probes,
    density_probes=settings.probes,
    batch_size=min(context.execution.eval_batch_size, settings.examples),
  )
  train = context.dataset.train
  outcomes = {}
  for r in replicates:
    tree = context.load(node, "network", r).tree
    masks = context.load_masks(node, r, tree["params"])
    restrictions = {ALL: masks}
    if settings.layers:
      restrictions |= layer_restrictions(masks, model.prunable(masks))
    record, arrays = {}, {}
    for matrix in settings.matrices:
      for layer, restriction in restrictions.items():
        if not any(np.any(leaf) for leaf in jax.tree.leaves(restriction)):
          continue  # an emptied layer has no curvature
        found = curvature(
          tree["params"],
          tree["batch_stats"],
          train.inputs[: settings.examples],
          train.labels[: settings.examples],
          model=model,
          mean=settings.stream.mean,
          std=settings.stream.std,
          matrix=matrix,
          restriction=restriction,
          key=context.key("curvature", r),
          sizes=sizes,
          name=f"{layer} of {node.label}, replicate {r}",
        )
        for name in ("ritz", "weights"):
          arrays[f"{matrix}:{layer}:{name}"] = found.pop(name)
        record.setdefault(matrix, {})[layer] = {
          name: np.asarray(value).tolist() for name, value in found.items()
        }
    outcomes[r] = Artefact({"curvature": record}, arrays=arrays)
  return outcomes
