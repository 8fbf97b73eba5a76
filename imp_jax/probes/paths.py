"""Probe: straight paths between networks, linear mode connectivity."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from imp_jax.core.graph import Edge, Item, Node, Outcome, Stage
from imp_jax.core.identity import identity
from imp_jax.core.masks import apply_masks
from imp_jax.core.options import off, option, read
from imp_jax.core.ranges import (
  above,
  choice,
  duration,
  flag,
  in_range,
  number,
  numbers,
  several,
  whole,
)
from imp_jax.core.store import Artefact, Failure
from imp_jax.data.settings import SPLITS, SplitSettings, StreamSettings
from imp_jax.engine.context import Context
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.replicates import chunks, replicate_slice, stack_trees
from imp_jax.engine.trainer import compiled, evaluate_networks
from imp_jax.landscape.barriers import PathFold, check_alphas
from imp_jax.landscape.geometry import apartness
from imp_jax.landscape.paths import BATCH_STATS, path_point
from imp_jax.models import Model
from imp_jax.models.settings import ModelSettings
from imp_jax.probes.facts import Extent, Facts
from imp_jax.stages.evaluate import evaluated_splits
from imp_jax.stages.score import BarrierScoreSettings
from imp_jax.stages.ticket import Ticket, View
from imp_jax.stages.train import NO_DIFFERENCE, NoiseBetween, trained_by
from imp_jax.training.evaluation import recomputed_batch_stats

PyTree = Any

GROUP = "connectivity"  # of a config
DIFFER = ("order", "augment", "both", "perturb")


@dataclasses.dataclass(frozen=True)
class ConnectivitySettings:
  """Which networks are joined by paths, and how these are evaluated."""

  children: int = option(
    0,
    whole(0, 1000),
    "of a ticket, its own training included; 0 = none",
    looks=True,
  )
  differ: str = option(
    "both", choice(DIFFER), "in what alone children differ", needs="children"
  )
  perturb_step: Any = option(
    "0step", duration, "absolute: after it weights are moved", needs="children"
  )
  perturb_norm: float = option(
    0.0, number(0), "L2, of all weights in use together", needs="children"
  )
  levels: tuple[int, ...] = option(
    (0,),
    several(whole(0)),
    "whose tickets have children; 0 = W_r",
    where=True,
    needs="children",
  )
  successive: bool = option(
    False, flag, "join levels k and k + 1, and 0 and k", looks=True
  )
  alphas: tuple[float, ...] = option(
    (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), numbers, "and 0, 1"
  )
  extrapolate: bool = option(
    False, flag, "allows alphas outside [0, 1]", where=True
  )
  splits: tuple[Any, ...] = option(
    ("train", "test"), several(choice(SPLITS)), "without augmentation"
  )
  batch_stats: tuple[str, ...] = option(
    ("average",),
    several(choice(BATCH_STATS)),
    "BatchNorm's statistics between the ends, each way in turn",
  )
  recompute_batches: int = option(
    10, whole(1), "training batches that recompute sees"
  )
  thresholds: tuple[float, ...] = option(
    (0.1,),
    several(above(0, " nats")),
    "nats: an example with a barrier below is connected",
    where=True,
  )

  @property
  def noise(self) -> NoiseBetween:
    """In what the children differ."""
    if not self.children:
      return NO_DIFFERENCE
    if self.differ != "perturb":
      return NoiseBetween(self.differ)
    return NoiseBetween(self.differ, self.perturb_step, self.perturb_norm)

  def path(self, stream: StreamSettings) -> "PathSettings":
    """Returns how one path is evaluated.

    Args:
      stream: of the training, whose batches "recompute" sees.
    """
    return PathSettings(
      alphas=self.alphas,
      splits=self.splits,
      batch_stats=self.batch_stats,
      recompute_batches=self.recompute_batches
      if "recompute" in self.batch_stats
      else 0,
      batch_size=stream.batch_size,
    )


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

  Edges: "a" and "b", its ends, and "masks" if they are applied to "a" first.

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

    One alpha at a time: what is held does not grow with their number, nor, but
    for a few numbers per example, with that of the examples.
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
    a = a | {"params": jax.device_get(apply_masks(a["params"], masks))}
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
    """Each split's list, by pair, of loss and correctness by example."""
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
      split: [replicate_slice(values, i) for i in range(len(pairs))]
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
  for mode, alpha in itertools.product(path.batch_stats, path.alphas):
    if alpha in (0, 1):
      points = last if alpha else first
    else:
      points = evaluated(_point(context, settings, a, b, alpha, mode))
    for split in splits:
      for fold, point in zip(folds[split, mode], points[split], strict=True):
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


