"""The stages of linear mode connectivity: paths, and barriers as a score."""

import functools
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
from imp_jax.replicates import chunks, replicate_slice, replicated, stack_trees
from imp_jax.runs import Failure, evaluate_networks, split_metrics
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
  model = context.model(settings.model)
  prunable = model.prunable(pairs[0][0]["params"])
  records: list[dict[str, Any]] = [
    {"apart": apartness(a["params"], b["params"], prunable), "paths": {}}
    for a, b in pairs
  ]
  arrays: list[dict[str, np.ndarray]] = [{} for _ in pairs]
  a, b = (stack_trees([pair[end] for pair in pairs]) for end in (0, 1))
  for split in settings.path.splits:

    def values_of(networks, split=split):
      found = evaluate_networks(
        networks,
        context.dataset.splits[split],
        model=model,
        stream=settings.stream,
        execution=context.execution,
      )
      return [replicate_slice(found, i) for i in range(len(pairs))]

    first, last = values_of(a), values_of(b)
    for mode in settings.path.batch_stats:
      folds = [PathFold(*two) for two in zip(first, last, strict=True)]
      curves: list[list[dict]] = [[] for _ in pairs]
      for alpha in settings.path.alphas:
        if alpha in (0, 1):
          points = first if alpha == 0 else last
        else:
          points = values_of(_point(context, settings, a, b, alpha, mode))
        for fold, curve, point in zip(folds, curves, points, strict=True):
          fold.add(alpha, point)
          curve.append(_means(point))
      for record, array, fold, curve in zip(
        records, arrays, folds, curves, strict=True
      ):
        record["paths"].setdefault(split, {})[mode] = {
          "alpha": list(settings.path.alphas),
          **{name: [m[name] for m in curve] for name in ("loss", "error")},
        }
        for form, values in fold.barriers().items():
          name = example_array(split, mode, form)
          array[name] = values.astype(np.float32)
        name = example_array(split, mode, "right_throughout")
        array[name] = fold.right_throughout
  return [
    Artefact(record, arrays=array)
    for record, array in zip(records, arrays, strict=True)
  ]


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
    context.execution.mode,
  )
  inputs = context.dataset.train.inputs[:examples]
  return program(networks["params"], networks["batch_stats"], inputs)


@functools.lru_cache(maxsize=16)
def _recompute_program(model, mean, std, batch_size, mode):
  fn = functools.partial(
    recomputed_batch_stats,
    model=model,
    mean=mean,
    std=std,
    batch_size=batch_size,
  )
  return replicated(fn, mode, shared=1)


def _means(point) -> dict[str, float]:
  return {
    "loss": split_metrics(point["loss"], point["correct"])["loss"],
    "error": float((~point["correct"]).mean(dtype=np.float64)),
  }


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
