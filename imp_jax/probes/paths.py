"""The stages of straight paths between networks: linear mode connectivity."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.graph import Edge, Item, Node, Outcome, Relative, Stage
from imp_jax.core.identity import identity
from imp_jax.core.masks import apply_masks
from imp_jax.data.settings import SplitSettings
from imp_jax.engine.context import Context
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.replicates import chunks, replicate_slice, stack_trees
from imp_jax.engine.trainer import compiled, evaluate_networks
from imp_jax.landscape.barriers import PathFold
from imp_jax.landscape.geometry import apartness
from imp_jax.landscape.paths import path_point
from imp_jax.landscape.permutations import permuted, units_of
from imp_jax.models import Model
from imp_jax.models.settings import ModelSettings
from imp_jax.stages.matched import load_permutation
from imp_jax.stages.score import BarrierScoreSettings
from imp_jax.stages.train import trained_by
from imp_jax.training.evaluation import recomputed_batch_stats

PyTree = Any


@dataclasses.dataclass(frozen=True)
class PathSettings:
  """How a straight path between two networks is evaluated.

  Attributes:
    alphas: ascending, 0 and 1 among them: (1 - alpha) a + alpha b.
    splits: evaluated without augmentation.
    batch_stats: BatchNorm's statistics between the ends, each way in turn:
      "average", "recompute", "endpoint".
    recompute_batches: training batches that "recompute" sees; 0 without it.
    batch_size: of these batches.
  """

  NAME: ClassVar[str] = "path_settings"

  alphas: tuple[float, ...]
  splits: tuple[SplitSettings, ...]
  batch_stats: tuple[str, ...]
  recompute_batches: int
  batch_size: int


@dataclasses.dataclass(frozen=True)
class Path(Stage):
  """Loss and error of the networks on a straight path between two.

  Edges: "a" and "b", its ends, "masks" if they are applied to "a" first, and
  "permutation" if b's units are permuted first.

  Its artefact: the record has "apart" and "paths": {split: {batch_stats:
  curve}}; per-example arrays are named by `example_array`.

  Attributes:
    path: its points, and how they are evaluated.
    must_differ: whether equal ends are an error: children of one parent.
  """

  NAME = "path"

  model: ModelSettings
  path: PathSettings
  must_differ: bool = False

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    """Evaluates the paths of several pairs and replicates together.

    `execution.alphas_at_once` points of each at a time: what is held does not
    grow with the number of the others, nor, but for a few numbers per example,
    with that of the examples.
    """
    outcomes: dict[Item, Outcome] = {}
    ends: dict[Item, tuple[PyTree, PyTree]] = {}
    for item in items:
      a, b = _ends(context, item)
      if self.must_differ and _equal(a["params"], b["params"]):
        outcomes[item] = Failure(
          f"{item.node.label}, replicate {item.replicate}: the two networks "
          "are equal: nothing differed between their trainings"
        )
      else:
        ends[item] = (a, b)
    size = context.execution.replicates_at_once or max(len(ends), 1)
    for chunk in chunks(list(ends), size):
      measured = measured_paths(context, self, [ends[i] for i in chunk])
      for item, artefact in zip(chunk, measured, strict=True):
        bad = _not_finite(artefact.record["paths"])
        outcomes[item] = (
          Failure(f"{item.node.label}, replicate {item.replicate}: {bad}")
          if bad
          else artefact
        )
    return outcomes

  def batch_key(self, node: Node) -> Hashable:
    """Paths between one parent's children are evaluated together."""
    if not self.must_differ:
      return node.key
    parents = {
      str(edge.identity) for end in node.edges for edge in end.node.edges
    }
    return str(identity(self)), tuple(sorted(parents))


