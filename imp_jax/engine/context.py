"""What stages run with."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from imp_jax.core.artefacts import Artefact
from imp_jax.core.graph import Item
from imp_jax.core.keys import named_key
from imp_jax.core.masks import init_masks, unpack_masks
from imp_jax.core.store import Store
from imp_jax.data.dataset import Dataset, Split
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.imports import Imports
from imp_jax.models import Model
from imp_jax.models.settings import ModelSettings, model_of

PyTree = Any


class Stopped(Exception):
  """A run was asked to end, and has saved what was in progress.

  Its text is what asked, e.g. "SIGTERM".
  """


def _go_on() -> str | None:
  return None


def _unheard(row: Mapping[str, Any]) -> None:
  del row


@dataclasses.dataclass(frozen=True)
class Context:
  """What stages run with: none of it changes which numbers are meant.

  Attributes:
    store: of the workdir.
    dataset: on the device, or on the host where nothing is run yet.
    seed: the study's.
    execution: how.
    progress: called with the replicate-steps made.
    imports: what the study's files hold.
    stop: returns what asks the run to end, e.g. "SIGTERM", or None.
    measured: called with what was measured of a network just now; see
      `executor.Progress`.
  """

  store: Store
  dataset: Dataset
  seed: int
  execution: ExecutionSettings
  progress: Callable[[int], None]
  imports: Imports
  stop: Callable[[], str | None] = _go_on
  measured: Callable[[Mapping[str, Any]], None] = _unheard

  def stop_if_asked(self) -> None:
    """Ends what is in progress if that is asked; for between two programs.

    Raises:
      Stopped: it is.
    """
    if why := self.stop():
      raise Stopped(why)

  def seeing(self, external: str) -> "Context":
    """Returns the context with other training examples, of the study's files.

    Args:
      external: their fingerprint.
    """
    return self.with_train(self.imports.splits[external])

  def with_train(self, part: Split) -> "Context":
    """Returns the context with other training examples, where its own lie.

    Args:
      part: the examples, on the host.
    """
    own = self.dataset.train.inputs
    if isinstance(own, jax.Array):  # once, not in each chunk of steps
      inputs, labels = (
        jax.device_put(x, own.sharding) for x in (part.inputs, part.labels)
      )
      part = dataclasses.replace(part, inputs=inputs, labels=labels)
    splits = self.dataset.splits | {"train": part}
    dataset = dataclasses.replace(self.dataset, splits=splits)
    return dataclasses.replace(self, dataset=dataset)

  def model(self, settings: ModelSettings, conv: str | None = None) -> Model:
    """Returns the network that settings name, for these data's shapes."""
    conv = conv or self.execution.convolution
    return model_of(settings, self.dataset.input_shape, conv)

  def key(self, purpose: str, *numbers: int) -> jax.Array:
    """Returns the key of a purpose, as `named_key`, from the study's seed."""
    return named_key(jax.random.key(self.seed), purpose, *numbers)

  def noise_key(
    self, purpose: str, noise: str, replicate: int, run: int
  ) -> jax.Array:
    """Returns the key of data order or augmentation.

    Args:
      purpose: its name.
      noise: "fixed", new by "replicate", or by "level": by run too.
      replicate, run: numbers.
    """
    numbers = {"fixed": (), "replicate": (replicate,)}
    return self.key(purpose, *numbers.get(noise, (replicate, run)))

  def facts(self, item: Item) -> dict[str, Any]:
    """Returns what the record of an item's artefact says that it is."""
    stage = item.node.stage
    return {
      "stage": stage.NAME,
      "version": stage.VERSION,
      "inputs": {
        name: source.node.object_id(self.seed, source.replicate)
        for name, source in item.node.sources(item.replicate)
      },
      "seed": self.seed,
      "replicate": item.replicate,
    }

  def load(self, item: Item, name: str) -> Artefact | None:
    """Reads what an item is made of from storage; None if there is no such.

    Args:
      item: a node's replicate.
      name: of the node's edge.
    """
    edge = item.node.edge(name)
    if edge is None:
      return None
    source = edge.source(item.replicate)
    object_id = source.node.object_id(self.seed, source.replicate)
    return self.store.load(object_id, self.facts(source))

  def load_tree(self, item: Item, name: str) -> PyTree:
    """Reads the arrays of a network that an item is made of."""
    artefact = self.load(item, name)
    assert artefact is not None and artefact.tree is not None  # a network's
    return artefact.tree

  def load_network(self, item: Item, name: str) -> PyTree:
    """Reads a network that an item is made of: params and batch_stats."""
    tree = self.load_tree(item, name)
    return {part: tree[part] for part in ("params", "batch_stats")}

  def load_arrays(self, item: Item, name: str) -> dict[str, np.ndarray]:
    """Reads the named arrays of what an item is made of."""
    artefact = self.load(item, name)
    assert artefact is not None and artefact.arrays is not None
    return dict(artefact.arrays)

  def load_masks(
    self, item: Item, params: PyTree, name: str = "masks"
  ) -> PyTree:
    """Reads the masks of one of an item's edges; all True if it has none."""
    artefact = self.load(item, name)
    if artefact is None:
      return init_masks(params)
    assert artefact.arrays is not None  # masks, by construction
    return unpack_masks(artefact.arrays, params)

  def labels(self, item: Item) -> np.ndarray:
    """Reads the training labels that an item sees: its own, or the data's."""
    artefact = self.load(item, "labels")
    if artefact is None:
      return np.asarray(self.dataset.train.labels)
    assert artefact.arrays is not None  # labels, by construction
    return artefact.arrays["labels"]