def _point(
  context: Context,
  settings: Path,
  a: PyTree,
  b: PyTree,
  alpha: float,
  mode: str,
) -> PyTree:
  """The networks at one alpha, stacked, with their BatchNorm statistics."""
  point = path_point(a, b, alpha, batch_stats=mode)
  if mode == "recompute":
    path = settings.path
    point["batch_stats"] = recompute_networks(
      context,
      settings,
      point,
      examples=path.recompute_batches * path.batch_size,
      batch_size=path.batch_size,
    )
  return point


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


def child_nodes(trained: Node, count: int, noise: NoiseBetween) -> list[Node]:
  """Returns a ticket's training and its repetitions with other noise.

  Args:
    trained: the ticket's training, which is child 0.
    count: of children, it included.
    noise: in what alone they differ.
  """
  train = trained_by(trained)
  return [
    trained,
    *(
      Node(
        dataclasses.replace(train, child=number, differ=noise),
        trained.edges,
        f"{trained.label}, child {number}",
      )
      for number in range(1, count)
    ),
  ]


def pair_nodes(children: Sequence[Node], path: PathSettings) -> dict[str, Node]:
  """Returns the paths between every two children, by name: "0-1", "0-2", ..."""
  parent = children[0]
  return {
    f"{i}-{j}": path_node(
      children[i],
      children[j],
      path,
      label=f"{parent.label}, children {i} and {j}",
      must_differ=True,
    )
    for i, j in itertools.combinations(range(len(children)), 2)
  }


def path_node(
  a: Node,
  b: Node,
  path: PathSettings,
  *,
  label: str,
  masks: Node | None = None,
  must_differ: bool = False,
) -> Node:
  """Returns the path between two trained networks.

  Args:
    a, b: its ends.
    path: its points, and how they are evaluated.
    label: for people.
    masks: applied to a's weights first.
    must_differ: whether equal ends are an error.
  """
  train = trained_by(a)
  edges = [Edge("a", a), Edge("b", b)]
  if masks:
    edges.append(Edge("masks", masks))
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


def resolve(options: Any, facts: Facts) -> ConnectivitySettings:
  """Returns which networks are joined by paths, and how.

  Args:
    options: the config's group.
    facts: of the experiment.

  Raises:
    ValueError: a field is out of its range, a level is not run, or children
      would be equal.
  """
  c = options
  if not c.children and not c.successive:
    return off(ConnectivitySettings)
  if c.children == 1:
    raise ValueError(
      "connectivity.children must be 0 or at least 2: one child has nothing to "
      "be connected to, got 1"
    )
  perturbed = {"perturb_step": 0, "perturb_norm": 0.0}
  if c.children:
    for level in c.levels:
      in_range("connectivity.levels", level, 0, facts.levels)
    perturbed = _perturbed(c, facts)
    if not c.levels:
      raise ValueError(
        "connectivity.levels must name a level whose tickets have children"
      )
  if c.successive and not facts.levels:
    raise ValueError(
      "connectivity.successive joins levels: prune.levels must be at least 1"
    )
  if list(c.alphas) != sorted(set(c.alphas)):  # NaN neither
    raise ValueError(
      f"connectivity.alphas must increase, got {tuple(c.alphas)}"
    )
  alphas = tuple(sorted({0.0, 1.0, *map(float, c.alphas)}))
  try:
    check_alphas(alphas, extrapolate=bool(c.extrapolate))
  except ValueError as error:
    raise ValueError(f"connectivity.{error}") from None
  splits = evaluated_splits("connectivity.splits", c.splits, facts.dataset)
  modes = tuple(dict.fromkeys(c.batch_stats))
  if not splits or not modes:
    raise ValueError("connectivity.splits and .batch_stats must not be empty")
  recompute = c.recompute_batches
  if "recompute" in modes:
    check_recompute(GROUP, recompute, facts)
  else:
    recompute = off(ConnectivitySettings).recompute_batches
  plain = off(ConnectivitySettings)
  return read(
    ConnectivitySettings,
    c,
    differ=c.differ if c.children else plain.differ,
    **perturbed,
    levels=tuple(sorted(set(c.levels))) if c.children else plain.levels,
    alphas=alphas,
    splits=splits,
    batch_stats=modes,
    recompute_batches=recompute,
    thresholds=tuple(sorted({float(t) for t in c.thresholds})),
  )


