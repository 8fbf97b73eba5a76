"""What a planned study has yet to do, and what that takes."""

import collections
import dataclasses
import functools
import itertools
import time
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.graph import Item, Node, nodes_in_order
from imp_jax.engine.context import Context
from imp_jax.engine.executor import finished_items
from imp_jax.engine.replicates import stack_trees
from imp_jax.engine.scheduler import Wanted, jobs_ahead, remaining
from imp_jax.engine.spent import flop_of_a_step, fresh
from imp_jax.engine.trainer import compiled
from imp_jax.models.settings import ModelSettings, model_of
from imp_jax.study.listing import Count, counts, listed
from imp_jax.study.run import Plan
from imp_jax.training import (
  Pipeline,
  make_recipe,
  optim_in_steps,
  train_steps,
)

PyTree = Any
# Of a network in training, and a batch: what its steps take depends on these.
Kind = tuple[ModelSettings, int]
_MEASURED_STEPS = 10


@dataclasses.dataclass(frozen=True)
class Outlook:
  """What a study has yet to do.

  Attributes:
    stages: how far each is.
    shared: artefacts, of all, by the experiments that share them.
    steps: of the optimiser that are to come, by what trains.
    whole, apart: steps of the whole study, and if nothing were shared.
    flop: of the steps to come, as they are written: each multiplication and
      addition of the formulas counts.
    bytes: of the artefacts to come.
    hours: of the steps to come, at the speed that was measured here just now;
      evaluation, pruning and looks come on top.
  """

  stages: Mapping[str, Count]
  shared: Mapping[tuple[str, ...], int]
  steps: Mapping[Kind, int]
  whole: int
  apart: int
  flop: float
  bytes: int
  hours: float


def outlook(plan: Plan, held: Mapping[str, str]) -> Outlook:
  """Returns what a planned study has yet to do; nothing is written.

  Args:
    plan: the study's.
    held: which artefacts other processes are at, and which processes.
  """
  context = plan.context(lambda _: None)
  wanted, at_once = plan.nodes, plan.study.execution.replicates_at_once
  done = finished_items(context, wanted, None)
  by_experiment = _by_experiment(plan)
  steps: dict[Kind, int] = collections.Counter()
  for job in jobs_ahead(wanted, done, at_once):
    if job.cost and (kind := job.nodes[0].stage.trains()):
      steps[kind] += job.cost
  left = remaining(wanted, done)
  rate = {kind: measured_rate(context, kind) for kind in steps}
  flop = {kind: _flop(context, kind) for kind in steps}
  items = [Item(node, r) for node, rs in wanted.items() for r in rs]
  return Outlook(
    stages=counts(context.store, listed(items, context.seed), held),
    shared=_shared(by_experiment),
    steps=dict(steps),
    whole=_cost(wanted),
    apart=sum(map(_cost, by_experiment.values())),
    flop=sum(count * flop[kind] for kind, count in steps.items()),
    bytes=sum(len(rs) * _bytes_of(context, node) for node, rs in left.items()),
    hours=sum(n / rate[kind] for kind, n in steps.items()) / 3600,
  )


def _by_experiment(plan: Plan) -> dict[str, Wanted]:
  """What each experiment needs by itself."""
  everyone = range(plan.study.replicates)
  roots: dict[str, dict[Node, range]] = {}
  for ticket in plan.tickets:
    own = roots.setdefault(ticket.experiment, {})
    for node in (ticket.train, ticket.metrics, ticket.pretrained_metrics):
      own[node] = everyone
  for view in plan.views:
    count = range(view.replicates or plan.study.replicates)
    own = roots.setdefault(view.experiment, {})
    own[view.node] = max(own.get(view.node, count), count, key=len)
  return {name: nodes_in_order(own) for name, own in roots.items()}


