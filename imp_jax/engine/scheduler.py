"""What to run next: a pure function of the graph and of what has happened."""

import dataclasses
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from imp_jax.core.graph import Item, Node
from imp_jax.engine.replicates import chunks

# Replicates by node, each node after what it is made of.
Wanted = Mapping[Node, Sequence[int]]


@dataclasses.dataclass(frozen=True)
class Job:
  """Items that are run together: the same replicates of each of its nodes.

  One node, or several of one `batch_key`: scores that one training of their
  networks gives, the children of one parent, the paths between them.
  """

  nodes: tuple[Node, ...]
  replicates: tuple[int, ...]

  @property
  def items(self) -> list[Item]:
    """All replicates of the first node, then of the second, ..."""
    return [Item(node, r) for node in self.nodes for r in self.replicates]

  @property
  def wanted(self) -> Wanted:
    """Its items as a part of the graph."""
    return {node: self.replicates for node in self.nodes}

  @property
  def cost(self) -> int:
    """Optimiser steps of all items together."""
    stage = self.nodes[0].stage
    return len(self.replicates) * stage.cost(self.nodes)

  @property
  def label(self) -> str:
    """For people."""
    return ", ".join(node.label for node in self.nodes)


def next_job(
  wanted: Wanted,
  done: Container[Item],
  failed: Container[Item] = (),
  claimed: Container[Item] = (),
  at_once: int = 0,
) -> Job | None:
  """Returns what can be run now, or None if there is nothing.

  The first node that lacks replicates whose inputs are there, with the nodes
  that may be run with it and the replicates that lack the same of them.

  Args:
    wanted: the graph.
    done: items that have an artefact.
    failed: items that will have none.
    claimed: items that others are at.
    at_once: how many networks a job may have at most; 0 = any number.
  """

  def is_ready(node: Node, r: int) -> bool:
    item = Item(node, r)
    if item in done or item in failed or item in claimed:
      return False
    return all(source in done for _, source in node.sources(r))

  for node, replicates in wanted.items():
    ready = [r for r in replicates if is_ready(node, r)]
    if not ready:
      continue
    alike = [n for n in wanted if n.batch_key == node.batch_key]
    lacking = {
      r: tuple(n for n in alike if r in wanted[n] and is_ready(n, r))
      for r in ready
    }
    nodes = lacking[ready[0]]
    same = tuple(r for r in ready if lacking[r] == nodes)
    return _part(Job(nodes, same), at_once)
  return None


def jobs_ahead(
  wanted: Wanted, done: Iterable[Item], at_once: int = 0
) -> Iterator[Job]:
  """Yields all jobs to come, in order, if none fails.

  Args:
    wanted, at_once: as of `next_job`.
    done: items that have an artefact now.
  """
  reached = set(done)
  left = remaining(wanted, reached)
  while job := next_job(left, reached, at_once=at_once):
    yield job
    reached |= set(job.items)
    left = after(left, job)


def after(left: Wanted, job: Job) -> dict[Node, Sequence[int]]:
  """Returns what is left of a graph when a job is over, however it ended."""
  rest = dict(left)
  for node in job.nodes:
    rest[node] = [r for r in left[node] if r not in job.replicates]
    if not rest[node]:
      del rest[node]
  return rest


def remaining(
  wanted: Wanted, settled: Container[Item]
) -> dict[Node, list[int]]:
  """Returns what of the graph is neither done nor failed.

  Args:
    wanted: the graph.
    settled: items that are.
  """
  left = {
    node: [r for r in replicates if Item(node, r) not in settled]
    for node, replicates in wanted.items()
  }
  return {node: replicates for node, replicates in left.items() if replicates}


def unreachable(wanted: Wanted, failed: Container[Item]) -> list[Item]:
  """Returns the items that cannot be had for want of failed ones, in order.

  Args:
    wanted: the graph.
    failed: items that have no artefact and will have none.
  """
  lost: dict[Item, None] = {}
  for node, replicates in wanted.items():
    for r in replicates:
      item = Item(node, r)
      if item not in failed and any(
        source in failed or source in lost for _, source in node.sources(r)
      ):
        lost[item] = None
  return list(lost)


def _part(job: Job, at_once: int) -> Job:
  """The first part of a job that has at most so many networks, if not 0."""
  stage = job.nodes[0].stage
  if not at_once or stage.networks(job.nodes) * len(job.replicates) <= at_once:
    return job
  nodes = job.nodes
  if stage.networks(nodes) > 1:
    nodes = tuple(chunks(nodes, at_once)[0])
  size = max(at_once // stage.networks(nodes), 1)
  return Job(nodes, tuple(chunks(job.replicates, size)[0]))
