"""What a probe knows of an experiment, and what its looks would cost."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from imp_jax.data.dataset import Dataset
from imp_jax.stages.trunk import TicketSettings, Training


@dataclasses.dataclass(frozen=True)
class Facts:
  """What a probe's options are resolved with.

  Attributes:
    training: the main one.
    rewind_step: t_r.
    levels: of IMP.
    ticket: how its tickets are trained.
    dataset: the data.
    probes: settings of the probes before it, by group.
    seen: how many training examples the levels are trained on.
  """

  training: Training
  rewind_step: int
  levels: int
  ticket: TicketSettings
  dataset: Dataset
  probes: Mapping[str, Any]
  seen: int

  @property
  def most_batches(self) -> int:
    """Whole batches of training examples that there are."""
    return len(self.dataset.train) // self.training.stream.batch_size


@dataclasses.dataclass(frozen=True)
class Extent:
  """What something would compute.

  Attributes:
    trainings: networks that are trained.
    looks: paths, planes and curvatures.
    steps: batches that are evaluated for looks, trainings apart.
    shared: whether it is done once, not for every replicate.
  """

  trainings: int = 0
  looks: int = 0
  steps: int = 0
  shared: bool = False
