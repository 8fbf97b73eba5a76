"""Probe: are two replicates connected, once one's units are permuted?"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imp_jax.core.graph import Node
from imp_jax.core.options import off, option, read
from imp_jax.core.ranges import (
  choice,
  duration,
  in_range,
  several,
  whole,
)
from imp_jax.probes.facts import Extent, Facts
from imp_jax.probes.path_options import PathOptions, resolve_path
from imp_jax.probes.paths import path_node
from imp_jax.stages.matched import MATCHED_BY, PARTNER, match_node
from imp_jax.stages.ticket import Ticket, View
from imp_jax.stages.train import trained_by

GROUP = "permutation"  # of a config
# Whose permutation is applied to a pair of networks.
FOUND_ON = ("own", "dense", "joint")
UNMATCHED = "replicates"  # kind of the path without a permutation


@dataclasses.dataclass(frozen=True)
class PermutationSettings(PathOptions):
  """Pairs of replicates (0 and 1, 2 and 3, ...) that are matched and joined."""

  match: tuple[str, ...] = option(
    (),
    several(choice(MATCHED_BY)),
    "by what units are matched, each way in turn",
    looks=True,
  )
  found_on: tuple[str, ...] = option(
    ("own",),
    several(choice(FOUND_ON)),
    "which networks the permutation is found on: those that are joined, the "
    "trained dense ones, or all of joint_levels and steps at once",
  )
  levels: tuple[int, ...] = option(
    (0,), several(whole(0)), "whose trained tickets are joined", where=True
  )
  joint_levels: tuple[int, ...] = option(
    (), several(whole(0)), "of found_on joint"
  )
  steps: tuple[Any, ...] = option(
    (), several(duration), "absolute, of the dense training: joined there too"
  )
  examples: int = option(
    1000, whole(2), "the first so many training examples, for activations"
  )


def resolve(options: Any, facts: Facts) -> PermutationSettings:
  """Returns which replicates are matched and joined, and how.

  Args:
    options: the config's group.
    facts: of the experiment.

  Raises:
    ValueError: a field is out of its range, or a level or step is not run.
  """
  p = options
  if not p.match:
    return off(PermutationSettings)
  for level in p.levels:
    in_range("permutation.levels", level, 0, facts.levels)
  if not p.found_on or not p.levels:
    raise ValueError("permutation.found_on and .levels must not be empty")
  steps = set()
  for text in p.steps:
    step = facts.training.steps_of(text, "permutation.steps")
    steps.add(
      in_range(
        "permutation.steps", step, facts.rewind_step, facts.training.steps - 1
      )
    )
  joint = "joint" in p.found_on
  for level in p.joint_levels:
    in_range("permutation.joint_levels", level, 0, facts.levels)
  if joint != bool(p.joint_levels):
    raise ValueError(
      "permutation.joint_levels goes with permutation.found_on='joint', got "
      f"{tuple(p.joint_levels)} and {tuple(p.found_on)}"
    )
  if "activations" in p.match:
    in_range("permutation.examples", p.examples, 2, len(facts.dataset.train))
  return read(
    PermutationSettings,
    p,
    match=tuple(sorted(set(p.match))),
    found_on=tuple(sorted(set(p.found_on))),
    levels=tuple(sorted(set(p.levels))),
    steps=tuple(sorted(steps)),
    joint_levels=tuple(sorted(set(p.joint_levels))),
    **resolve_path(GROUP, p, facts),
  )


def extent(settings: PermutationSettings, facts: Facts, batches: int) -> Extent:
  """Returns what one replicate's matchings and paths would compute.

  Args:
    settings: which, and how.
    facts: of the experiment.
    batches: of one evaluation of the training examples.
  """
  del facts
  p = settings
  if not p.match:
    return Extent()
  paths = (len(p.levels) + len(p.steps)) * (1 + len(p.match) * len(p.found_on))
  points = len(p.alphas) * len(p.batch_stats)
  return Extent(bool(p.steps), paths, paths * points * batches)


def views(
  probes: Mapping[str, Any], tickets: Mapping[int, Ticket]
) -> Iterator[View]:
  """Yields the paths between the replicates of one experiment.

  Args:
    probes: the settings of every probe, by group.
    tickets: IMP's, by level.
  """
  settings: PermutationSettings = probes[GROUP]
  if not settings.match:
    return
  dense, name = tickets[0].train, tickets[0].experiment
  train = trained_by(dense)
  path = settings.path(train.stream)
  stopped = _stopped(dense, settings.steps)
  joined = {(k, ""): tickets[k].train for k in settings.levels}
  joined |= {(0, f"step {step}"): node for step, node in stopped.items()}
  at_once = [tickets[k].train for k in settings.joint_levels]
  at_once += stopped.values()

  def matched(by: str, networks: Sequence[Node], what: str) -> Node:
    return match_node(
      [(node, node) for node in networks],
      train.model,
      by,
      other=PARTNER,
      examples=settings.examples,
      fingerprint=train.stream.fingerprint,
      label=f"{name} matching by {by} of {what}",
    )

  for (level, step), node in joined.items():
    what = step or f"level {level}"
    permutations: dict[str, Node | None] = {UNMATCHED: None}
    for by, on in itertools.product(settings.match, settings.found_on):
      networks, of = {
        "own": ([node], what),
        "dense": ([dense], "level 0"),
        "joint": (at_once, "all at once"),
      }[on]
      if on != "own" and networks == [node]:
        continue  # it is its own
      permutations[f"{by}, {on}"] = matched(by, networks, of)
    for kind, found in permutations.items():
      made = path_node(
        node,
        node,
        path,
        label=f"{name} pairs of replicates at {what}, {kind}",
        other=PARTNER,
        permutation=found,
      )
      yield View(name, kind, level, step, "path", made)


def _stopped(dense: Node, steps: Sequence[int]) -> dict[int, Node]:
  """The dense training in parts, each from where the one before it stopped."""
  train, found = trained_by(dense), {}
  last, start, optimizer = dense.edge("weights"), train.start, train.optimizer
  assert last is not None  # W_r
  node = last.node
  for step in steps:
    if step > start:
      part = dataclasses.replace(
        train,
        start=start,
        stop=step,
        optimizer=optimizer,
        curve_steps=tuple(s for s in train.curve_steps if start < s < step),
      )
      edges = [
        dataclasses.replace(edge, node=node) if edge is last else edge
        for edge in dense.edges
      ]
      node = Node(part, tuple(edges), f"{dense.label} to step {step}")
      start, optimizer = step, "rewound"
    found[step] = node
  return found
