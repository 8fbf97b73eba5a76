"""Every field of a config and what it may hold, whether it is used or not.

What depends on the data, or on other fields, is checked where it is resolved.
"""

import difflib
from collections.abc import Mapping
from typing import Any

from imp_jax.data.augment import AUGMENT_ORDERS
from imp_jax.data.batches import LAST_BATCH
from imp_jax.files import shown
from imp_jax.landscape.curvature import MATRICES
from imp_jax.landscape.paths import BATCH_STATS
from imp_jax.models.layers import BN_SCALE_INITS
from imp_jax.models.registry import DTYPES
from imp_jax.pruning import ALLOCATIONS, CRITERIA, RULES
from imp_jax.resolve.checks import flatten
from imp_jax.resolve.ranges import (
  HUGE,
  Check,
  above,
  between,
  choice,
  comparisons,
  duration,
  flag,
  model_name,
  name,
  number,
  numbers,
  several,
  text,
  unset_or,
  whole,
  width,
)
from imp_jax.scores import NEVER_LEARNED, SCORES
from imp_jax.subsets import KINDS, NOISES
from imp_jax.training.optimiser import DECAY_ON

FROM_FILE = "file"  # in place of a score's name: the one in scores.file
STREAM_NOISE = ("fixed", "replicate", "level")
SCHEDULES = ("milestones", "cosine")
WARMUP_STARTS = ("zero", "first")
TICKETS = ("weight_rewind", "lr_rewind", "finetune")
OPTIMIZERS = ("fresh", "rewound")
CONTROLS = ("random_mask", "reinit")
SPLITS = ("train", "valid", "test")
DIFFER = ("order", "augment", "both", "perturb")
THROUGH = ("children", "levels")


_MODEL: Mapping[str, Check] = {
  "name": model_name,
  "width": width,
  "bn_scale_init": choice(tuple(BN_SCALE_INITS)),
  "dtype": choice(tuple(DTYPES)),
}
_OPTIM: Mapping[str, Check] = {
  "steps": duration,
  "learning_rate": number(0),
  "schedule": choice(SCHEDULES),
  "milestones": several(duration),
  "milestone_factor": number(0),
  "warmup": duration,
  "warmup_start": choice(WARMUP_STARTS),
  "momentum": between("[0", "1)"),
  "nesterov": flag,
  "weight_decay": number(0),
  "decay_on": choice(DECAY_ON),
  "loss_scale": number(1),
}


def _group(prefix: str, checks: Mapping[str, Check]) -> dict[str, Check]:
  return {f"{prefix}.{field}": check for field, check in checks.items()}


def _unset(checks: Mapping[str, Check]) -> dict[str, Check]:
  return {field: unset_or(check) for field, check in checks.items()}


