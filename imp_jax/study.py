"""The study: config -> experiments -> stages -> results."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from imp_jax.data.dataset import Dataset, on_device, with_valid_split
from imp_jax.data.signals import TEST_EXAMPLES
from imp_jax.data.sources import load_dataset
from imp_jax.extent import check_data_extent, check_extent
from imp_jax.flags import pinned
from imp_jax.imports import Imports
from imp_jax.meaning import (
  check_same_execution,
  check_same_meaning,
  meaning_of,
  merged_meaning,
)
from imp_jax.nodes import Node, Score, checkpoint_id
from imp_jax.provenance import made_with, told_apart, way_of
from imp_jax.replicates import chunks, spread
from imp_jax.report.labels import write_labels
from imp_jax.report.landscape_files import (
  ViewEntry,
  load_views,
  write_landscape,
)
from imp_jax.report.parts import Parts
from imp_jax.report.scores import load_score_ids, write_scores
from imp_jax.report.tables import (
  Entry,
  load_entries,
  results_table,
  write_report,
)
from imp_jax.report.verdicts import verdicts_table
from imp_jax.resolve import check_fields, resolve
from imp_jax.results import Results
from imp_jax.runs import Failure
from imp_jax.settings import Study
from imp_jax.stages import Context, check_presentations, run_nodes
from imp_jax.store import Store, StoreError
from imp_jax.tickets import (
  Ticket,
  experiment_tickets,
  nodes_in_order,
  score_nodes,
)
from imp_jax.views import View, experiment_views


@dataclasses.dataclass(frozen=True)
class Plan:
  """A validated study, ready to run in a workdir.

  Attributes:
    tickets: what results.csv has rows of.
    views: what is looked at in the landscape around them.
    scores: of the training examples, by name.
    nodes: each after its inputs, no two alike, with its number of replicates.
    imports: what the config's files hold.
    way: in which its numbers are to be made; see `provenance`.
  """

  study: Study
  dataset: Dataset
  store: Store
  tickets: tuple[Ticket, ...]
  views: tuple[View, ...]
  scores: Mapping[str, Node]
  nodes: Mapping[Node, int]
  imports: Imports
  way: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Job:
  """Nodes that are run together, and the replicates of each to run.

  One node, or those of one company: scores that one training of their networks
  gives, the children of one parent, the paths between them.
  """

  nodes: tuple[Node, ...]
  replicates: list[int]

  @property
  def steps(self) -> int:
    """Optimiser steps of one replicate, all nodes together."""
    steps = [node.steps for node in self.nodes]
    return max(steps) if self.nodes[0].recipe else sum(steps)


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


@pinned()
def prepare(config: Any, workdir: str) -> Plan:
  """Returns the plan of a config in a workdir; every check of input is here.

  Raises:
    ValueError, OSError: bad input, in one line; nothing has been written.
  """
  check_fields(config)
  data = config.data
  if data.source == "mnist1d":
    tested = data.test_examples or TEST_EXAMPLES
    check_data_extent(data.train_examples, tested)
  dataset = load_dataset(
    data.source,
    name=data.name,
    path=data.path,
    merge_valid=data.merge_valid,
    mean=data.mean,
    std=data.std,
    generator_seed=data.generator_seed,
    train_examples=data.train_examples,
    test_examples=data.test_examples,
    cache_dir=data.cache_dir,
  )
  if data.valid_examples:
    dataset = with_valid_split(
      dataset, data.valid_examples, jax.random.key(config.seed)
    )
  imports = Imports()
  study = resolve(config, dataset, imports)
  check_extent(study, dataset, workdir)
  by_experiment = [(e, tuple(experiment_tickets(e))) for e in study.experiments]
  tickets = tuple(t for _, own in by_experiment for t in own)
  views = tuple(v for e, own in by_experiment for v in experiment_views(e, own))
  store = Store(workdir)
  check_same_meaning(store, study)
  scores = score_nodes(study)
  nodes = nodes_in_order(
    tickets,
    tuple(scores.values()),
    study.replicates,
    {view.node: view.replicates or study.replicates for view in views},
  )
  for node, count in nodes.items():
    if isinstance(node.settings, Score):
      check_presentations(node, study.seed, count, len(dataset.train))
  if not study.execution.mix:
    check_same_execution(
      store, study, nodes, functools.partial(_in_tables, store, study.name)
    )
  return Plan(
    study,
    dataset,
    store,
    tickets,
    views,
    scores,
    nodes,
    imports,
    way_of(made_with(study.execution)),
  )


@pinned()
def execute(plan: Plan, progress: Progress) -> Results:
  """Runs what is missing, one node at a time, and writes the study's files.

  A replicate's failure ends what depends on it and nothing else. Results are
  written also when the run is interrupted.

  Raises:
    ValueError: the environment is another than the plan was prepared in.
  """
  study, store = plan.study, plan.store
  now = way_of(made_with(study.execution))
  if now != plan.way and not study.execution.mix:
    planned, here = told_apart(plan.way, now)
    raise ValueError(
      f"study {study.name!r} was prepared to be executed as {planned}, and now "
      f"it would be {here}: prepare it anew"
    )
  context = Context(
    store=store,
    dataset=on_device(
      plan.dataset,
      functools.partial(spread, devices=study.execution.devices),
    ),
    seed=study.seed,
    execution=study.execution,
    progress=progress.steps,
    imports=plan.imports,
  )
  missing = {
    node: [
      r
      for r in range(count)
      if not store.is_finished(node.object_id(study.seed, r))
    ]
    for node, count in plan.nodes.items()
  }
  for warning in store.take_warnings():
    progress.warn(warning)
  _write_meaning(plan)  # claims are on record before their numbers
  jobs = list(_jobs(missing))
  _clear_checkpoints(plan, jobs)
  progress.begin(sum(len(job.replicates) * job.steps for job in jobs))
  failures: dict[tuple[Node, int], str] = {}
  try:
    for job in jobs:
      for ready in _ready(job, failures, progress):
        _run_job(context, ready, failures, progress)
  finally:
    for unwritten in _write_study(plan, _failure_lines(failures)):
      progress.warn(unwritten)
  return Results(store, study.name)


def _in_tables(store: Store, study: str) -> list[str]:
  """Identities of what a study's tables have rows of, from all runs so far."""
  try:
    return [
      *(
        i
        for e in load_entries(store, study)
        for i in (e.train, e.metrics, e.pretrained_metrics)
      ),
      *(v.artefact for v in load_views(store, study)),
      *load_score_ids(store, study).values(),
    ]
  except TypeError as error:  # rows of another version's
    raise ValueError(
      f"an index of study {study!r} in {store.study_dir(study)} is none of "
      f"this version's ({error})"
    ) from error


