"""The stages that train networks: pre-training, and a ticket's training."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.invariants import nonzero_pruned_weight, unfaithful_rewind
from imp_jax.keys import key_words
from imp_jax.landscape.geometry import apartness
from imp_jax.masks import apply_masks, density, init_masks, layer_table
from imp_jax.models import Model
from imp_jax.nodes import (
  Child,
  Node,
  Pretrain,
  child_of,
  snapshots_of,
  trained_by,
)
from imp_jax.runs import (
  Failure,
  Run,
  Trainer,
  network_tree,
  state_tree,
)
from imp_jax.settings import StreamSettings, SubsetSettings
from imp_jax.stages.context import Context, Outcome, noise_key
from imp_jax.stages.ticket_watch import TicketWatch
from imp_jax.store import Artefact
from imp_jax.subsets import keep_indices, label_changes
from imp_jax.training import TrainState, init_opt_state

PyTree = Any


def run_pretrain(context, node, replicates):
  """Trains fresh networks for t_r steps on their subsets."""
  settings: Pretrain = node.settings
  model = context.model(settings.model)
  labels = context.train_labels(settings.noise)
  runs: dict[int, Run] = {}
  outcomes: dict[int, Outcome] = {}
  for r in replicates:
    try:
      keep_index = _kept_examples(context, node, r, labels)
    except ValueError as error:  # what scores may hold, none can say before
      outcomes[r] = Failure(f"{node.label}, replicate {r}: {error}")
      continue
    draw = ("reinit", r, settings.draw) if settings.draw else ("init", r)
    runs[r] = make_run(
      context,
      f"{node.label}, replicate {r}",
      settings.stream,
      r,
      state=init_state(model, context.key(*draw)),
      keep_index=keep_index,
      checkpoint=node.object_id(context.seed, r),
    )
  if not runs:
    return outcomes
  trainer = _trainer(context, model, settings, labels=labels)
  trainer.train(list(runs.values()), settings.steps)
  for r, run in runs.items():
    outcomes[r] = run.failure or _pretrained(
      settings, run, labels, context.dataset
    )
  return outcomes


def _pretrained(settings, run, labels, dataset) -> Artefact:
  seen = run.keep_index if settings.steps else run.keep_index[:0]
  changed = labels[seen] != np.asarray(dataset.train.labels)[seen]
  counts = np.bincount(labels[seen], minlength=dataset.num_classes)
  record = {
    "history": run.history,
    "step": settings.steps,
    "class_counts": counts.tolist(),
    "changed_labels": int(changed.sum()),
    "label_changes": label_changes(
      np.asarray(dataset.train.labels)[seen], labels[seen]
    ),
  }
  arrays = None
  if len(run.keep_index) < len(labels):
    arrays = {"keep_index": run.keep_index}
  return Artefact(record, state_tree(run.state), arrays)


def _kept_examples(context, node, replicate, labels):
  """The training examples that one replicate pre-trains on."""
  subset: SubsetSettings = node.settings.subset
  if subset.kind in ("none", "all"):
    return np.arange(len(labels), dtype=np.int32)
  if subset.kind == "keep_list":
    return context.imports.arrays[subset.content]
  difficulty = None
  scores = context.load(node, "scores", replicate)
  if scores:
    sign = 1 if scores.record["larger_is_harder"] else -1
    difficulty = sign * scores.arrays["scores"]
  return keep_indices(
    subset.kind,
    labels,
    size=subset.size,
    num_classes=context.dataset.num_classes,
    tie_words=key_words(context.key("subset_ties")),
    draw_words=key_words(context.key("subset", replicate)),
    difficulty=difficulty,
    offset=subset.offset,
    balanced=subset.balanced,
    drop_hardest=subset.drop_hardest,
  )


def run_tickets(
  context: Context, nodes: Sequence[Node], replicates: Sequence[int]
) -> dict[tuple[Node, int], Outcome]:
  """Trains tickets: masked weights from their start step to the end.

  Several nodes are the children of one parent. A trajectory's artefact has
  "snapshots" in its tree, parameters by step.
  """
  settings = trained_by(nodes[0].settings)
  assert settings is not None  # a training, or one again
  model = context.model(settings.model)
  outcomes: dict[tuple[Node, int], Outcome] = {}
  runs: dict[tuple[Node, int], Run] = {}
  for node, r in itertools.product(nodes, replicates):
    run = _ticket_run(context, node, r)
    wrong = _unfaithful_start(context, node, r, run)
    if wrong:
      outcomes[node, r] = Failure(f"{run.name}: {wrong}")
    else:
      runs[node, r] = run
  if not runs:
    return outcomes
  together = list(runs.values())
  starts = [jax.device_get(run.state.params) for run in together]
  watch = TicketWatch(context, runs, snapshots_of(nodes[0].settings))
  trainer = _trainer(
    context,
    model,
    settings,
    curve_steps=settings.curve_steps,
    watch=watch if watch.steps else None,
  )
  trainer.train(together, settings.stop)
  for ((node, r), run), start in zip(runs.items(), starts, strict=True):
    outcomes[node, r] = run.failure or _trained(model, settings, run, start)
  return outcomes


def _ticket_run(context, node, replicate) -> Run:
  """One ticket's run, as its training starts it."""
  settings = trained_by(node.settings)
  assert settings is not None  # a training, or one again
  tree = context.load(node, "weights", replicate).tree
  params = tree["params"]
  masks = context.load_masks(node, replicate, params)
  params = apply_masks(params, masks)
  if settings.optimizer == "rewound":
    opt_state = init_opt_state(params, apply_masks(tree["momentum"], masks))
  else:
    opt_state = init_opt_state(params)
  return make_run(
    context,
    f"{node.label}, replicate {replicate}",
    settings.stream,
    replicate,
    run=settings.run,
    masks=masks,
    state=TrainState(
      step=jnp.int32(settings.start),
      params=params,
      batch_stats=jax.tree.map(jnp.asarray, tree["batch_stats"]),
      opt_state=opt_state,
      key=None,
    ),
    checkpoint=node.object_id(context.seed, replicate),
    child=child_of(node.settings),
  )


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


