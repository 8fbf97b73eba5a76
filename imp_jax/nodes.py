"""Nodes: a stage with its settings and inputs, and its identity."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from imp_jax.settings import (
  ImportSettings,
  ModelSettings,
  NoiseSettings,
  OptimSettings,
  ScoreSettings,
  ScoreTraining,
  StreamSettings,
  SubsetSettings,
)
from imp_jax.store import content_id


@dataclasses.dataclass(frozen=True)
class Score:
  """A score of every training example under one network. No inputs.

  Its replicates are the networks. Scores of equal training are computed in one
  training, whichever of them are wanted and missing.
  """

  VERSION = 1
  score: ScoreSettings


@dataclasses.dataclass(frozen=True)
class Scores:
  """A score averaged over networks 0, 1, ... of its input "networks"."""

  VERSION = 1
  networks: int


@dataclasses.dataclass(frozen=True)
class ImportedScores:
  """A score from a file. No inputs."""

  VERSION = 1
  score: ImportSettings


@dataclasses.dataclass(frozen=True)
class Pretrain:
  """W_r: a fresh network trained for t_r steps.

  Its input "scores" orders the examples of the subset, where the subset needs
  it.

  Attributes:
    steps: t_r; 0 leaves the network as it was drawn.
    draw: 0 = the replicate's own initialisation, which its experiments share;
      k = another one, drawn for the "reinit" control at level k.
    splits: evaluated at the end.
  """

  VERSION = 2
  model: ModelSettings
  stream: StreamSettings
  optim: OptimSettings
  steps: int
  draw: int
  subset: SubsetSettings
  noise: NoiseSettings
  splits: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Prune:
  """The next level's masks. Inputs: "trained", and "masks" after level 1."""

  VERSION = 1
  model: ModelSettings
  level: int
  criterion: str
  fraction: float
  density: float | None
  allocation: str
  rule: str
  exclude: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class RandomMask:
  """A random mask at the layerwise densities of its input "masks"."""

  VERSION = 1
  model: ModelSettings
  level: int


@dataclasses.dataclass(frozen=True)
class Train:
  """A ticket's training. Inputs: "weights", and "masks" unless dense.

  Attributes:
    start, stop: absolute steps.
    run: number of this run for per-level noise: 0 unless the noise is new per
      level; pre-training's is 0, level k's is k + 1.
    optimizer: "fresh" or "rewound".
  """

  VERSION = 1
  model: ModelSettings
  stream: StreamSettings
  optim: OptimSettings
  start: int
  stop: int
  run: int
  optimizer: str
  splits: tuple[str, ...]
  curve_steps: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Node:
  """A stage with settings and inputs, for any replicate.

  Attributes:
    settings: one of the dataclasses above; every field enters the identity.
    inputs: (name, node) pairs.
    label: for people; it enters nothing.
    recipe: of a score, the whole training it is taken from; nor does this.
    key: hash of the stage, its VERSION, its settings and its inputs' keys.
      Nodes are equal iff their keys are.
  """

  settings: Any = dataclasses.field(compare=False)
  inputs: tuple[tuple[str, "Node"], ...] = dataclasses.field(compare=False)
  label: str = dataclasses.field(compare=False)
  recipe: ScoreTraining | None = dataclasses.field(
    default=None, compare=False, kw_only=True
  )
  key: str = dataclasses.field(init=False)

  def __post_init__(self):
    key = content_id(
      self.stage,
      self.settings.VERSION,
      dataclasses.asdict(self.settings),
      {name: node.key for name, node in self.inputs},
    )
    object.__setattr__(self, "key", key)

  @property
  def stage(self) -> str:
    return type(self.settings).__name__.lower()

  @property
  def steps(self) -> int:
    """Optimiser steps that one replicate of this node takes."""
    if isinstance(self.settings, Train):
      return self.settings.stop - self.settings.start
    if isinstance(self.settings, Score):
      return self.settings.score.last_step
    return getattr(self.settings, "steps", 0)

  @property
  def is_shared(self) -> bool:
    """Whether there is one artefact for all replicates, number 0."""
    return isinstance(self.settings, (Scores, ImportedScores))

  def sources(self, replicate: int) -> Iterator[tuple[str, "Node", int]]:
    """Yields (name, node, replicate) of every artefact this one is made of."""
    for name, node in self.inputs:
      if isinstance(self.settings, Scores):
        yield from (
          (f"{name}.{r}", node, r) for r in range(self.settings.networks)
        )
      else:
        yield name, node, 0 if node.is_shared else replicate

  def object_id(self, seed: int, replicate: int) -> str:
    """Returns the identity of one replicate's artefact."""
    return content_id(self.key, seed, replicate)


def checkpoint_id(node: Node, seed: int, replicate: int) -> str:
  """Returns the identity of what an interrupted replicate of a node keeps.

  Scores of one recipe share it, since they share their training.
  """
  if node.recipe is None:
    return node.object_id(seed, replicate)
  return content_id("scoring", dataclasses.asdict(node.recipe), seed, replicate)
