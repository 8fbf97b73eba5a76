"""Which network: the options of a config's groups "model"."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from imp_jax.core.code import code_hash
from imp_jax.core.options import option
from imp_jax.core.ranges import MANY, Range, above, choice, one_of, text
from imp_jax.models.layers import BN_SCALE_INITS
from imp_jax.models.registry import (
  DTYPES,
  MODELS,
  RESNET_NAME,
  RESNETS,
  Model,
  make_model,
)


def _check_name(field: str, value: Any) -> None:
  text(field, value)
  if not RESNET_NAME.fullmatch(value):  # its depth is the model's to check
    one_of(field.removesuffix(".name"), value, (*MODELS, *RESNETS))


_NAME = Range(" | ".join((*MODELS, *RESNETS)), _check_name)


@dataclasses.dataclass(frozen=True)
class ModelSettings:
  """A network, for data of so many classes.

  Attributes:
    mean, std: by which it normalises inputs, per channel.
  """

  NAME: ClassVar[str] = "model"

  num_classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  name: str = option("conv1d", _NAME, "which network")
  width: float = option(1.0, above(0, most=MANY), "multiplies hidden channels")
  bn_scale_init: str = option(
    "uniform", choice(tuple(BN_SCALE_INITS)), "BatchNorm's scale: U(0, 1), 1"
  )
  dtype: str = option("float32", choice(tuple(DTYPES)), "of activations")


def model_code(settings: ModelSettings) -> dict[str, str]:
  """Returns the hash of a model's source, as `Stage.code` has it."""
  if settings.name not in MODELS:  # a ResNet of any depth
    return {}
  constructor, _ = MODELS[settings.name]
  return {f"model {settings.name}": code_hash(constructor)}


def model_of(
  settings: ModelSettings, input_shape: Sequence[int], convolution: str
) -> Model:
  """Returns the model that the settings name.

  Args:
    settings: which.
    input_shape: of one example.
    convolution: how convolutions are computed; resolved.
  """
  return make_model(
    settings.name,
    num_classes=settings.num_classes,
    input_shape=input_shape,
    width=settings.width,
    conv=convolution,
    bn_scale_init=settings.bn_scale_init,
    dtype=settings.dtype,
    mean=settings.mean,
    std=settings.std,
  )