def _trained(model, settings, run, start) -> Outcome:
  tree = network_tree(run.state)
  wrong = nonzero_pruned_weight(tree["params"], run.masks)
  if wrong:
    return Failure(f"{run.name}: {wrong}")
  prunable = model.prunable(tree["params"])
  record = {
    "history": run.history,
    "step": settings.stop,
    "density": density(run.masks, prunable),
    "layers": layer_table(run.masks, prunable),
    "travelled": apartness(start, tree["params"], prunable),
  }
  return Artefact(record, tree | run.watched)


def _trainer(
  context, model, settings, *, curve_steps=(), labels=None, watch=None
):
  return Trainer(
    model=model,
    dataset=context.dataset,
    stream=settings.stream,
    optim=settings.optim,
    curve_steps=curve_steps,
    execution=context.execution,
    progress=context.progress,
    labels=labels,
    watch=watch,
  )


def init_state(model: Model, key: jax.Array) -> TrainState:
  """Returns the state of a freshly drawn network before its first step."""
  params, batch_stats = _init_program(model)(key)
  return TrainState(
    step=jnp.int32(0),
    params=params,
    batch_stats=batch_stats,
    opt_state=init_opt_state(params),
    key=None,
  )


def make_run(
  context: Context,
  name: str,
  stream: StreamSettings,
  replicate: int,
  *,
  state: TrainState,
  checkpoint: str,
  run: int = 0,
  masks: PyTree = None,
  keep_index: np.ndarray | None = None,
  purpose: str = "",
  child: Child | None = None,
) -> Run:
  """Returns a replicate's run, with the keys of its order and augmentation.

  Args:
    context: what stages run with.
    name: for messages.
    stream: how examples come.
    replicate: its number.
    state: where it starts; its key is set here.
    checkpoint: identity of what is being made.
    run: number of this run for noise that is new per level.
    masks: kept weights; None = all.
    keep_index: examples in use; None = all.
    purpose: prefix of the keys' names, for runs that are no replicates of the
      study.
    child: whose noise it gets in place of its parent's.
  """
  differ = child.noise.differ if child else ""

  def key(name, noise, varied):
    if child and differ in (varied, "both"):
      return context.key(f"child_{name}", replicate, run, child.number)
    return noise_key(context.seed, f"{purpose}{name}", noise, replicate, run)

  augment = key("augment", stream.augment_noise, "augment")
  order = key("data_order", stream.order, "order")
  if masks is None:
    masks = init_masks(state.params)
  if keep_index is None:
    keep_index = np.arange(len(context.dataset.train), dtype=np.int32)
  return Run(
    name=name,
    state=state.replace(key=augment),
    masks=jax.tree.map(jnp.asarray, masks),
    keep_index=keep_index,
    order_words=key_words(order),
    checkpoint=context.store.checkpoint(checkpoint),
  )


@functools.lru_cache(maxsize=64)
def _init_program(model):
  # It runs once, and unoptimised it compiles about 4 times faster on a CPU.
  on_cpu = jax.default_backend() == "cpu"
  options = {"xla_backend_optimization_level": 0} if on_cpu else None
  return jax.jit(model.init, compiler_options=options)
