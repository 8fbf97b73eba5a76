"""Resolving what a study's config claims before it runs."""

from collections.abc import Sequence
from typing import Any

from imp_jax.core.options import read
from imp_jax.core.ranges import in_range, one_of
from imp_jax.results.claims import (
  ACCURACY,
  BARRIER,
  QUANTITIES,
  ClaimSettings,
  ConnectedClaim,
  ContrastsClaim,
  CostClaim,
  EasyDataClaim,
  LittleDataClaim,
  RewindingClaim,
  TrialClaim,
)
from imp_jax.stages.controls import DISPLACED
from imp_jax.study.experiment import Experiment


def resolve_claims(
  claims: Any, experiments: Sequence[Experiment]
) -> ClaimSettings:
  """Returns the declared claims, every name and level checked.

  Raises:
    ValueError: a claim names an unknown experiment, compares one with itself,
      is no tuple of comparisons or asks for a level that is not run; or a
      number is out of its range.
  """
  return read(
    ClaimSettings,
    claims,
    rewinding=_rewinding(claims.rewinding, experiments),
    little_data=_little_data(claims.little_data, experiments),
    easy_data=_easy_data(claims, experiments),
    connected=_connected(claims.connected, experiments),
    trial=_trial(claims.trial, experiments),
    cost=_cost(claims.cost.baseline, experiments),
    contrasts=_contrasts(claims.contrasts, experiments),
  )


def _rewinding(
  claim: Any, experiments: Sequence[Experiment]
) -> RewindingClaim | None:
  if not claim.treatments:
    return None
  treatments = tuple(claim.treatments)
  compared = (*treatments, claim.baseline)
  _check_names("claims.rewinding", compared, experiments)
  if claim.baseline in treatments:
    raise ValueError(
      "claims.rewinding compares treatments with a baseline; "
      f"{claim.baseline!r} is both"
    )
  _check_apart("claims.rewinding", treatments)
  _check_level("claims.rewinding", claim.level, compared, experiments)
  return RewindingClaim(treatments, claim.baseline, claim.level)


def _little_data(
  claim: Any, experiments: Sequence[Experiment]
) -> LittleDataClaim | None:
  field = "claims.little_data"
  comparisons = _comparisons(
    field, claim, ("treatment", "baseline"), experiments
  )
  if not comparisons:
    return None
  return LittleDataClaim(comparisons, claim.level, float(claim.margin))


def _easy_data(
  claims: Any, experiments: Sequence[Experiment]
) -> EasyDataClaim | None:
  field, claim = "claims.easy_data", claims.easy_data
  comparisons = _comparisons(
    field, claim, ("easy", "random", "all"), experiments
  )
  if not comparisons:
    return None
  margin = claim.margin  # unset: what counts as no loss is no gain either
  if margin is None:
    margin = claims.little_data.margin
  return EasyDataClaim(comparisons, claim.level, float(margin))


def _connected(
  claim: Any, experiments: Sequence[Experiment]
) -> ConnectedClaim | None:
  field, names = "claims.connected", tuple(claim.experiments)
  if not claim.level and not names:
    return None
  _check_names(f"{field}.experiments", names, experiments)
  compared = [
    e
    for e in experiments
    if (c := e.probes["connectivity"]).children and 0 in c.levels
  ]
  without = set(names) - {e.name for e in compared}
  if without or len(names or compared) < 2:
    raise ValueError(
      f"{field} needs at least two experiments whose W_r have children "
      "(connectivity.children, connectivity.levels with 0); "
      f"without: {', '.join(sorted(without)) or 'all but one'}"
    )
  chosen = names or tuple(e.name for e in compared)
  for e in compared:
    if e.name in chosen:
      c = e.probes["connectivity"]
      if "train" not in {s.name for s in c.splits}:
        raise ValueError(f"{field} needs 'train' in connectivity.splits")
      if 0.5 not in c.alphas:
        raise ValueError(f"{field} needs 0.5 in connectivity.alphas")
      if "average" not in c.batch_stats:
        raise ValueError(f"{field} needs connectivity.batch_stats 'average'")
  if claim.level < 1:
    raise ValueError(f"{field}.level must be at least 1, got {claim.level}")
  _check_level(field, claim.level, chosen, experiments)
  return ConnectedClaim(float(claim.threshold), claim.level, names)


def _trial(claim: Any, experiments: Sequence[Experiment]) -> TrialClaim | None:
  field, levels = "claims.trial", tuple(sorted(set(claim.levels)))
  if not claim.baseline:
    if levels:
      raise ValueError(
        f"{field}.levels is {levels}, but {field}.baseline is ''"
      )
    return None
  _check_names(f"{field}.baseline", (claim.baseline,), experiments)
  for level in levels:
    _check_level(field, level, (claim.baseline,), experiments, "levels")
  return TrialClaim(claim.baseline, levels)


def _cost(baseline: str, experiments: Sequence[Experiment]) -> CostClaim | None:
  field = "claims.cost.baseline"
  if not baseline:
    return None
  _check_names(field, (baseline,), experiments)
  pruned = {e.name: e.trunk.prune for e in experiments}
  p = pruned[baseline]
  if p.adaptive or p.densities or p.exclude or p.masks_of:
    raise ValueError(
      f"{field} is {baseline!r}, which prunes no fixed fraction of all weights "
      "(prune.fraction without prune.adaptive, densities, exclude or masks_of)"
    )
  if not any(p.adaptive and not p.masks_of for p in pruned.values()):
    raise ValueError(
      f"{field} is {baseline!r}, but no experiment has prune.adaptive, of "
      "which it would tell the cost"
    )
  return CostClaim(baseline)


