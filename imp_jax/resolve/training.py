"""Resolving what every training of an experiment shares."""

import dataclasses
from collections.abc import Callable
from typing import Any

from imp_jax.data.batches import steps_per_epoch
from imp_jax.data.dataset import Dataset
from imp_jax.resolve.checks import at_least, steps_of
from imp_jax.settings import ModelSettings, OptimSettings, StreamSettings


@dataclasses.dataclass(frozen=True)
class Training:
  """The main training: W_r's, and every ticket's.

  Attributes:
    steps: T.
    per_epoch: steps of one pass over the training examples.
  """

  model: ModelSettings
  stream: StreamSettings
  optim: OptimSettings
  steps: int
  per_epoch: int

  def steps_of(self, duration: str, field: str) -> int:
    """Returns a duration in steps, of epochs over all training examples."""
    return steps_of(duration, field, self.per_epoch, self.stream.batch_size)


def resolve_training(config: Any, dataset: Dataset) -> Training:
  """Returns the main training of a config.

  Raises:
    ValueError: a field of data, model or optim is out of its range.
  """
  stream = _stream(config.data, dataset)
  per_epoch = steps_per_epoch(
    len(dataset.train), stream.batch_size, stream.last_batch
  )

  def steps(duration, field):
    return steps_of(duration, field, per_epoch, stream.batch_size)

  total = steps(config.optim.steps, "optim.steps")
  at_least("optim.steps", total, 1)
  return Training(
    resolve_model(config.model, dataset),
    stream,
    resolve_optim(config.optim, steps, total),
    total,
    per_epoch,
  )


def resolve_model(model: Any, dataset: Dataset) -> ModelSettings:
  """Returns a model's settings; `model_of` checks them."""
  return ModelSettings(
    name=model.name,
    num_classes=dataset.num_classes,
    width=float(model.width),
    bn_scale_init=model.bn_scale_init,
    dtype=model.dtype,
  )


def _stream(data, dataset) -> StreamSettings:
  num_train = len(dataset.train)
  if data.batch_size > num_train:
    raise ValueError(
      f"data.batch_size must be at most the {num_train} training examples, "
      f"got {data.batch_size}"
    )
  if (data.crop_pad or data.flip) and len(dataset.input_shape) != 3:
    raise ValueError(
      "data.crop_pad and data.flip are for images; inputs are "
      f"{dataset.input_shape}"
    )
  return StreamSettings(
    fingerprint=dataset.fingerprint,
    batch_size=data.batch_size,
    last_batch=data.last_batch,
    order=data.order,
    augment_noise=data.augment_noise,
    crop_pad=data.crop_pad,
    flip=data.flip,
    augment_order=data.augment_order,
    mean=dataset.mean,
    std=dataset.std,
  )


def resolve_optim(
  optim: Any,
  steps: Callable[[str, str], int],
  total: int,
  group: str = "optim",
) -> OptimSettings:
  """Returns an optimiser's numbers.

  Args:
    optim: the config's group of fields.
    steps: (duration, field) -> steps.
    total: a cosine ends after so many steps.
    group: the name that messages give it.
  """
  milestones = tuple(steps(d, f"{group}.milestones") for d in optim.milestones)
  if list(milestones) != sorted(set(milestones)):
    raise ValueError(f"{group}.milestones must increase, got {milestones}")
  warmup = steps(optim.warmup, f"{group}.warmup")
  cosine = optim.schedule == "cosine"
  return OptimSettings(
    learning_rate=float(optim.learning_rate),
    milestones=() if cosine else milestones,
    factor=float(optim.milestone_factor),
    warmup=warmup,
    warmup_offset=int(optim.warmup_start == "first" and warmup > 0),
    cosine_steps=total if cosine else 0,
    momentum=float(optim.momentum),
    nesterov=bool(optim.nesterov),
    weight_decay=float(optim.weight_decay),
    decay_on=optim.decay_on,
    loss_scale=float(optim.loss_scale),
  )
