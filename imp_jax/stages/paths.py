"""The stages of linear mode connectivity: paths, and barriers as a score."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from imp_jax.evaluation import recomputed_batch_stats
from imp_jax.landscape.barriers import PathFold
from imp_jax.landscape.geometry import apartness
from imp_jax.landscape.paths import path_point
from imp_jax.masks import apply_masks
from imp_jax.nodes import ExampleBarriers, Node, Path, example_array
from imp_jax.replicates import chunks, replicate_slice, stack_trees
from imp_jax.runs import Failure, compiled, evaluate_networks
from imp_jax.stages.context import Context, Outcome
from imp_jax.store import Artefact

PyTree = Any
Item = tuple[Node, int]


def run_paths(
  context: Context, nodes: Sequence[Node], replicates: Sequence[int]
) -> dict[Item, Outcome]:
  """Evaluates the paths of several pairs and replicates together.

  One alpha at a time: what is held does not grow with their number, nor, but
  for a few numbers per example, with that of the examples.
  """
  settings: Path = nodes[0].settings
  outcomes: dict[Item, Outcome] = {}
  ends: dict[Item, tuple[PyTree, PyTree]] = {}
  for node in nodes:
    for r in replicates:
      a, b = _ends(context, node, r)
      if settings.must_differ and _equal(a["params"], b["params"]):
        outcomes[node, r] = Failure(
          f"{node.label}, replicate {r}: the two networks are equal: nothing "
          "differed between their trainings"
        )
      else:
        ends[node, r] = (a, b)
  size = context.execution.replicates_at_once or max(len(ends), 1)
  for chunk in chunks(list(ends), size):
    found = measured_paths(context, settings, [ends[item] for item in chunk])
    for item, artefact in zip(chunk, found, strict=True):
      node, r = item
      bad = _not_finite(artefact.record["paths"])
      outcomes[item] = (
        Failure(f"{node.label}, replicate {r}: {bad}") if bad else artefact
      )
  return outcomes


def run_example_barriers(context, node, replicates):
  """Averages the pairs' midpoint barriers of each training example."""
  settings: ExampleBarriers = node.settings
  name = example_array("train", settings.score.batch_stats, "midpoint")
  outcomes = {}
  for r in replicates:
    rows = [context.load(node, pair, r).arrays[name] for pair, _ in node.inputs]
    values = np.stack(rows).astype(np.float64).mean(axis=0)
    values = np.asarray(values, np.float32)
    outcomes[r] = Artefact({}, arrays={"scores": values})
  return outcomes


def _ends(context, node, replicate) -> tuple[PyTree, PyTree]:
  a, b = (_network(context.load(node, end, replicate)) for end in "ab")
  if any(name == "masks" for name, _ in node.inputs):
    masks = context.load_masks(node, replicate, a["params"])
    a = a | {"params": jax.device_get(apply_masks(a["params"], masks))}
  return a, b


def _network(artefact) -> PyTree:
  return {name: artefact.tree[name] for name in ("params", "batch_stats")}


def measured_paths(
  context: Context, settings: Path, pairs: Sequence[tuple[PyTree, PyTree]]
) -> list[Artefact]:
  """Returns what lies between each two networks, one artefact per pair.

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

  def evaluated(networks):
    """Per split and pair, what the networks make of each example."""
    found = {
      split: evaluate_networks(
        networks,
        context.dataset.splits[split],
        model=model,
        stream=settings.stream,
        execution=context.execution,
      )
      for split in splits
    }
    return {
      split: [replicate_slice(values, i) for i in range(len(pairs))]
      for split, values in found.items()
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


def _path_artefact(folds, apart) -> Artefact:
  """What one pair's folds, by split and mode, have gathered."""
  paths: dict[str, dict[str, Any]] = {}
  arrays = {}
  for (split, mode), fold in folds.items():
    paths.setdefault(split, {})[mode] = fold.curve
    for form, values in fold.barriers().items():
      arrays[example_array(split, mode, form)] = values.astype(np.float32)
    name = example_array(split, mode, "right_throughout")
    arrays[name] = fold.right_throughout
  return Artefact({"apart": apart, "paths": paths}, arrays=arrays)


def _point(context, settings, a, b, alpha, mode) -> PyTree:
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
    settings: with `model` and `stream`.
    networks: stacked.
    examples: the first so many training examples in canonical order.
    batch_size: of these.
  """
  program = _recompute_program(
    context.model(settings.model),
    settings.stream.mean,
    settings.stream.std,
    batch_size,
    context.execution,
  )
  inputs = context.dataset.train.inputs[:examples]
  return program(networks["params"], networks["batch_stats"], inputs)


@functools.lru_cache(maxsize=16)
def _recompute_program(model, mean, std, batch_size, execution):
  fn = functools.partial(
    recomputed_batch_stats,
    model=model,
    mean=mean,
    std=std,
    batch_size=batch_size,
  )
  return compiled(fn, execution, shared=1)


def _equal(a, b) -> bool:
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(np.array_equal(x, y) for x, y in pairs)


def _not_finite(paths) -> str | None:
  for split, modes in paths.items():
    for mode, curve in modes.items():
      for alpha, loss in zip(curve["alpha"], curve["loss"], strict=True):
        if not np.isfinite(loss):
          return (
            f"the {split} loss at alpha {alpha:g} is not finite with "
            f"BatchNorm's statistics by {mode!r}"
          )
  return None
