"""What an experiment is made of: tickets, and what is looked at around them."""

import dataclasses

from imp_jax.core.graph import Node


@dataclasses.dataclass(frozen=True)
class Ticket:
  """A lottery ticket and its training, for any replicate.

  Attributes:
    experiment: its name.
    kind: "imp", or the control's.
    level: of IMP, 0 = dense.
    pretrain: W_r.
    train: its training.
    masks: of its weights; None = dense.
    metrics, pretrained_metrics: of the trained ticket, and of W_r.
  """

  experiment: str
  kind: str
  level: int
  pretrain: Node
  train: Node
  masks: Node | None
  metrics: Node
  pretrained_metrics: Node


@dataclasses.dataclass(frozen=True)
class View:
  """One thing that is looked at in the landscape, for any replicate.

  Attributes:
    experiment: its name.
    kind: as tables name it.
    level: of the ticket; of a path between levels the lower one, of a plane 0.
    between: of a path its ends, "0-1"; of a plane what it goes through.
    role: what its artefact is: "path", "curvature" or "plane".
    node: what makes it.
    replicates: how many of it; None = the study's.
  """

  experiment: str
  kind: str
  level: int
  between: str
  role: str
  node: Node
  replicates: int | None = None
