"""The stage that matches two replicates' units."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.graph import Edge, Item, Node, Outcome, Relative, Stage
from imp_jax.core.keys import key_words
from imp_jax.engine.context import Context
from imp_jax.landscape.matching import match_activations, match_weights
from imp_jax.landscape.permutations import Units, check_preserved, units_of
from imp_jax.models.settings import ModelSettings, model_code

PyTree = Any

MATCHED_BY = ("weights", "activations")
# Replicates in pairs; a study of an odd number has none for the last.
PARTNER = Relative("r ^ 1", lambda r: r ^ 1)
_CHECKED = 16  # examples on which the function must be preserved


@dataclasses.dataclass(frozen=True)
class Match(Stage):
  """The permutation of one network's units that is nearest to another's.

  Edges: "a.0" and "b.0", two networks, of which b's units are permuted; "a.1"
  and "b.1", ... if one permutation is to serve several pairs.

  The record has "layers", and "similarity", "before" and "sweeps" of
  `landscape.matching.Matched`; "moved" is the share of units that are moved.
  Arrays "0", "1", ...: each layer's permutation.

  Attributes:
    by: "weights" or "activations".
    examples: of the training examples, the first so many in canonical order,
      for activations; else 0.
    fingerprint: of the training examples; likewise "".
  """

  NAME = "match"

  model: ModelSettings
  by: str
  examples: int = 0
  fingerprint: str = ""

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    outcomes: dict[Item, Outcome] = {}
    for item in items:
      context.stop_if_asked()
      try:
        outcomes[item] = self._match(context, item)
      except ValueError as error:
        outcomes[item] = Failure(
          f"{item.node.label}, replicate {item.replicate}: {error}"
        )
    return outcomes

  def code(self) -> dict[str, str]:
    return model_code(self.model)

  def _match(self, context: Context, item: Item) -> Artefact:
    model = context.model(self.model)
    units = units_of(model)
    pairs = [
      tuple(context.load_network(item, f"{end}.{i}") for end in "ab")
      for i in range(len(item.node.edges) // 2)
    ]
    inputs: Any = context.dataset.train.inputs
    check_preserved(model, pairs[0][1], inputs[:_CHECKED], units)
    if self.by == "weights":
      words = key_words(context.key(self.NAME, item.replicate))
      found = match_weights(
        [(a["params"], b["params"]) for a, b in pairs],
        units,
        np.random.default_rng(words),
      )
    else:
      found = match_activations(pairs, inputs[: self.examples], model=model)
    orders = found.permutation
    moved = [order != np.arange(len(order)) for order in orders.values()]
    record = {
      "layers": list(orders),
      "similarity": found.similarity,
      "before": found.before,
      "sweeps": found.sweeps,
      "moved": float(np.concatenate(moved).mean()),
    }
    arrays = {str(i): order for i, order in enumerate(orders.values())}
    return Artefact(record, arrays=arrays)

  def check(self, node: Node, context: Context, replicates: int) -> None:
    model = context.model(self.model)
    if not units_of(model).sizes:
      raise ValueError(
        f"{node.label}: model {model.name} has no units that can be permuted"
      )
    paired = any(edge.replicate == PARTNER for edge in node.edges)
    if replicates < 2 or (paired and replicates % 2):
      raise ValueError(
        f"{node.label} is of pairs of replicates (0 and 1, 2 and 3, ...): "
        f"replicates must be even, got {replicates}"
        if paired
        else f"{node.label} is of two replicates, but replicates is "
        f"{replicates}"
      )


def load_permutation(
  context: Context, item: Item, units: Units, name: str = "permutation"
) -> dict[str, np.ndarray]:
  """Reads the permutation that an item is made with.

  Args:
    context: what stages run with.
    item: a node's replicate.
    units: of its network.
    name: of the node's edge.
  """
  artefact = context.load(item, name)
  assert artefact is not None and artefact.arrays is not None
  if artefact.record["layers"] != list(units.sizes):
    raise ValueError(
      f"{item.node.label}: the permutation is of layers "
      f"{artefact.record['layers']}, the network has {list(units.sizes)}"
    )
  arrays = artefact.arrays
  return {layer: arrays[str(i)] for i, layer in enumerate(units.sizes)}


def match_node(
  pairs: Sequence[tuple[Node, Node]],
  model: ModelSettings,
  by: str,
  *,
  other: Relative,
  examples: int,
  fingerprint: str,
  label: str,
) -> Node:
  """Returns the matching of one replicate's networks with another's.

  Args:
    pairs: of trained networks, the first this replicate's, the second the other
      one's.
    model: of all of them.
    by: one of `MATCHED_BY`.
    other: which replicate.
    examples, fingerprint: of the training examples, for activations.
    label: for people.
  """
  of_data = by == "activations"
  edges = [
    edge
    for i, (a, b) in enumerate(pairs)
    for edge in (Edge(f"a.{i}", a), Edge(f"b.{i}", b, other))
  ]
  stage = Match(
    model,
    by,
    examples=examples if of_data else 0,
    fingerprint=fingerprint if of_data else "",
  )
  return Node(stage, tuple(edges), label)
