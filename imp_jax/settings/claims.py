"""What a study claims before it runs."""

import dataclasses


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
    level: at which all are compared.
    margin: the loss that counts as none; a fraction of accuracy.
  """

  comparisons: tuple[tuple[str, str], ...]
  level: int
  margin: float


@dataclasses.dataclass(frozen=True)
class EasyDataClaim:
  """Claim 2: easy examples give more than random ones and than all the data.

  Attributes:
    comparisons: (easy, random, all) experiments.
    level: at which all are compared.
    margin: a smaller gain is too small to matter; a fraction of accuracy.
  """

  comparisons: tuple[tuple[str, str, str], ...]
  level: int
  margin: float


@dataclasses.dataclass(frozen=True)
class ConnectedClaim:
  """Claim 3: the share of connected examples goes with sparse accuracy.

  Attributes:
    threshold: in nats, of the midpoint barrier.
    level: at which the accuracy is taken.
    experiments: those compared; () = all whose W_r has children.
  """

  threshold: float
  level: int
  experiments: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ClaimSettings:
  """What a study claims; None is a claim that was not declared."""

  rewinding: RewindingClaim | None
  little_data: LittleDataClaim | None
  easy_data: EasyDataClaim | None
  connected: ConnectedClaim | None
  margin: float  # fraction of accuracy: equivalence, and matching the dense
  resamples: int  # of the correlation's clusters
  confidence: float

  @property
  def primary_level(self) -> int | None:
    """The level of the first declared claim."""
    declared = (
      self.rewinding,
      self.little_data,
      self.easy_data,
      self.connected,
    )
    return next((c.level for c in declared if c is not None), None)
