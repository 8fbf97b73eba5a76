"""The study: config -> experiments -> nodes -> results."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from imp_jax.core.buckets import exists, read_file, remove, scheme_of
from imp_jax.core.graph import Item, Node, nodes_in_order
from imp_jax.core.index import (
  LABELS,
  SCORE,
  Entry,
  load_index,
  merged_index,
  save_index,
)
from imp_jax.core.ranges import one_of
from imp_jax.core.sealed import read_sealed, write_sealed
from imp_jax.core.store import Store
from imp_jax.data.dataset import Dataset, on_device
from imp_jax.data.signals import TEST_EXAMPLES
from imp_jax.data.study_data import WHICH, load_study_data
from imp_jax.engine import hosts
from imp_jax.engine.claims import check_company, working_in
from imp_jax.engine.context import Context
from imp_jax.engine.executor import Known, Progress, run_items, run_missing
from imp_jax.engine.flags import pinned
from imp_jax.engine.imports import Imports
from imp_jax.engine.leader import follow, lead
from imp_jax.engine.provenance import made_with, told_apart, way_of
from imp_jax.engine.replicates import spread
from imp_jax.engine.scheduler import Wanted
from imp_jax.probes.registry import PROBES
from imp_jax.results.load import Results
from imp_jax.stages.ticket import Ticket, View
from imp_jax.study.experiment import Experiment, Study
from imp_jax.study.extension import (
  check_same_execution,
  check_same_meaning,
  damaged_files,
  meaning_of,
  merged_meaning,
)
from imp_jax.study.extent import check_data_extent, check_extent
from imp_jax.study.imp import experiment_tickets, label_nodes, score_nodes
from imp_jax.study.listing import listed, load_listing, save_listing
from imp_jax.study.options import check_fields
from imp_jax.study.resolve import resolve

NOT_RUN = "not run for want of these: "


@dataclasses.dataclass(frozen=True)
class Plan:
  """A validated study, ready to run in a workdir.

  Attributes:
    study: what is run: of a part its experiments alone.
    whole: what the study's name stands for.
    tickets: what results.csv has rows of.
    views: what is looked at in the landscape around them.
    scores: of the training examples, by name.
    labels: noisy ones, by the noise's name.
    imports: what the config's files hold.
    way: in which its numbers are to be made; see `provenance`.
    data: what the config says of which data they are.
    damaged: files about the study that are to be made anew.
  """

  study: Study
  whole: Study
  dataset: Dataset
  store: Store
  tickets: tuple[Ticket, ...]
  views: tuple[View, ...]
  scores: Mapping[str, Node]
  labels: Mapping[str, Node]
  imports: Imports
  way: Mapping[str, str]
  data: Mapping[str, Any]
  damaged: tuple[str, ...]

  @functools.cached_property
  def nodes(self) -> Wanted:
    """Each node after its inputs, no two alike, with its replicates."""
    everyone = range(self.study.replicates)
    roots: dict[Node, range] = {}
    for node in (*self.scores.values(), *self.labels.values()):
      roots[node] = range(1)
    for ticket in self.tickets:
      for node in (ticket.train, ticket.metrics, ticket.pretrained_metrics):
        roots[node] = everyone
    for view in self.views:
      count = range(view.replicates or self.study.replicates)
      roots[view.node] = max(roots.get(view.node, count), count, key=len)
    return nodes_in_order(roots)

  def wanted(self, known: Known) -> Wanted:
    """Returns the nodes to run and their replicates, given known results."""
    del known  # no node of today's depends on a result
    return self.nodes

  def context(self, progress: Callable[[int], None]) -> Context:
    """Returns what its stages run with, the data on the host."""
    return Context(
      store=self.store,
      dataset=self.dataset,
      seed=self.study.seed,
      execution=self.study.execution,
      progress=progress,
      imports=self.imports,
    )


@pinned()
def prepare(
  config: Any,
  workdir: str,
  only: Sequence[str] = (),
  *,
  writes: bool = True,
  executes: bool = True,
) -> Plan:
  """Returns the plan of a config in a workdir; every check of input is here.

  Args:
    config: the study's.
    workdir: where its artefacts lie.
    only: names of the experiments to run; none = all. What the study means
      stays all of it, and later plans may run the others.
    writes: whether this process writes in the workdir, which is made then.
    executes: whether it is this process that runs what is missing; another may
      have other devices.

  Raises:
    ValueError, OSError: bad input, in one line; nothing has been written.
  """
  check_fields(config)
  data = config.data.to_dict()
  if data["source"] == "mnist1d":
    tested = data["test_examples"] or TEST_EXAMPLES
    check_data_extent(data["train_examples"], tested)
  dataset = load_study_data(data, config.seed)
  imports = Imports()
  whole = resolve(config, dataset, imports)
  study = _part(whole, only) if only else whole
  check_extent(study, dataset, workdir)
  by_experiment = [(e, tuple(experiment_tickets(e))) for e in study.experiments]
  tickets = tuple(t for _, own in by_experiment for t in own)
  views = tuple(v for e, own in by_experiment for v in experiment_views(e, own))
  if "tensorboard" in study.execution.writers and scheme_of(workdir):
    raise ValueError(
      f"execution.writers: tensorboard writes to a disk, and {workdir} is in a "
      "bucket"
    )
  store = Store(workdir, writable=writes)
  if writes:
    check_company(store, study.execution.lease_seconds)
  damaged = damaged_files(store, whole.name)
  if "config.json" not in damaged:
    check_same_meaning(store, whole)
  plan = Plan(
    study,
    whole,
    dataset,
    store,
    tickets,
    views,
    score_nodes(study),
    label_nodes(study),
    imports,
    way_of(made_with(study.execution)),
    {field: data[field] for field in (*WHICH, "valid_examples")},
    damaged,
  )
  context = plan.context(lambda _: None)
  for node, replicates in plan.nodes.items():
    node.stage.check(node, context, len(replicates))
  if executes and not study.execution.mix:
    known = [] if "index.json" in damaged else load_index(store, study.name)
    check_same_execution(store, study, plan.nodes, known)
  return plan


@pinned()
def execute(plan: Plan, progress: Progress) -> Results:
  """Runs what is missing, one job at a time; returns the study's results.

  A replicate's failure ends what depends on it and nothing else. What is
  finished can be loaded, and reported, while it goes.

  Raises:
    ValueError: the environment is another than the plan was prepared in.
    Stopped: it was asked to end, and goes on when it is executed anew.
    OSError: storage cannot be read or written.
    StoreError: an artefact was damaged meanwhile; executed anew, it is made
      anew.
  """
  study, store = plan.study, plan.store
  now = way_of(made_with(study.execution))
  if now != plan.way and not study.execution.mix:
    planned, here = told_apart(plan.way, now)
    raise ValueError(
      f"study {study.name!r} was prepared to be executed as {planned}, and now "
      f"it would be {here}: prepare it anew"
    )
  context = dataclasses.replace(
    _running(plan, progress.steps, progress.stop), measured=progress.measured
  )
  run = lead if hosts.are_several() else run_items
  failures: dict[Item, str] = {}
  with working_in(store, study.execution.lease_seconds) as claims:
    with claims.alone(f"study-{study.name}"):
      for name in plan.damaged:
        aside = store.set_file_aside(store.study_dir(study.name) / name)
        progress.warn(
          f"{aside} from this config; what other configs added to the study is "
          "in its tables again when they are run again, which trains nothing"
        )
      _write_meaning(plan)  # claims are on record before their numbers
      index = merged_index(load_index(store, study.name), study_entries(plan))
      save_index(store, study.name, index)
      _write_listing(plan)
    try:
      run_missing(context, plan.wanted, progress, failures, claims, run)
    finally:
      with claims.alone(f"study-{study.name}"):
        _write_failures(plan, failures)
  return Results(store, study.name)


@pinned()
def assist(plan: Plan, stop: Callable[[], str | None]) -> int:
  """Runs its part of what the leader executes; returns the leader's exit code.

  Args:
    plan: as the leader's.
    stop: as of `Progress`.

  Raises:
    Stopped: all of them were asked to end.
    OutOfStepError: it or the leader failed by itself.
  """
  return follow(_running(plan, lambda _: None, stop), plan.nodes)


def _running(
  plan: Plan,
  progress: Callable[[int], None],
  stop: Callable[[], str | None],
) -> Context:
  """What a plan's stages run with, the data on the devices."""
  data = on_device(
    plan.dataset,
    functools.partial(spread, devices=plan.study.execution.devices),
  )
  return dataclasses.replace(plan.context(progress), stop=stop, dataset=data)


