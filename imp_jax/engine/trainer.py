"""The trainer: stacked replicates driven through chunks of train steps."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.store import Checkpoint
from imp_jax.data.batches import batch_plan, is_padded
from imp_jax.data.dataset import Dataset, Split
from imp_jax.data.settings import StreamSettings
from imp_jax.engine.context import Stopped
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.provenance import made_with
from imp_jax.engine.replicates import replicate_slice, replicated, stack_trees
from imp_jax.engine.spent import in_program, spend
from imp_jax.models import Model
from imp_jax.training import (
  Pipeline,
  TrainState,
  UpdateRule,
  train_steps,
)
from imp_jax.training.evaluation import evaluate
from imp_jax.training.optimiser import opt_state_tree, restore_opt_state
from imp_jax.training.settings import OptimSettings, make_recipe, update_rule
from imp_jax.training.state import MOVEMENT

PyTree = Any


@dataclasses.dataclass
class Run:
  """One replicate's training so far.

  Attributes:
    name: for messages, e.g. "all-20 level 3, replicate 1".
    state: the state, advanced in place of the old one.
    masks: kept weights.
    keep_index: the training examples in use.
    order_words: the data-order key's words.
    checkpoint: its hook.
    history: rows of {"step", "split", "loss", "accuracy"} so far.
    watched: what a `Watch` has gathered so far, nested dicts of arrays.
    failure: set when the loss or a weight is no longer finite.
    density: of its prunable weights, 1 = all.
    code: hashes of what its settings name, as `Stage.code` has them.
  """

  name: str
  state: TrainState
  masks: PyTree
  keep_index: np.ndarray
  order_words: tuple[int, ...]
  checkpoint: Checkpoint
  history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  watched: dict[str, Any] = dataclasses.field(default_factory=dict)
  failure: Failure | None = None
  density: float = 1.0
  code: Mapping[str, str] = dataclasses.field(default_factory=dict)


@runtime_checkable
class Watch(Protocol):
  """What looks at runs while they train.

  Attributes:
    names: of what it gathers; a checkpoint that lacks one of them is no use.
    steps: absolute steps at which it is called, 0 included if need be.
    presented: what looks at the examples that each step presents, or None; see
      `training.train_steps`.
    moves: whether it changes the runs' states, for training to go on from.
  """

  names: tuple[str, ...]
  steps: tuple[int, ...]
  presented: Any
  moves: bool

  def __call__(self, step: int, runs: Sequence[Run]) -> None:
    """Puts what is to be kept into each run's `watched`, or moves its state."""


