"""How a probe's straight paths are evaluated: options, and what they mean."""

import dataclasses
from typing import Any

from imp_jax.core.options import off, option
from imp_jax.core.ranges import choice, in_range, numbers, several, whole
from imp_jax.data.settings import SPLITS, StreamSettings
from imp_jax.landscape.barriers import check_alphas
from imp_jax.landscape.paths import BATCH_STATS
from imp_jax.probes.facts import Facts
from imp_jax.probes.paths import PathSettings
from imp_jax.stages.evaluate import evaluated_splits


@dataclasses.dataclass(frozen=True)
class PathOptions:
  """The points of paths, and how they are evaluated."""

  alphas: tuple[float, ...] = option(
    (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), numbers, "and 0, 1"
  )
  splits: tuple[Any, ...] = option(
    ("train", "test"), several(choice(SPLITS)), "without augmentation"
  )
  batch_stats: tuple[str, ...] = option(
    ("recompute",),
    several(choice(BATCH_STATS)),
    "BatchNorm's statistics between the ends, each way in turn",
  )
  recompute_batches: int = option(
    10, whole(1), "training batches that recompute sees"
  )

  def path(self, stream: StreamSettings) -> PathSettings:
    """Returns how one path is evaluated.

    Args:
      stream: of the training, whose batches "recompute" sees.
    """
    return path_settings(self, stream)


def path_settings(options: Any, stream: StreamSettings) -> PathSettings:
  """Returns how one path is evaluated.

  Args:
    options: resolved, with the fields of `PathOptions`.
    stream: of the training, whose batches "recompute" sees.
  """
  recomputed = "recompute" in options.batch_stats
  return PathSettings(
    alphas=options.alphas,
    splits=options.splits,
    batch_stats=options.batch_stats,
    recompute_batches=options.recompute_batches if recomputed else 0,
    batch_size=stream.batch_size,
  )


def resolve_path(
  group: str, options: Any, facts: Facts, *, extrapolate: bool = False
) -> dict[str, Any]:
  """Returns the options of paths of a config's group, validated.

  Args:
    group: its name.
    options: it.
    facts: of the experiment.
    extrapolate: whether alphas may be outside [0, 1].

  Raises:
    ValueError: a field is out of its range.
  """
  given = tuple(options.alphas)
  if list(given) != sorted(set(given)):  # NaN neither
    raise ValueError(f"{group}.alphas must increase, got {given}")
  alphas = tuple(sorted({0.0, 1.0, *map(float, given)}))
  try:
    check_alphas(alphas, extrapolate=extrapolate)
  except ValueError as error:
    raise ValueError(f"{group}.{error}") from None
  splits = evaluated_splits(f"{group}.splits", options.splits, facts.dataset)
  modes = tuple(dict.fromkeys(options.batch_stats))
  if not splits or not modes:
    raise ValueError(f"{group}.splits and .batch_stats must not be empty")
  recompute = options.recompute_batches
  if "recompute" in modes:
    check_recompute(group, recompute, facts)
  else:
    recompute = off(PathOptions).recompute_batches
  return {
    "alphas": alphas,
    "splits": splits,
    "batch_stats": modes,
    "recompute_batches": recompute,
  }


def check_recompute(group: str, batches: int, facts: Facts) -> None:
  """Refuses more batches than there are.

  Raises:
    ValueError: names the group's field.
  """
  in_range(f"{group}.recompute_batches", batches, 1, facts.most_batches)
