"""Stages: what is computed once per (settings, inputs, replicate)."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.data.dataset import Dataset
from imp_jax.invariants import (
  nonzero_pruned_weight,
  unfaithful_rewind,
  wrong_masks,
)
from imp_jax.keys import key_words, named_key
from imp_jax.masks import (
  apply_masks,
  density,
  init_masks,
  kept_counts,
  layer_table,
  pack_masks,
  total_counts,
  unpack_masks,
)
from imp_jax.models import Model
from imp_jax.nodes import Node, Pretrain, Prune, RandomMask, Train
from imp_jax.pruning import CRITERIA, drop_counts, leaf_groups, select_masks
from imp_jax.replicates import replicate_slice, stack_trees
from imp_jax.runs import Failure, Run, Trainer, network_tree, state_tree
from imp_jax.settings import ExecutionSettings, ModelSettings, model_of
from imp_jax.store import Artefact, Store
from imp_jax.training import TrainState, init_opt_state

PyTree = Any
Outcome = Artefact | Failure


@dataclasses.dataclass(frozen=True)
class Context:
  """What stages run with: none of it changes which numbers are meant."""

  store: Store
  dataset: Dataset  # on the device
  seed: int
  execution: ExecutionSettings  # mode resolved
  progress: Callable[[int], None]

  def model(self, settings: ModelSettings) -> Model:
    return model_of(settings, self.dataset, self.execution.convolution)

  def key(self, purpose: str, *numbers: int) -> jax.Array:
    return named_key(jax.random.key(self.seed), purpose, *numbers)

  def load(self, node: Node, name: str, replicate: int) -> Artefact | None:
    """Reads one input artefact from storage; None if the node has none."""
    for known, source in node.inputs:
      if known == name:
        return self.store.load(source.object_id(self.seed, replicate))
    return None

  def load_masks(self, node: Node, replicate: int, params: PyTree) -> PyTree:
    artefact = self.load(node, "masks", replicate)
    if artefact is None:
      return jax.device_get(init_masks(params))
    assert artefact.arrays is not None  # a mask artefact, by construction
    return unpack_masks(artefact.arrays, params)


def run_node(
  context: Context, node: Node, replicates: Sequence[int]
) -> dict[int, Outcome]:
  """Returns the outcome of each replicate of a node, run together."""
  started = time.monotonic()
  outcomes = STAGES[type(node.settings)](context, node, replicates)
  seconds = time.monotonic() - started
  for replicate, outcome in outcomes.items():
    if isinstance(outcome, Artefact):
      header = {
        "stage": node.stage,
        "version": node.settings.VERSION,
        "settings": dataclasses.asdict(node.settings),
        "inputs": {
          name: n.object_id(context.seed, replicate) for name, n in node.inputs
        },
        "seed": context.seed,
        "replicate": replicate,
        "made_with": made_with(context, len(replicates), seconds),
      }
      outcomes[replicate] = dataclasses.replace(
        outcome, record=header | outcome.record
      )
  return outcomes


def made_with(context: Context, together: int, seconds: float) -> dict:
  """Returns what is recorded beside a number but is no part of its identity."""
  device = jax.devices()[0]
  precision = jax.config.values["jax_default_matmul_precision"]
  return {
    "jax": jax.__version__,
    "backend": device.platform,
    "device": device.device_kind,
    "matmul_precision": precision or "the backend's default",
    "execution": context.execution.mode,
    "convolution": context.execution.convolution,
    "replicates_together": together,
    "seconds_together": round(seconds, 3),
  }


def _run_pretrain(context, node, replicates):
  settings: Pretrain = node.settings
  model = context.model(settings.model)
  runs = []
  for r in replicates:
    draw = ("reinit", r, settings.draw) if settings.draw else ("init", r)
    params, batch_stats = _init_program(model)(context.key(*draw))
    runs.append(
      _run(
        context,
        node,
        settings.stream,
        r,
        0,
        init_masks(params),
        TrainState(
          step=jnp.int32(0),
          params=params,
          batch_stats=batch_stats,
          opt_state=init_opt_state(params),
          key=None,
        ),
      )
    )
  trainer = _trainer(context, model, settings, curve_steps=())
  trainer.train(runs, settings.steps)
  metrics = trainer.final_metrics(runs)
  return {
    r: run.failure
    or _not_finite(run, m)
    or Artefact(
      {"metrics": m, "history": run.history, "step": settings.steps},
      state_tree(run.state),
    )
    for r, run, m in zip(replicates, runs, metrics, strict=True)
  }


def _run_train(context, node, replicates):
  settings: Train = node.settings
  model = context.model(settings.model)
  outcomes: dict[int, Outcome] = {}
  runs: dict[int, Run] = {}
  for r in replicates:
    tree = context.load(node, "weights", r).tree
    params = tree["params"]
    masks = context.load_masks(node, r, params)
    params = apply_masks(params, masks)
    if settings.optimizer == "rewound":
      opt_state = init_opt_state(params, apply_masks(tree["momentum"], masks))
    else:
      opt_state = init_opt_state(params)
    runs[r] = _run(
      context,
      node,
      settings.stream,
      r,
      settings.run,
      masks,
      TrainState(
        step=jnp.int32(settings.start),
        params=params,
        batch_stats=jax.tree.map(jnp.asarray, tree["batch_stats"]),
        opt_state=opt_state,
        key=None,
      ),
    )
    wrong = _unfaithful_start(context, node, r, runs[r])
    if wrong:
      outcomes[r] = Failure(f"{runs.pop(r).name}: {wrong}")
  if not runs:
    return outcomes
  trainer = _trainer(context, model, settings, curve_steps=settings.curve_steps)
  trainer.train(list(runs.values()), settings.stop)
  metrics = trainer.final_metrics(list(runs.values()))
  for (r, run), m in zip(runs.items(), metrics, strict=True):
    outcomes[r] = (
      run.failure or _not_finite(run, m) or _trained(model, settings, run, m)
    )
  return outcomes


def _unfaithful_start(context, node, replicate, run):
  """Checks the state handed to training against storage, read once more."""
  stored = context.load(node, "weights", replicate)
  handed = network_tree(run.state)
  ones = jax.device_get(init_masks(stored.tree["batch_stats"]))
  return unfaithful_rewind(
    handed["params"], stored.tree["params"], run.masks
  ) or unfaithful_rewind(
    handed["batch_stats"], stored.tree["batch_stats"], ones
  )


def _trained(model, settings, run, metrics) -> Outcome:
  tree = network_tree(run.state)
  wrong = nonzero_pruned_weight(tree["params"], run.masks)
  if wrong:
    return Failure(f"{run.name}: {wrong}")
  prunable = model.prunable(tree["params"])
  record = {
    "metrics": metrics,
    "history": run.history,
    "step": settings.stop,
    "density": density(run.masks, prunable),
    "layers": layer_table(run.masks, prunable),
  }
  return Artefact(record, tree)


def _not_finite(run, metrics) -> Failure | None:
  for split, found in metrics.items():
    if not np.isfinite(found["loss"]):
      return Failure(f"{run.name}: {split} loss is not finite after training")
  return None


def _run_prune(context, node, replicates):
  settings: Prune = node.settings
  params = [context.load(node, "trained", r).tree["params"] for r in replicates]
  parents = [
    context.load_masks(node, r, p)
    for r, p in zip(replicates, params, strict=True)
  ]
  prunable = context.model(settings.model).prunable(params[0])
  groups = leaf_groups(
    prunable, allocation=settings.allocation, exclude=settings.exclude
  )
  totals = _group_counts(total_counts(params[0], prunable), groups)
  drops = [
    drop_counts(
      _group_counts(kept_counts(parent, prunable), groups),
      totals,
      fraction=settings.fraction,
      density=settings.density,
    )
    for parent in parents
  ]
  keys = jnp.stack(
    [context.key("prune", r, settings.level) for r in replicates]
  )
  new = _prune_program(settings.criterion, groups, settings.rule)(
    stack_trees(params),
    stack_trees(parents),
    jnp.asarray(drops, jnp.int32),
    keys,
  )
  outcomes = {}
  for i, r in enumerate(replicates):
    masks = jax.device_get(replicate_slice(new, i))
    wrong = wrong_masks(
      masks, parents[i], groups=groups, drops=drops[i], rule=settings.rule
    )
    outcomes[r] = (
      Failure(f"{node.label}, replicate {r}: {wrong}")
      if wrong
      else _mask_artefact(masks, prunable)
    )
  return outcomes


def _run_random_mask(context, node, replicates):
  """Random masks: nothing survives by merit, but each layer's count is kept."""
  settings: RandomMask = node.settings
  model = context.model(settings.model)
  shapes, _ = jax.eval_shape(model.init, jax.random.key(0))
  prunable = model.prunable(shapes)
  groups = tuple((path,) for path in prunable)
  totals = total_counts(shapes, prunable)
  dense = init_masks(shapes)
  outcomes = {}
  for r in replicates:
    kept = kept_counts(context.load_masks(node, r, shapes), prunable)
    drops = [totals[p] - kept[p] for p in prunable]
    masks = _prune_program("random", groups, "exact")(
      stack_trees([dense]),
      stack_trees([dense]),
      jnp.asarray([drops], jnp.int32),
      context.key("random_mask", r, settings.level)[None],
    )
    masks = jax.device_get(replicate_slice(masks, 0))
    wrong = wrong_masks(masks, dense, groups=groups, drops=drops, rule="exact")
    outcomes[r] = (
      Failure(f"{node.label}, replicate {r}: {wrong}")
      if wrong
      else _mask_artefact(masks, prunable)
    )
  return outcomes


