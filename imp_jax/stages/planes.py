"""The stage that evaluates the loss on the plane through three networks."""

import dataclasses

import numpy as np

from imp_jax.landscape.planes import (
  coordinates,
  plane_grid,
  plane_point,
  plane_through,
)
from imp_jax.nodes import Plane
from imp_jax.replicates import stack_trees
from imp_jax.runs import Failure, evaluate_networks
from imp_jax.stages.paths import recompute_networks
from imp_jax.store import Artefact


def run_plane(context, node, replicates):
  """Evaluates a grid around the networks, and projects training paths."""
  outcomes = {}
  for r in replicates:
    corners = [context.load(node, name, r).tree for name in "abc"]
    try:
      plane = plane_through(*(corner["params"] for corner in corners))
    except ValueError as error:  # equal networks, or on one line
      outcomes[r] = Failure(f"{node.label}, replicate {r}: {error}")
      continue
    arrays = {"corners": plane.corners}
    for name, _ in node.inputs:
      if name.startswith("path."):
        kept = context.load(node, name, r).tree["snapshots"]
        arrays[name] = np.array(
          [coordinates(plane, kept[step]) for step in sorted(kept)]
        )
    settings: Plane = node.settings
    seen = [points[:, :2] for k, points in arrays.items() if k != "corners"]
    xs, ys = plane_grid(
      plane,
      settings.points,
      settings.margin,
      np.concatenate(seen) if seen else None,
    )
    stats = corners[0]["batch_stats"]
    rows = [_row(context, settings, plane, stats, xs, y) for y in ys]
    arrays |= {"xs": xs, "ys": ys}
    for name in ("loss", "error"):
      arrays[name] = np.stack([row[name] for row in rows])
    outcomes[r] = Artefact({}, arrays=arrays)
  return outcomes


def _row(context, settings, plane, batch_stats, xs, y):
  """Mean loss and error of the networks on one line of the grid."""
  networks = stack_trees(
    [
      {"params": plane_point(plane, x, y), "batch_stats": batch_stats}
      for x in xs
    ]
  )
  networks["batch_stats"] = recompute_networks(
    context,
    settings,
    networks,
    examples=settings.recompute_batches * settings.batch_size,
    batch_size=settings.batch_size,
  )
  train = context.dataset.train
  found = evaluate_networks(
    networks,
    dataclasses.replace(
      train,
      inputs=train.inputs[: settings.examples],
      labels=train.labels[: settings.examples],
      source_index=train.source_index[: settings.examples],
    ),
    model=context.model(settings.model),
    stream=settings.stream,
    execution=context.execution,
  )
  return {
    "loss": found["loss"].mean(axis=1, dtype=np.float64),
    "error": 1 - found["correct"].mean(axis=1, dtype=np.float64),
  }
