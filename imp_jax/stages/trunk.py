"""What an experiment trains: its settings, resolved."""

import dataclasses
from typing import Any

from imp_jax.core.options import option
from imp_jax.core.ranges import choice, duration, text
from imp_jax.core.ranges import steps_of as duration_steps
from imp_jax.data.settings import (
  NO_NOISE,
  NOTHING_MADE,
  MadeSettings,
  NoiseSettings,
  StreamSettings,
)
from imp_jax.models.settings import ModelSettings
from imp_jax.pruning.settings import PruneSettings
from imp_jax.scores.settings import ALL_EXAMPLES, SubsetSettings
from imp_jax.stages.score import ScoringSettings
from imp_jax.training.settings import OptimSettings

TICKETS = ("weight_rewind", "lr_rewind", "finetune")
OPTIMIZERS = ("fresh", "rewound")


@dataclasses.dataclass(frozen=True)
class TicketSettings:
  """Where a ticket's weights come from, and how it is trained."""

  kind: str = option("weight_rewind", choice(TICKETS), "of every level's")
  optimizer: str = option(
    "fresh", choice(OPTIMIZERS), "rewound: W_r's momentum"
  )
  finetune_steps: Any = option("0step", duration, "of finetune")


@dataclasses.dataclass(frozen=True)
class PretrainOptions:
  """The options of group "pretrain" beside its subset, noise and optimiser."""

  steps: Any = option("0step", duration, "t_r")


@dataclasses.dataclass(frozen=True)
class PretrainSettings:
  """What W_r is made by.

  Attributes:
    steps: t_r.
    subset, noise: of the training examples, and on their labels.
    optim: the optimiser's numbers.
    scoring: what orders the subset's examples; None where nothing does.
  """

  steps: int
  subset: SubsetSettings
  noise: NoiseSettings
  optim: OptimSettings
  scoring: ScoringSettings | None = None


@dataclasses.dataclass(frozen=True)
class SeenOptions:
  """The options of group "train" beside its subset and noise."""

  file: str = option(
    "",
    text,
    "an .npz of other examples (train_image, train_label), e.g. distilled "
    "ones, that levels are trained on in place of the data's",
  )


@dataclasses.dataclass(frozen=True)
class SeenSettings:
  """What the trainings of an experiment's levels see of the training data.

  Attributes:
    subset, noise: of the training examples, and on their labels.
    scoring: what orders the subset's examples; None where nothing does.
    external: fingerprint of other examples in place of the data's; "" = none.
    made: from the data, in their place.
  """

  subset: SubsetSettings = ALL_EXAMPLES
  noise: NoiseSettings = NO_NOISE
  scoring: ScoringSettings | None = None
  external: str = ""
  made: MadeSettings = NOTHING_MADE


@dataclasses.dataclass(frozen=True)
class Training:
  """The main training: W_r's, and every ticket's.

  Attributes:
    steps: T.
    per_epoch: steps of one pass over the training examples.
  """

  model: ModelSettings
  stream: StreamSettings
  optim: OptimSettings
  steps: int
  per_epoch: int

  def steps_of(self, duration: str, field: str) -> int:
    """Returns a duration in steps, of epochs over all training examples.

    Raises:
      ValueError: it is none; the message names the field.
    """
    batch = self.stream.batch_size
    return duration_steps(duration, field, self.per_epoch, batch)


@dataclasses.dataclass(frozen=True)
class Trunk:
  """What an experiment trains: pre-training, then IMP with rewinding.

  Attributes:
    steps: T.
    train: what all trainings but pre-training see.
  """

  model: ModelSettings
  stream: StreamSettings
  optim: OptimSettings
  steps: int
  pretrain: PretrainSettings
  prune: PruneSettings
  ticket: TicketSettings
  train: SeenSettings = SeenSettings()
