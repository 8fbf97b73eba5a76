"""What a study means: its experiments, and how they are executed."""

import dataclasses

from imp_jax.settings.claims import ClaimSettings
from imp_jax.settings.diet import PretrainSettings, ScoringSettings
from imp_jax.settings.landscape import (
  ConnectivitySettings,
  CurvatureSettings,
  PlaneSettings,
)
from imp_jax.settings.training import (
  ModelSettings,
  OptimSettings,
  SplitSettings,
  StreamSettings,
)

# What names of studies, experiments and scores look like: they name files too.
NAME = r"\w[\w.+=-]*"
# A file's name has at most 255 bytes, and those that a name is part of ("plane_
# EXPERIMENT_level3.svg", while written with 34 more) must stay below.
NAME_BYTES = 100


@dataclasses.dataclass(frozen=True)
class PruneSettings:
  levels: int
  criterion: str
  fraction: float
  densities: tuple[float, ...]
  allocation: str
  rule: str
  exclude: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class TicketSettings:
  kind: str
  optimizer: str
  finetune_steps: int


@dataclasses.dataclass(frozen=True)
class ControlSettings:
  kinds: tuple[str, ...]
  levels: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class EvalSettings:
  """On what, and when, networks are evaluated.

  Attributes:
    test_examples: how many there are.
    splits: after training.
    curve_steps: absolute steps of training, on test data.
  """

  test_examples: int
  splits: tuple[SplitSettings, ...]
  curve_steps: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Experiment:
  """One pre-training choice and one IMP run."""

  name: str
  model: ModelSettings
  stream: StreamSettings
  optim: OptimSettings
  steps: int  # T
  pretrain: PretrainSettings
  prune: PruneSettings
  ticket: TicketSettings
  controls: ControlSettings
  eval: EvalSettings
  connectivity: ConnectivitySettings
  curvature: CurvatureSettings
  planes: PlaneSettings


@dataclasses.dataclass(frozen=True)
class ExecutionSettings:
  """What changes speed and rounding only; recorded, never hashed.

  Attributes:
    mode, convolution: what "auto" means here.
    devices: over which replicates are sharded.
    replicates_at_once: in one call of a program; 0 for as many as there are.
    memory_gib: what the replicates of a call may take together on each device;
      0 for what it has.
  """

  mode: str
  replicates_at_once: int
  memory_gib: float
  devices: int
  convolution: str
  chunk_steps: int
  checkpoint_seconds: float
  eval_batch_size: int
  mix: bool


@dataclasses.dataclass(frozen=True)
class Study:
  name: str
  seed: int
  replicates: int
  experiments: tuple[Experiment, ...]
  scores: tuple[ScoringSettings, ...]  # also wanted, whoever uses them
  claims: ClaimSettings
  execution: ExecutionSettings
