"""The graph of a study: stages, nodes, and edges that know their replicate."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.identity import content_id, identity

Outcome = Artefact | Failure


class Stage(abc.ABC):
  """What is computed once per node and replicate: a frozen dataclass.

  Its fields are the settings that change numbers; fields made by `unhashed` do
  not. A subclass is whole in one file: settings, computation, checks.

  Attributes:
    NAME: in identities and records; never changed.
    VERSION: raised when the same settings give other numbers, or a default
      changes.
  """

  NAME: ClassVar[str]
  VERSION: ClassVar[int] = 1

  @abc.abstractmethod
  def run(
    self, context: Any, items: Sequence["Item"]
  ) -> dict["Item", "Outcome"]:
    """Returns the outcome of each item, computed together.

    Args:
      context: what stages run with, an `engine.context.Context`.
      items: of nodes with one `batch_key`, all replicates of the first node,
        then of the second, ... Each has the settings of its own node's stage.
    """

  def check(  # noqa: B027  (most stages have nothing to refuse)
    self, node: "Node", context: Any, replicates: int
  ) -> None:
    """Refuses what cannot be computed, before anything is.

    Args:
      node: one of this stage.
      context: as of `run`, with the data on the host.
      replicates: how many of it are wanted.

    Raises:
      ValueError: in one line.
    """

  def cost(self, nodes: Sequence["Node"]) -> int:
    """Returns the optimiser steps of one replicate of nodes run together."""
    return 0

  def trains(self) -> tuple[Any, int] | None:
    """Returns (settings of the network, batch size) of its optimiser's steps.

    None if it makes none.
    """
    return None

  def code(self) -> dict[str, str]:
    """Returns hashes of the source of what settings name, by option and name.

    Recorded: artefacts that were made by other code are not gone on from.
    """
    return {}

  def networks(self, nodes: Sequence["Node"]) -> int:
    """Returns how many networks one replicate of nodes run together makes."""
    return len(nodes)

  def batch_key(self, node: "Node") -> Hashable:
    """Returns a key that is equal for nodes that may be run together."""
    return node.key

  def checkpoint_key(self, node: "Node") -> str:
    """Returns a key that is equal for nodes with one interrupted computation.

    Its hash with seed and replicate names what an interrupted item keeps.
    """
    return node.key


@dataclasses.dataclass(frozen=True)
class Relative:
  """The replicate of an edge's source, as a function of the node's own.

  It does not depend on how many replicates there are.

  Attributes:
    name: that is hashed for it, e.g. "r ^ 1".
    of: replicate -> the source's replicate.
  """

  name: str
  of: Callable[[int], int] = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True)
class Edge:
  """One input of a node: the artefact of another node.

  Attributes:
    name: by which the stage asks for it.
    node: that makes it.
    replicate: of the source: None = the same, a number = that one for all,
      or relative.
  """

  name: str
  node: "Node"
  replicate: int | Relative | None = None

  def source(self, replicate: int) -> "Item":
    """Returns the item that a replicate of the node takes as this input."""
    if self.replicate is None:
      return Item(self.node, replicate)
    if isinstance(self.replicate, Relative):
      return Item(self.node, self.replicate.of(replicate))
    return Item(self.node, self.replicate)

  @property
  def identity(self) -> list[Any]:
    """The part of an edge that enters its node's key, JSON-able."""
    of = self.replicate
    name = of.name if isinstance(of, Relative) else of
    return [self.node.key, name]


@dataclasses.dataclass(frozen=True)
class Node:
  """A stage and its inputs, for any replicate.

  Attributes:
    stage: with its settings.
    edges: no two of one name.
    label: for people; it enters nothing.
    key: hash of the stage's name, VERSION and settings, and of the edges.
      Nodes are equal iff their keys are.
  """

  stage: Stage = dataclasses.field(compare=False)
  edges: tuple[Edge, ...] = dataclasses.field(compare=False)
  label: str = dataclasses.field(compare=False)
  key: str = dataclasses.field(init=False)

  def __post_init__(self):
    edges = {edge.name: edge.identity for edge in self.edges}
    if len(edges) < len(self.edges):
      raise ValueError(f"{self.label} has two edges of one name")
    key = content_id(identity(self.stage), self.stage.VERSION, edges)
    object.__setattr__(self, "key", key)

  @functools.cached_property
  def batch_key(self) -> Hashable:
    """Equal for nodes that may be run together."""
    return self.stage.batch_key(self)

  def edge(self, name: str) -> Edge | None:
    """Returns the edge of a name, or None."""
    return next((edge for edge in self.edges if edge.name == name), None)

  def sources(self, replicate: int) -> Iterator[tuple[str, "Item"]]:
    """Yields (edge's name, item) of every input of a replicate."""
    for edge in self.edges:
      yield edge.name, edge.source(replicate)

  def object_id(self, seed: int, replicate: int) -> str:
    """Returns the identity of one replicate's artefact."""
    return content_id(self.key, seed, replicate)

  def checkpoint_id(self, seed: int, replicate: int) -> str:
    """Returns the identity of what an interrupted replicate keeps."""
    return content_id(
      "checkpoint", self.stage.checkpoint_key(self), seed, replicate
    )


class Item(NamedTuple):
  """One replicate of a node: what has an artefact."""

  node: Node
  replicate: int


def nodes_in_order(
  wanted: Mapping[Node, Sequence[int]],
) -> dict[Node, tuple[int, ...]]:
  """Returns every node that is needed, each after its inputs.

  Args:
    wanted: replicates by node.

  Returns:
    The replicates that are needed of each node, ascending.
  """
  order: dict[Node, None] = {}
  # Without recursion: a chain of levels may be longer than Python's stack.
  ahead = [iter(wanted)]
  above: list[Node] = []  # whose inputs `ahead` goes through
  while ahead:
    node = next(ahead[-1], None)
    if node is None:
      ahead.pop()
      if above:
        order[above.pop()] = None
    elif node not in order:
      above.append(node)
      ahead.append(edge.node for edge in node.edges)
  needed = {node: set(wanted.get(node, ())) for node in order}
  for node in reversed(order):
    for edge in node.edges:
      needed[edge.node] |= {edge.source(r).replicate for r in needed[node]}
  return {
    node: tuple(sorted(replicates)) for node, replicates in needed.items()
  }