def _jobs(missing: Mapping[Node, Sequence[int]]) -> Iterator[Job]:
  """Yields what is to be run, in order.

  Nodes of one company are one job for the replicates that lack the same of
  them: scores cost one training of their networks, children train together.
  """
  begun = set()
  for node, replicates in missing.items():
    if not node.company:
      yield Job((node,), list(replicates))
      continue
    if node.company in begun:
      continue
    begun.add(node.company)
    siblings = [n for n in missing if n.company == node.company]
    groups: dict[tuple[Node, ...], list[int]] = {}
    for r in sorted({r for n in siblings for r in missing[n]}):
      lacking = tuple(n for n in siblings if r in missing[n])
      groups.setdefault(lacking, []).append(r)
    for nodes, networks in groups.items():
      yield Job(nodes, networks)


def _failure_lines(failures: Mapping[tuple[Node, int], str]) -> list[str]:
  """Why what failed did, then what was not run for want of it."""
  lines = [message for message in dict.fromkeys(failures.values()) if message]
  unrun: dict[str, list[int]] = {}
  for (node, r), message in failures.items():
    if not message:
      unrun.setdefault(node.label, []).append(r)
  return lines + [
    f"not run for want of these: {label}, replicates "
    f"{', '.join(map(str, sorted(replicates)))}"
    for label, replicates in unrun.items()
  ]


def _clear_checkpoints(plan: Plan, jobs: Sequence[Job]) -> None:
  """Removes what a run left that was killed between an artefact and its end."""
  seed = plan.study.seed
  wanted = {
    checkpoint_id(node, seed, r)
    for job in jobs
    for node in job.nodes
    for r in job.replicates
  }
  for node, count in plan.nodes.items():
    for r in range(count):
      if (kept := checkpoint_id(node, seed, r)) not in wanted:
        plan.store.checkpoint(kept).clear()


def _ready(
  job: Job, failures: dict[tuple[Node, int], str], progress: Progress
) -> Iterator[Job]:
  """Yields a job without the nodes that lack an input, which fail with it."""
  groups: dict[tuple[Node, ...], list[int]] = {}
  for r in job.replicates:
    ready = []
    for node in job.nodes:
      if any((source, s) in failures for _, source, s in node.sources(r)):
        failures[node, r] = ""
        progress.steps(node.steps)
      else:
        ready.append(node)
    groups.setdefault(tuple(ready), []).append(r)
  for nodes, replicates in groups.items():
    if nodes:
      yield Job(nodes, replicates)