def _part(study: Study, only: Sequence[str]) -> Study:
  """The study with some of its experiments, and the scores that these need."""
  known = tuple(e.name for e in study.experiments)
  for name in only:
    one_of("experiment", name, known)
  chosen = tuple(e for e in study.experiments if e.name in only)
  return dataclasses.replace(study, experiments=chosen)


def experiment_views(
  experiment: Experiment, tickets: tuple[Ticket, ...]
) -> tuple[View, ...]:
  """Returns what is looked at of one experiment.

  Args:
    experiment: its settings say what.
    tickets: its own.
  """
  by_level = {t.level: t for t in tickets if t.kind == "imp"}
  return tuple(
    view
    for probe in PROBES.values()
    for view in probe.views(experiment.probes, by_level)
  )


def _failure_lines(failures: Iterable[Mapping[str, Any]]) -> list[str]:
  """Messages of the failures, then the items that they kept from running."""
  messages = dict.fromkeys(f["message"] for f in failures if f["message"])
  unrun: dict[str, list[int]] = {}
  for failure in failures:
    if not failure["message"]:
      unrun.setdefault(failure["label"], []).append(failure["replicate"])
  return list(messages) + [
    f"{NOT_RUN}{label}, replicates {', '.join(map(str, sorted(replicates)))}"
    for label, replicates in unrun.items()
  ]


