"""Resolving what every training of an experiment shares."""

from typing import Any

from imp_jax.core.options import read
from imp_jax.core.ranges import at_least, steps_of
from imp_jax.data.batches import steps_per_epoch
from imp_jax.data.dataset import Dataset
from imp_jax.data.settings import StreamSettings
from imp_jax.models.settings import ModelSettings
from imp_jax.stages.trunk import Training
from imp_jax.training.settings import resolve_optim


def resolve_training(config: Any, dataset: Dataset) -> Training:
  """Returns the main training of a config.

  Raises:
    ValueError: a field of data, model or optim is out of its range.
  """
  stream = _stream(config.data, dataset)
  per_epoch = steps_per_epoch(
    len(dataset.train), stream.batch_size, stream.last_batch
  )

  def steps(duration: str, field: str) -> int:
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
  return read(
    ModelSettings,
    model,
    num_classes=dataset.num_classes,
    mean=tuple(dataset.mean),
    std=tuple(dataset.std),
  )


def _stream(data: Any, dataset: Dataset) -> StreamSettings:
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
  return read(StreamSettings, data, fingerprint=dataset.fingerprint)
