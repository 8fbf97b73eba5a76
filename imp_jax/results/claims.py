"""What a study claims before it runs."""

import dataclasses
from typing import Any

from imp_jax.core.options import option
from imp_jax.core.ranges import (
  HUGE,
  Range,
  above,
  between,
  several,
  text,
  unset_or,
  whole,
)
from imp_jax.probes.fields import STATISTICS


def _check_comparisons(field: str, value: Any) -> None:
  """Refuses what is no tuple of tuples of text.

  Text in place of a tuple passes: where claims are resolved it is refused with
  a message that says what it should be.
  """

  def check(field: str, names: Any) -> None:
    if not isinstance(names, str):
      several(text)(field, names)

  if not isinstance(value, str):
    several(Range("", check))(field, value)


_COMPARISONS = Range(
  "tuple of tuples of experiments",
  _check_comparisons,
  tuple,
  lambda value: tuple(map(tuple, value)),
)
_FRACTION = between("(0", "1)")


@dataclasses.dataclass(frozen=True)
class RewindingClaim:
  """Claim 0: each treatment's accuracy less the baseline's, at one level."""

  treatments: tuple[str, ...] = option((), several(text), "experiments")
  baseline: str = option("", text, "an experiment")
  level: int = option(0, whole(0), "at which they are compared")


@dataclasses.dataclass(frozen=True)
class LittleDataClaim:
  """Claim 1: a random subset's accuracy is not inferior to all the data's."""

  comparisons: tuple[tuple[str, str], ...] = option(
    (), _COMPARISONS, '((treatment, baseline), ...): (("random-20", "all-20"),)'
  )
  level: int = option(0, whole(0), "at which they are compared")
  # A quarter of what rewinding gained on the seeds that settings were chosen
  # on, at least a quarter point.
  margin: float = option(
    0.0025, _FRACTION, "the loss that counts as none, a fraction of accuracy"
  )


@dataclasses.dataclass(frozen=True)
class EasyDataClaim:
  """Claim 2: easy examples give more than random ones and than all the data."""

  comparisons: tuple[tuple[str, str, str], ...] = option(
    (), _COMPARISONS, "((easy, random, all), ...)"
  )
  level: int = option(0, whole(0), "at which they are compared")
  margin: Any = option(
    None,
    unset_or(_FRACTION),
    "a smaller gain is too small to matter; a fraction of accuracy, unset = "
    "claim 1's",
  )


@dataclasses.dataclass(frozen=True)
class ConnectedClaim:
  """Claim 3: the share of connected examples predicts sparse accuracy."""

  threshold: float = option(0.1, above(0), "nats, of the midpoint barrier")
  level: int = option(0, whole(0), "at which the accuracy is taken")
  experiments: tuple[str, ...] = option(
    (), several(text), "those compared; () = all whose W_r has children"
  )


@dataclasses.dataclass(frozen=True)
class TrialClaim:
  """Tickets on trial: every other experiment against one, at some levels."""

  baseline: str = option("", text, "an experiment; unset = no such trial")
  levels: tuple[int, ...] = option((), several(whole(1)), "of both; () = all")


ACCURACY, BARRIER = "accuracy", "barrier"
# What contrasts may be of.
QUANTITIES = (ACCURACY, BARRIER, *STATISTICS)


@dataclasses.dataclass(frozen=True)
class ContrastsClaim:
  """Paired differences, of tickets and of controls."""

  comparisons: tuple[tuple[str, ...], ...] = option(
    (),
    _COMPARISONS,
    '((treatment, baseline), ...), names as in results.csv: (("imp:reinit", '
    '"imp"),); of test accuracy, or of a third entry, of experiments alone: '
    "barrier (between a ticket's children) or a column of fields.csv",
  )
  levels: tuple[int, ...] = option((), several(whole(0)), "of both")


@dataclasses.dataclass(frozen=True)
class CostClaim:
  """Adaptive pruning against one experiment's fixed fraction."""

  baseline: str = option("", text, "an experiment; unset = no such claim")


@dataclasses.dataclass(frozen=True)
class ClaimSettings:
  """What a study claims; None is a claim that was not declared."""

  rewinding: RewindingClaim | None = None
  little_data: LittleDataClaim | None = None
  easy_data: EasyDataClaim | None = None
  connected: ConnectedClaim | None = None
  trial: TrialClaim | None = None
  cost: CostClaim | None = None
  contrasts: ContrastsClaim | None = None
  margin: float = option(
    0.01,
    _FRACTION,
    "of accuracy: matching the dense network, claim 0's equivalence, and what "
    "is as good in a trial, or at less cost",
  )
  resamples: int = option(
    10_000,
    whole(10_000, HUGE),
    "of variants and replicates: claim 3's interval",
  )
  confidence: float = option(
    0.95, _FRACTION, "of each claim's intervals, two-sided"
  )

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


# The groups of a config that declare one claim each.
CLAIMS = {
  "rewinding": RewindingClaim,
  "little_data": LittleDataClaim,
  "easy_data": EasyDataClaim,
  "connected": ConnectedClaim,
  "trial": TrialClaim,
  "cost": CostClaim,
  "contrasts": ContrastsClaim,
}