def _shared(by_experiment: Mapping[str, Wanted]) -> dict[tuple[str, ...], int]:
  of: dict[Item, list[str]] = {}
  for name, wanted in by_experiment.items():
    for node, replicates in wanted.items():
      for r in replicates:
        of.setdefault(Item(node, r), []).append(name)
  found = collections.Counter(tuple(n) for n in of.values() if len(n) > 1)
  return dict(found.most_common())


def _cost(wanted: Wanted) -> int:
  return sum(job.cost for job in jobs_ahead(wanted, ()))


def _bytes_of(context: Context, node: Node) -> int:
  """About what an artefact of a node takes on disk.

  Of a training: weights and momentum; a file's blocks and the record besides.
  """
  kind = node.stage.trains()
  if kind is None:
    return 8192
  model = model_of(kind[0], context.dataset.input_shape, "plain")
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  size = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))
  return 8192 + 2 * 4 * size


def _flop(context: Context, kind: Kind) -> float:
  """Of one replicate's step."""
  inputs = context.dataset.train.inputs
  model = context.model(kind[0], "plain")
  return flop_of_a_step(model, kind[1], inputs.shape[1:], str(inputs.dtype))


def measured_rate(context: Context, kind: Kind) -> float:
  """Returns replicate-steps a second, as a run would make them here.

  Measured with up to four replicates together on the study's data: a few steps,
  after those that compile.
  """
  execution, dataset = context.execution, context.dataset
  model = model_of(kind[0], dataset.input_shape, execution.convolution)
  pipeline = Pipeline()
  program = compiled(
    functools.partial(train_steps, model=model, pipeline=pipeline),
    execution,
    shared=4,
  )
  together = min(4, execution.replicates_at_once or 4)
  begin = jax.jit(functools.partial(fresh, model))
  states, masks = zip(*map(begin, range(together)), strict=True)
  rows = np.arange(_MEASURED_STEPS * kind[1]) % len(dataset.train)
  plan = jnp.asarray(rows.reshape(_MEASURED_STEPS, kind[1]), jnp.int32)
  recipe = make_recipe(optim_in_steps())
  args = (
    stack_trees(states),
    stack_trees(masks),
    jnp.stack([plan] * together),
    jnp.asarray(dataset.train.inputs),
    jnp.asarray(dataset.train.labels),
    recipe,
    jnp.int32(_MEASURED_STEPS),
  )
  jax.block_until_ready(program(*args))
  started, rounds = time.monotonic(), 0
  while rounds < 3 or time.monotonic() - started < 1:
    jax.block_until_ready(program(*args))
    rounds += 1
  seconds = time.monotonic() - started
  return rounds * together * _MEASURED_STEPS / seconds


def outlook_lines(found: Outlook) -> Iterable[str]:
  """Yields an outlook as lines of text."""
  yield from stage_lines(found.stages)
  for names, artefacts in itertools.islice(found.shared.items(), 10):
    yield f"shared: {artefacts} artefacts of {', '.join(names)}"
  if found.apart > found.whole:
    saved = 1 - found.whole / found.apart
    yield (
      f"the whole study is {found.whole:,} replicate-steps; if nothing were "
      f"shared {found.apart:,}: sharing saves {saved:.0%}"
    )
  for (model, batch), count in found.steps.items():
    yield f"to come: {count:,} replicate-steps of {model.name}, batch {batch}"
  yield (
    f"to come: about {found.flop:.3g} FLOP, {found.bytes / 2**20:,.0f} MiB of "
    f"artefacts, {found.hours:.2g} h of training at the speed measured here "
    "just now"
  )


def stage_lines(stages: Mapping[str, Count]) -> Iterable[str]:
  """Yields how far each stage is, as lines of text."""
  for stage, count in stages.items():
    claimed = "".join(
      f", {n} claimed by process {name.split('-')[1]}"
      for name, n in count.claimed.items()
    )
    yield (f"{stage}: {count.finished} finished, {count.to_do} to do{claimed}")
