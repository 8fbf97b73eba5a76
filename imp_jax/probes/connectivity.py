"""Probe: which networks are joined by paths: children, and levels."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imp_jax.core.graph import Node
from imp_jax.core.options import off, option, read
from imp_jax.core.ranges import (
  above,
  choice,
  duration,
  flag,
  in_range,
  number,
  numbers,
  several,
  whole,
)
from imp_jax.data.settings import SPLITS, StreamSettings
from imp_jax.landscape.paths import BATCH_STATS
from imp_jax.probes.facts import Extent, Facts
from imp_jax.probes.path_options import path_settings, resolve_path
from imp_jax.probes.paths import PathSettings, path_node
from imp_jax.stages.ticket import Ticket, View
from imp_jax.stages.train import NO_DIFFERENCE, NoiseBetween, trained_by

GROUP = "connectivity"  # of a config
DIFFER = ("order", "augment", "both", "perturb")


@dataclasses.dataclass(frozen=True)
class ConnectivitySettings:
  """Which networks are joined by paths, and how these are evaluated."""

  children: int = option(
    0,
    whole(0, 1000),
    "of a ticket, its own training included; 0 = none",
    looks=True,
  )
  differ: str = option(
    "both", choice(DIFFER), "in what alone children differ", needs="children"
  )
  perturb_step: Any = option(
    "0step", duration, "absolute: after it weights are moved", needs="children"
  )
  perturb_norm: float = option(
    0.0, number(0), "L2, of all weights in use together", needs="children"
  )
  levels: tuple[int, ...] = option(
    (0,),
    several(whole(0)),
    "whose tickets have children; 0 = W_r",
    where=True,
    needs="children",
  )
  successive: bool = option(
    False, flag, "join levels k and k + 1, and 0 and k", looks=True
  )
  matrix: bool = option(False, flag, "join every two levels", looks=True)
  alphas: tuple[float, ...] = option(
    (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), numbers, "and 0, 1"
  )
  extrapolate: bool = option(
    False, flag, "allows alphas outside [0, 1]", where=True
  )
  splits: tuple[Any, ...] = option(
    ("train", "test"), several(choice(SPLITS)), "without augmentation"
  )
  batch_stats: tuple[str, ...] = option(
    ("average",),
    several(choice(BATCH_STATS)),
    "BatchNorm's statistics between the ends, each way in turn",
  )
  recompute_batches: int = option(
    10, whole(1), "training batches that recompute sees"
  )
  thresholds: tuple[float, ...] = option(
    (0.1,),
    several(above(0, " nats")),
    "nats: an example with a barrier below is connected",
    where=True,
  )

  @property
  def noise(self) -> NoiseBetween:
    """In what the children differ."""
    if not self.children:
      return NO_DIFFERENCE
    if self.differ != "perturb":
      return NoiseBetween(self.differ)
    return NoiseBetween(self.differ, self.perturb_step, self.perturb_norm)

  def path(self, stream: StreamSettings) -> "PathSettings":
    """Returns how one path is evaluated.

    Args:
      stream: of the training, whose batches "recompute" sees.
    """
    return path_settings(self, stream)


def child_nodes(trained: Node, count: int, noise: NoiseBetween) -> list[Node]:
  """Returns a ticket's training and its repetitions with other noise.

  Args:
    trained: the ticket's training, which is child 0.
    count: of children, it included.
    noise: in what alone they differ.
  """
  train = trained_by(trained)
  return [
    trained,
    *(
      Node(
        dataclasses.replace(train, child=number, differ=noise),
        trained.edges,
        f"{trained.label}, child {number}",
      )
      for number in range(1, count)
    ),
  ]


def pair_nodes(children: Sequence[Node], path: PathSettings) -> dict[str, Node]:
  """Returns the paths between every two children, by name: "0-1", "0-2", ..."""
  parent = children[0]
  return {
    f"{i}-{j}": path_node(
      children[i],
      children[j],
      path,
      label=f"{parent.label}, children {i} and {j}",
      must_differ=True,
    )
    for i, j in itertools.combinations(range(len(children)), 2)
  }


def resolve(options: Any, facts: Facts) -> ConnectivitySettings:
  """Returns which networks are joined by paths, and how.

  Args:
    options: the config's group.
    facts: of the experiment.

  Raises:
    ValueError: a field is out of its range, a level is not run, or children
      would be equal.
  """
  c = options
  between = c.successive or c.matrix
  if not c.children and not between:
    return off(ConnectivitySettings)
  if c.children == 1:
    raise ValueError(
      "connectivity.children must be 0 or at least 2: one child has nothing to "
      "be connected to, got 1"
    )
  perturbed = {"perturb_step": 0, "perturb_norm": 0.0}
  if c.children:
    for level in c.levels:
      in_range("connectivity.levels", level, 0, facts.levels)
    perturbed = _perturbed(c, facts)
    if not c.levels:
      raise ValueError(
        "connectivity.levels must name a level whose tickets have children"
      )
  if between and not facts.levels:
    which = "successive" if c.successive else "matrix"
    raise ValueError(
      f"connectivity.{which} joins levels: prune.levels must be at least 1"
    )
  paths = resolve_path(GROUP, c, facts, extrapolate=bool(c.extrapolate))
  plain = off(ConnectivitySettings)
  return read(
    ConnectivitySettings,
    c,
    differ=c.differ if c.children else plain.differ,
    **perturbed,
    levels=tuple(sorted(set(c.levels))) if c.children else plain.levels,
    **paths,
    thresholds=tuple(sorted({float(t) for t in c.thresholds})),
  )


def _perturbed(c: Any, facts: Facts) -> dict[str, Any]:
  """When, and how far, children are moved; refuses equal ones."""
  differ, stream = c.differ, facts.training.stream
  augmented = stream.crop_pad > 0 or stream.flip
  whole_batch = facts.seen <= stream.batch_size
  if differ == "augment" and not augmented:
    raise ValueError(
      "connectivity.differ='augment' needs augmentation (data.crop_pad or "
      "data.flip): without it the children would be equal"
    )
  if whole_batch and differ in ("order", "both") and not augmented:
    raise ValueError(
      f"connectivity.differ={differ!r} needs more than one batch per epoch: "
      "with all that they see in each batch the children would be equal"
    )
  if differ != "perturb":
    return {"perturb_step": 0, "perturb_norm": 0.0}
  total = facts.training.steps
  step = facts.training.steps_of(c.perturb_step, "connectivity.perturb_step")
  for level in c.levels:
    first, end = facts.rewind_step, total
    if level and facts.ticket.kind == "finetune":
      first, end = total, total + facts.ticket.finetune_steps
    if not first <= step < end:
      raise ValueError(
        f"connectivity.perturb_step must be in the training of level {level}, "
        f"{first} <= step < {end}, got {step}"
      )
  if not c.perturb_norm:
    raise ValueError(
      "connectivity.perturb_norm must be > 0, or the children would be equal, "
      f"got {c.perturb_norm}"
    )
  return {"perturb_step": step, "perturb_norm": float(c.perturb_norm)}


def extent(
  settings: ConnectivitySettings, facts: Facts, batches: int
) -> Extent:
  """Returns what one replicate's children and paths would compute.

  Args:
    settings: which, and how.
    facts: of the experiment.
    batches: of one evaluation of the training examples.
  """
  c = settings
  levels = len(c.levels) if c.children else 0
  paths = math.comb(c.children, 2) * levels
  paths += 2 * facts.levels if c.successive else 0
  paths += math.comb(facts.levels + 1, 2) if c.matrix else 0
  points = len(c.alphas) * len(c.batch_stats)
  return Extent(
    max(c.children - 1, 0) * levels, paths, paths * points * batches
  )


def views(
  probes: Mapping[str, Any], tickets: Mapping[int, Ticket]
) -> Iterator[View]:
  """Yields the paths of one experiment: between children, between levels.

  Args:
    probes: the settings of every probe, by group.
    tickets: IMP's, by level.
  """
  settings: ConnectivitySettings = probes[GROUP]
  for level in settings.levels if settings.children else ():
    ticket = tickets[level]
    children = child_nodes(ticket.train, settings.children, settings.noise)
    path = settings.path(trained_by(ticket.train).stream)
    for between, node in pair_nodes(children, path).items():
      yield View(ticket.experiment, "children", level, between, "path", node)
  if settings.successive or settings.matrix:
    yield from _between_levels(settings, tickets)


def _between_levels(
  settings: ConnectivitySettings, tickets: Mapping[int, Ticket]
) -> Iterator[View]:
  path = settings.path(trained_by(tickets[0].train).stream)
  name = tickets[0].experiment

  def view(
    kind: str, level: int, lower: int, upper: int, masks: Node | None = None
  ) -> View:
    node = path_node(
      tickets[lower].train,
      tickets[upper].train,
      path,
      label=f"{name} levels {lower} and {upper}",
      masks=masks,
    )
    return View(name, kind, level, f"{lower}-{upper}", "path", node)

  if settings.matrix:
    for lower, upper in itertools.combinations(sorted(tickets), 2):
      yield view("matrix", lower, lower, upper)
  if not settings.successive:
    return
  for lower, upper in itertools.pairwise(sorted(tickets)):
    # Both networks lie under the masks of the lower level, for masks nest.
    yield view("successive", lower, lower, upper)
  for level in sorted(tickets)[1:]:
    yield view("from_dense", level, 0, level)
    yield view("from_dense_masked", level, 0, level, tickets[level].masks)
