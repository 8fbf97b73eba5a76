"""Connections: children of a ticket, and the paths that join networks."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from imp_jax.nodes import Child, Node, Path, Train
from imp_jax.settings import NoiseBetween, PathSettings, SplitSettings
from imp_jax.store import content_id


def child_nodes(trained: Node, count: int, noise: NoiseBetween) -> list[Node]:
  """Returns a ticket's training and its repetitions with other noise.

  Args:
    trained: the ticket's training, which is child 0.
    count: of children, it included.
    noise: in what alone they differ.
  """
  train = trained.settings
  assert isinstance(train, Train)  # by construction
  return [
    trained,
    *(
      Node(
        Child(train, number, noise),
        trained.inputs,
        f"{trained.label}, child {number}",
        company=_company([trained], noise),
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
      company=_company(children, path),
      must_differ=True,
    )
    for i, j in itertools.combinations(range(len(children)), 2)
  }


def path_node(
  a: Node,
  b: Node,
  path: PathSettings,
  *,
  label: str,
  company: str = "",
  masks: Node | None = None,
  must_differ: bool = False,
) -> Node:
  """Returns the path between two trained networks.

  Args:
    a, b: its ends.
    path: its points, and how they are evaluated.
    label: for people.
    company: paths of one company are evaluated together.
    masks: applied to a's weights first.
    must_differ: whether equal ends are an error.
  """
  train = a.settings.train if isinstance(a.settings, Child) else a.settings
  inputs = (("a", a), ("b", b), *((("masks", masks),) if masks else ()))
  return Node(
    Path(train.model, train.stream, path, must_differ),
    inputs,
    label,
    company=company,
  )


def _company(nodes: Sequence[Node], settings: Any) -> str:
  """Of what is made of these nodes in one way, and so run together."""
  return content_id([n.key for n in nodes], dataclasses.asdict(settings))


def midpoint_only(
  path: PathSettings, batch_stats: str, fingerprint: str
) -> PathSettings:
  """Returns the shortest path that has a midpoint, on the training examples.

  Args:
    path: whose other settings it has.
    batch_stats: at the midpoint.
    fingerprint: of the training examples.
  """
  return dataclasses.replace(
    path,
    alphas=(0.0, 0.5, 1.0),
    splits=(SplitSettings("train", fingerprint),),
    batch_stats=(batch_stats,),
    recompute_batches=path.recompute_batches
    if batch_stats == "recompute"
    else 0,
  )
