"""Resolving what is looked at of the loss landscape."""

from collections.abc import Sequence
from typing import Any

from imp_jax.data.dataset import Dataset
from imp_jax.landscape.barriers import check_alphas
from imp_jax.landscape.curvature import MATRICES
from imp_jax.resolve.checks import in_range, one_of
from imp_jax.resolve.training import Training
from imp_jax.settings import (
  ConnectivitySettings,
  CurvatureSettings,
  NoiseBetween,
  PathSettings,
  PlaneSettings,
  SplitSettings,
  TicketSettings,
)

# What is not looked at is one and the same setting, whatever is left of it.
NO_CONNECTIVITY = ConnectivitySettings(
  children=0,
  noise=NoiseBetween(""),
  levels=(),
  successive=False,
  path=PathSettings((), (), (), 0, 0),
  thresholds=(),
)
NO_CURVATURE = CurvatureSettings((), (), 0, 0, 0, 0, False, False)
NO_PLANES = PlaneSettings((), (), 0, 0.0, 0, 0, 0, 0)


def resolve_connectivity(
  connectivity: Any,
  base: Training,
  start: int,
  levels: int,
  ticket: TicketSettings,
  dataset: Dataset,
) -> ConnectivitySettings:
  """Returns which networks are joined by paths, and how.

  Args:
    connectivity: the config's group.
    base: the main training.
    start: t_r, where children begin.
    levels: of IMP.
    ticket: how its tickets are trained.
    dataset: the data.

  Raises:
    ValueError: a field is out of its range, a level is not run, or children
      would be equal.
  """
  c = connectivity
  if not c.children and not c.successive:
    return NO_CONNECTIVITY
  if c.children == 1:
    raise ValueError(
      "connectivity.children must be 0 or at least 2: one child has nothing to "
      "be connected to, got 1"
    )
  noise = NoiseBetween("")
  if c.children:
    for level in c.levels:
      in_range("connectivity.levels", level, 0, levels)
    noise = _noise(c, base, start, ticket, dataset)
    if not c.levels:
      raise ValueError(
        "connectivity.levels must name a level whose tickets have children"
      )
  if c.successive and not levels:
    raise ValueError(
      "connectivity.successive joins levels: prune.levels must be at least 1"
    )
  return ConnectivitySettings(
    children=c.children,
    noise=noise,
    levels=tuple(sorted(set(c.levels))) if c.children else (),
    successive=bool(c.successive),
    path=_path(c, base, dataset),
    thresholds=tuple(sorted({float(t) for t in c.thresholds})),
  )


def resolve_curvature(
  curvature: Any, levels: int, dataset: Dataset
) -> CurvatureSettings:
  """Returns at which networks curvature is taken, and how.

  Raises:
    ValueError: a field is out of its range, or a level is not run.
  """
  c = curvature
  if not c.levels:
    return NO_CURVATURE
  for level in c.levels:
    in_range("curvature.levels", level, 0, levels)
  matrices = tuple(c.matrices)
  if not matrices:
    raise ValueError(
      f"curvature.matrices must name some of {', '.join(MATRICES)}"
    )
  in_range("curvature.examples", c.examples, 1, len(dataset.train))
  in_range("curvature.eigenvalues", c.eigenvalues, 1, c.lanczos_steps)
  return CurvatureSettings(
    levels=tuple(sorted(set(c.levels))),
    matrices=matrices,
    examples=c.examples,
    eigenvalues=c.eigenvalues,
    lanczos_steps=c.lanczos_steps,
    probes=c.probes,
    surviving=bool(c.surviving),
    layers=bool(c.layers),
  )


