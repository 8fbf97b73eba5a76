"""The local executor: runs one job after another in this process."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from imp_jax.core.artefacts import MISSING, Artefact, Failure
from imp_jax.core.graph import Item, Node, Outcome
from imp_jax.engine.claims import POLL_SECONDS, ClaimLostError, Claims
from imp_jax.engine.context import Context
from imp_jax.engine.provenance import made_with
from imp_jax.engine.scheduler import (
  Job,
  Wanted,
  after,
  jobs_ahead,
  next_job,
  remaining,
  unreachable,
)
from imp_jax.engine.spent import spent

# What is known of results: the record of an item's artefact, None without one.
Known = Callable[[Item], dict[str, Any] | None]
# (context, a job's items) -> the outcome of each.
Run = Callable[[Context, Sequence[Item]], dict[Item, Outcome]]


class Progress:
  """Callbacks of a run in progress; these do nothing."""

  def begin(self, total_steps: int) -> None:
    """Is called first, with the replicate-steps that are to come."""

  def node(self, label: str) -> None:
    """Is called when a node begins, with its label."""

  def steps(self, count: int) -> None:
    """Is called with replicate-steps that were made, or need not be."""

  def measured(self, row: Mapping[str, Any]) -> None:
    """Is called with what was measured of a network, as it is in training.

    Args:
      row: "network", e.g. "all-20 level 3, replicate 1"; "step"; "split":
        "train_batches" (the running mean since the last row), or of those that
        are evaluated; "loss" in nats, "accuracy" as a fraction, and what else
        is wanted; of training "density", and "examples" that were presented.
    """

  def warn(self, message: str) -> None:
    """Is called with a warning for the user."""

  def stop(self) -> str | None:
    """Is asked often: what wants the run to end, e.g. "SIGTERM", or None."""
    return None


def run_missing(
  context: Context,
  plan: Callable[[Known], Wanted],
  progress: Progress,
  failed: dict[Item, str],
  claims: Claims,
  run: Run | None = None,
) -> None:
  """Runs what is missing of a graph, unless other processes do.

  What they are at is left to them, and waited for.

  Args:
    context: what stages run with.
    plan: gives the graph; it is asked again when all of it is settled, so that
      a later node may depend on a result.
    progress: its callbacks are called.
    failed: is filled, while it goes, with the reason why an item has no
      artefact; "" for want of another item.
    claims: on items, by the identities of their artefacts.
    run: what runs a job, e.g. `leader.lead`; None for `run_items`.

  Raises:
    Stopped: it was asked to end. A training in progress has its checkpoint.
  """
  at_once = context.execution.replicates_at_once
  wanted: Wanted = {}
  done: set[Item] = set()
  while new := _without(plan(known_of(context)), wanted):
    wanted = _merged(wanted, new)
    done |= finished_items(context, new, None)
    clear_checkpoints(context, new, done)
    steps = sum(job.cost for job in jobs_ahead(new, done, at_once))
    progress.begin(steps)
    left = remaining(wanted, done | failed.keys())
    by_id = {_id(context, i): i for i in _items(left)}
    while left:
      context.stop_if_asked()
      names = claims.held_by_others().keys() & by_id.keys()
      held = {by_id[name] for name in names}
      job = next_job(left, done, failed, held, at_once)
      if job is None:
        progress.node("waiting for other processes")
        time.sleep(POLL_SECONDS)
        continue
      with _claimed(context, claims, job) as job:
        if not job.replicates:
          continue  # another was faster
        # Others may have finished some of it since this was last known.
        if not (known := finished_items(context, job.wanted, progress.warn)):
          progress.node(job.label)
          _run_job(
            context, job, done, failed, progress, claims, run or run_items
          )
        for item in known:
          progress.steps(item.node.stage.cost([item.node]))
        done |= known
      if all(item in done for item in job.items):
        left = after(left, job)
        continue
      for item in unreachable(left, failed):
        failed[item] = ""
        progress.steps(item.node.stage.cost([item.node]))
      left = remaining(left, done | failed.keys())


def run_items(context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
  """Returns the outcome of each item, run together, its record complete.

  Args:
    context: what stages run with.
    items: of one job.
  """
  started, before = time.monotonic(), spent()
  outcomes = items[0].node.stage.run(context, items)
  used = {"seconds": time.monotonic() - started}
  used |= dataclasses.asdict(spent() - before)
  together = {f"{what}_together": round(n, 3) for what, n in used.items()}
  together["items_together"] = len(items)
  return {
    item: _recorded(context, item, outcomes[item], together)
    for item in items  # a stage that forgets one would be asked for ever
  }


def known_of(context: Context) -> Known:
  """Returns a function from items to the records of their artefacts."""

  def known(item: Item) -> dict[str, Any] | None:
    object_id = _id(context, item)
    if not context.store.is_finished(object_id, context.facts(item)):
      return None
    return context.store.load_record(object_id)

  return known


def finished_items(
  context: Context, wanted: Wanted, warn: Callable[[str], None] | None
) -> set[Item]:
  """Returns the items of a graph that have an intact artefact.

  Args:
    context: what stages run with.
    wanted: the graph.
    warn: is told of damaged ones, which are set aside: of items that this
      process has claimed, or another's new ones might be. None leaves them.

  Raises:
    OSError: an artefact cannot be read.
  """
  store, finished = context.store, set()
  for item in _items(wanted):
    object_id = _id(context, item)
    fault = store.fault(object_id, context.facts(item))
    if fault is None:
      finished.add(item)
    elif warn and fault != MISSING:
      told = store.set_aside(object_id, fault)
      warn(told or f"artefact {object_id} is {fault}; another set it aside")
  return finished


def clear_checkpoints(
  context: Context, wanted: Wanted, done: set[Item]
) -> None:
  """Removes the checkpoints of finished items that none unfinished shares.

  A run that was killed between writing an artefact and its end leaves them.
  """
  items = _items(wanted)
  going = {_checkpoint(context, item) for item in items if item not in done}
  for item in done.intersection(items):
    if (kept := _checkpoint(context, item)) not in going:
      context.store.checkpoint(kept).clear()


def _run_job(
  context: Context,
  job: Job,
  done: set[Item],
  failed: dict[Item, str],
  progress: Progress,
  claims: Claims,
  run: Run,
) -> None:
  """Runs a job, stores its artefacts, and adds its items to done or failed.

  To neither what other processes have taken over.
  """

  def stop() -> str | None:
    claims.check()
    return context.stop()

  try:
    outcomes = run(dataclasses.replace(context, stop=stop), job.items)
  except ClaimLostError:
    progress.warn(f"{job.label}: this process was taken for dead")
    return
  for item, outcome in outcomes.items():
    if not claims.is_mine(_id(context, item)):
      continue
    if isinstance(outcome, Failure):
      if outcome.message not in failed.values():
        progress.warn(outcome.message)
      failed[item] = outcome.message
    else:
      context.store.save(_id(context, item), outcome)
      done.add(item)
  for r in job.replicates:
    items = [Item(node, r) for node in job.nodes]
    if all(item in done for item in items):
      for kept in {_checkpoint(context, item) for item in items}:
        context.store.checkpoint(kept).clear()


@contextlib.contextmanager
def _claimed(context: Context, claims: Claims, job: Job) -> Iterator[Job]:
  """The part of a job that this process gets, for the block; maybe nothing.

  Replicates of which others have some nodes are left to them.
  """
  taken: list[str] = []
  replicates = []
  try:
    for r in job.replicates:
      names = [_id(context, Item(node, r)) for node in job.nodes]
      own = list(itertools.takewhile(claims.take, names))
      taken += own
      if len(own) == len(names):
        replicates.append(r)
    yield dataclasses.replace(job, replicates=tuple(replicates))
  finally:
    for name in taken:
      claims.release(name)


def _id(context: Context, item: Item) -> str:
  """The identity of an item's artefact."""
  return item.node.object_id(context.seed, item.replicate)


