"""What the cases are measured on: random data, networks, train states."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.masks import flat_leaves, init_masks, nested_leaves
from imp_jax.data.dataset import Dataset, make_dataset, on_device
from imp_jax.models import Model, make_model
from imp_jax.training import (
  SGD,
  Pipeline,
  TrainState,
  start_state,
)
from imp_jax.training.settings import OptimSettings, make_recipe

PyTree = Any

CLASSES = 10
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
# The paper's for CIFAR-10.
OPTIM = OptimSettings(milestones=(31_200, 46_800), warmup=0)


@dataclasses.dataclass(frozen=True)
class Problem:
  """One network on random images in CIFAR's shapes, augmented as CIFAR's."""

  model: Model
  dataset: Dataset
  pipeline: Pipeline
  batch: int

  def state(self, seed: int = 0) -> TrainState:
    """A fresh train state."""
    params, stats = _init(self.model)(jax.random.key(seed))
    return start_state(params, stats, jax.random.key(seed + 1))

  def network(self, seed: int = 0) -> dict[str, PyTree]:
    """A fresh network on the host."""
    params, stats = jax.device_get(_init(self.model)(jax.random.key(seed)))
    return {"params": params, "batch_stats": stats}

  def masks(self, state: TrainState) -> PyTree:
    """Random masks that keep half of the kernels."""
    rng = np.random.default_rng(0)
    prunable = self.model.prunable(state.params)
    leaves = flat_leaves(init_masks(state.params))
    for name in prunable:
      leaves[name] = jnp.asarray(rng.random(leaves[name].shape) < 0.5)
    return nested_leaves(leaves)

  def plan(self, steps: int, seed: int = 0) -> jax.Array:
    """Random batches, i32[steps, batch]."""
    rng = np.random.default_rng(seed)
    count = len(self.dataset.train)
    rows = [rng.permutation(count)[: self.batch] for _ in range(steps)]
    return jnp.asarray(np.stack(rows), jnp.int32)

  def shared(self, count: int) -> tuple:
    """What replicates share: the last arguments of `train_steps`."""
    train = self.dataset.train
    recipe = make_recipe(OPTIM)
    return train.inputs, train.labels, recipe, jnp.int32(count)


# CIFAR's; signals are neither cropped nor flipped.
PIPELINE = Pipeline(
  crop_pad=4,
  flip=True,
  augment_order="crop_flip",
  rule=SGD,
  padded=False,
)


@functools.cache
def image_problem(
  name: str,
  *,
  batch: int = 128,
  examples: int = 2560,
  width: float = 1.0,
  dtype: str = "float32",
  conv: str = "auto",
) -> Problem:
  """Returns a model that takes images, as a run makes it, with random ones."""
  rng = np.random.default_rng(0)
  model = make_model(
    name,
    num_classes=CLASSES,
    input_shape=(32, 32, 3),
    width=width,
    dtype=dtype,
    conv=conv,
    mean=MEAN,
    std=STD,
  )
  images = rng.integers(0, 256, (examples, 32, 32, 3), dtype=np.uint8)
  return _problem(model, images, rng, PIPELINE, batch)


@functools.cache
def signal_problem(*, batch: int = 128, examples: int = 4000) -> Problem:
  """Returns the MNIST-1D network with random signals."""
  rng = np.random.default_rng(0)
  model = make_model("conv1d", num_classes=CLASSES, input_shape=(40,))
  signals = rng.normal(size=(examples, 40)).astype(np.float32)
  pipeline = dataclasses.replace(PIPELINE, crop_pad=0, flip=False)
  return _problem(model, signals, rng, pipeline, batch)


def _problem(model, inputs, rng, pipeline, batch) -> Problem:
  labels = rng.permutation(len(inputs)) % CLASSES
  splits = {"train": (inputs, labels), "test": (inputs[:10], labels[:10])}
  dataset = on_device(make_dataset("random", splits))
  return Problem(model, dataset, pipeline, batch)


@functools.cache
def _init(model: Model):
  return jax.jit(model.init)
