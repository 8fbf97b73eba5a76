"""One of several processes that share a workdir: python -m tests.faults.worker

  WORKDIR LOG LEASE SECONDS

Runs a small graph of stages that sleep so long, and logs when each item begins,
ends or is lost, as lines "WHAT LABEL REPLICATE PID TIME".
"""

import dataclasses
import os
import sys
import time

import numpy as np

from imp_jax.core.artefacts import Artefact
from imp_jax.core.graph import Edge, Node, Stage
from imp_jax.core.store import Store
from imp_jax.engine.claims import ClaimLostError, working_in
from imp_jax.engine.context import Context
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.executor import Progress, run_missing
from imp_jax.engine.imports import Imports
from tests.tiny import random_dataset

REPLICATES = 3
CHECKS = 10  # of one item, as a training has chunks


def log(what, item=None, file=None):
  of = f"{item.node.label} {item.replicate}" if item else "- -"
  line = f"{what} {of} {os.getpid()} {time.time():.3f}\n"
  with open(file or sys.argv[2], "a") as out:
    out.write(line)


@dataclasses.dataclass(frozen=True)
class Slow(Stage):
  """One more than the sum of what it is made of, after a while."""

  NAME = "test_slow"

  number: int
  together: bool = False

  def run(self, context, items):
    found = {}
    for item in items:
      log("begins", item)
    try:
      for _ in range(CHECKS):
        time.sleep(float(sys.argv[4]) / CHECKS)
        context.stop()
    except ClaimLostError:
      for item in items:
        log("loses", item)
      raise
    for item in items:
      loaded = [context.load(item, edge.name) for edge in item.node.edges]
      value = 1 + sum(artefact.record["value"] for artefact in loaded)
      found[item] = Artefact({"value": value})
      log("ends", item)
    return found

  def batch_key(self, node):
    return "together" if self.together else node.key


def graph():
  """{node: replicates}: two chains that meet, and three that go together."""
  nodes = [Node(Slow(0), (), "root")]
  for number in range(1, 5):
    edge = Edge("before", nodes[max(0, number - 2)])
    nodes.append(Node(Slow(number), (edge,), f"node{number}"))
  edges = (Edge("a", nodes[-1]), Edge("b", nodes[-2]))
  nodes += [
    Node(Slow(number, together=True), edges, f"child{number}")
    for number in range(10, 13)
  ]
  return {node: tuple(range(REPLICATES)) for node in nodes}


def context_of(workdir):
  return Context(
    store=Store(workdir),
    dataset=random_dataset(np.random.default_rng(0)),
    seed=0,
    execution=ExecutionSettings(replicates_at_once=1),
    progress=lambda _: None,
    imports=Imports(),
  )


def main():
  context, wanted = context_of(sys.argv[1]), graph()
  log("starts")
  with working_in(context.store, float(sys.argv[3])) as claims:
    run_missing(context, lambda _: wanted, Progress(), {}, claims)
  log("leaves")


if __name__ == "__main__":
  main()
