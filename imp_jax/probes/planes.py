"""Probe: the loss on planes through three networks."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.graph import Edge, Item, Node, Outcome, Stage
from imp_jax.core.index import Entry
from imp_jax.core.options import off, option, read
from imp_jax.core.ranges import choice, in_range, number, several, whole
from imp_jax.engine.context import Context
from imp_jax.engine.replicates import stack_trees
from imp_jax.engine.trainer import evaluate_networks
from imp_jax.landscape.planes import (
  Plane as PlaneGeometry,
)
from imp_jax.landscape.planes import (
  coordinates,
  plane_grid,
  plane_point,
  plane_through,
)
from imp_jax.models.settings import ModelSettings
from imp_jax.probes.connectivity import GROUP as CONNECTIVITY
from imp_jax.probes.connectivity import child_nodes
from imp_jax.probes.facts import Extent, Facts
from imp_jax.probes.path_options import check_recompute
from imp_jax.probes.paths import recompute_networks
from imp_jax.stages.ticket import Ticket, View
from imp_jax.stages.train import trained_by

PyTree = Any

GROUP = "planes"  # of a config
THROUGH = ("children", "levels")
GRID = "grid"  # of a table's column "part"
PLANE_COLUMNS = (
  "study",
  "experiment",
  "replicate",
  "networks",
  "part",
  "x",
  "y",
  "loss",
  "error",
)


@dataclasses.dataclass(frozen=True)
class PlaneSettings:
  """The loss on planes through three networks of replicate 0."""

  through: tuple[str, ...] = option(
    (),
    several(choice(THROUGH)),
    "children: W_r and two of them; levels: three",
    looks=True,
  )
  levels: tuple[int, ...] = option(
    (), several(whole(0)), "the three of through levels", where=True
  )
  points: int = option(25, whole(2, 1000), "along each side of the grid")
  margin: float = option(
    0.2, number(0), "around the networks, as a share of the larger side"
  )
  examples: int = option(
    1000, whole(1), "the first so many training examples in canonical order"
  )
  snapshots: int = option(12, whole(0, 1000), "of the training paths; 0 = none")
  recompute_batches: int = option(
    5, whole(1), "of BatchNorm's statistics at each point"
  )


@dataclasses.dataclass(frozen=True)
class Plane(Stage):
  """The loss on the plane through three networks.

  Edges: "a", "b" and "c", and "path.0", ...: trainings with snapshots, whose
  ways are projected.

  Its arrays: "corners", "xs", "ys", "loss" and "error" on the grid, "path.0"...

  Attributes: see `PlaneSettings`; `batch_size` is of the recomputed batches.
  """

  NAME = "plane"

  model: ModelSettings
  points: int
  margin: float
  examples: int
  recompute_batches: int
  batch_size: int

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    """Evaluates a grid around the networks, and projects training paths."""
    return {item: self._plane(context, item) for item in items}

  def _plane(self, context: Context, item: Item) -> Outcome:
    corners = [context.load_network(item, name) for name in "abc"]
    try:
      plane = plane_through(*(corner["params"] for corner in corners))
    except ValueError as error:  # equal networks, or on one line
      return Failure(f"{item.node.label}, replicate {item.replicate}: {error}")
    arrays = {"corners": plane.corners}
    for edge in item.node.edges:
      if edge.name.startswith("path."):
        kept = context.load_tree(item, edge.name)["snapshots"]
        arrays[edge.name] = np.array(
          [coordinates(plane, kept[step]) for step in sorted(kept)]
        )
    shown = [points[:, :2] for k, points in arrays.items() if k != "corners"]
    xs, ys = plane_grid(
      plane,
      self.points,
      self.margin,
      np.concatenate(shown) if shown else None,
    )
    stats = corners[0]["batch_stats"]
    rows = [self._row(context, plane, stats, xs, y) for y in ys]
    arrays |= {"xs": xs, "ys": ys}
    for name in ("loss", "error"):
      arrays[name] = np.stack([row[name] for row in rows])
    return Artefact({}, arrays=arrays)

  def _row(
    self,
    context: Context,
    plane: PlaneGeometry,
    batch_stats: PyTree,
    xs: np.ndarray,
    y: float,
  ) -> dict[str, np.ndarray]:
    """Mean loss and error of the networks on one line of the grid."""
    context.stop_if_asked()
    networks = stack_trees(
      [
        {"params": plane_point(plane, x, y), "batch_stats": batch_stats}
        for x in xs
      ]
    )
    networks["batch_stats"] = recompute_networks(
      context,
      self,
      networks,
      examples=self.recompute_batches * self.batch_size,
      batch_size=self.batch_size,
    )
    train = context.dataset.train
    results = evaluate_networks(
      networks,
      dataclasses.replace(
        train,
        inputs=train.inputs[: self.examples],
        labels=train.labels[: self.examples],
        source_index=train.source_index[: self.examples],
      ),
      model=context.model(self.model),
      execution=context.execution,
    )
    return {
      "loss": results["loss"].mean(axis=1, dtype=np.float64),
      "error": 1 - results["correct"].mean(axis=1, dtype=np.float64),
    }


def resolve(options: Any, facts: Facts) -> PlaneSettings:
  """Returns which planes are drawn.

  Args:
    options: the config's group.
    facts: of the experiment.

  Raises:
    ValueError: a field is out of its range, a level is not run, or there are no
      children to draw one through.
  """
  p = options
  if not p.through:
    return off(PlaneSettings)
  through = tuple(dict.fromkeys(p.through))
  if "children" in through and not facts.probes[CONNECTIVITY].children:
    raise ValueError(
      "planes.through='children' needs connectivity.children >= 2, got 0"
    )
  levels = tuple(sorted(set(p.levels))) if "levels" in through else ()
  if "levels" in through:
    for level in p.levels:
      in_range("planes.levels", level, 0, facts.levels)
    if len(levels) != 3:
      raise ValueError(
        f"planes.levels must be three different levels, got {tuple(p.levels)}"
      )
  in_range("planes.examples", p.examples, 1, len(facts.dataset.train))
  if p.snapshots:
    in_range("planes.snapshots", p.snapshots, 2, 1000)
  check_recompute(GROUP, p.recompute_batches, facts)
  return read(PlaneSettings, p, through=through, levels=levels)


def extent(settings: PlaneSettings, facts: Facts, batches: int) -> Extent:
  """Returns what the planes of replicate 0 would compute.

  Args:
    settings: which, and how.
    facts: of the experiment.
    batches: of one evaluation of the training examples.
  """
  del facts, batches
  planes = len(settings.through)
  return Extent(looks=planes, steps=planes * settings.points**2, shared=True)


def views(
  probes: Mapping[str, Any], tickets: Mapping[int, Ticket]
) -> Iterator[View]:
  """Yields the planes through networks of one experiment.

  Args:
    probes: the settings of every probe, by group.
    tickets: IMP's, by level.
  """
  settings: PlaneSettings = probes[GROUP]
  for through in settings.through:
    dense = tickets[0]
    if through == "children":
      noise = probes[CONNECTIVITY].noise
      first, second = child_nodes(dense.train, 2, noise)
      corners = {"W_r": dense.pretrain, "child 0": first, "child 1": second}
      trained = [first, second]
    else:
      corners = {f"level {k}": tickets[k].train for k in settings.levels}
      trained = list(corners.values())
    between, name = ", ".join(corners), dense.experiment
    node = _plane_node(settings, name, corners, trained)
    yield View(name, "plane", 0, between, "plane", node, replicates=1)


def _plane_node(
  settings: PlaneSettings,
  name: str,
  corners: Mapping[str, Node],
  trained: Sequence[Node],
) -> Node:
  """A plane through corners, with the ways that trainings took to them."""
  edges = [
    Edge(k, node) for k, node in zip("abc", corners.values(), strict=True)
  ]
  if settings.snapshots:
    edges += [
      Edge(f"path.{i}", _trajectory_node(node, settings.snapshots))
      for i, node in enumerate(trained)
    ]
  train = trained_by(trained[0])
  return Node(
    Plane(
      model=train.model,
      points=settings.points,
      margin=settings.margin,
      examples=settings.examples,
      recompute_batches=settings.recompute_batches,
      batch_size=train.stream.batch_size,
    ),
    tuple(edges),
    f"{name} plane through {', '.join(corners)}",
  )


def _trajectory_node(trained: Node, snapshots: int) -> Node:
  """A training again, with so many snapshots, start and end among them."""
  train = trained_by(trained)
  span = train.stop - train.start
  # More of them early, where the weights move most.
  steps = {
    train.start + round(span * (i / (snapshots - 1)) ** 2)
    for i in range(snapshots)
  }
  return Node(
    dataclasses.replace(train, snapshots=tuple(sorted(steps))),
    trained.edges,
    f"{trained.label}, trajectory",
  )


def planes_table(
  study: str, planes: Sequence[tuple[Entry, Artefact]]
) -> pd.DataFrame:
  """Returns one row per point of each plane: of its grid, corners and paths.

  Its part is "grid", whose points alone have loss (nats) and error (fraction),
  line by line; a network's name; or "path.0", ... in the order of training.

  Args:
    study: its name.
    planes: what was measured, and where.
  """
  rows = []
  for entry, artefact in planes:
    arrays = artefact.arrays
    assert arrays is not None  # a plane, by construction
    start = (study, entry.experiment, entry.replicate, entry.between)
    rows += [
      (*start, GRID, x, y, loss, error)
      for y, losses, errors in zip(
        arrays["ys"], arrays["loss"], arrays["error"], strict=True
      )
      for x, loss, error in zip(arrays["xs"], losses, errors, strict=True)
    ]
    corners = zip(entry.between.split(", "), arrays["corners"], strict=True)
    rows += [(*start, name, *at[:2], np.nan, np.nan) for name, at in corners]
    rows += [
      (*start, name, *at[:2], np.nan, np.nan)
      for name in sorted(arrays)
      if name.startswith("path.")
      for at in arrays[name]
    ]
  return pd.DataFrame(rows, columns=list(PLANE_COLUMNS))
