"""The stage that makes examples to train on, in place of the data's."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.graph import Item, Node, Outcome, Stage
from imp_jax.core.keys import key_words
from imp_jax.data.dataset import Split
from imp_jax.data.made import class_means, gaussian_twin
from imp_jax.data.settings import MadeSettings
from imp_jax.data.subsets import keep_indices
from imp_jax.engine.context import Context
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.replicates import stack_trees
from imp_jax.engine.trainer import compiled
from imp_jax.models import Model
from imp_jax.models.settings import ModelSettings, model_code
from imp_jax.training.distillation import distil_in_a_network

PyTree = Any
EXAMPLES = "examples"  # a training's edge to them
TEACHER = "teacher"


@dataclasses.dataclass(frozen=True)
class Made(Stage):
  """Examples made from the training data, anew for each replicate.

  Edge: "teacher", of the kind that has one: the network that labels them.
  Arrays "inputs" and "labels", ordered by class. The record of distilled ones
  has "distances": the mean distance of gradients in each network.

  Attributes:
    made: how.
    fingerprint: of the training examples.
    model: in which examples are distilled, or the teacher; else None.
  """

  NAME = "made"

  made: MadeSettings
  fingerprint: str
  model: ModelSettings | None = None

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    if self.made.kind == "distilled":
      return self._distilled(context, items)
    train = context.dataset.train
    inputs, labels = np.asarray(train.inputs), np.asarray(train.labels)
    outcomes: dict[Item, Outcome] = {}
    for item in items:
      key = context.key(self.made.kind, item.replicate)
      if self.made.kind == "class_means":
        found = class_means(
          inputs,
          labels,
          per_class=self.made.per_class,
          words=key_words(key),
        )
      else:
        normal = np.asarray(jax.random.normal(key, inputs.shape))
        if self.made.kind == "gaussian_teacher":
          twin = gaussian_twin(inputs, np.zeros_like(labels), normal)
          found = twin, self._taught(context, item, twin)
        else:
          found = gaussian_twin(inputs, labels, normal), labels
      outcomes[item] = _artefact({}, *found)
    return outcomes

  def _taught(
    self, context: Context, item: Item, inputs: np.ndarray
  ) -> np.ndarray:
    """The labels that the teacher gives."""
    assert self.model  # by construction
    logits = context.model(self.model).apply(
      **context.load_network(item, TEACHER), inputs=jnp.asarray(inputs)
    )
    return np.asarray(logits.argmax(axis=-1), np.int32)

  def cost(self, nodes: Sequence[Node]) -> int:
    """Steps of the distilled examples."""
    if self.made.kind != "distilled":
      return 0
    return len(nodes) * self.made.networks * self.made.matchings

  def code(self) -> dict[str, str]:
    return model_code(self.model) if self.model else {}

  def _distilled(
    self, context: Context, items: Sequence[Item]
  ) -> dict[Item, Outcome]:
    """All items' sets together, a network at a time."""
    assert self.model  # by construction
    made, train = self.made, context.dataset.train
    labels = np.asarray(train.labels)
    classes = np.arange(self.model.num_classes)
    of_class = [np.flatnonzero(labels == c) for c in classes]
    counts = np.asarray([len(own) for own in of_class], np.int32)
    places = np.zeros((len(classes), counts.max()), np.int32)
    for row, own in zip(places, of_class, strict=True):
      row[: len(own)] = own
    program = _distil_program(
      context.model(self.model, "patches"),
      made.matchings,
      made.network_steps,
      made.batch_size,
      context.execution,
    )
    examples = stack_trees([self._first(context, i, labels) for i in items])
    velocity, distances = np.zeros_like(examples), []
    rates = jnp.asarray([made.learning_rate, made.network_rate], jnp.float32)
    for network in range(made.networks):
      context.stop_if_asked()
      keys = [context.key("distilled", i.replicate, network) for i in items]
      examples, velocity, distance = program(
        examples,
        velocity,
        jnp.stack(keys),
        train.inputs,
        (places, counts),
        rates,
      )
      distances.append(jax.device_get(distance))
      context.progress(made.matchings * len(items))
    outcomes: dict[Item, Outcome] = {}
    for number, (item, own) in enumerate(
      zip(items, jax.device_get(examples), strict=True)
    ):
      if not np.isfinite(own).all():
        outcomes[item] = Failure(
          f"{item.node.label}, replicate {item.replicate}: distilled examples "
          "are not finite; lower train.made.learning_rate"
        )
        continue
      record = {"distances": [float(d[number]) for d in distances]}
      outcomes[item] = _artefact(
        record,
        own.reshape(-1, *own.shape[2:]),
        np.repeat(classes, made.per_class).astype(labels.dtype),
      )
    return outcomes

  def _first(
    self, context: Context, item: Item, labels: np.ndarray
  ) -> np.ndarray:
    """Real examples, from which distilled ones start: [classes, each, ...]."""
    classes = context.dataset.num_classes
    key = context.key("distilled", item.replicate)
    kept = keep_indices(
      "random",
      labels,
      size=classes * self.made.per_class,
      num_classes=classes,
      tie_words=key_words(key),
      draw_words=key_words(key),
      balanced=True,
    )
    by_class = kept[np.argsort(labels[kept], kind="stable")]
    real = np.asarray(context.dataset.train.inputs)[by_class]
    return real.reshape(classes, self.made.per_class, *real.shape[1:])


def seeing_made(
  context: Context, items: Sequence[Item]
) -> tuple[Context, dict[int, np.ndarray]]:
  """Returns the context with all items' made examples as its training data.

  Args:
    context: what stages run with.
    items: of trainings, which have an edge to them.

  Returns:
    (the context, positions of each replicate's examples in it).
  """
  inputs, labels, places, start = [], [], {}, 0
  for item in items:
    if item.replicate in places:
      continue
    arrays = context.load_arrays(item, EXAMPLES)
    inputs.append(arrays["inputs"])
    labels.append(arrays["labels"])
    stop = start + len(arrays["labels"])
    places[item.replicate] = np.arange(start, stop, dtype=np.int32)
    start = stop
  part = Split(
    np.concatenate(inputs), np.concatenate(labels), np.arange(start), ""
  )
  return context.with_train(part), places


def _artefact(
  record: dict[str, Any], inputs: np.ndarray, labels: np.ndarray
) -> Artefact:
  return Artefact(record, arrays={"inputs": inputs, "labels": labels})


@functools.lru_cache(maxsize=8)
def _distil_program(
  model: Model,
  matchings: int,
  network_steps: int,
  batch_size: int,
  execution: ExecutionSettings,
) -> Callable[..., PyTree]:
  fn = functools.partial(
    distil_in_a_network,
    model=model,
    matchings=matchings,
    network_steps=network_steps,
    batch_size=batch_size,
  )
  return compiled(fn, execution, shared=3)
