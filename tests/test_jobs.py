"""Jobs: what is run together, and how many networks at once."""

import pytest

from imp_jax.nodes import Node, RandomMask
from imp_jax.settings import ModelSettings
from imp_jax.study import Job, _parts

MODEL = ModelSettings("conv1d", 10, 1.0, "uniform", "float32")
NODES = tuple(Node(RandomMask(MODEL, i), (), f"{i}") for i in range(3))


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
  parts = list(_parts(Job(NODES, [0, 1, 2, 3]), at_once))
  found = [("".join(n.label for n in p.nodes), p.replicates) for p in parts]
  runs = [(n, r) for nodes, rs in found for n in nodes for r in rs]
  assert sorted(runs) == [(n, r) for n in "012" for r in range(4)]
  if at_once:
    assert max(len(nodes) * len(rs) for nodes, rs in found) <= at_once
  if wanted:
    assert found == wanted
