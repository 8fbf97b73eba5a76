"""Many train steps in one compiled loop, fed by a batch plan."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from imp_jax.core.devices import over_devices
from imp_jax.data.augment import augment_images
from imp_jax.models import Model
from imp_jax.training.optimiser import (
  SGD,
  Recipe,
  UpdateRule,
  learning_rate,
  make_tx,
)
from imp_jax.training.state import TrainState
from imp_jax.training.step import Metrics, train_step

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Pipeline:
  """Static choices of a compiled train program, besides model and shapes.

  Attributes:
    crop_pad: random crop's padding in pixels, 0 = none.
    flip: random mirroring.
    augment_order: "crop_flip" or "flip_crop".
    rule: of the optimiser.
    padded: whether batch plans may hold padding (-1).
    skip_overflow: skip updates whose gradient overflowed, for float16.
    movement: whether the state's MOVEMENT is added to; there is no watch then.
  """

  crop_pad: int = 0
  flip: bool = False
  augment_order: str = "crop_flip"
  rule: UpdateRule = SGD
  padded: bool = False
  skip_overflow: bool = False
  movement: bool = False


def train_steps(
  state: TrainState,
  masks: PyTree,
  plan: Int[Array, "steps batch"],
  inputs: jax.Array,
  labels: Int[Array, " examples"],
  recipe: Recipe,
  count: Int[Array, ""],
  *,
  model: Model,
  pipeline: Pipeline,
  watch: Callable[[PyTree, jax.Array, jax.Array], PyTree] | None = None,
) -> tuple[TrainState, Metrics]:
  """Trains one replicate for `count` steps; returns (state, metric sums).

  Args:
    state: where training goes on.
    masks: kept weights.
    plan: example indices of the next steps, -1 for padding. Only its first
      `count` rows are used, so that one program serves every number of steps.
    inputs, labels: the training split on the device.
    recipe: the optimiser's numbers.
    count: how many steps to make, at most len(plan); traced.
    model: the network.
    pipeline: static choices.
    watch: (carries, logits, labels) -> carries of a batch of examples; what
      `state.watched` holds (per example, on its first axis) of the examples
      that a step presents is put through it with the logits that the loss was
      made from.

  Returns:
    The state after `count` steps, and sums over those steps: "loss",
    "correct", "count", and "finite" (1.0 iff the losses and the final
    parameters are all finite).
  """
  tx = make_tx(recipe, pipeline.rule)

  def body(
    i: jax.Array, carry: tuple[TrainState, Metrics]
  ) -> tuple[TrainState, Metrics]:
    state, sums = carry
    index = over_devices(plan[i])
    batch = make_batch(state, index, inputs, labels, pipeline)
    state, new, logits = train_step(
      state,
      masks,
      batch,
      apply_fn=model.apply_train,
      tx=tx,
      learning_rate=learning_rate(recipe, state.step),
      loss_scale=recipe.loss_scale,
      skip_overflow=pipeline.skip_overflow,
      movement=pipeline.movement,
    )
    if watch:
      index = jnp.maximum(plan[i], 0)
      # Padding goes past the end, where it is dropped.
      rows = jnp.where(plan[i] >= 0, index, len(labels))
      seen = jax.tree.map(lambda leaf: leaf[index], state.watched)
      seen = watch(seen, logits, batch["labels"])
      state = state.replace(
        watched=jax.tree.map(
          lambda old, new: old.at[rows].set(new, mode="drop"),
          state.watched,
          seen,
        )
      )
    return state, jax.tree.map(jnp.add, sums, new)

  zeros = {name: jnp.zeros(()) for name in ("loss", "correct", "count")}
  state, sums = jax.lax.fori_loop(0, count, body, (state, zeros))
  finite = jnp.isfinite(sums["loss"])
  for leaf in jax.tree.leaves((state.params, state.batch_stats)):
    finite &= jnp.isfinite(leaf).all()
  return state, sums | {"finite": finite.astype(jnp.float32)}


def make_batch(
  state: TrainState,
  index: Int[Array, " batch"],
  inputs: jax.Array,
  labels: Int[Array, " examples"],
  pipeline: Pipeline,
) -> dict[str, Any]:
  """Returns the batch that a step is given, augmented.

  Args:
    state: the state before the step; its key and step make the augmentation.
    index: the examples, -1 for padding: one row of a batch plan.
    inputs, labels: the training split on the device.
    pipeline: static choices.

  Returns:
    "inputs", "labels", and "weights": 0 for padding, or None where there is
    none.
  """
  weights = (index >= 0).astype(jnp.float32) if pipeline.padded else None
  index = jnp.maximum(index, 0)
  key = jax.random.fold_in(state.key, state.step)
  return {
    "inputs": _prepared(inputs[index], key, pipeline),
    "labels": labels[index],
    "weights": weights,
  }


def _prepared(
  inputs: jax.Array, key: jax.Array, pipeline: Pipeline
) -> jax.Array:
  """Augmented inputs of one batch."""
  if pipeline.crop_pad or pipeline.flip:
    inputs = augment_images(
      key,
      inputs,
      crop_pad=pipeline.crop_pad,
      flip=pipeline.flip,
      order=pipeline.augment_order,
    )
  return inputs