def check_recompute(group: str, batches: int, facts: Facts) -> None:
  """Refuses more batches than there are.

  Raises:
    ValueError: names the group's field.
  """
  in_range(f"{group}.recompute_batches", batches, 1, facts.most_batches)


def _perturbed(c: Any, facts: Facts) -> dict[str, Any]:
  """When, and how far, children are moved; refuses equal ones."""
  differ, stream = c.differ, facts.training.stream
  augmented = stream.crop_pad > 0 or stream.flip
  whole_batch = stream.batch_size == len(facts.dataset.train)
  if differ == "augment" and not augmented:
    raise ValueError(
      "connectivity.differ='augment' needs augmentation (data.crop_pad or "
      "data.flip): without it the children would be equal"
    )
  if whole_batch and differ in ("order", "both") and not augmented:
    raise ValueError(
      f"connectivity.differ={differ!r} needs more than one batch per epoch: "
      "with all the data in each batch the children would be equal"
    )
  if differ != "perturb":
    return {"perturb_step": 0, "perturb_norm": 0.0}
  total = facts.training.steps
  step = facts.training.steps_of(c.perturb_step, "connectivity.perturb_step")
  for level in c.levels:
    first, end = facts.rewind_step, total
    if level and facts.ticket.kind == "finetune":
      first, end = total, total + facts.ticket.finetune_steps
    if not first <= step < end:
      raise ValueError(
        f"connectivity.perturb_step must be in the training of level {level}, "
        f"{first} <= step < {end}, got {step}"
      )
  if not c.perturb_norm:
    raise ValueError(
      "connectivity.perturb_norm must be > 0, or the children would be equal, "
      f"got {c.perturb_norm}"
    )
  return {"perturb_step": step, "perturb_norm": float(c.perturb_norm)}


def extent(
  settings: ConnectivitySettings, facts: Facts, batches: int
) -> Extent:
  """Returns what one replicate's children and paths would compute.

  Args:
    settings: which, and how.
    facts: of the experiment.
    batches: of one evaluation of the training examples.
  """
  c = settings
  levels = len(c.levels) if c.children else 0
  paths = math.comb(c.children, 2) * levels
  paths += 2 * facts.levels if c.successive else 0
  points = len(c.alphas) * len(c.batch_stats)
  return Extent(
    max(c.children - 1, 0) * levels, paths, paths * points * batches
  )


def views(
  probes: Mapping[str, Any], tickets: Mapping[int, Ticket]
) -> Iterator[View]:
  """Yields the paths of one experiment: between children, between levels.

  Args:
    probes: the settings of every probe, by group.
    tickets: IMP's, by level.
  """
  settings: ConnectivitySettings = probes[GROUP]
  for level in settings.levels if settings.children else ():
    ticket = tickets[level]
    children = child_nodes(ticket.train, settings.children, settings.noise)
    path = settings.path(trained_by(ticket.train).stream)
    for between, node in pair_nodes(children, path).items():
      yield View(ticket.experiment, "children", level, between, "path", node)
  if settings.successive:
    path = settings.path(trained_by(tickets[0].train).stream)
    yield from _between_levels(path, tickets)


def _between_levels(
  path: PathSettings, tickets: Mapping[int, Ticket]
) -> Iterator[View]:
  name = tickets[0].experiment

  def view(
    kind: str, level: int, lower: int, upper: int, masks: Node | None = None
  ) -> View:
    node = path_node(
      tickets[lower].train,
      tickets[upper].train,
      path,
      label=f"{name} levels {lower} and {upper}",
      masks=masks,
    )
    return View(name, kind, level, f"{lower}-{upper}", "path", node)

  for lower, upper in itertools.pairwise(sorted(tickets)):
    # Both networks lie under the masks of the lower level, for masks nest.
    yield view("successive", lower, lower, upper)
  for level in sorted(tickets)[1:]:
    yield view("from_dense", level, 0, level)
    yield view("from_dense_masked", level, 0, level, tickets[level].masks)