def _items(wanted: Wanted) -> list[Item]:
  return [Item(node, r) for node, rs in wanted.items() for r in rs]


def _checkpoint(context: Context, item: Item) -> str:
  return item.node.checkpoint_id(context.seed, item.replicate)


def _without(wanted: Wanted, others: Wanted) -> dict[Node, Sequence[int]]:
  """The nodes and replicates of a graph that are not in another."""
  missing = {
    node: [r for r in replicates if r not in others.get(node, ())]
    for node, replicates in wanted.items()
  }
  return {node: rs for node, rs in missing.items() if rs}


def _merged(one: Wanted, other: Wanted) -> Wanted:
  return {
    node: sorted({*one.get(node, ()), *other.get(node, ())})
    for node in (*one, *(n for n in other if n not in one))
  }


def _recorded(
  context: Context, item: Item, outcome: Outcome, together: Mapping[str, Any]
) -> Outcome:
  """An outcome whose record begins with what it is and how it was made."""
  if not isinstance(outcome, Artefact):
    return outcome
  settings: Any = item.node.stage
  header: Mapping[str, Any] = {
    **context.facts(item),
    "settings": dataclasses.asdict(settings),
    "code": item.node.stage.code(),
    "made_with": made_with(context.execution) | dict(together),
  }
  return dataclasses.replace(outcome, record={**header, **outcome.record})
