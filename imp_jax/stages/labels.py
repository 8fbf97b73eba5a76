"""The stage that puts noise on the training labels."""

import dataclasses
from collections.abc import Sequence

from imp_jax.core.artefacts import Artefact
from imp_jax.core.graph import Item, Outcome, Stage
from imp_jax.data.settings import NoiseSettings
from imp_jax.engine.context import Context


@dataclasses.dataclass(frozen=True)
class NoisyLabels(Stage):
  """The training labels with noise on them, one artefact for all replicates.

  Its artefact: "labels", int[examples] in canonical order.

  Attributes:
    noise: what is done to them.
    fingerprint: of the training examples.
  """

  NAME = "noisy_labels"

  noise: NoiseSettings
  fingerprint: str

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    labels = context.imports.train_labels(
      context.dataset, self.noise, context.seed
    )
    record = {"noise": self.noise.name}
    return {item: Artefact(record, arrays={"labels": labels}) for item in items}