@dataclasses.dataclass(frozen=True)
class ExampleBarriers(Stage):
  """The barrier of every training example under one parent's children.

  Edges: "pair.0", ...: the paths between them, over which it is averaged.
  """

  NAME = "example_barriers"

  score: BarrierScoreSettings

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    name = example_array("train", self.score.batch_stats, "midpoint")
    outcomes = {}
    for item in items:
      rows = [
        context.load_arrays(item, edge.name)[name] for edge in item.node.edges
      ]
      values = np.stack(rows).astype(np.float64).mean(axis=0)
      values = np.asarray(values, np.float32)
      outcomes[item] = Artefact({}, arrays={"scores": values})
    return outcomes


def example_array(split: str, batch_stats: str, what: str) -> str:
  """Returns the name of a path's per-example array.

  Args:
    split, batch_stats: as in its settings.
    what: a form of barrier (f32, nats) or "right_throughout" (bool).
  """
  return f"{split}.{batch_stats}.{what}"


def _ends(context: Context, item: Item) -> tuple[PyTree, PyTree]:
  a, b = (context.load_network(item, end) for end in "ab")
  if item.node.edge("masks"):
    masks = context.load_masks(item, a["params"])
    a = a | {"params": apply_masks(a["params"], masks)}
  if item.node.edge("permutation"):
    assert isinstance(item.node.stage, Path)
    units = units_of(context.model(item.node.stage.model))
    b = permuted(b, units, load_permutation(context, item, units))
  return a, b


def measured_paths(
  context: Context, settings: Path, pairs: Sequence[tuple[PyTree, PyTree]]
) -> list[Artefact]:
  """Returns the measurements along the path of each pair of networks.

  Args:
    context: what stages run with; `model` and its data and execution are used.
    settings: the path's.
    pairs: of networks, {"params", "batch_stats"} on the host.

  Returns:
    Artefacts with record {"apart", "paths": {split: {batch_stats: curve}}} and
    the per-example arrays that `example_array` names.
  """
  path, model = settings.path, context.model(settings.model)
  splits = [split.name for split in path.splits]
  a, b = (stack_trees([pair[end] for pair in pairs]) for end in (0, 1))

  def evaluated(networks: PyTree) -> dict[str, list[PyTree]]:
    """Each split's list, by network, of loss and correctness by example."""
    results = {
      split: evaluate_networks(
        networks,
        context.dataset.splits[split],
        model=model,
        execution=context.execution,
      )
      for split in splits
    }
    return {
      split: [replicate_slice(values, i) for i in range(len(values["loss"]))]
      for split, values in results.items()
    }

  first, last = evaluated(a), evaluated(b)
  folds = {
    (split, mode): [
      PathFold(*two) for two in zip(first[split], last[split], strict=True)
    ]
    for split in splits
    for mode in path.batch_stats
  }
  size = context.execution.alphas_at_once or len(path.alphas)
  groups = chunks(path.alphas, size)
  for mode, group in itertools.product(path.batch_stats, groups):
    context.stop_if_asked()
    found = {0: first, 1: last}
    if between := [alpha for alpha in group if alpha not in found]:
      points = evaluated(_points(context, settings, a, b, between, mode))
      for k, alpha in enumerate(between):
        own = slice(k * len(pairs), (k + 1) * len(pairs))
        found[alpha] = {split: points[split][own] for split in splits}
    for split, alpha in itertools.product(splits, group):
      for fold, point in zip(
        folds[split, mode], found[alpha][split], strict=True
      ):
        fold.add(alpha, point)
  prunable = model.prunable(pairs[0][0]["params"])
  return [
    _path_artefact(
      {place: of_pairs[i] for place, of_pairs in folds.items()},
      apartness(start["params"], end["params"], prunable),
    )
    for i, (start, end) in enumerate(pairs)
  ]


def _path_artefact(
  folds: Mapping[tuple[str, str], PathFold], apart: Mapping[str, float]
) -> Artefact:
  """The artefact of one pair's path.

  Args:
    folds: of its points, by split and way to get BatchNorm's statistics.
    apart: how far its ends are apart.
  """
  paths: dict[str, dict[str, Any]] = {}
  arrays = {}
  for (split, mode), fold in folds.items():
    paths.setdefault(split, {})[mode] = fold.curve
    for form, values in fold.barriers().items():
      arrays[example_array(split, mode, form)] = values.astype(np.float32)
    name = example_array(split, mode, "right_throughout")
    arrays[name] = fold.right_throughout
  return Artefact({"apart": apart, "paths": paths}, arrays=arrays)


