"""The study: config -> experiments -> stages -> results."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import jax

from imp_jax.data.dataset import Dataset, on_device, with_valid_split
from imp_jax.data.sources import load_dataset
from imp_jax.meaning import (
  check_same_execution,
  check_same_meaning,
  meaning_of,
)
from imp_jax.nodes import Node, Pretrain, Prune, RandomMask, Train
from imp_jax.replicates import chunks, resolve_execution
from imp_jax.report.tables import Entry, write_report
from imp_jax.resolve import check_before_loading, resolve
from imp_jax.results import Results
from imp_jax.runs import Failure
from imp_jax.settings import Experiment, Study
from imp_jax.stages import Context, run_node
from imp_jax.store import Store


@dataclasses.dataclass(frozen=True)
class Ticket:
  """Where a row of results comes from: nodes, for any replicate."""

  experiment: str
  kind: str
  level: int
  pretrain: Node
  train: Node
  masks: Node | None


@dataclasses.dataclass(frozen=True)
class Plan:
  """A validated study, ready to run in a workdir."""

  study: Study
  dataset: Dataset
  store: Store
  tickets: tuple[Ticket, ...]
  nodes: tuple[Node, ...]  # each after its inputs, no two alike


class Progress:
  """What a run tells while it goes; this one says nothing."""

  def begin(self, total_steps: int) -> None:
    """Is told how many replicate-steps are to come."""

  def node(self, label: str) -> None:
    """Is told which node begins."""

  def steps(self, count: int) -> None:
    """Is told how many replicate-steps were made (or need not be)."""

  def warn(self, message: str) -> None:
    """Is told what the user should know."""


def prepare(config: Any, workdir: str) -> Plan:
  """Returns the plan of a config in a workdir; every check of input is here.

  Raises:
    ValueError, OSError: bad input, in one line; nothing has been written.
  """
  data = config.data
  check_before_loading(config)
  dataset = load_dataset(
    data.source,
    name=data.name,
    path=data.path,
    merge_valid=data.merge_valid,
    mean=data.mean,
    std=data.std,
    generator_seed=data.generator_seed,
    train_examples=data.train_examples,
    cache_dir=data.cache_dir,
  )
  if data.valid_examples:
    dataset = with_valid_split(
      dataset, data.valid_examples, jax.random.key(config.seed)
    )
  study = resolve(config, dataset)
  tickets = tuple(t for e in study.experiments for t in experiment_tickets(e))
  store = Store(workdir)
  check_same_meaning(store, study)
  nodes = _in_order(tickets)
  if not study.execution.mix:
    check_same_execution(store, study, nodes)
  return Plan(study, dataset, store, tickets, nodes)


def execute(plan: Plan, progress: Progress) -> Results:
  """Runs what is missing, one node at a time, and writes the study's files.

  A replicate's failure ends what depends on it and nothing else. Results are
  written also when the run is interrupted.
  """
  study, store = plan.study, plan.store
  execution = dataclasses.replace(
    study.execution,
    mode=resolve_execution(study.execution.mode, jax.default_backend()),
  )
  context = Context(
    store=store,
    dataset=on_device(plan.dataset),
    seed=study.seed,
    execution=execution,
    progress=progress.steps,
  )
  missing = {
    node: [
      r
      for r in range(study.replicates)
      if not store.is_finished(node.object_id(study.seed, r))
    ]
    for node in plan.nodes
  }
  for warning in store.take_warnings():
    progress.warn(warning)
  for node in plan.nodes:  # of a run killed between the two
    for r in set(range(study.replicates)) - set(missing[node]):
      store.checkpoint(node.object_id(study.seed, r)).clear()
  _write_meaning(plan)  # claims are on record before their numbers
  progress.begin(sum(len(rs) * node.steps for node, rs in missing.items()))
  failures: dict[tuple[Node, int], str] = {}
  try:
    for node, replicates in missing.items():
      ready = [
        r
        for r in replicates
        if not any((source, r) in failures for _, source in node.inputs)
      ]
      for r in set(replicates) - set(ready):
        failures[node, r] = ""  # named where it began
        progress.steps(node.steps)
      _run_missing(context, node, ready, failures, progress)
  finally:
    _write_study(plan, [m for m in failures.values() if m])
  return Results(store, study.name)


def experiment_tickets(experiment: Experiment) -> Iterator[Ticket]:
  """Yields the tickets of one experiment: IMP's levels, then the controls.

  It reads as the paper's algorithm: pre-train, then at each level train,
  prune what was trained, and rewind.
  """
  e = experiment
  pretrain = _pretrain_node(e, e.pretrain.steps)
  trained = _train_node(e, pretrain, None, level=0)
  yield Ticket(e.name, "imp", 0, pretrain, trained, None)
  masks = None
  for level in range(1, e.prune.levels + 1):
    masks = _prune_node(e, trained, masks, level)
    weights = pretrain if e.ticket.kind == "weight_rewind" else trained
    trained = _train_node(e, weights, masks, level=level, kind=e.ticket.kind)
    yield Ticket(e.name, "imp", level, pretrain, trained, masks)
    if level in e.controls.levels:
      yield from _controls(e, pretrain, masks, level)


def _run_missing(context, node, replicates, failures, progress):
  store, seed = context.store, context.seed
  size = context.execution.replicates_at_once or max(len(replicates), 1)
  for chunk in chunks(replicates, size):
    progress.node(node.label)
    for r, outcome in run_node(context, node, chunk).items():
      if isinstance(outcome, Failure):
        failures[node, r] = outcome.message
        progress.warn(outcome.message)
        continue
      object_id = node.object_id(seed, r)
      store.save(object_id, outcome)
      store.checkpoint(object_id).clear()


def _pretrain_node(e, steps, *, draw=0) -> Node:
  return Node(
    Pretrain(
      model=e.model,
      stream=e.stream,
      optim=_before(e.optim, steps),
      steps=steps,
      draw=draw,
      subset=e.pretrain.subset,
      splits=e.eval.splits,
    ),
    (),
    f"{e.name} fresh weights" if draw else f"{e.name} pre-training",
  )


def _train_node(e, weights, masks, *, level, kind="weight_rewind") -> Node:
  start, stop = e.pretrain.steps, e.steps
  if kind == "finetune":
    start, stop = e.steps, e.steps + e.ticket.finetune_steps
  per_level = "level" in (e.stream.order, e.stream.augment_noise)
  return Node(
    Train(
      model=e.model,
      stream=e.stream,
      optim=e.optim,
      start=start,
      stop=stop,
      run=level + 1 if per_level else 0,
      optimizer=e.ticket.optimizer,
      splits=e.eval.splits,
      curve_steps=tuple(s for s in e.eval.curve_steps if start < s < stop),
    ),
    (("weights", weights), *((("masks", masks),) if masks else ())),
    f"{e.name} level {level}",
  )


def _prune_node(e, trained, masks, level) -> Node:
  p = e.prune
  return Node(
    Prune(
      model=e.model,
      level=level,
      criterion=p.criterion,
      fraction=0.0 if p.densities else p.fraction,
      density=p.densities[level - 1] if p.densities else None,
      allocation=p.allocation,
      rule=p.rule,
      exclude=p.exclude,
    ),
    (("trained", trained), *((("masks", masks),) if masks else ())),
    f"{e.name} masks of level {level}",
  )


def _controls(e, pretrain, masks, level) -> Iterator[Ticket]:
  """Tickets that differ from weight rewinding's in the mask, or the weights.

  They train from t_r to the end, whatever the experiment's own ticket kind.
  """
  if "random_mask" in e.controls.kinds:
    random = Node(
      RandomMask(e.model, level),
      (("masks", masks),),
      f"{e.name} random masks of level {level}",
    )
    trained = _train_node(e, pretrain, random, level=level)
    yield Ticket(e.name, "random_mask", level, pretrain, trained, random)
  if "reinit" in e.controls.kinds:
    fresh = _pretrain_node(e, 0, draw=level)
    trained = _train_node(e, fresh, masks, level=level)
    yield Ticket(e.name, "reinit", level, pretrain, trained, masks)


def _before(optim, steps):
  """The optimiser's settings as far as the first `steps` steps can see them."""
  return dataclasses.replace(
    optim, milestones=tuple(m for m in optim.milestones if m < steps)
  )


