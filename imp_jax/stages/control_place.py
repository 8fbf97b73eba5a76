"""Where a control stands, and what it is."""

import dataclasses

from imp_jax.core.graph import Node
from imp_jax.stages.trunk import Trunk


@dataclasses.dataclass(frozen=True)
class Control:
  """What a control trains in place of IMP's ticket of the same level.

  Attributes:
    masks: of its weights; None = dense.
    weights: that it starts from; None = W_r's.
    trained: its whole training, where it is no ticket's from t_r to the end.
  """

  masks: Node | None
  weights: Node | None = None
  trained: Node | None = None


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a control stands: what it may be made of.

  Attributes:
    name: of the experiment.
    trunk: its settings.
    level: of IMP.
    initial: the network as it was drawn.
    fresh: another one that is drawn, as it is.
    pretrain: the training that ends at W_r.
    dense: the dense network's, level 0 of what finds the masks.
    scored: what its level 1 was pruned by: that, or its W_r.
    before: the training that the level's masks were chosen after.
    coarser: the masks of the level before; None = dense.
    prune: the pruning that made the masks.
    ticket: the training of IMP's ticket, its weights rewound.
    flipped, early_distance, prunings, matching: as of `ControlSettings`.
  """

  name: str
  trunk: Trunk
  level: int
  initial: Node
  fresh: Node
  pretrain: Node
  dense: Node
  scored: Node
  before: Node
  coarser: Node | None
  prune: Node
  ticket: Node
  flipped: float
  early_distance: float
  prunings: int
  matching: str

  def label(self, what: str) -> str:
    """Returns the label of something that a control is made of."""
    return f"{self.name} {what} of level {self.level}"