def resolve_planes(
  planes: Any,
  base: Training,
  levels: int,
  dataset: Dataset,
  connectivity: ConnectivitySettings,
) -> PlaneSettings:
  """Returns which planes are drawn.

  Raises:
    ValueError: a field is out of its range, a level is not run, or there are no
      children to draw one through.
  """
  p = planes
  if not p.through:
    return NO_PLANES
  through = tuple(p.through)
  if "children" in through and not connectivity.children:
    raise ValueError(
      "planes.through='children' needs connectivity.children >= 2, got 0"
    )
  if "levels" in through:
    for level in p.levels:
      in_range("planes.levels", level, 0, levels)
  if "levels" in through and len(set(p.levels)) != 3:
    raise ValueError(
      f"planes.levels must be three different levels, got {tuple(p.levels)}"
    )
  in_range("planes.examples", p.examples, 1, len(dataset.train))
  if p.snapshots:
    in_range("planes.snapshots", p.snapshots, 2, 1000)
  _check_recompute("planes", p.recompute_batches, base, dataset)
  return PlaneSettings(
    through=tuple(dict.fromkeys(through)),
    levels=tuple(sorted(set(p.levels))) if "levels" in through else (),
    points=p.points,
    margin=float(p.margin),
    examples=p.examples,
    snapshots=p.snapshots,
    recompute_batches=p.recompute_batches,
    batch_size=base.stream.batch_size,
  )


def _noise(c, base, start, ticket, dataset) -> NoiseBetween:
  differ = c.differ
  augmented = base.stream.crop_pad > 0 or base.stream.flip
  whole = base.stream.batch_size == len(dataset.train)
  if differ == "augment" and not augmented:
    raise ValueError(
      "connectivity.differ='augment' needs augmentation (data.crop_pad or "
      "data.flip): without it the children would be equal"
    )
  if whole and differ in ("order", "both") and not augmented:
    raise ValueError(
      f"connectivity.differ={differ!r} needs more than one batch per epoch: "
      "with all the data in each batch the children would be equal"
    )
  if differ != "perturb":
    return NoiseBetween(differ)
  step = base.steps_of(c.perturb_step, "connectivity.perturb_step")
  for level in c.levels:
    first, end = start, base.steps
    if level and ticket.kind == "finetune":
      first, end = base.steps, base.steps + ticket.finetune_steps
    if not first <= step < end:
      raise ValueError(
        f"connectivity.perturb_step must be in the training of level {level}, "
        f"{first} <= step < {end}, got {step}"
      )
  if not c.perturb_norm:
    raise ValueError(
      "connectivity.perturb_norm must be > 0, or the children would be equal, "
      f"got {c.perturb_norm}"
    )
  return NoiseBetween(differ, step, float(c.perturb_norm))


def evaluated_splits(
  field: str, names: Sequence[str], dataset: Dataset
) -> tuple[SplitSettings, ...]:
  """Returns the splits that a field names, each once.

  Raises:
    ValueError: the data set has no such split.
  """
  known = tuple(dataset.splits)
  return tuple(
    SplitSettings(one_of(field, name, known), dataset.splits[name].fingerprint)
    for name in dict.fromkeys(names)
  )


def _path(c, base, dataset) -> PathSettings:
  if list(c.alphas) != sorted(set(c.alphas)):  # NaN neither
    raise ValueError(
      f"connectivity.alphas must increase, got {tuple(c.alphas)}"
    )
  alphas = tuple(sorted({0.0, 1.0, *map(float, c.alphas)}))
  try:
    check_alphas(alphas, extrapolate=bool(c.extrapolate))
  except ValueError as error:
    raise ValueError(f"connectivity.{error}") from None
  splits = evaluated_splits("connectivity.splits", c.splits, dataset)
  modes = tuple(c.batch_stats)
  if not splits or not modes:
    raise ValueError("connectivity.splits and .batch_stats must not be empty")
  recompute = 0
  if "recompute" in modes:
    recompute = c.recompute_batches
    _check_recompute("connectivity", recompute, base, dataset)
  return PathSettings(
    alphas=alphas,
    splits=splits,
    batch_stats=tuple(dict.fromkeys(modes)),
    recompute_batches=recompute,
    batch_size=base.stream.batch_size,
  )


def _check_recompute(group, batches, base, dataset) -> None:
  most = len(dataset.train) // base.stream.batch_size
  in_range(f"{group}.recompute_batches", batches, 1, most)