def _in_order(tickets) -> tuple[Node, ...]:
  """All nodes the tickets need, each once, each after its inputs."""
  ordered: dict[Node, None] = {}

  def visit(node):
    if node not in ordered:
      for _, source in node.inputs:
        visit(source)
      ordered[node] = None

  for ticket in tickets:
    visit(ticket.train)
  return tuple(ordered)


def _write_meaning(plan: Plan) -> None:
  """Writes what the study's name stands for, earlier experiments included."""
  config = plan.store.study_dir(plan.study.name) / "config.json"
  meaning = meaning_of(plan.study)
  if config.exists():
    old = json.loads(config.read_text())["experiments"]
    meaning["experiments"] = old | meaning["experiments"]
  plan.store.write_text(config, json.dumps(meaning, indent=1))


def _write_study(plan: Plan, failures: list[str]) -> None:
  """Writes the study's description and its tables, as far as it has come."""
  study, store = plan.study, plan.store
  entries = [
    Entry(
      experiment=t.experiment,
      ticket=t.kind,
      level=t.level,
      replicate=r,
      rewind_step=t.pretrain.settings.steps,
      pretrain=t.pretrain.object_id(study.seed, r),
      train=t.train.object_id(study.seed, r),
      masks=t.masks.object_id(study.seed, r) if t.masks else None,
    )
    for t in plan.tickets
    for r in range(study.replicates)
  ]
  write_report(store, study.name, entries, failures, study.claims)
