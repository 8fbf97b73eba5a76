"""What stages run with, and what they return."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from imp_jax.data.dataset import Dataset
from imp_jax.imports import Imports
from imp_jax.keys import named_key
from imp_jax.masks import init_masks, unpack_masks
from imp_jax.models import Model
from imp_jax.nodes import Node
from imp_jax.runs import Failure
from imp_jax.settings import (
  ExecutionSettings,
  ModelSettings,
  NoiseSettings,
  model_of,
)
from imp_jax.store import Artefact, Store

PyTree = Any
Outcome = Artefact | Failure


@dataclasses.dataclass(frozen=True)
class Context:
  """What stages run with: none of it changes which numbers are meant.

  Attributes:
    imports: what the study's files hold.
  """

  store: Store
  dataset: Dataset  # on the device
  seed: int
  execution: ExecutionSettings
  progress: Callable[[int], None]
  imports: Imports

  def model(self, settings: ModelSettings, conv: str | None = None) -> Model:
    conv = conv or self.execution.convolution
    return model_of(settings, self.dataset, conv)

  def key(self, purpose: str, *numbers: int) -> jax.Array:
    return named_key(jax.random.key(self.seed), purpose, *numbers)

  def train_labels(self, noise: NoiseSettings) -> np.ndarray:
    """The training labels with noise on them, the same for every replicate."""
    return self.imports.train_labels(self.dataset, noise, self.seed)

  def load(self, node: Node, name: str, replicate: int) -> Artefact | None:
    """Reads one input artefact from storage; None if the node has none."""
    for known, source, r in node.sources(replicate):
      if known == name:
        return self.store.load(source.object_id(self.seed, r))
    return None

  def load_masks(self, node: Node, replicate: int, params: PyTree) -> PyTree:
    artefact = self.load(node, "masks", replicate)
    if artefact is None:
      return jax.device_get(init_masks(params))
    assert artefact.arrays is not None  # a mask artefact, by construction
    return unpack_masks(artefact.arrays, params)


def noise_key(
  seed: int, purpose: str, noise: str, replicate: int, run: int
) -> jax.Array:
  """Returns the key of data order or augmentation.

  Args:
    seed: the study's.
    purpose: its name.
    noise: "fixed", new by "replicate", or by "level": by run too.
    replicate, run: numbers.
  """
  numbers = {"fixed": (), "replicate": (replicate,)}
  return named_key(
    jax.random.key(seed), purpose, *numbers.get(noise, (replicate, run))
  )
