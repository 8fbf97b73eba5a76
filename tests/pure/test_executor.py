"""The local executor: what fails costs what depends on it; plans that grow."""

import dataclasses

import numpy as np
import pytest

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.graph import Edge, Item, Node, Relative, Stage
from imp_jax.core.store import Store
from imp_jax.engine.claims import working_in
from imp_jax.engine.context import Context
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.executor import Progress, known_of, run_missing
from imp_jax.engine.imports import Imports
from tests.tiny import random_dataset


@dataclasses.dataclass(frozen=True)
class Sum(Stage):
  """One more than the sum of what it is made of; bad ones fail."""

  NAME = "test_sum"

  extra: int = 1
  bad: tuple[int, ...] = ()

  def run(self, context, items):
    found = {}
    for item in items:
      values = [
        context.load(item, edge.name).record["value"]
        for edge in item.node.edges
      ]
      found[item] = Artefact({"value": self.extra + sum(values)})
      if item.replicate in self.bad:
        found[item] = Failure(f"{item.node.label} {item.replicate} is bad")
    return found

  def cost(self, nodes):
    return len(nodes)


class Told(Progress):
  def __init__(self):
    self.total, self.done, self.labels, self.warnings = [], 0, [], []

  def begin(self, total_steps):
    self.total.append(total_steps)

  def node(self, label):
    self.labels.append(label)

  def steps(self, count):
    self.done += count

  def warn(self, message):
    self.warnings.append(message)


def made_of(*edges, label, **fields):
  return Node(Sum(**fields), edges, label)


@pytest.fixture
def context(tmp_path):
  return Context(
    store=Store(str(tmp_path)),
    dataset=random_dataset(np.random.default_rng(0)),
    seed=0,
    execution=ExecutionSettings(
      mode="threads", devices=1, devices_each=1, convolution="plain"
    ),
    progress=lambda count: None,
    imports=Imports(),
  )


@pytest.fixture
def claims(context):
  with working_in(context.store, lease=60.0) as claims:
    yield claims


def value(context, node, replicate):
  record = known_of(context)(Item(node, replicate))
  return record and record["value"]


def test_a_failure_costs_what_is_made_of_it_and_nothing_else(context, claims):
  first = made_of(label="first", bad=(1,))
  second = made_of(Edge("a", first), label="second")
  failed, told = {}, Told()
  graph = {first: range(3), second: range(3)}
  run_missing(context, lambda _: graph, told, failed, claims)
  assert failed == {Item(first, 1): "first 1 is bad", Item(second, 1): ""}
  assert [value(context, second, r) for r in range(3)] == [2, None, 2]
  assert told.warnings == ["first 1 is bad"] and told.total == [6]
  # Again: what is there is kept, and what failed is tried once more.
  failed, told = {}, Told()
  run_missing(context, lambda _: graph, told, failed, claims)
  assert told.labels == ["first"] and told.total == [2]
  assert Item(first, 1) in failed and Item(second, 1) in failed


def test_a_stage_between_replicates(context, claims):
  """A matching is one edge: to replicate 0, or to a partner."""
  own = made_of(label="own")
  for replicate, wanted in (
    (0, (0, 1)),
    (Relative("r ^ 1", lambda r: r ^ 1), (0, 1)),
    (Relative("r + 1", lambda r: r + 1), (1, 2)),
  ):
    pair = made_of(Edge("other", own, replicate), label="pair")
    run_missing(
      context,
      lambda _, p=pair: {own: wanted, p: (0, 1)},
      Told(),
      {},
      claims,
    )
    assert [value(context, pair, r) for r in (0, 1)] == [2, 2]


def test_a_plan_may_depend_on_results(context, claims):
  """It is asked again when all is settled: levels until a value is reached."""

  def plan(known):
    nodes = [made_of(label="level 0")]
    while True:
      record = known(Item(nodes[-1], 0))
      if record is None or record["value"] >= 3:
        break
      nodes.append(
        made_of(Edge("before", nodes[-1]), label=f"level {len(nodes)}")
      )
    return dict.fromkeys(nodes, (0,))

  told = Told()
  run_missing(context, plan, told, {}, claims)
  assert told.labels == ["level 0", "level 1", "level 2"]
  assert told.total == [1, 1, 1]
  told = Told()
  run_missing(context, plan, told, {}, claims)
  assert told.labels == []


@dataclasses.dataclass(frozen=True)
class Forgetful(Sum):
  """It forgets its last item."""

  NAME = "test_forgetful"

  def run(self, context, items):
    return super().run(context, items[:-1])


def test_a_stage_that_forgets_an_item_is_told_and_not_asked_for_ever(
  context, claims
):
  node = Node(Forgetful(), (), "forgetful")
  with pytest.raises(KeyError):
    run_missing(context, lambda _: {node: range(2)}, Told(), {}, claims)
