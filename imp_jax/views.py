"""Views: what a study looks at in the landscape around its tickets."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from imp_jax.connections import child_nodes, pair_nodes, path_node
from imp_jax.nodes import Curvature, Node, Plane, Train, Trajectory
from imp_jax.settings import Experiment
from imp_jax.tickets import Ticket

# Kinds of paths, as barriers.csv names them.
PATHS = ("children", "successive", "from_dense", "from_dense_masked")


@dataclasses.dataclass(frozen=True)
class View:
  """One thing that is looked at, for any replicate.

  Attributes:
    experiment: its name.
    kind: one of PATHS, "curvature" or "plane".
    level: of the ticket; of "successive" the lower one; of a plane 0.
    between: of a path its ends, "0-1"; of a plane what it goes through.
    node: what makes it.
    replicates: how many of it; None = the study's.
  """

  experiment: str
  kind: str
  level: int
  between: str
  node: Node
  replicates: int | None = None


def experiment_views(
  experiment: Experiment, tickets: Sequence[Ticket]
) -> Iterator[View]:
  """Yields what is looked at of one experiment.

  Args:
    experiment: its settings say what.
    tickets: its own, of kind "imp".
  """
  by_level = {t.level: t for t in tickets if t.kind == "imp"}
  yield from _children(experiment, by_level)
  if experiment.connectivity.successive:
    yield from _between_levels(experiment, by_level)
  yield from _curvatures(experiment, by_level)
  yield from _planes(experiment, by_level)


def _children(e, by_level) -> Iterator[View]:
  c = e.connectivity
  if not c.children:
    return
  for level in c.levels:
    children = child_nodes(by_level[level].train, c.children, c.noise)
    for between, node in pair_nodes(children, c.path).items():
      yield View(e.name, "children", level, between, node)


def _between_levels(e, by_level) -> Iterator[View]:
  path = e.connectivity.path

  def view(kind, level, lower, upper, masks=None):
    return View(
      e.name,
      kind,
      level,
      f"{lower}-{upper}",
      path_node(
        by_level[lower].train,
        by_level[upper].train,
        path,
        label=f"{e.name} levels {lower} and {upper}",
        masks=masks,
      ),
    )

  for lower, upper in itertools.pairwise(sorted(by_level)):
    # Both networks lie under the masks of the lower level, for masks nest.
    yield view("successive", lower, lower, upper)
  for level in sorted(by_level)[1:]:
    yield view("from_dense", level, 0, level)
    yield view("from_dense_masked", level, 0, level, by_level[level].masks)


def _curvatures(e, by_level) -> Iterator[View]:
  c = e.curvature
  for level in c.levels:
    ticket = by_level[level]
    masks = ticket.masks if c.surviving else None
    node = Node(
      Curvature(
        model=e.model,
        stream=e.stream,
        matrices=c.matrices,
        examples=c.examples,
        eigenvalues=c.eigenvalues,
        lanczos_steps=c.lanczos_steps,
        probes=c.probes,
        layers=c.layers,
      ),
      (("network", ticket.train), *((("masks", masks),) if masks else ())),
      f"{e.name} curvature at level {level}",
    )
    yield View(e.name, "curvature", level, "", node)


def _planes(e, by_level) -> Iterator[View]:
  for through in e.planes.through:
    if through == "children":
      dense = by_level[0]
      first, second = child_nodes(dense.train, 2, e.connectivity.noise)
      corners = {"W_r": dense.pretrain, "child 0": first, "child 1": second}
    else:
      corners = {
        f"level {level}": by_level[level].train for level in e.planes.levels
      }
    yield View(
      e.name, "plane", 0, ", ".join(corners), _plane_node(e, corners), 1
    )


def _plane_node(e, corners) -> Node:
  p = e.planes
  inputs = [*zip("abc", corners.values(), strict=True)]
  trained = [n for n in corners.values() if n.stage in ("train", "child")]
  if p.snapshots:
    inputs += [
      (f"path.{i}", _trajectory_node(node, p.snapshots))
      for i, node in enumerate(trained)
    ]
  return Node(
    Plane(
      model=e.model,
      stream=e.stream,
      points=p.points,
      margin=p.margin,
      examples=p.examples,
      recompute_batches=p.recompute_batches,
      batch_size=p.batch_size,
    ),
    tuple(inputs),
    f"{e.name} plane through {', '.join(corners)}",
  )


def _trajectory_node(trained: Node, snapshots: int) -> Node:
  """A training again, with so many snapshots, start and end among them."""
  settings = trained.settings
  train = settings if isinstance(settings, Train) else settings.train
  span = train.stop - train.start
  # More of them early, where the weights move most.
  steps = {
    train.start + round(span * (i / (snapshots - 1)) ** 2)
    for i in range(snapshots)
  }
  return Node(
    Trajectory(settings, tuple(sorted(steps))),
    trained.inputs,
    f"{trained.label}, trajectory",
  )
