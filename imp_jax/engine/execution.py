"""How a study is executed: the options of group "execution"."""

import dataclasses
import importlib.util
from typing import Any

import jax

from imp_jax.core.options import option, read
from imp_jax.core.ranges import choice, flag, number, several, text, whole
from imp_jax.engine.replicates import (
  resolve_devices,
  resolve_devices_each,
  resolve_execution,
)
from imp_jax.models.convolution import resolve_convolution

# What writers of measurements need, by name: a package, and the extra with it.
WRITERS = {"tensorboard": "tensorboardX", "wandb": "wandb"}


@dataclasses.dataclass(frozen=True)
class ExecutionSettings:
  """What changes speed and rounding only; recorded, never hashed."""

  mode: str = option("auto", text, "auto | threads | unroll | map | vmap")
  replicates_at_once: int = option(0, whole(0), "in one program; 0 = all")
  alphas_at_once: int = option(
    0,
    whole(0),
    "of a path, in one program; 0 = all, or on a CPU one",
  )
  memory_gib: float = option(
    0.0, number(0), "of each device, for replicates; 0 = what it has"
  )
  devices: int = option(
    0, whole(0), "that replicates are sharded over; 0 = all, see docs"
  )
  devices_each: int = option(
    0, whole(0), "that share a replicate's batches; 0 = what is left over"
  )
  convolution: str = option(
    "auto", text, "auto | fast | onednn | plain | packed | patches"
  )
  chunk_steps: int = option(
    500, whole(1, 100_000), "steps between two looks at the metrics"
  )
  checkpoint_seconds: float = option(
    60.0, number(0), "of an item in progress, at chunk ends"
  )
  lease_seconds: float = option(
    60.0,
    number(1),
    "without a sign of life after which other processes take an item over",
  )
  eval_batch_size: int = option(500, whole(1, 100_000), "examples")
  line_seconds: float = option(
    30.0, number(1), "between two lines on how far a run is, in a log"
  )
  writers: tuple[str, ...] = option(
    (), several(choice(tuple(WRITERS))), "that are told what is measured, too"
  )
  mix: bool = option(
    False, flag, "let one study mix modes that round differently"
  )


def resolve_execution_settings(
  execution: Any, input_rank: int, replicates: int, batch_size: int
) -> ExecutionSettings:
  """Returns what "auto" means here.

  Args:
    execution: the config's group.
    input_rank: of one example: 1 of signals, 3 of images.
    replicates: of the study.
    batch_size: of training.

  Raises:
    ValueError: an unknown mode or convolution, too many devices, or some that
      do not come out even; or a writer's package is not installed.
  """
  for name in execution.writers:
    if importlib.util.find_spec(WRITERS[name]) is None:
      raise ValueError(
        f"execution.writers: {name} needs {WRITERS[name]}: pip install "
        f"'imp-jax[{name}]'"
      )
  backend = jax.default_backend()
  mode = resolve_execution(execution.mode, backend)
  at_once = execution.alphas_at_once or (1 if backend == "cpu" else 0)
  devices = resolve_devices(execution.devices, mode)
  return read(
    ExecutionSettings,
    execution,
    alphas_at_once=at_once,
    mode=mode,
    devices=devices,
    devices_each=resolve_devices_each(
      execution.devices_each, devices, replicates, batch_size
    ),
    convolution=resolve_convolution(
      execution.convolution, backend=backend, images=input_rank > 1
    ),
  )
