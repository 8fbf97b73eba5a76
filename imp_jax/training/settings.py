"""The optimiser's options, resolved to steps and to the numbers of a recipe."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp

from imp_jax.core.options import default_values, option, read
from imp_jax.core.ranges import (
  above,
  between,
  choice,
  duration,
  flag,
  number,
  several,
)
from imp_jax.training.optimiser import DECAY_ON, OPTIMISERS, Recipe, UpdateRule

SCHEDULES = ("milestones", "cosine")
WARMUP_STARTS = ("zero", "first")


@dataclasses.dataclass(frozen=True)
class OptimSettings:
  """An optimiser; durations in absolute steps once it is resolved.

  What means nothing is at its default: milestones under a cosine, T without.
  """

  NAME: ClassVar[str] = "optim"

  name: str = option("sgd", choice(OPTIMISERS), "which optimiser")
  steps: Any = option("2000step", duration, "T, the end of every training")
  learning_rate: float = option(0.1, number(0), "at its highest")
  schedule: str = option("milestones", choice(SCHEDULES), "of the rate")
  milestones: tuple[Any, ...] = option(
    ("1000step", "1500step"), several(duration), "absolute"
  )
  milestone_factor: float = option(
    0.1, number(0), "multiplies the rate at each milestone"
  )
  warmup: Any = option("0step", duration, "of linear warm-up")
  warmup_start: str = option(
    "first",
    choice(WARMUP_STARTS),
    "step s has s / warmup of the rate (zero, as both of the paper's code "
    "bases) or (s + 1) / warmup (first)",
  )
  momentum: float = option(0.9, between("[0", "1)"), "of SGD; b1 of AdamW")
  nesterov: bool = option(False, flag, "Nesterov's momentum")
  weight_decay: float = option(
    1e-4,
    number(0),
    "of SGD added to the gradient before momentum, of AdamW to the update",
  )
  decay_on: str = option("all", choice(DECAY_ON), "what decays")
  loss_scale: float = option(1.0, number(1), "for float16")
  b2: float = option(0.999, between("[0", "1)"), "of AdamW")
  eps: float = option(1e-8, above(0), "of AdamW")

  @property
  def cosine_steps(self) -> int:
    """Where a cosine ends; 0 without one."""
    return self.steps if self.schedule == "cosine" else 0


def optim_in_steps(**fields: Any) -> OptimSettings:
  """Returns an optimiser's settings, for use without a config.

  Args:
    **fields: of `OptimSettings`, durations in steps; without milestones and
      warmup the rate is constant.
  """
  return OptimSettings(**({"steps": 0, "milestones": (), "warmup": 0} | fields))


def resolve_optim(
  optim: Any,
  steps: Callable[[str, str], int],
  total: int,
  group: str = "optim",
) -> OptimSettings:
  """Returns an optimiser's numbers.

  Args:
    optim: the config's group of fields.
    steps: (duration, field) -> steps.
    total: a cosine ends after so many steps.
    group: the name that messages give it.

  Raises:
    ValueError: milestones do not increase, or are no durations.
  """
  milestones = tuple(steps(d, f"{group}.milestones") for d in optim.milestones)
  if list(milestones) != sorted(set(milestones)):
    raise ValueError(f"{group}.milestones must increase, got {milestones}")
  warmup = steps(optim.warmup, f"{group}.warmup")
  cosine = optim.schedule == "cosine"
  plain = read(OptimSettings, default_values(OptimSettings))
  return read(
    OptimSettings,
    optim,
    steps=total if cosine else plain.steps,
    milestones=() if cosine else milestones,
    milestone_factor=plain.milestone_factor
    if cosine
    else float(optim.milestone_factor),
    warmup=warmup,
    warmup_start=optim.warmup_start if warmup else plain.warmup_start,
  )


def optim_before(optim: OptimSettings, steps: int) -> OptimSettings:
  """Returns an optimiser's settings as far as the first `steps` steps see."""
  milestones = tuple(m for m in optim.milestones if m < steps)
  plain = read(OptimSettings, default_values(OptimSettings))
  factor = optim.milestone_factor if milestones else plain.milestone_factor
  return dataclasses.replace(
    optim, milestones=milestones, milestone_factor=factor
  )


def update_rule(optim: OptimSettings) -> UpdateRule:
  """Returns what a train program is compiled for of an optimiser's settings."""
  return UpdateRule(optim.nesterov, optim.decay_on, optim.name)


def make_recipe(optim: OptimSettings) -> Recipe:
  """Returns the traced numbers of an optimiser's settings."""
  first = optim.warmup_start == "first" and optim.warmup > 0
  return Recipe(
    learning_rate=jnp.float32(optim.learning_rate),
    # A fixed length, so that one program serves every number of milestones.
    milestones=jnp.asarray(
      [*optim.milestones, *[2**31 - 1] * (8 - len(optim.milestones))],
      jnp.int32,
    ),
    factor=jnp.float32(optim.milestone_factor),
    warmup=jnp.int32(optim.warmup),
    warmup_offset=jnp.int32(first),
    cosine_steps=jnp.int32(optim.cosine_steps),
    momentum=jnp.float32(optim.momentum),
    weight_decay=jnp.float32(optim.weight_decay),
    loss_scale=jnp.float32(optim.loss_scale),
    b2=jnp.float32(optim.b2),
    eps=jnp.float32(optim.eps),
  )