def _write_meaning(plan: Plan) -> None:
  """Writes what the study's name stands for, earlier experiments included."""
  config = plan.store.study_dir(plan.study.name) / "config.json"
  meaning = meaning_of(plan.whole) | {"data": dict(plan.data)}
  if exists(config):
    meaning = merged_meaning(read_sealed(config), meaning)
  write_sealed(plan.store, config, meaning)


def _write_listing(plan: Plan) -> None:
  """Writes which artefacts the study needs, earlier runs' included."""
  store, name = plan.store, plan.study.name
  known = load_listing(store, name)
  items = [Item(node, r) for node, rs in plan.nodes.items() for r in rs]
  rows = [*known, *listed(items, plan.study.seed)]
  save_listing(store, name, dict.fromkeys(rows))


def study_entries(plan: Plan) -> list[Entry]:
  """Returns where everything of a plan is or will be stored."""
  seed, everyone = plan.study.seed, range(plan.study.replicates)

  def ids(r: int, **roles: Node | None) -> dict[str, str]:
    return {role: n.object_id(seed, r) for role, n in roles.items() if n}

  entries = [
    Entry(
      t.experiment,
      t.kind,
      t.level,
      "",
      r,
      ids(
        r,
        pretrain=t.pretrain,
        train=t.train,
        masks=t.masks,
        metrics=t.metrics,
        pretrained_metrics=t.pretrained_metrics,
      ),
    )
    for t in plan.tickets
    for r in everyone
  ]
  entries += [
    Entry(
      v.experiment, v.kind, v.level, v.between, r, ids(r, **{v.role: v.node})
    )
    for v in plan.views
    for r in range(v.replicates or plan.study.replicates)
  ]
  for kind, nodes in ((SCORE, plan.scores), (LABELS, plan.labels)):
    entries += [
      Entry("", kind, 0, name, 0, ids(0, **{kind: node}))
      for name, node in nodes.items()
    ]
  return entries


def _write_failures(plan: Plan, failures: Mapping[Item, str]) -> None:
  """Writes failures.json and .txt, while there are any.

  What other runs said stays until there is an artefact.
  """
  store, seed = plan.store, plan.study.seed
  folder = store.study_dir(plan.study.name)
  file, text = folder / "failures.json", folder / "failures.txt"
  known: dict[str, dict[str, Any]] = {}
  if exists(file):
    with contextlib.suppress(ValueError):  # damaged: it is of these failures
      known = dict(json.loads(read_file(file)))
  known |= {
    f"{node.object_id(seed, r)} {node.label}": {
      "artefact": node.object_id(seed, r),
      "label": node.label,
      "replicate": r,
      "message": message,
    }
    for (node, r), message in failures.items()
  }
  left = {
    name: failure
    for name, failure in known.items()
    if not store.is_finished(failure["artefact"])
  }
  if left:
    store.write_text(file, json.dumps(left, indent=1))
    store.write_text(text, "\n".join(_failure_lines(left.values())) + "\n")
    return
  for old in (file, text):
    remove(old)
