"""Settings: what a study means, as frozen dataclasses."""

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
class StreamSettings:
  """How examples reach the train step; `fingerprint` is the data's."""

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
  """The optimiser's numbers, steps absolute; see `training.Recipe`."""

  learning_rate: float
  milestones: tuple[int, ...]
  factor: float
  warmup: int
  cosine_steps: int
  momentum: float
  nesterov: bool
  weight_decay: float
  decay_on: str
  loss_scale: float


@dataclasses.dataclass(frozen=True)
class PretrainSettings:
  steps: int  # t_r
  subset: str


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
  splits: tuple[str, ...]
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


@dataclasses.dataclass(frozen=True)
class RewindingClaim:
  """Claim 0: each treatment's accuracy less the baseline's, at one level."""

  treatments: tuple[str, ...]
  baseline: str
  level: int


@dataclasses.dataclass(frozen=True)
class LittleDataClaim:
  """Claim 1: a random subset's accuracy is not inferior to all the data's.

  Attributes:
    comparisons: (treatment, baseline) experiments, e.g. random-20, all-20.
    none: the experiment without pre-training; what the baseline gains over it
      sets the margin.
    level: at which all are compared.
  """

  comparisons: tuple[tuple[str, str], ...]
  none: str
  level: int


@dataclasses.dataclass(frozen=True)
class EasyDataClaim:
  """Claim 2: easy examples give more than random ones and than all the data.

  Attributes:
    comparisons: (easy, random, all) experiments.
    level: at which all are compared.
  """

  comparisons: tuple[tuple[str, str, str], ...]
  level: int


@dataclasses.dataclass(frozen=True)
class ClaimSettings:
  """What a study claims; None is a claim that was not declared."""

  rewinding: RewindingClaim | None
  little_data: LittleDataClaim | None
  easy_data: EasyDataClaim | None
  margin: float  # fraction of accuracy: equivalence, and matching the dense
  resamples: int
  confidence: float

  @property
  def primary_level(self) -> int | None:
    """The level of the first declared claim."""
    declared = (self.rewinding, self.little_data, self.easy_data)
    return next((c.level for c in declared if c is not None), None)


@dataclasses.dataclass(frozen=True)
class ExecutionSettings:
  """What changes speed and rounding only; recorded, never hashed."""

  mode: str
  replicates_at_once: int  # 0 = as many as there are
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
  claims: ClaimSettings
  execution: ExecutionSettings


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