def _contrasts(
  claim: Any, experiments: Sequence[Experiment]
) -> ContrastsClaim | None:
  field, levels = "claims.contrasts", tuple(sorted(set(claim.levels)))
  roles = ("treatment", "baseline", "quantity")
  given = _tuples(field, claim.comparisons, roles, optional=1)
  comparisons = tuple(
    names[:2] if names[2:] == (ACCURACY,) else names for names in given
  )
  for names in comparisons:
    if comparisons.count(names) > 1:
      raise ValueError(f"{field}.comparisons has {names} twice")
  if not comparisons and not levels:
    return None
  if not comparisons or not levels:
    raise ValueError(f"{field} needs both comparisons and levels")
  for *pair, quantity in map(_with_quantity, comparisons):
    one_of(f"{field}.comparisons", quantity, QUANTITIES)
    if quantity != ACCURACY:
      for name in pair:
        _check_quantity(field, name, quantity, levels, experiments)
    if quantity == BARRIER:
      _check_one_way(field, pair, experiments)
    displaced = [name.endswith(f":{DISPLACED}") for name in pair]
    if any(displaced) and not all(displaced):
      raise ValueError(
        f"{field} compares {pair[0]!r} with {pair[1]!r}, but {DISPLACED!r} has "
        "the mask of the level before: trial.csv compares it"
      )
  compared = [name for names in comparisons for name in names[:2]]
  for name in dict.fromkeys(compared):
    parent, _, control = name.partition(":")
    _check_names(f"{field}.comparisons", (parent,), experiments)
    for level in levels:
      _check_level(field, level, (parent,), experiments, "levels")
    e = next(e for e in experiments if e.name == parent)
    own, rewound = e.controls, e.trunk.ticket.kind == "weight_rewind"
    if not control:
      continue
    one_of(f"{field}.comparisons of {parent}", control, own.kinds)
    if control == "one_shot" and 1 in levels and rewound:
      raise ValueError(
        f"{field} compares {name!r} at level 1, where it is the ticket itself"
      )
    if lacking := set(levels) - set(own.levels):
      raise ValueError(
        f"{field} compares {name!r} at level {min(lacking)}, but "
        f"controls.levels of {parent} is {own.levels}"
      )
  return ContrastsClaim(comparisons, levels)


def _with_quantity(names: tuple[str, ...]) -> tuple[str, ...]:
  return names if len(names) == 3 else (*names, ACCURACY)


def _check_quantity(
  field: str,
  name: str,
  quantity: str,
  levels: Sequence[int],
  experiments: Sequence[Experiment],
) -> None:
  """Refuses to compare what is not looked at of an experiment."""
  _check_names(f"{field}.comparisons of {quantity}", (name,), experiments)
  e = next(e for e in experiments if e.name == name)
  if quantity == BARRIER:
    c = e.probes["connectivity"]
    # Without children splits are not resolved.
    tested = c.children and "test" in {split.name for split in c.splits}
    there = c.levels if tested else ()
    lacking = "connectivity.children, levels, and test among its splits"
  else:
    there = e.probes["fields"].levels
    if quantity == "cavity":  # of what goes at the next level
      there = [k for k in there if k < e.trunk.prune.levels]
    lacking = "fields.levels"
  if missing := set(levels) - set(there):
    raise ValueError(
      f"{field} compares {quantity} of {name!r} at level {min(missing)}, where "
      f"it is not looked at ({lacking})"
    )


def _check_one_way(
  field: str, pair: Sequence[str], experiments: Sequence[Experiment]
) -> None:
  """Refuses to compare barriers between which BatchNorm's statistics differ."""
  ways = {
    e.name: e.probes["connectivity"].batch_stats[0]
    for e in experiments
    if e.name in pair
  }
  if len(set(ways.values())) > 1:
    raise ValueError(
      f"{field} compares barriers of {pair[0]!r} and {pair[1]!r}, but the "
      f"first of connectivity.batch_stats is {ways[pair[0]]!r} there and "
      f"{ways[pair[1]]!r} here"
    )


def _comparisons(
  field: str,
  claim: Any,
  roles: Sequence[str],
  experiments: Sequence[Experiment],
) -> tuple[tuple, ...]:
  """A claim's comparisons: tuples of experiments, one for each role."""
  comparisons = _tuples(field, claim.comparisons, roles)
  for names in comparisons:
    _check_names(f"{field}.comparisons", names, experiments)
    _check_level(field, claim.level, names, experiments)
  return comparisons


def _tuples(
  field: str, given: Any, roles: Sequence[str], optional: int = 0
) -> tuple[Any, ...]:
  """Tuples of different names, one for each role; none of them twice.

  The last ones may be left out, as many as are `optional`.
  """
  found, lengths = [], range(len(roles) - optional, len(roles) + 1)
  for names in (given,) if isinstance(given, str) else given:
    if not isinstance(names, (tuple, list)) or len(names) not in lengths:
      raise ValueError(
        f"each of {field}.comparisons is ({', '.join(roles)}), got {names!r}"
      )
    _check_apart(field, names[: len(roles) - optional])
    if tuple(names) in found:
      raise ValueError(f"{field}.comparisons has {tuple(names)} twice")
    found.append(tuple(names))
  return tuple(found)


def _check_names(
  field: str, names: Sequence[str], experiments: Sequence[Experiment]
) -> None:
  for name in names:
    one_of(field, name, tuple(e.name for e in experiments))


def _check_apart(field: str, names: Sequence[str]) -> None:
  for name in names:
    if list(names).count(name) > 1:
      raise ValueError(f"{field} compares {name!r} with itself")


def _check_level(
  field: str,
  level: int,
  names: Sequence[str],
  experiments: Sequence[Experiment],
  option: str = "level",
) -> None:
  for e in experiments:
    if e.name in names:
      in_range(f"{field}.{option}", level, 0, e.trunk.prune.levels)
