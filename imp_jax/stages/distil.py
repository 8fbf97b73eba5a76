"""Sets of distilled examples, all replicates' together, a network at a time."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.artefacts import Artefact
from imp_jax.core.graph import Item
from imp_jax.core.keys import key_words
from imp_jax.core.store import Checkpoint
from imp_jax.data.settings import MadeSettings
from imp_jax.data.subsets import keep_indices
from imp_jax.engine.context import Context, Stopped
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.provenance import made_with
from imp_jax.engine.replicates import stack_trees
from imp_jax.engine.spent import flop_of_a_step, spend
from imp_jax.engine.trainer import compiled
from imp_jax.models import Model
from imp_jax.models.settings import ModelSettings
from imp_jax.training.distillation import distil_in_a_network

PyTree = Any


@dataclasses.dataclass
class DistilledSet:
  """One replicate's examples so far.

  Attributes:
    examples, velocity: f32[classes, per_class, ...], and their momentum.
    checkpoint: its hook.
    distances: the mean distance of gradients in each network so far.
  """

  examples: np.ndarray
  velocity: np.ndarray
  checkpoint: Checkpoint
  distances: list[float] = dataclasses.field(default_factory=list)


def examples_a_step(made: MadeSettings, classes: int) -> int:
  """Returns how many examples one matching looks at, about."""
  synthetic = (2 + made.network_steps) * made.per_class
  return classes * (made.batch_size + synthetic)


def distilled_sets(
  context: Context,
  items: Sequence[Item],
  made: MadeSettings,
  model: ModelSettings,
) -> list[DistilledSet]:
  """Returns the finished set of each item, from its checkpoint if it has one.

  Args:
    context: what stages run with.
    items: replicates of one node.
    made: how they are distilled.
    model: the networks.

  Raises:
    Stopped: it was asked to end; each set has a checkpoint.
  """
  classes = model.num_classes
  labels = np.asarray(context.dataset.train.labels)
  of_class = [np.flatnonzero(labels == c) for c in range(classes)]
  counts = np.asarray([len(own) for own in of_class], np.int32)
  places = np.zeros((classes, counts.max()), np.int32)
  for row, own in zip(places, of_class, strict=True):
    row[: len(own)] = own
  sets = [_started(context, item, made, labels, of_class) for item in items]
  # In lockstep; a kill between two checkpoints may have set some back.
  for done in sorted({len(own.distances) for own in sets}):
    group = [
      (item, own)
      for item, own in zip(items, sets, strict=True)
      if len(own.distances) == done
    ]
    _distil_together(context, group, made, model, (places, counts))
  return sets


def _distil_together(
  context: Context,
  group: Sequence[tuple[Item, DistilledSet]],
  made: MadeSettings,
  settings: ModelSettings,
  members: tuple[np.ndarray, np.ndarray],
) -> None:
  """Takes sets that are equally far to their end."""
  inputs = context.dataset.train.inputs
  model = context.model(settings, "patches")
  seen = examples_a_step(made, settings.num_classes)
  flop = flop_of_a_step(model, seen, inputs.shape[1:], str(inputs.dtype))
  program = _program(
    model,
    made.matchings,
    made.network_steps,
    made.batch_size,
    context.execution,
  )
  rates = jnp.asarray([made.learning_rate, made.network_rate], jnp.float32)
  items, sets = zip(*group, strict=True)
  examples = stack_trees([own.examples for own in sets])
  velocity = stack_trees([own.velocity for own in sets])
  saved_at = time.monotonic()

  def save() -> None:
    for own, *arrays in zip(
      sets, *jax.device_get((examples, velocity)), strict=True
    ):
      own.examples, own.velocity = arrays
      record = {
        "distances": own.distances,
        "made_with": made_with(context.execution),
        "code": items[0].node.stage.code(),
      }
      tree = {"examples": own.examples, "velocity": own.velocity}
      own.checkpoint.save(len(own.distances), Artefact(record, tree))

  for network in range(len(sets[0].distances), made.networks):
    why = context.stop()
    waited = time.monotonic() - saved_at
    if why or waited >= context.execution.checkpoint_seconds:
      save()
      saved_at = time.monotonic()
    if why:
      raise Stopped(why)
    keys = [context.key("distilled", i.replicate, network) for i in items]
    examples, velocity, distances = program(
      examples, velocity, jnp.stack(keys), inputs, members, rates
    )
    for own, distance in zip(sets, jax.device_get(distances), strict=True):
      own.distances.append(float(distance))
    steps = made.matchings * len(sets)
    spend(examples=steps * seen, flop=steps * flop)
    context.progress(steps)
  save()  # for another group may be ended yet


def _started(
  context: Context,
  item: Item,
  made: MadeSettings,
  labels: np.ndarray,
  of_class: Sequence[np.ndarray],
) -> DistilledSet:
  """As its checkpoint has it, or made of real examples drawn by class."""
  kept = item.node.checkpoint_id(context.seed, item.replicate)
  checkpoint = context.store.checkpoint(kept)
  if restored := checkpoint.restore():
    networks, artefact = restored
    assert artefact.tree is not None  # a checkpoint, by construction
    context.progress(networks * made.matchings)
    return DistilledSet(
      np.asarray(artefact.tree["examples"]),
      np.asarray(artefact.tree["velocity"]),
      checkpoint,
      list(artefact.record["distances"]),
    )
  classes = len(of_class)
  words = key_words(context.key("distilled", item.replicate))
  drawn = keep_indices(
    "random",
    labels,
    size=classes * made.per_class,
    num_classes=classes,
    tie_words=words,
    draw_words=words,
    balanced=True,
  )
  by_class = drawn[np.argsort(labels[drawn], kind="stable")]
  real = np.asarray(context.dataset.train.inputs)[by_class]
  real = real.reshape(classes, made.per_class, *real.shape[1:])
  return DistilledSet(real, np.zeros_like(real), checkpoint)


@functools.lru_cache(maxsize=8)
def _program(
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