FIELDS: Mapping[str, Check] = {
  "name": name,
  "seed": whole(0, 2**32 - 1),
  "replicates": whole(1),
  "experiments": several(lambda field, value: None),  # each on its own
  **_group(
    "data",
    {
      "source": text,
      "name": text,
      "path": text,
      "cache_dir": text,
      "merge_valid": flag,
      "valid_examples": whole(0),
      "generator_seed": whole(0, 2**32 - 1),
      "train_examples": whole(4, HUGE),
      "test_examples": unset_or(whole(10, HUGE)),
      "mean": numbers,
      "std": numbers,
      "batch_size": whole(1),
      "last_batch": choice(LAST_BATCH),
      "order": choice(STREAM_NOISE),
      "augment_noise": choice(STREAM_NOISE),
      "crop_pad": whole(0),
      "flip": flag,
      "augment_order": choice(AUGMENT_ORDERS),
    },
  ),
  **_group("model", _MODEL),
  **_group("optim", _OPTIM),
  "pretrain.steps": duration,
  **_group(
    "pretrain.subset",
    {
      "kind": choice(KINDS),
      "size": whole(0),
      "score": choice((*SCORES, FROM_FILE)),
      "offset": whole(0),
      "balanced": flag,
      "drop_hardest": between("[0", "1)"),
      "file": text,
    },
  ),
  **_group(
    "pretrain.noise",
    {
      "kind": choice(NOISES),
      "fraction": between("[0", "1]"),
      "matrix": several(numbers),
      "file": text,
      "scoring": flag,
    },
  ),
  **_group(
    "pretrain.optim",
    _unset({k: v for k, v in _OPTIM.items() if k != "steps"}),
  ),
  **_group(
    "scores",
    {
      "compute": several(choice(tuple(SCORES))),
      "file": text,
      "networks": whole(1, 10_000),
      "steps": duration,
      "at_steps": several(duration),
      "bn_mode": choice(("eval", "batch")),
      "observe": choice(("evaluation", "presentation")),
      "every": duration,
      "never_learned": choice(NEVER_LEARNED),
      "window": whole(2, 10_000),
      "checkpoints": whole(2, 1000),
      "rewind_step": duration,
    },
  ),
  **_group("scores.model", _unset(_MODEL)),
  **_group("scores.optim", _unset(_OPTIM)),
  **_group(
    "prune",
    {
      "levels": whole(0),
      "criterion": choice(tuple(CRITERIA)),
      "fraction": between("(0", "1)"),
      "densities": several(between("(0", "1]")),
      "allocation": choice(ALLOCATIONS),
      "rule": choice(tuple(RULES)),
      "exclude": several(text),
    },
  ),
  "ticket.kind": choice(TICKETS),
  "ticket.optimizer": choice(OPTIMIZERS),
  "ticket.finetune_steps": duration,
  "controls.kinds": several(choice(CONTROLS)),
  "controls.levels": several(whole(1)),
  "eval.splits": several(choice(SPLITS)),
  "eval.curve_steps": several(duration),
  **_group(
    "connectivity",
    {
      "children": whole(0, 1000),
      "differ": choice(DIFFER),
      "perturb_step": duration,
      "perturb_norm": number(0),
      "levels": several(whole(0)),
      "successive": flag,
      "alphas": numbers,
      "extrapolate": flag,
      "splits": several(choice(SPLITS)),
      "batch_stats": several(choice(BATCH_STATS)),
      "recompute_batches": whole(1),
      "thresholds": several(above(0, " nats")),
    },
  ),
  **_group(
    "curvature",
    {
      "levels": several(whole(0)),
      "matrices": several(choice(MATRICES)),
      "examples": whole(1),
      "eigenvalues": whole(1),
      "lanczos_steps": whole(2, 10_000),
      "probes": whole(2, 10_000),
      "surviving": flag,
      "layers": flag,
    },
  ),
  **_group(
    "planes",
    {
      "through": several(choice(THROUGH)),
      "levels": several(whole(0)),
      "points": whole(2, 1000),
      "margin": number(0),
      "examples": whole(1),
      "snapshots": whole(0, 1000),
      "recompute_batches": whole(1),
    },
  ),
  **_group(
    "execution",
    {
      "mode": text,
      "replicates_at_once": whole(0),
      "memory_gib": number(0),
      "devices": whole(0),
      "convolution": text,
      "chunk_steps": whole(1, 100_000),
      "checkpoint_seconds": number(0),
      "eval_batch_size": whole(1, 100_000),
      "mix": flag,
    },
  ),
  "claims.rewinding.treatments": several(text),
  "claims.rewinding.baseline": text,
  "claims.rewinding.level": whole(0),
  "claims.little_data.comparisons": comparisons,
  "claims.little_data.level": whole(0),
  "claims.little_data.margin": between("(0", "1)"),
  "claims.easy_data.comparisons": comparisons,
  "claims.easy_data.level": whole(0),
  "claims.easy_data.margin": unset_or(between("(0", "1)")),
  "claims.connected.threshold": above(0),
  "claims.connected.level": whole(0),
  "claims.connected.experiments": several(text),
  "claims.margin": between("(0", "1)"),
  "claims.resamples": whole(10_000, HUGE),
  "claims.confidence": between("(0", "1)"),
}


def check_fields(config: Any) -> None:
  """Refuses a config that lacks a field, has another, or a value out of range.

  Args:
    config: a study's, before anything is read or made.

  Raises:
    ValueError: names the field, the rule and the value.
  """
  if not hasattr(config, "copy_and_resolve_references"):
    raise ValueError(
      "a config must be an ml_collections ConfigDict, as configs/defaults.py "
      f"makes it, got {type(config).__name__}"
    )
  values = flatten(config.to_dict())
  missing = [field for field in FIELDS if field not in values]
  if missing:
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    raise ValueError(
      f"the config lacks {', '.join(missing[:5])}{more}; configs/defaults.py "
      "has every field"
    )
  for field in values:
    if field not in FIELDS:
      raise ValueError(
        f"the config has an unknown field {field!r}{_near(field)}"
      )
  for field, check in FIELDS.items():
    check(field, values[field])
  names = set()
  for delta in config.experiments:
    own = _experiment_name(delta)
    if own in names:
      raise ValueError(f"two experiments are named {own!r}")
    names.add(own)
    for field, value in flatten(delta).items():
      if field in FIELDS and field != "name":
        try:
          if value is None:
            raise ValueError(f"{field}: it must have a value, got None")
          FIELDS[field](field, value)
        except ValueError as error:
          raise ValueError(f"experiment {own}, {error}") from None


def _experiment_name(delta: Any) -> str:
  """The name of one of a config's experiments."""
  if not hasattr(delta, "items"):
    raise ValueError(
      f'each of experiments is a dict like {{"name": "a"}}, got {shown(delta)}'
    )
  if not all(isinstance(key, str) for key in delta):
    raise ValueError(
      f"experiments set fields by name, got {shown(list(delta))}"
    )
  own = delta.get("name")
  if not isinstance(own, str):
    raise ValueError(
      "each of experiments needs a name of letters, digits, . + = - _, got "
      f"{shown(own)}"
    )
  name(f"the name of experiment {shown(own)}", own)
  return own


def _near(field: str) -> str:
  near = difflib.get_close_matches(field, FIELDS, 1)
  return f"; did you mean {near[0]!r}?" if near else ""
