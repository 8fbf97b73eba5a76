"""Settings: what a study means, as frozen dataclasses."""

import dataclasses

from imp_jax.data.dataset import Dataset
from imp_jax.models import Model, make_model

# What names of studies, experiments and scores look like: they name files too.
NAME = r"\w[\w.+=-]*"


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


def optim_before(optim: OptimSettings, steps: int) -> OptimSettings:
  """Returns an optimiser's settings as far as the first `steps` steps see."""
  milestones = tuple(m for m in optim.milestones if m < steps)
  factor = optim.factor if milestones else 1.0
  return dataclasses.replace(optim, milestones=milestones, factor=factor)


@dataclasses.dataclass(frozen=True)
class NoiseSettings:
  """Noise on the training labels; fraction 0 = none."""

  kind: str
  fraction: float


NO_NOISE = NoiseSettings("", 0.0)


@dataclasses.dataclass(frozen=True)
class SubsetSettings:
  """Which examples to pre-train on; see `subsets.keep_indices`.

  Attributes:
    kind: one of `subsets.KINDS`.
    size: examples.
    score: name of the score that orders them, "" if none does.
    offset, balanced, drop_hardest: of the selection.
    content: hash of a given keep list, "" if there is none.
  """

  kind: str
  size: int
  score: str = ""
  offset: int = 0
  balanced: bool = False
  drop_hardest: float = 0.0
  content: str = ""


@dataclasses.dataclass(frozen=True)
class ScoreTraining:
  """How the networks are trained that score the examples."""

  model: ModelSettings
  stream: StreamSettings
  optim: OptimSettings
  noise: NoiseSettings


@dataclasses.dataclass(frozen=True)
class ScoreSettings:
  """One score, under one network.

  Attributes:
    name, formula: its name and the version of its formula.
    steps: scores made from outputs or gradients are averaged over these steps,
      those made from checkpoints take them together; streams: ().
    every, stop: streams are observed every so many steps up to `stop`; 0 =
      whenever an example is presented.
    window, never_learned: of the streams that have them, else 0 and "".
    batch_size: BatchNorm normalises by scored batches of this size; 0 = by its
      running statistics.
    training: as far as `last_step` sees it; None for a score that needs no
      network.
    fingerprint: the data's.
    constants: the normalisation's, where nothing else says them.
  """

  name: str
  formula: int
  fingerprint: str
  steps: tuple[int, ...] = ()
  every: int = 0
  stop: int = 0
  window: int = 0
  never_learned: str = ""
  batch_size: int = 0
  training: ScoreTraining | None = None
  constants: tuple[float, ...] = ()

  @property
  def last_step(self) -> int:
    return max((*self.steps, self.stop))

  @property
  def observations(self) -> int:
    """The fewest that a stream makes a score of: J, two for an event, one."""
    return self.window or (2 if self.never_learned else 1)


@dataclasses.dataclass(frozen=True)
class ImportSettings:
  """Scores from a file: their content's hash and what its record says."""

  name: str
  fingerprint: str
  content: str
  larger_is_harder: bool


@dataclasses.dataclass(frozen=True)
class ScoringSettings:
  """A score averaged over `networks` networks; 1 for one from a file.

  `recipe` is the whole training, beyond what the score itself sees of it:
  scores of one recipe come from one training.
  """

  score: ScoreSettings | ImportSettings
  networks: int
  recipe: ScoreTraining | None = None


@dataclasses.dataclass(frozen=True)
class PretrainSettings:
  steps: int  # t_r
  subset: SubsetSettings
  noise: NoiseSettings
  optim: OptimSettings
  scoring: ScoringSettings | None  # what orders the subset's examples


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
  scores: tuple[ScoringSettings, ...]  # also wanted, whoever uses them
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
