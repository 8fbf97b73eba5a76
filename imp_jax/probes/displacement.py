"""Probe: does training return to its mode after what pruning does to W_r?

Paul et al. 2023 (arXiv 2210.03044): SGD comes back to the mode that it left,
though the mask throws it off early. Their exact protocol is not known here.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from imp_jax.core.graph import Edge, Node
from imp_jax.core.options import off, option, read
from imp_jax.core.ranges import above, in_range, several, whole
from imp_jax.probes.facts import Extent, Facts
from imp_jax.probes.path_options import PathOptions, resolve_path
from imp_jax.probes.paths import path_node
from imp_jax.stages.control_weights import DisplacedWeights
from imp_jax.stages.ticket import Ticket, View
from imp_jax.stages.train import trained_by

GROUP = "displacement"  # of a config
PRUNED = "pruned"  # kind of the path from a level to the next


@dataclasses.dataclass(frozen=True)
class DisplacementSettings(PathOptions):
  """W_r moved at random, trained again, and joined with where it had come to.

  Under the mask of the level before, whose ticket is trained by the same noise.
  """

  scales: tuple[float, ...] = option(
    (),
    several(above(0)),
    "lengths, in units of how far a level's pruning moves W_r",
    looks=True,
  )
  levels: tuple[int, ...] = option(
    (), several(whole(1)), "whose pruning", where=True
  )


def resolve(options: Any, facts: Facts) -> DisplacementSettings:
  """Returns how far W_r is moved, and how the paths are evaluated.

  Args:
    options: the config's group.
    facts: of the experiment.

  Raises:
    ValueError: a field is out of its range, a level is not run, or tickets do
      not start from W_r.
  """
  d = options
  if not d.scales:
    return off(DisplacementSettings)
  if not d.levels:
    raise ValueError(
      "displacement.levels is empty: say which levels' pruning is meant"
    )
  for level in d.levels:
    in_range("displacement.levels", level, 1, facts.levels)
  if facts.ticket.kind != "weight_rewind":
    raise ValueError(
      "displacement moves the W_r that tickets start from: it goes with "
      f"ticket.kind='weight_rewind', not {facts.ticket.kind!r}"
    )
  stream = facts.training.stream
  if "level" in (stream.order, stream.augment_noise):
    raise ValueError(
      "displacement compares trainings by the same noise: it goes with no "
      "data.order='level' or data.augment_noise='level'"
    )
  return read(
    DisplacementSettings,
    d,
    scales=tuple(sorted({float(scale) for scale in d.scales})),
    levels=tuple(sorted(set(d.levels))),
    **resolve_path(GROUP, d, facts),
  )


def extent(
  settings: DisplacementSettings, facts: Facts, batches: int
) -> Extent:
  """Returns what one replicate's trainings and paths would compute.

  Args:
    settings: which, and how.
    facts: of the experiment.
    batches: of one evaluation of the training examples.
  """
  del facts
  d = settings
  trained = len(d.scales) * len(d.levels)
  paths = trained + len(d.levels)
  points = len(d.alphas) * len(d.batch_stats)
  return Extent(trained, paths, paths * points * batches)


def views(
  probes: Mapping[str, Any], tickets: Mapping[int, Ticket]
) -> Iterator[View]:
  """Yields the paths of one experiment, from the level before each of levels.

  Args:
    probes: the settings of every probe, by group.
    tickets: IMP's, by level.
  """
  settings: DisplacementSettings = probes[GROUP]
  for level in settings.levels if settings.scales else ():
    before, pruned = tickets[level - 1], tickets[level]
    name, train = before.experiment, trained_by(before.train)
    ends = {PRUNED: pruned.train}
    for scale in settings.scales:
      kind = displaced(scale)
      edges = [Edge("weights", before.pretrain)]
      assert pruned.masks is not None  # of a level above 0
      edges.append(Edge("finer", pruned.masks))
      if before.masks:
        edges.append(Edge("masks", before.masks))
      weights = Node(
        DisplacedWeights(train.model, level, scale),
        tuple(edges),
        f"{name} W_r {kind}, of level {level}",
      )
      again = tuple(
        Edge(e.name, weights) if e.name == "weights" else e
        for e in before.train.edges
      )
      label = f"{before.train.label}, {kind}, of level {level}"
      ends[kind] = Node(train, again, label)
    for kind, end in ends.items():
      path = path_node(
        before.train,
        end,
        settings.path(train.stream),
        label=f"{name} level {level - 1} and {kind}, of level {level}",
      )
      yield View(name, kind, level, "", "path", path)


def displaced(scale: float) -> str:
  """Returns the kind of a path to a displaced training."""
  return f"displaced {scale:g}"