def _run_job(context, job, failures, progress):
  store, seed = context.store, context.seed
  for part in _parts(job, context.execution.replicates_at_once):
    progress.node(", ".join(node.label for node in part.nodes))
    outcomes = run_nodes(context, part.nodes, part.replicates)
    for (node, r), outcome in outcomes.items():
      if isinstance(outcome, Failure):
        if outcome.message not in failures.values():
          progress.warn(outcome.message)
        failures[node, r] = outcome.message
      else:
        store.save(node.object_id(seed, r), outcome)
    for r in part.replicates:
      if not any((node, r) in failures for node in part.nodes):
        for kept in {checkpoint_id(node, seed, r) for node in part.nodes}:
          store.checkpoint(kept).clear()


def _parts(job: Job, at_once: int) -> Iterator[Job]:
  """Yields a job in parts of at most so many networks, if it is not 0."""
  if not at_once:
    yield job
    return
  # Scores share their networks.
  alike = bool(job.nodes[0].recipe)
  for nodes in [job.nodes] if alike else chunks(job.nodes, at_once):
    size = at_once if alike else at_once // len(nodes)
    for replicates in chunks(job.replicates, size):
      yield Job(tuple(nodes), list(replicates))


def _write_meaning(plan: Plan) -> None:
  """Writes what the study's name stands for, earlier experiments included."""
  config = plan.store.study_dir(plan.study.name) / "config.json"
  meaning = meaning_of(plan.study)
  if config.exists():
    meaning = merged_meaning(json.loads(config.read_text()), meaning)
  plan.store.write_text(config, json.dumps(meaning, indent=1))


def _seconds(plan: Plan) -> float:
  """What everything finished of the plan took to compute, whenever it was."""
  seconds, trained = 0.0, set()
  for node, count in plan.nodes.items():
    if node.recipe:
      if node.company in trained:
        continue  # another score of the same networks
      trained.add(node.company)
    for r in range(count):
      with contextlib.suppress(StoreError):  # not finished
        object_id = node.object_id(plan.study.seed, r)
        made = plan.store.load_record(object_id)["made_with"]
        seconds += made["seconds_together"] / made["replicates_together"]
  return round(seconds, 1)


def _write_study(plan: Plan, failures: list[str]) -> list[str]:
  """Writes the study's description and its tables, as far as it has come.

  Returns what could not be written, a line each.
  """
  study, store = plan.study, plan.store
  parts = Parts(store, study.name)
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
      metrics=t.metrics.object_id(study.seed, r),
      pretrained_metrics=t.pretrained_metrics.object_id(study.seed, r),
    )
    for t in plan.tickets
    for r in range(study.replicates)
  ]
  seen = [
    ViewEntry(
      experiment=v.experiment,
      kind=v.kind,
      level=v.level,
      between=v.between,
      replicate=r,
      stage=v.node.stage,
      artefact=v.node.object_id(study.seed, r),
    )
    for v in plan.views
    for r in range(v.replicates or study.replicates)
  ]
  ids = {
    name: node.object_id(study.seed, 0) for name, node in plan.scores.items()
  }
  noises = {e.pretrain.noise for e in study.experiments}
  noises |= {
    e.pretrain.scoring.label_noise
    for e in study.experiments
    if e.pretrain.scoring
  }
  noises |= {scoring.label_noise for scoring in study.scores}
  records = parts.made(
    "everything about tickets",
    lambda: write_report(parts, entries, failures, study.claims),
  )
  connected = None
  with parts.attempt("the landscape"):
    if records is None:
      raise ValueError("it needs what there is about tickets")
    connected = write_landscape(parts, seen, records, study.claims)
  if records is not None and study.claims.primary_level is not None:
    parts.table(
      "verdicts",
      lambda: verdicts_table(
        study.name,
        results_table(study.name, records),
        study.claims,
        connected,
        _seconds(plan),
      ),
    )
  with parts.attempt("everything about scores"):
    write_scores(parts, ids, plan.dataset)
  with parts.attempt("noisy labels"):
    write_labels(
      parts,
      {
        noise.name: plan.imports.train_labels(plan.dataset, noise, study.seed)
        for noise in noises
        if noise.kind
      },
      plan.dataset,
    )
  return parts.failed
