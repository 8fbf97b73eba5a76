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
from imp_jax.engine.context import Context
from imp_jax.models import Model
from imp_jax.models.settings import ModelSettings, model_code
from imp_jax.stages.distil import distilled_sets, examples_a_step

EXAMPLES = "examples"  # a training's edge to them
TEACHER = "teacher"


@dataclasses.dataclass(frozen=True)
class Made(Stage):
  """Examples made from the training data, anew for each replicate.

  Edge: "teacher", of the kind that has one: the network that labels them.
  Arrays "inputs" and "labels", Gaussian ones in the data's order, others by
  class. The record of distilled ones has "distances": the mean distance of
  gradients in each network.

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
    outcomes: dict[Item, Outcome] = {}
    for item in items:
      context.stop_if_asked()
      outcomes[item] = _artefact({}, *self._drawn(context, item))
    return outcomes

  def cost(self, nodes: Sequence[Node]) -> int:
    """Steps of the distilled examples."""
    if self.made.kind != "distilled":
      return 0
    return len(nodes) * self.made.networks * self.made.matchings

  def trains(self) -> tuple[ModelSettings, int] | None:
    if self.made.kind != "distilled" or not self.model:
      return None
    return self.model, examples_a_step(self.made, self.model.num_classes)

  def code(self) -> dict[str, str]:
    return model_code(self.model) if self.model else {}

  def _drawn(
    self, context: Context, item: Item
  ) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels of one replicate, of the other kinds."""
    train = context.dataset.train
    inputs, labels = np.asarray(train.inputs), np.asarray(train.labels)
    key = context.key(self.made.kind, item.replicate)
    if self.made.kind == "class_means":
      words, count = key_words(key), self.made.per_class
      return class_means(inputs, labels, per_class=count, words=words)
    normal = np.asarray(jax.random.normal(key, inputs.shape))
    if self.made.kind == "gaussian":
      return gaussian_twin(inputs, labels, normal), labels
    twin = gaussian_twin(inputs, np.zeros_like(labels), normal)
    assert self.model  # by construction
    program = _labels_program(context.model(self.model))
    network = context.load_network(item, TEACHER)
    size = context.execution.eval_batch_size
    found = [
      program(network, twin[i : i + size]) for i in range(0, len(twin), size)
    ]
    return twin, np.concatenate(jax.device_get(found))

  def _distilled(
    self, context: Context, items: Sequence[Item]
  ) -> dict[Item, Outcome]:
    assert self.model  # by construction
    outcomes: dict[Item, Outcome] = {}
    sets = distilled_sets(context, items, self.made, self.model)
    labels = np.repeat(np.arange(self.model.num_classes), self.made.per_class)
    for item, own in zip(items, sets, strict=True):
      if not np.isfinite(own.examples).all():
        outcomes[item] = Failure(
          f"{item.node.label}, replicate {item.replicate}: distilled examples "
          "are not finite; lower train.made.learning_rate or network_rate"
        )
        continue
      inputs = own.examples.reshape(-1, *own.examples.shape[2:])
      record = {"distances": own.distances}
      outcomes[item] = _artefact(record, inputs, labels.astype(np.int32))
    return outcomes


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


@functools.lru_cache(maxsize=8)
def _labels_program(model: Model) -> Callable[..., jax.Array]:
  """Compiled once for all of a model's networks."""

  def labels(network: Any, inputs: jax.Array) -> jax.Array:
    logits = model.apply(network["params"], network["batch_stats"], inputs)
    return logits.argmax(axis=-1).astype(jnp.int32)

  return jax.jit(labels)


def _artefact(
  record: dict[str, Any], inputs: np.ndarray, labels: np.ndarray
) -> Artefact:
  return Artefact(record, arrays={"inputs": inputs, "labels": labels})