# The scheduler's table: stage settings -> (context, node, replicates) ->
# {replicate: outcome}.
STAGES: Mapping[type, Callable[..., dict[int, Outcome]]] = {
  Pretrain: _run_pretrain,
  Prune: _run_prune,
  RandomMask: _run_random_mask,
  Train: _run_train,
}


@functools.lru_cache(maxsize=64)
def _init_program(model):
  # It runs once, and unoptimised it compiles about 4 times faster on a CPU.
  on_cpu = jax.default_backend() == "cpu"
  options = {"xla_backend_optimization_level": 0} if on_cpu else None
  return jax.jit(model.init, compiler_options=options)


@functools.lru_cache(maxsize=64)
def _prune_program(criterion, groups, rule):
  def prune(params, masks, drops, key):
    scores = CRITERIA[criterion](params, key)
    return select_masks(scores, masks, drops, groups=groups, rule=rule)

  return jax.jit(jax.vmap(prune))


def _group_counts(counts, groups) -> tuple[int, ...]:
  return tuple(sum(counts[path] for path in group) for group in groups)


def _mask_artefact(masks, prunable) -> Artefact:
  return Artefact(
    {"density": density(masks, prunable)}, arrays=pack_masks(masks, prunable)
  )


def _trainer(context, model, settings, *, curve_steps) -> Trainer:
  return Trainer(
    model=model,
    dataset=context.dataset,
    stream=settings.stream,
    optim=settings.optim,
    keep_index=np.arange(len(context.dataset.train)),
    splits=settings.splits,
    curve_steps=curve_steps,
    execution=context.execution,
    progress=context.progress,
  )


def _run(context, node, stream, replicate, run, masks, state) -> Run:
  """A replicate's run, with the keys of its data order and augmentation."""

  def noise_key(purpose, noise):
    numbers = {"fixed": (), "replicate": (replicate,)}
    return context.key(purpose, *numbers.get(noise, (replicate, run)))

  return Run(
    name=f"{node.label}, replicate {replicate}",
    state=state.replace(key=noise_key("augment", stream.augment_noise)),
    masks=jax.tree.map(jnp.asarray, masks),
    order_words=key_words(noise_key("data_order", stream.order)),
    checkpoint=context.store.checkpoint(
      node.object_id(context.seed, replicate)
    ),
  )
