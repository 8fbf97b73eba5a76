"""Resolving what a study's config claims before it runs."""

from collections.abc import Sequence
from typing import Any

from imp_jax.resolve.checks import at_least, in_range, one_of
from imp_jax.settings import ClaimSettings, Experiment, RewindingClaim


def resolve_claims(
  claims: Any, experiments: Sequence[Experiment]
) -> ClaimSettings:
  """Returns the declared claims, every name and level checked."""
  rewinding = None
  if claims.rewinding.treatments:
    names = tuple(e.name for e in experiments)
    treatments = tuple(claims.rewinding.treatments)
    for name in (*treatments, claims.rewinding.baseline):
      one_of("claims.rewinding", name, names)
    if claims.rewinding.baseline in treatments:
      raise ValueError(
        "claims.rewinding compares treatments with a baseline; "
        f"{claims.rewinding.baseline!r} is both"
      )
    level = claims.rewinding.level
    for e in experiments:
      if e.name in (*treatments, claims.rewinding.baseline):
        in_range("claims.rewinding.level", level, 0, e.prune.levels)
    rewinding = RewindingClaim(treatments, claims.rewinding.baseline, level)
  for field in ("margin", "confidence"):
    if not 0 < claims[field] < 1:
      raise ValueError(f"claims.{field} must be in (0, 1), got {claims[field]}")
  at_least("claims.resamples", claims.resamples, 10_000)
  return ClaimSettings(
    rewinding, float(claims.margin), claims.resamples, float(claims.confidence)
  )
