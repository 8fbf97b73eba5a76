"""What pre-training sees: subsets, label noise, scores."""

import dataclasses
from typing import Any

from imp_jax.settings.landscape import NoiseBetween
from imp_jax.settings.training import (
  ModelSettings,
  OptimSettings,
  StreamSettings,
)


@dataclasses.dataclass(frozen=True)
class NoiseSettings:
  """Noise on the training labels.

  Attributes:
    kind: one of `subsets.NOISES`, or "" for none.
    fraction: of the examples, of "redrawn" and "symmetric"; else 0.
    matrix: of "matrix": row i has the probabilities of what class i becomes.
    content: hash of the matrix, or of the labels of a "file".
  """

  kind: str
  fraction: float
  matrix: tuple[tuple[float, ...], ...] = ()
  content: str = ""

  @property
  def name(self) -> str:
    """What tells it from other noise: "noise10", "noise-file-1a2b3c"; or ""."""
    if not self.kind:
      return ""
    if self.content:
      return f"noise-{self.kind}-{self.content[:6]}"
    kind = "" if self.kind == "redrawn" else f"-{self.kind}"
    return f"noise{100 * self.fraction:g}{kind}"


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
class BarrierScoreSettings:
  """The per-example barrier between children of W_r, as a score.

  The networks are the study's own replicates: pre-trained on all the data for
  `rewind_step` steps, then trained to the end, once for each child.

  Attributes:
    name, formula, fingerprint: as of the other scores.
    rewind_step: t_r of the parents.
    steps: T.
    children, noise: of each parent; see `ConnectivitySettings`.
    label_noise: that the parents' pre-training sees; barriers are of the data
      set's labels.
    batch_stats: BatchNorm's statistics at the midpoint.
  """

  name: str
  formula: int
  fingerprint: str
  rewind_step: int
  steps: int
  children: int
  noise: NoiseBetween
  label_noise: NoiseSettings
  batch_stats: str
  batch_size: int = 0  # of scored batches, as in ScoreSettings
  never_learned: str = ""


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
  scores of one recipe come from one training. `parents` is the experiment
  whose children's barriers are the score.
  """

  score: ScoreSettings | BarrierScoreSettings | ImportSettings
  networks: int
  recipe: ScoreTraining | None = None
  parents: Any = None  # Experiment

  @property
  def label_noise(self) -> NoiseSettings:
    """The noise on the labels that its networks see."""
    if isinstance(self.score, BarrierScoreSettings):
      return self.score.label_noise
    return self.recipe.noise if self.recipe else NO_NOISE


@dataclasses.dataclass(frozen=True)
class PretrainSettings:
  steps: int  # t_r
  subset: SubsetSettings
  noise: NoiseSettings
  optim: OptimSettings
  scoring: ScoringSettings | None  # what orders the subset's examples