def _points(
  context: Context,
  settings: Path,
  a: PyTree,
  b: PyTree,
  alphas: Sequence[float],
  mode: str,
) -> PyTree:
  """The networks at some alphas, stacked, with their BatchNorm statistics.

  All pairs' at the first alpha, all pairs' at the next, and so on.
  """
  points = [path_point(a, b, alpha, batch_stats=mode) for alpha in alphas]
  networks = points[0] if len(points) == 1 else _joined(*points)
  if mode == "recompute":
    path = settings.path
    networks["batch_stats"] = recompute_networks(
      context,
      settings,
      networks,
      examples=path.recompute_batches * path.batch_size,
      batch_size=path.batch_size,
    )
  return networks


@jax.jit
def _joined(*stacks: PyTree) -> PyTree:
  """Stacked networks one after the other, in one program."""
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *stacks)


def recompute_networks(
  context: Context,
  settings: Any,
  networks: PyTree,
  *,
  examples: int,
  batch_size: int,
) -> PyTree:
  """Returns stacked networks' BatchNorm statistics, estimated anew.

  Args:
    context: what stages run with.
    settings: with `model`.
    networks: stacked.
    examples: the first so many training examples in canonical order.
    batch_size: of these.
  """
  program = _recompute_program(
    context.model(settings.model),
    batch_size,
    context.execution,
  )
  inputs = context.dataset.train.inputs[:examples]
  return program(networks["params"], networks["batch_stats"], inputs)


@functools.lru_cache(maxsize=16)
def _recompute_program(
  model: Model, batch_size: int, execution: ExecutionSettings
) -> Callable[..., PyTree]:
  fn = functools.partial(
    recomputed_batch_stats,
    model=model,
    batch_size=batch_size,
  )
  return compiled(fn, execution, shared=1)


def _equal(a: PyTree, b: PyTree) -> bool:
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(np.array_equal(x, y) for x, y in pairs)


def _not_finite(paths: Mapping[str, Mapping[str, Any]]) -> str | None:
  for split, modes in paths.items():
    for mode, curve in modes.items():
      for alpha, loss in zip(curve["alpha"], curve["loss"], strict=True):
        if not np.isfinite(loss):
          return (
            f"the {split} loss at alpha {alpha:g} is not finite with "
            f"BatchNorm's statistics by {mode!r}"
          )
  return None


def path_node(
  a: Node,
  b: Node,
  path: PathSettings,
  *,
  label: str,
  masks: Node | None = None,
  must_differ: bool = False,
  other: Relative | None = None,
  permutation: Node | None = None,
) -> Node:
  """Returns the path between two trained networks.

  Args:
    a, b: its ends.
    path: its points, and how they are evaluated.
    label: for people.
    masks: applied to a's weights first.
    must_differ: whether equal ends are an error.
    other: b's replicate; None = the same.
    permutation: of b's units, a `Match`.
  """
  train = trained_by(a)
  edges = [Edge("a", a), Edge("b", b, other)]
  if masks:
    edges.append(Edge("masks", masks))
  if permutation:
    edges.append(Edge("permutation", permutation))
  stage = Path(train.model, path, must_differ)
  return Node(stage, tuple(edges), label)


def midpoint_only(
  path: PathSettings, batch_stats: str, fingerprint: str
) -> PathSettings:
  """Returns the shortest path that has a midpoint, on the training examples.

  Args:
    path: whose other settings it has.
    batch_stats: at the midpoint.
    fingerprint: of the training examples.
  """
  return dataclasses.replace(
    path,
    alphas=(0.0, 0.5, 1.0),
    splits=(SplitSettings("train", fingerprint),),
    batch_stats=(batch_stats,),
    recompute_batches=path.recompute_batches
    if batch_stats == "recompute"
    else 0,
  )
