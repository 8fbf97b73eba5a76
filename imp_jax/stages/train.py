"""The stage that trains networks: pre-training, tickets, children."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.graph import Item, Node, Outcome, Stage
from imp_jax.core.identity import identity
from imp_jax.core.keys import key_words
from imp_jax.core.masks import apply_masks, density, init_masks, layer_table
from imp_jax.data.settings import StreamSettings
from imp_jax.data.subsets import keep_indices, label_changes
from imp_jax.engine.context import Context
from imp_jax.engine.spent import flop_of_a_step
from imp_jax.engine.trainer import Run, Trainer, Watch, network_tree, state_tree
from imp_jax.landscape.geometry import apartness
from imp_jax.models import Model
from imp_jax.models.settings import ModelSettings, model_code
from imp_jax.pruning.invariants import nonzero_pruned_weight, unfaithful_rewind
from imp_jax.scores.settings import ALL_EXAMPLES, SubsetSettings
from imp_jax.stages.made import EXAMPLES, seeing_made
from imp_jax.stages.train_watch import TrainWatch
from imp_jax.training import TrainState, UpdateRule, init_opt_state
from imp_jax.training.optimiser import masked_opt_state, restore_opt_state
from imp_jax.training.settings import OptimSettings, update_rule
from imp_jax.training.state import MOVEMENT

PyTree = Any


@dataclasses.dataclass(frozen=True)
class NoiseBetween:
  """In what alone the children of one parent differ.

  Attributes:
    differ: "order" of the data, "augment"ation, "both", or "perturb"; "" where
      there are no children.
    step, norm: of a perturbation: the absolute step after which the weights in
      use are moved by a random vector of this L2 norm; 0 otherwise.
  """

  NAME: ClassVar[str] = "noise_between"

  differ: str = ""
  step: int = 0
  norm: float = 0.0


NO_DIFFERENCE = NoiseBetween()


@dataclasses.dataclass(frozen=True)
class Train(Stage):
  """A network trained from where it starts up to a step.

  Edges: "weights" (a training whose network it starts from; without it the
  weights are drawn), "masks" (without them it is dense), "labels" (of the
  training examples; without them the data's own), "scores" (that order the
  examples of the subset), "examples" (made ones, in place of the data's).

  Its artefact: params, batch_stats and the whole opt_state at the end,
  "snapshots" by step, "movement" if that is wanted, "keep_index" of a subset;
  the record has the history, density, layers, how far it travelled, and what it
  saw.

  Attributes:
    start, stop: absolute steps; a training that stops where it starts leaves
      the network as it was drawn.
    draw: of drawn weights: 0 = the replicate's own initialisation, which its
      experiments share; k = another one, for the "reinit" control at level k.
    subset: the examples in use.
    run_number: of this run, for per-level noise: 0 unless the noise is new per
      level; pre-training's is 0, level k's is k + 1.
    optimizer: "fresh", or "rewound": to that of its weights.
    child, differ: a training again with other noise: its number from 1, and in
      what alone it differs from child 0, which is the training itself.
    curve_steps: absolute steps at which it is evaluated on the test data that
      there are then; that is recorded, and which data they were.
    snapshots: absolute steps at which its weights are kept, `start` among them
      if need be.
    family: prefix of its keys' names, for runs that are no replicates of the
      study.
    movement: whether -w dL/dw is summed over its steps, for a criterion.
    external: fingerprint of other examples, in place of the training data.
  """

  NAME = "train"

  model: ModelSettings
  stream: StreamSettings
  optim: OptimSettings
  stop: int
  start: int = 0
  draw: int = 0
  subset: SubsetSettings = ALL_EXAMPLES
  run_number: int = 0
  optimizer: str = "fresh"
  child: int = 0
  differ: NoiseBetween = NO_DIFFERENCE
  curve_steps: tuple[int, ...] = ()
  snapshots: tuple[int, ...] = ()
  family: str = ""
  movement: bool = False
  external: str = ""

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    """Trains networks in lockstep: of the children of one parent, or alone."""
    places: dict[int, np.ndarray] = {}
    if self.external:
      context = context.seeing(self.external)
    elif items[0].node.edge(EXAMPLES):
      context, places = seeing_made(context, items)
    outcomes: dict[Item, Outcome] = {}
    runs: dict[Item, Run] = {}
    for item in items:
      name = f"{item.node.label}, replicate {item.replicate}"
      train = item.node.stage
      assert isinstance(train, Train)  # nodes of one batch are of one stage
      try:
        run = start_run(context, train, item, name=name)
        run.keep_index = places.get(item.replicate, run.keep_index)
        wrong = _unfaithful_start(context, item, run)
      except ValueError as error:  # what scores may hold, none can say before
        outcomes[item] = Failure(f"{name}: {error}")
        continue
      if wrong:
        outcomes[item] = Failure(f"{name}: {wrong}")
      else:
        runs[item] = run
    if not runs:
      return outcomes
    together = list(runs.values())
    starts = [jax.device_get(run.state.params) for run in together]
    watch = TrainWatch(context, runs)
    labels = context.labels(items[0])
    trainer = make_trainer(
      context, self, labels=labels, watch=watch if watch.steps else None
    )
    trainer.train(together, self.stop)
    model = context.model(self.model)
    for (item, run), start in zip(runs.items(), starts, strict=True):
      outcomes[item] = run.failure or _trained(
        context, item, model, run, start, labels
      )
    return outcomes

  def cost(self, nodes: Sequence[Node]) -> int:
    return len(nodes) * (self.stop - self.start)

  def trains(self) -> tuple[ModelSettings, int]:
    return self.model, self.stream.batch_size

  def code(self) -> dict[str, str]:
    return model_code(self.model)

  def batch_key(self, node: Node) -> Hashable:
    """Children of one parent are trained together."""
    alike = dataclasses.replace(self, child=min(self.child, 1))
    edges = tuple(str(edge.identity) for edge in node.edges)
    return str(identity(alike)), edges


def trained_by(node: Node) -> Train:
  """Returns the training that a node is of."""
  assert isinstance(node.stage, Train)  # by construction
  return node.stage


def start_run(
  context: Context,
  train: Train,
  item: Item,
  *,
  name: str,
  presented: PyTree = None,
) -> Run:
  """Returns an item's run as its training starts it.

  Args:
    context: what stages run with.
    train: the training; of an item that trains a network on its way to
      something else (a score) it is not the item's stage.
    item: whose inputs it has.
    name: for messages.
    presented: carries of what watches presented examples; None = nothing.

  Raises:
    ValueError: the subset cannot be chosen, or the stored optimiser state is
      another optimiser's.
  """
  tree = _start(context, train, item)
  masks = context.load_masks(item, tree["params"])
  params, opt_state = _masked_start(
    tree["params"], tree.get("opt_state"), masks, update_rule(train.optim)
  )
  stream, r = train.stream, item.replicate

  def key(purpose: str, noise: str, varied: str) -> jax.Array:
    if train.differ.differ in (varied, "both"):
      return context.key(f"child_{purpose}", r, train.run_number, train.child)
    return context.noise_key(
      f"{train.family}{purpose}", noise, r, train.run_number
    )

  checkpoint = item.node.checkpoint_id(context.seed, r)
  prunable = context.model(train.model).prunable(params)
  watched = presented or {}
  if train.movement:
    watched = {MOVEMENT: jax.tree.map(jnp.zeros_like, params)}
  return Run(
    name=name,
    state=TrainState(
      step=jnp.int32(train.start),
      params=params,
      batch_stats=tree["batch_stats"],
      opt_state=opt_state,
      key=key("augment", stream.augment_noise, "augment"),
      watched=watched,
    ),
    masks=masks,
    keep_index=_kept_examples(context, train.subset, item),
    order_words=key_words(key("data_order", stream.order, "order")),
    checkpoint=context.store.checkpoint(checkpoint),
    density=density(masks, prunable),
    code=item.node.stage.code(),
  )


def make_trainer(
  context: Context,
  train: Train,
  *,
  labels: np.ndarray,
  watch: Watch | None = None,
) -> Trainer:
  """Returns what drives the runs of one training.

  Args:
    context: what stages run with.
    train: the training.
    labels: of the training examples.
    watch: looks at the runs on their way.
  """
  inputs = context.dataset.train.inputs
  plain = context.model(train.model, "plain")
  shape, dtype = inputs.shape[1:], str(inputs.dtype)
  return Trainer(
    model=context.model(train.model),
    dataset=context.dataset,
    stream=train.stream,
    optim=train.optim,
    curve_steps=train.curve_steps,
    execution=context.execution,
    progress=context.progress,
    labels=labels,
    watch=watch,
    stop=context.stop,
    measured=context.measured,
    flop=flop_of_a_step(plain, train.stream.batch_size, shape, dtype),
  )


def _start(context: Context, train: Train, item: Item) -> dict[str, PyTree]:
  """The network that a run starts from, before its masks; drawn, or stored.

  With the optimiser's state if that is stored and wanted.
  """
  if item.node.edge("weights") is None:
    numbers = (item.replicate, train.draw) if train.draw else (item.replicate,)
    purpose = "reinit" if train.draw else "init"
    program = _init_program(context.model(train.model))
    key = context.key(f"{train.family}{purpose}", *numbers)
    params, batch_stats = program(key)
    return {"params": params, "batch_stats": batch_stats}
  tree = context.load_tree(item, "weights")
  network = {part: tree[part] for part in ("params", "batch_stats")}
  if train.optimizer != "rewound":
    return network
  rule = update_rule(train.optim)
  opt_state = restore_opt_state(tree["params"], tree["opt_state"], rule)
  return network | {"opt_state": opt_state}


@functools.partial(jax.jit, static_argnames="rule")
def _masked_start(
  params: PyTree, opt_state: PyTree | None, masks: PyTree, rule: UpdateRule
) -> tuple[PyTree, PyTree]:
  """Weights and the optimiser's state (None: fresh) with 0 where masked."""
  if opt_state is None:
    opt_state = init_opt_state(params, rule)
  return apply_masks(params, masks), masked_opt_state(opt_state, masks, rule)


def _kept_examples(
  context: Context, subset: SubsetSettings, item: Item
) -> np.ndarray:
  """The training examples that one replicate trains on."""
  labels = context.labels(item)
  if subset.kind == "all":
    return np.arange(len(labels), dtype=np.int32)
  if subset.kind == "keep_list":
    return context.imports.arrays[subset.content]
  difficulty = None
  scores = context.load(item, "scores")
  if scores:
    assert scores.arrays is not None  # scores, by construction
    sign = 1 if scores.record["larger_is_harder"] else -1
    difficulty = sign * scores.arrays["scores"]
  return keep_indices(
    subset.kind,
    labels,
    size=subset.size,
    num_classes=context.dataset.num_classes,
    tie_words=key_words(context.key("subset_ties")),
    draw_words=key_words(context.key("subset", item.replicate)),
    difficulty=difficulty,
    offset=subset.offset,
    balanced=subset.balanced,
    drop_hardest=subset.drop_hardest,
  )


def _unfaithful_start(context: Context, item: Item, run: Run) -> str | None:
  """Checks the state handed to training against storage, read once more."""
  if item.node.edge("weights") is None:
    return None
  stored, handed = context.load_tree(item, "weights"), network_tree(run.state)
  ones = init_masks(stored["batch_stats"])
  return unfaithful_rewind(
    handed["params"], stored["params"], run.masks
  ) or unfaithful_rewind(handed["batch_stats"], stored["batch_stats"], ones)


def _trained(
  context: Context,
  item: Item,
  model: Model,
  run: Run,
  start: PyTree,
  labels: np.ndarray,
) -> Outcome:
  """The artefact of a finished run, its invariants checked."""
  train, tree = trained_by(item.node), state_tree(run.state)
  wrong = nonzero_pruned_weight(tree["params"], run.masks)
  if wrong:
    return Failure(f"{run.name}: {wrong}")
  prunable = model.prunable(tree["params"])
  used = run.keep_index if train.stop > train.start else run.keep_index[:0]
  true = np.asarray(context.dataset.train.labels)[used]
  counts = np.bincount(labels[used], minlength=context.dataset.num_classes)
  stored = item.node.edge("weights") is not None
  record = {
    "history": run.history,
    "step": train.stop,
    "checked": [
      *(["faithful_rewind"] if stored else []),
      "pruned_weights_are_0",
      "finite",
    ],
    "density": run.density,
    "layers": layer_table(run.masks, prunable),
    "travelled": apartness(start, tree["params"], prunable),
    "examples": len(used),
    "class_counts": counts.tolist(),
    "changed_labels": int((labels[used] != true).sum()),
    "label_changes": label_changes(true, labels[used]),
  }
  arrays = None
  made = item.node.edge(EXAMPLES)
  if len(run.keep_index) < len(labels) and not made:
    arrays = {"keep_index": run.keep_index}
  if train.movement:
    tree |= {MOVEMENT: jax.device_get(run.state.watched[MOVEMENT])}
  return Artefact(record, tree | run.watched, arrays)


@functools.lru_cache(maxsize=64)
def _init_program(model: Model) -> Callable[..., PyTree]:
  # It runs once, and unoptimised it compiles about 4 times faster on a CPU.
  on_cpu = jax.default_backend() == "cpu"
  options = {"xla_backend_optimization_level": 0} if on_cpu else None
  return jax.jit(model.init, compiler_options=options)
