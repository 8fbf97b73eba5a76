"""Nodes: a stage with its settings and inputs, and its identity."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from imp_jax.settings import (
  BarrierScoreSettings,
  ImportSettings,
  ModelSettings,
  NoiseBetween,
  NoiseSettings,
  OptimSettings,
  PathSettings,
  ScoreSettings,
  ScoreTraining,
  SplitSettings,
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
  """

  VERSION = 3
  model: ModelSettings
  stream: StreamSettings
  optim: OptimSettings
  steps: int
  draw: int
  subset: SubsetSettings
  noise: NoiseSettings


@dataclasses.dataclass(frozen=True)
class Prune:
  """The next level's masks. Inputs: "trained", and "masks" after level 1."""

  VERSION = 2
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
    curve_steps: absolute steps at which it is evaluated on the test data that
      there are then; that is recorded, and which data they were.
  """

  VERSION = 2
  model: ModelSettings
  stream: StreamSettings
  optim: OptimSettings
  start: int
  stop: int
  run: int
  optimizer: str
  curve_steps: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Child:
  """A ticket's training again, with other noise. Inputs: as of `Train`.

  Attributes:
    train: what it repeats.
    number: from 1; child 0 is the ticket's own training.
    noise: in what alone it differs from child 0.
  """

  VERSION = 1
  train: Train
  number: int
  noise: NoiseBetween


@dataclasses.dataclass(frozen=True)
class Evaluate:
  """Loss and accuracy of a network on some splits. Input: "network".

  Apart from its training, which other test data leave as it is.
  """

  VERSION = 1
  model: ModelSettings
  stream: StreamSettings
  splits: tuple[SplitSettings, ...]


@dataclasses.dataclass(frozen=True)
class Trajectory:
  """A training again, to keep its weights at some steps. Inputs: its own.

  Attributes:
    training: what it repeats, bit for bit where execution is exact.
    steps: absolute.
  """

  VERSION = 1
  training: Train | Child
  steps: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Path:
  """What the networks on a straight path make of the examples.

  Inputs: "a" and "b", its ends, and "masks" if they are applied to "a" first.

  Attributes:
    path: its points, and how they are evaluated.
    must_differ: whether equal ends are an error: children of one parent.
  """

  VERSION = 1
  model: ModelSettings
  stream: StreamSettings
  path: PathSettings
  must_differ: bool


@dataclasses.dataclass(frozen=True)
class ExampleBarriers:
  """The barrier of every training example under one parent's children.

  Inputs: "pair.0", ...: the paths between them, which it averages.
  """

  VERSION = 1
  score: BarrierScoreSettings


@dataclasses.dataclass(frozen=True)
class Curvature:
  """Curvature at a network. Inputs: "network", and "masks" if restricted.

  Attributes: see `settings.CurvatureSettings`.
  """

  VERSION = 1
  model: ModelSettings
  stream: StreamSettings
  matrices: tuple[str, ...]
  examples: int
  eigenvalues: int
  lanczos_steps: int
  probes: int
  layers: bool


@dataclasses.dataclass(frozen=True)
class Plane:
  """The loss on the plane through three networks.

  Inputs: "a", "b" and "c", and "path.0", ...: trajectories to project.

  Attributes: see `settings.PlaneSettings`.
  """

  VERSION = 1
  model: ModelSettings
  stream: StreamSettings
  points: int
  margin: float
  examples: int
  recompute_batches: int
  batch_size: int


@dataclasses.dataclass(frozen=True)
class Node:
  """A stage with settings and inputs, for any replicate.

  Attributes:
    settings: one of the dataclasses above; every field enters the identity.
    inputs: (name, node) pairs.
    label: for people; it enters nothing.
    recipe: of a score, the whole training it is taken from; nor does this.
    company: nodes of one company are run together; nor does this.
    key: hash of the stage, its VERSION, its settings and its inputs' keys.
      Nodes are equal iff their keys are.
  """

  settings: Any = dataclasses.field(compare=False)
  inputs: tuple[tuple[str, "Node"], ...] = dataclasses.field(compare=False)
  label: str = dataclasses.field(compare=False)
  recipe: ScoreTraining | None = dataclasses.field(
    default=None, compare=False, kw_only=True
  )
  company: str = dataclasses.field(default="", compare=False, kw_only=True)
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
    train = trained_by(self.settings)
    if train:
      return train.stop - train.start
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


def child_of(settings: Any) -> Child | None:
  """Returns the child that a stage's settings are of, or repeat."""
  if isinstance(settings, Trajectory):
    settings = settings.training
  return settings if isinstance(settings, Child) else None


def snapshots_of(settings: Any) -> tuple[int, ...]:
  """Returns the steps at which a stage keeps the weights of its training."""
  return settings.steps if isinstance(settings, Trajectory) else ()


def trained_by(settings: Any) -> Train | None:
  """Returns the training that a stage's settings are of, or repeat."""
  if isinstance(settings, Trajectory):
    settings = settings.training
  if isinstance(settings, Child):
    settings = settings.train
  return settings if isinstance(settings, Train) else None


def checkpoint_id(node: Node, seed: int, replicate: int) -> str:
  """Returns the identity of what an interrupted replicate of a node keeps.

  Scores of one recipe share it, since they share their training.
  """
  if node.recipe is None:
    return node.object_id(seed, replicate)
  return content_id("scoring", dataclasses.asdict(node.recipe), seed, replicate)


def example_array(split: str, batch_stats: str, what: str) -> str:
  """Returns the name of a path's per-example array.

  Args:
    split, batch_stats: as in its settings.
    what: a form of barrier (f32, nats) or "right_throughout" (bool).
  """
  return f"{split}.{batch_stats}.{what}"