@dataclasses.dataclass(frozen=True)
class Trainer:
  """What all runs of one item share.

  Attributes:
    model, dataset: the network, and the data on the device.
    stream, optim: how examples come, and the optimiser's numbers.
    curve_steps: absolute steps after which "test" is evaluated.
    execution: mode (resolved), chunk and batch sizes.
    progress: called with the replicate-steps made.
    labels: to train on instead of the data set's.
    watch: looks at the runs on their way.
    stop, measured: as of `Context`.
    flop: of a replicate's step.
  """

  model: Model
  dataset: Dataset
  stream: StreamSettings
  optim: OptimSettings
  curve_steps: tuple[int, ...]
  execution: ExecutionSettings
  progress: Callable[[int], None]
  labels: np.ndarray | None = None
  watch: Watch | None = None
  stop: Callable[[], str | None] = lambda: None
  measured: Callable[[Mapping[str, Any]], None] = lambda row: None
  flop: float = 0.0

  def train(self, runs: Sequence[Run], stop: int) -> None:
    """Trains runs up to step `stop`, each from its checkpoint if it has one.

    A run whose loss or weights stop being finite keeps the state before that
    chunk as its checkpoint and gets a `failure`; the others go on.

    Raises:
      Stopped: it was asked to end; each run has a checkpoint.
    """
    names = self.watch.names if self.watch else ()
    fresh = []
    for run in runs:
      before = int(run.state.step)
      if not _restore(run, names, update_rule(self.optim)):
        fresh.append(run)
      self.progress(int(run.state.step) - before)
    if fresh and self.watch:
      start = int(fresh[0].state.step)  # one training's, so all runs' start
      if start in self.watch.steps:
        self.watch(start, fresh)
    # Runs go in lockstep; a kill between two checkpoints may have set some
    # back, and those go by themselves.
    for step in sorted({int(run.state.step) for run in runs}):
      group = [run for run in runs if int(run.state.step) == step]
      self._train_together(group, step, stop)

  def _train_together(self, runs: list[Run], step: int, stop: int) -> None:
    saved_at = time.monotonic()
    program = _train_program(
      self.model,
      self._pipeline(runs[0]),
      self.execution,
      self.watch.presented if self.watch else None,
    )
    masks = jax.device_put(stack_trees([run.masks for run in runs]))
    state = stack_trees([run.state for run in runs])
    train, recipe = self.dataset.train, make_recipe(self.optim)
    labels = train.labels if self.labels is None else jnp.asarray(self.labels)
    while step < stop:
      count = self._next_bound(step, stop) - step
      before = state
      plans = self._plans(runs, step, count)
      state, sums = program(
        state, masks, plans, train.inputs, labels, recipe, jnp.int32(count)
      )
      sums = jax.device_get(sums)  # the only read-back of the chunk
      spend(
        examples=int(sums["count"].sum()), flop=len(runs) * count * self.flop
      )
      alive = [i for i, run in enumerate(runs) if not run.failure]
      for i in alive:
        if not sums["finite"][i]:
          runs[i].state = replicate_slice(before, i)
          runs[i].failure = Failure(
            f"{runs[i].name}: loss or weights not finite between steps "
            f"{step} and {step + count}; last good state kept at step {step}"
          )
          self._save(runs[i])
        else:
          runs[i].state = replicate_slice(state, i)
          row = {
            "step": step + count,
            "split": "train_batches",
            "loss": float(sums["loss"][i] / sums["count"][i]),
            "accuracy": float(sums["correct"][i] / sums["count"][i]),
          }
          self._tell(runs[i], row, examples=int(sums["count"][i]))
      alive = [i for i in alive if not runs[i].failure]
      step += count
      self.progress(count * len(runs))
      if not alive:
        return
      if step in self.curve_steps:
        rows = self.test_metrics(runs)
        for i in alive:
          self._tell(runs[i], {"step": step, "split": "test", **rows[i]})
      if self.watch and step in self.watch.steps:
        self.watch(step, [runs[i] for i in alive])
        if self.watch.moves:
          state = stack_trees([run.state for run in runs])
      why = self.stop() if step < stop else None
      waited = time.monotonic() - saved_at
      if why or (step < stop and waited >= self.execution.checkpoint_seconds):
        for i in alive:
          self._save(runs[i])
        saved_at = time.monotonic()
      if why:
        raise Stopped(why)

  def _tell(self, run: Run, row: dict[str, Any], **more: Any) -> None:
    """Adds a row to a run's history, and says it with more."""
    run.history.append(row)
    self.measured({"network": run.name, **row, "density": run.density, **more})

  def _save(self, run: Run) -> None:
    names = self.watch.names if self.watch else ()
    record = {
      "history": run.history,
      "watching": list(names),
      "made_with": made_with(self.execution),
      "code": dict(run.code),
    }
    tree = state_tree(run.state)
    if run.watched:
      tree["watched"] = jax.device_get(run.watched)
    if run.state.watched:
      tree["presented"] = jax.device_get(run.state.watched)
    run.checkpoint.save(int(run.state.step), Artefact(record, tree))

  def test_metrics(self, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Returns each run's {"loss", "accuracy", "count", "fingerprint"} so far.

    The fingerprint tells on which test data, which no training depends on.
    """
    test = self.dataset.splits["test"]
    results = evaluate_networks(
      stack_trees([_network(run.state) for run in runs]),
      test,
      model=self.model,
      execution=self.execution,
    )
    return [
      split_metrics(losses, correct) | {"fingerprint": test.fingerprint}
      for losses, correct in zip(
        results["loss"], results["correct"], strict=True
      )
    ]

  def _plans(self, runs: Sequence[Run], step: int, count: int) -> jax.Array:
    """Batch plans of the next `count` steps, in arrays of one fixed size."""
    plans = np.full(
      (len(runs), self.execution.chunk_steps, self.stream.batch_size),
      -1,
      np.int32,
    )
    for plan, run in zip(plans, runs, strict=True):
      plan[:count] = batch_plan(
        run.keep_index,
        run.order_words,
        start=step,
        stop=step + count,
        batch_size=self.stream.batch_size,
        last_batch=self.stream.last_batch,
      )
    return jnp.asarray(plans)

  def _next_bound(self, step: int, stop: int) -> int:
    chunk = self.execution.chunk_steps
    looks = (*self.curve_steps, *(self.watch.steps if self.watch else ()))
    looks = [s for s in looks if step < s < stop]
    return min([step - step % chunk + chunk, stop, *looks])

  def _pipeline(self, run: Run) -> Pipeline:
    stream = self.stream
    return Pipeline(
      crop_pad=stream.crop_pad,
      flip=stream.flip,
      augment_order=stream.augment_order,
      rule=update_rule(self.optim),
      skip_overflow=self.optim.loss_scale > 1,
      movement=MOVEMENT in run.state.watched,
      padded=is_padded(
        len(run.keep_index), stream.batch_size, stream.last_batch
      ),
    )


def evaluate_networks(
  networks: PyTree,
  part: Split,
  *,
  model: Model,
  execution: ExecutionSettings,
) -> dict[str, np.ndarray]:
  """Returns the loss and correctness of several networks on each example.

  Args:
    networks: {"params", "batch_stats"} with the networks as their first axis.
    part: the split, on the device.
    model: the networks'.
    execution: mode (resolved) and batch size.

  Returns:
    "loss" f32[networks, examples] in nats, "correct" bool[networks, examples].
  """
  program = _evaluate_program(model, execution)
  return jax.device_get(
    program(
      networks["params"], networks["batch_stats"], part.inputs, part.labels
    )
  )


def split_metrics(losses: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
  """Returns one network's {"loss", "accuracy", "count"} over a split.

  Args:
    losses: f32[examples], in nats; they are added in float64.
    correct: bool[examples].
  """
  return {
    "loss": float(losses.mean(dtype=np.float64)),
    "accuracy": float(correct.mean(dtype=np.float64)),
    "count": len(losses),
  }


def network_tree(state: TrainState) -> PyTree:
  """Returns a state's network as host arrays: params and batch_stats."""
  return jax.device_get(_network(state))


def state_tree(state: TrainState) -> PyTree:
  """Returns a state's network and whole optimiser state as host arrays."""
  opt_state = opt_state_tree(jax.device_get(state.opt_state))
  return network_tree(state) | {"opt_state": opt_state}


def _network(state: TrainState) -> dict[str, PyTree]:
  return {"params": state.params, "batch_stats": state.batch_stats}


def _restore(run: Run, names: Sequence[str], rule: UpdateRule) -> bool:
  """Goes on from the run's checkpoint; False if it has none of any use."""
  restored = run.checkpoint.restore()
  if not restored:
    return False
  step, artefact = restored
  if not set(names) <= set(artefact.record["watching"]):
    run.checkpoint.clear()
    return False
  assert artefact.tree is not None  # a checkpoint, by construction
  run.watched = artefact.tree.pop("watched", {})
  tree = jax.tree.map(jnp.asarray, artefact.tree)
  run.state = run.state.replace(
    step=jnp.int32(step),
    params=tree["params"],
    batch_stats=tree["batch_stats"],
    opt_state=restore_opt_state(tree["params"], tree["opt_state"], rule),
    watched={name: tree["presented"][name] for name in run.state.watched},
  )
  run.history = list(artefact.record["history"])
  return True


def compiled(
  fn: Callable[..., PyTree], execution: ExecutionSettings, *, shared: int
) -> Callable[..., PyTree]:
  """Returns `replicates.replicated(fn)`, executed as a study's settings say.

  It returns when its results are there; its time is counted.
  """
  program = replicated(
    fn,
    execution.mode,
    shared=shared,
    memory_gib=execution.memory_gib,
    devices=execution.devices,
    devices_each=execution.devices_each,
  )

  def run(*args: PyTree) -> PyTree:
    with in_program():
      return jax.block_until_ready(program(*args))

  return run


@functools.lru_cache(maxsize=64)
def _train_program(
  model: Model,
  pipeline: Pipeline,
  execution: ExecutionSettings,
  watch: Any,
) -> Callable[..., PyTree]:
  fn = functools.partial(
    train_steps, model=model, pipeline=pipeline, watch=watch
  )
  return compiled(fn, execution, shared=4)


@functools.lru_cache(maxsize=64)
def _evaluate_program(
  model: Model, execution: ExecutionSettings
) -> Callable[..., PyTree]:
  fn = functools.partial(
    evaluate,
    model=model,
    batch_size=execution.eval_batch_size,
  )
  return compiled(fn, execution, shared=2)
