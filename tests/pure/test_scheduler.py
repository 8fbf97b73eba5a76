"""What is run next: tables of small graphs, and laws."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_jax.core.graph import Edge, Item, Node, Relative, Stage, nodes_in_order
from imp_jax.engine.scheduler import (
  Job,
  jobs_ahead,
  next_job,
  remaining,
  unreachable,
)


@dataclasses.dataclass(frozen=True)
class Step(Stage):
  """A stage that is never run; nodes of one group may be run together."""

  NAME = "step"

  number: int
  group: str = ""
  shares: bool = False

  def run(self, context, items):
    raise AssertionError("nothing is run here")

  def cost(self, nodes):
    return 10 * self.networks(nodes)

  def networks(self, nodes):
    return 1 if self.shares else len(nodes)

  def batch_key(self, node):
    return self.group or node.key


def node(number, *sources, **fields):
  edges = tuple(
    s if isinstance(s, Edge) else Edge(f"e{i}", s)
    for i, s in enumerate(sources)
  )
  return Node(Step(number, **fields), edges, str(number))


def shown(job):
  return job and ("".join(n.label for n in job.nodes), list(job.replicates))


A = node(1)
B = node(2, A, group="b")
C = node(3, A, group="b")
D = node(4, B, C)
WANTED = nodes_in_order({D: range(2)})


def items(*places):
  nodes = {n.label: n for n in WANTED}
  return {Item(nodes[place[0]], int(place[1])) for place in places}


@pytest.mark.parametrize(
  "done,failed,claimed,wanted",
  [
    ((), (), (), ("1", [0, 1])),
    (("10",), (), (), ("1", [1])),
    (("10", "11"), (), (), ("23", [0, 1])),
    # Of replicate 0 one node is left, and of replicate 1 two: two jobs.
    (("10", "11", "20"), (), (), ("23", [1])),
    (("10", "11", "20", "31"), (), (), ("2", [1])),
    (("10", "11", "20", "21"), (), (), ("3", [0, 1])),
    (("10", "11", "20", "21", "30"), (), (), ("3", [1])),
    (("10",), ("11",), (), ("23", [0])),
    (("10", "20"), ("11",), (), ("3", [0])),
    (("10", "11"), (), ("20", "21"), ("3", [0, 1])),
    (("10", "11"), (), ("20", "21", "30", "31"), None),
    (("10", "11", "20", "30", "21", "31"), (), (), ("4", [0, 1])),
    (("10", "11", "20", "30", "21", "31", "40", "41"), (), (), None),
  ],
)
def test_the_next_job(done, failed, claimed, wanted):
  found = next_job(WANTED, items(*done), items(*failed), items(*claimed))
  assert shown(found) == wanted


def test_what_fails_takes_what_is_made_of_it_along():
  assert unreachable(WANTED, items("11")) == [Item(n, 1) for n in (B, C, D)]
  assert unreachable(WANTED, items("20", "31")) == [Item(D, 0), Item(D, 1)]
  assert unreachable(WANTED, ()) == []


THREE = tuple(node(i, group="together") for i in range(3))


@pytest.mark.parametrize(
  "at_once,wanted",
  [
    (0, [("012", [0, 1, 2, 3])]),
    (12, [("012", [0, 1, 2, 3])]),
    (6, [("012", [0, 1]), ("012", [2, 3])]),
    (4, [("012", [r]) for r in range(4)]),
    (2, None),  # how 3 nodes are shared out is free
    (1, [(n, [r]) for n in "012" for r in range(4)]),
  ],
)
def test_no_more_networks_than_allowed_are_run_at_once(at_once, wanted):
  jobs = list(jobs_ahead(dict.fromkeys(THREE, range(4)), (), at_once))
  found = [shown(job) for job in jobs]
  runs = [(n, r) for nodes, rs in found for n in nodes for r in rs]
  assert sorted(runs) == [(n, r) for n in "012" for r in range(4)]
  if at_once:
    assert max(len(nodes) * len(rs) for nodes, rs in found) <= at_once
  if wanted:
    assert sorted(found) == sorted(wanted)


def test_nodes_that_share_networks_are_never_set_apart():
  """Each job is one training of its networks, whatever is taken of it."""
  scores = tuple(node(i, group="one", shares=True) for i in range(3))
  jobs = list(jobs_ahead(dict.fromkeys(scores, range(4)), (), 2))
  assert [shown(j) for j in jobs] == [("012", [0, 1]), ("012", [2, 3])]
  assert sum(job.cost for job in jobs) == 4 * 10


def test_an_edge_knows_its_replicate():
  partner = Relative("r ^ 1", lambda r: r ^ 1)
  edges = (Edge("own", A), Edge("first", A, 0), Edge("partner", A, partner))
  matched = Node(Step(9), edges, "9")
  assert [(n, i.replicate) for n, i in matched.sources(2)] == [
    ("own", 2),
    ("first", 0),
    ("partner", 3),
  ]
  # More replicates are another thing wanted of the same nodes.
  few, many = (nodes_in_order({matched: range(n)}) for n in (2, 3))
  assert few == {A: (0, 1), matched: (0, 1)}
  assert many == {A: (0, 1, 2, 3), matched: (0, 1, 2)}
  others = (
    Edge("own", A),
    Edge("first", A, 1),
    Edge("partner", A, Relative("r + 1", lambda r: r + 1)),
  )
  keys = {matched.key}
  for i, other in enumerate(others):
    changed = (*edges[:i], other, *edges[i + 1 :])
    keys.add(Node(Step(9), changed, "").key)
  assert len(keys) == 3  # the first is the same


def test_a_node_has_no_two_edges_of_one_name():
  with pytest.raises(ValueError, match="two edges of one name"):
    Node(Step(1), (Edge("a", A), Edge("a", B)), "x")


@st.composite
def graphs(draw):
  nodes = []
  for i in range(draw(st.integers(1, 6))):
    sources = (
      draw(st.lists(st.sampled_from(nodes), unique=True)) if nodes else []
    )
    places = [draw(st.sampled_from([None, 0])) for _ in sources]
    edges = [
      Edge(f"e{k}", s, p)
      for k, (s, p) in enumerate(zip(sources, places, strict=True))
    ]
    group = draw(st.sampled_from(["", "g", "h"]))
    nodes.append(node(i, *edges, group=group and f"{group}{len(sources)}"))
  return nodes_in_order(dict.fromkeys(nodes, range(draw(st.integers(1, 3)))))


@given(graphs(), st.integers(0, 4), st.data())
@settings(max_examples=60, deadline=None)
def test_every_item_is_run_once_after_its_inputs_or_is_lost(
  graph, at_once, data
):
  done, failed, left = set(), {}, graph
  everything = {Item(n, r) for n, rs in graph.items() for r in rs}
  while job := next_job(left, done, failed, at_once=at_once):
    for item in job.items:
      assert item not in done and item not in failed
      assert all(
        source in done for _, source in item.node.sources(item.replicate)
      )
      if data.draw(st.integers(0, 9)) == 0:
        failed[item] = "it failed"
      else:
        done.add(item)
    failed |= dict.fromkeys(unreachable(left, failed), "")
    left = remaining(left, done | failed.keys())
  assert left == {} and done | failed.keys() == everything
  if not failed:
    ahead = [i for j in jobs_ahead(graph, (), at_once) for i in j.items]
    assert len(ahead) == len(everything) and set(ahead) == everything


def test_a_job_lists_its_items_node_by_node():
  job = Job(THREE[:2], (1, 3))
  assert [(i.node.label, i.replicate) for i in job.items] == [
    ("0", 1),
    ("0", 3),
    ("1", 1),
    ("1", 3),
  ]
  assert job.cost == 40 and job.label == "0, 1"


def test_a_chain_may_be_longer_than_pythons_stack():
  """Thousands of levels are thousands of nodes, one after the other."""
  last = node(0)
  for number in range(1, 5000):
    last = node(number, last)
  wanted = nodes_in_order({last: range(2)})
  assert [n.label for n in wanted] == [str(n) for n in range(5000)]
  done = {Item(n, r) for n in list(wanted)[:4997] for r in range(2)}
  assert [shown(job) for job in jobs_ahead(wanted, done)] == [
    (str(number), [0, 1]) for number in (4997, 4998, 4999)
  ]
