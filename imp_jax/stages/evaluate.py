"""The stage that evaluates networks on whole splits."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.graph import Edge, Item, Node, Outcome, Stage
from imp_jax.core.options import option
from imp_jax.core.ranges import choice, duration, one_of, several
from imp_jax.data.dataset import Dataset
from imp_jax.data.settings import SPLITS, SplitSettings
from imp_jax.engine.context import Context
from imp_jax.engine.replicates import stack_trees
from imp_jax.engine.trainer import evaluate_networks, split_metrics
from imp_jax.models.settings import ModelSettings
from imp_jax.stages.train import trained_by
from imp_jax.stages.trunk import Training


def _worst_class_accuracy(correct: np.ndarray, labels: np.ndarray) -> float:
  """The accuracy on the class where it is lowest, of those with examples.

  What pruning costs, it costs few classes most (Hooker et al. 2019, arXiv
  1911.05248).
  """
  return min(float(correct[labels == c].mean()) for c in np.unique(labels))


# Further metrics of a split: (correct bool[examples], labels int[examples]) ->
# a number.
METRICS: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
  "worst_class_accuracy": _worst_class_accuracy
}


@dataclasses.dataclass(frozen=True)
class EvalSettings:
  """On what, and when, networks are evaluated.

  Attributes:
    test_examples: how many there are.
  """

  test_examples: int
  splits: tuple[Any, ...] = option(
    ("test",), several(choice(SPLITS)), "after training"
  )
  curve_steps: tuple[Any, ...] = option(
    (), several(duration), "absolute: test accuracy on the way"
  )
  metrics: tuple[str, ...] = option(
    (), several(choice(METRICS)), "beside loss and accuracy"
  )


def resolve_eval(
  config: Any, training: Training, dataset: Dataset
) -> EvalSettings:
  """Returns when and on what networks are evaluated.

  Args:
    config: its group "eval".
    training: the main one.
    dataset: the data.

  Raises:
    ValueError: an unknown split, or "test" is not among them.
  """
  splits = evaluated_splits("eval.splits", config.splits, dataset)
  if "test" not in config.splits:
    raise ValueError(
      f"eval.splits must name 'test', got {tuple(config.splits)}"
    )
  curve = {training.steps_of(d, "eval.curve_steps") for d in config.curve_steps}
  return EvalSettings(
    test_examples=len(dataset.splits["test"]),
    splits=splits,
    curve_steps=tuple(sorted(curve)),
    metrics=tuple(sorted(set(config.metrics))),
  )


def evaluated_splits(
  field: str, names: Sequence[str], dataset: Dataset
) -> tuple[SplitSettings, ...]:
  """Returns the splits that a field names, each once.

  Raises:
    ValueError: the data set has no such split.
  """
  known = tuple(dataset.splits)
  return tuple(
    SplitSettings(one_of(field, name, known), dataset.splits[name].fingerprint)
    for name in dict.fromkeys(names)
  )


@dataclasses.dataclass(frozen=True)
class Evaluate(Stage):
  """Loss and accuracy of a network on some splits. Edge: "network".

  Apart from its training, which other test data leave as it is. The record has
  "metrics": {split: {"loss", "accuracy", "count"}}, and what `METRICS` has of
  the wanted ones.
  """

  NAME = "evaluate"

  model: ModelSettings
  splits: tuple[SplitSettings, ...]
  metrics: tuple[str, ...] = ()

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    """Evaluates all items' networks together, split by split.

    A loss that is not finite is a failure of the evaluation, not of the
    training, whose weights are finite: what is trained from it goes on.
    """
    stacked = stack_trees(
      [context.load_network(item, "network") for item in items]
    )
    metrics: list[dict[str, Any]] = [{} for _ in items]
    for split in self.splits:
      part = context.dataset.splits[split.name]
      labels = np.asarray(part.labels)
      results = evaluate_networks(
        stacked,
        part,
        model=context.model(self.model),
        execution=context.execution,
      )
      pairs = zip(results["loss"], results["correct"], strict=True)
      for one, (losses, correct) in zip(metrics, pairs, strict=True):
        one[split.name] = split_metrics(losses, correct) | {
          name: METRICS[name](correct, labels) for name in self.metrics
        }
    for item, one in zip(items, metrics, strict=True):
      edge = item.node.edge("network")
      assert edge is not None  # by construction
      row = {
        "network": f"{edge.node.label}, replicate {item.replicate}",
        "step": trained_by(edge.node).stop,
      }
      for split, values in one.items():
        context.measured({**row, "split": split, **values})
    return {
      item: _finite(f"{item.node.label}, replicate {item.replicate}", one)
      for item, one in zip(items, metrics, strict=True)
    }


def evaluation(
  network: Node, model: ModelSettings, settings: EvalSettings
) -> Node:
  """Returns the node that evaluates a trained network.

  Args:
    network: its training.
    model: which network it is.
    settings: on what it is evaluated.
  """
  return Node(
    Evaluate(model, settings.splits, settings.metrics),
    (Edge("network", network),),
    f"{network.label}, evaluation",
  )


def _finite(name: str, metrics: dict[str, Any]) -> Outcome:
  """The artefact of metrics by split, or a failure by a loss among them."""
  for split, values in metrics.items():
    if not np.isfinite(values["loss"]):
      return Failure(f"{name}: the loss on split {split!r} is not finite")
  return Artefact({"metrics": metrics})
