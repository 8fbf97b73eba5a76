"""How a network is trained: model, stream of examples, optimiser."""

import dataclasses

from imp_jax.data.dataset import Dataset
from imp_jax.models import Model, make_model


@dataclasses.dataclass(frozen=True)
class ModelSettings:
  name: str
  num_classes: int
  width: float
  bn_scale_init: str
  dtype: str


@dataclasses.dataclass(frozen=True)
class SplitSettings:
  """Examples that networks are evaluated on: a split's name and fingerprint."""

  name: str
  fingerprint: str


@dataclasses.dataclass(frozen=True)
class StreamSettings:
  """How examples reach the train step.

  Attributes:
    fingerprint: of the training examples, all that a training sees of the data.
  """

  fingerprint: str
  batch_size: int
  last_batch: str
  order: str  # data order: fixed, per replicate, or new per level too
  augment_noise: str  # augmentation keys, likewise
  crop_pad: int
  flip: bool
  augment_order: str
  mean: tuple[float, ...]
  std: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class OptimSettings:
  """The optimiser's numbers, steps absolute; see `training.Recipe`.

  Attributes:
    warmup_offset: 0 where there is no warm-up.
  """

  learning_rate: float
  milestones: tuple[int, ...]
  factor: float
  warmup: int
  warmup_offset: int
  cosine_steps: int
  momentum: float
  nesterov: bool
  weight_decay: float
  decay_on: str
  loss_scale: float


def optim_before(optim: OptimSettings, steps: int) -> OptimSettings:
  """Returns an optimiser's settings as far as the first `steps` steps see."""
  milestones = tuple(m for m in optim.milestones if m < steps)
  factor = optim.factor if milestones else 1.0
  return dataclasses.replace(optim, milestones=milestones, factor=factor)


def model_of(
  settings: ModelSettings, dataset: Dataset, convolution: str
) -> Model:
  """Returns the model that the settings name, for a data set's shapes."""
  return make_model(
    settings.name,
    num_classes=settings.num_classes,
    input_shape=dataset.input_shape,
    width=settings.width,
    conv=convolution,
    bn_scale_init=settings.bn_scale_init,
    dtype=settings.dtype,
  )
