"""Resolving a study: its experiments, one by one, from the config."""

import difflib
from collections.abc import Mapping
from typing import Any

import jax

from imp_jax.data.dataset import Dataset
from imp_jax.imports import Imports
from imp_jax.models.convolution import resolve_convolution
from imp_jax.pruning import leaf_groups
from imp_jax.replicates import resolve_devices, resolve_execution
from imp_jax.resolve.checks import (
  at_least,
  flatten,
  in_range,
)
from imp_jax.resolve.claims import resolve_claims
from imp_jax.resolve.dense import resolve_eval
from imp_jax.resolve.diet import (
  resolve_noise,
  resolve_pretrain,
  resolve_scoring,
)
from imp_jax.resolve.landscape import (
  resolve_connectivity,
  resolve_curvature,
  resolve_planes,
)
from imp_jax.resolve.training import resolve_training
from imp_jax.settings import (
  ControlSettings,
  ExecutionSettings,
  Experiment,
  ImportSettings,
  PruneSettings,
  ScoringSettings,
  Study,
  TicketSettings,
  model_of,
)

# What experiments of one study may differ in of `data`; the rest is the data.
STREAM_FIELDS = (
  "batch_size",
  "last_batch",
  "order",
  "augment_noise",
  "crop_pad",
  "flip",
  "augment_order",
)


def resolve(config: Any, dataset: Dataset, imports: Imports) -> Study:
  """Returns the study that a config means on a data set, wholly validated.

  Args:
    config: an `ml_collections.ConfigDict` with the fields of
      `configs/defaults.py`.
    dataset: what `config.data` names, loaded.
    imports: gathers what the config's files hold.

  Raises:
    OSError: a file that the config names is not there.
    ValueError: any setting is out of its range or unknown; the message names
      the field, the rule and the value.
  """
  experiments = []
  wanted = tuple(dict.fromkeys(config.scores.compute))
  default = () if wanted else ({"name": "default"},)
  for delta in config.experiments or default:
    flat = flatten(delta)
    name = flat.pop("name")
    experiments.append(
      _experiment(name, _with_delta(config, name, flat), dataset, imports)
    )
  if config.scores.file and not any(
    e.pretrain.scoring and isinstance(e.pretrain.scoring.score, ImportSettings)
    for e in experiments
  ):
    raise ValueError(
      "scores.file is given, but no subset asks for it by "
      "pretrain.subset.score='file'"
    )
  return Study(
    name=config.name,
    seed=config.seed,
    replicates=config.replicates,
    experiments=tuple(experiments),
    scores=tuple(
      _wanted_score(name, config, dataset, imports) for name in wanted
    ),
    claims=resolve_claims(config.claims, experiments),
    execution=_execution(config.execution, dataset),
  )


def _experiment(name, config, dataset, imports) -> Experiment:
  base = resolve_training(config, dataset)
  steps = base.steps_of
  rewind_step = steps(config.pretrain.steps, "pretrain.steps")
  if rewind_step >= base.steps:
    raise ValueError(
      f"pretrain.steps of {name} is {rewind_step}, but the run has "
      f"{base.steps} steps: the rewind step must come before its end"
    )
  pretrain = resolve_pretrain(config, base, rewind_step, dataset, imports)
  network = model_of(base.model, dataset, config.execution.convolution)
  prune = _prune(config.prune, network)
  ticket = TicketSettings(
    kind=config.ticket.kind,
    optimizer=config.ticket.optimizer,
    finetune_steps=steps(config.ticket.finetune_steps, "ticket.finetune_steps"),
  )
  if ticket.kind == "finetune":
    at_least("ticket.finetune_steps", ticket.finetune_steps, 1)
    if config.optim.schedule == "cosine":
      raise ValueError(
        "ticket.kind='finetune' goes on at the last learning rate, which is 0 "
        "under optim.schedule='cosine'"
      )
  if ticket.optimizer == "rewound" and ticket.kind != "weight_rewind":
    raise ValueError(
      "ticket.optimizer='rewound' means W_r's momentum: it goes with "
      f"ticket.kind='weight_rewind', not {ticket.kind!r}"
    )
  connectivity = resolve_connectivity(
    config.connectivity, base, rewind_step, prune.levels, ticket, dataset
  )
  return Experiment(
    name=name,
    model=base.model,
    stream=base.stream,
    optim=base.optim,
    steps=base.steps,
    pretrain=pretrain,
    prune=prune,
    ticket=ticket,
    controls=_controls(config.controls, prune.levels),
    eval=resolve_eval(config.eval, base, dataset),
    connectivity=connectivity,
    curvature=resolve_curvature(config.curvature, prune.levels, dataset),
    planes=resolve_planes(
      config.planes, base, prune.levels, dataset, connectivity
    ),
  )


def _wanted_score(name, config, dataset, imports) -> ScoringSettings:
  """A score that the study itself asks for, by its own settings."""
  base = resolve_training(config, dataset)
  noise = resolve_noise(config.pretrain.noise, dataset, imports)
  return resolve_scoring(name, config, base, noise, dataset)


def _prune(prune, network) -> PruneSettings:
  densities = tuple(float(d) for d in prune.densities)
  if list(densities) != sorted(densities, reverse=True):
    raise ValueError(f"prune.densities must not rise, got {densities}")
  if densities and prune.rule != "exact":
    raise ValueError(
      "prune.densities asks for exact counts: it goes with "
      f"prune.rule='exact', not {prune.rule!r}"
    )
  if densities and len(densities) < prune.levels:
    raise ValueError(
      f"prune.densities has {len(densities)} entries for {prune.levels} levels"
    )
  shapes, _ = jax.eval_shape(network.init, jax.random.key(0))
  exclude = tuple(prune.exclude)
  leaf_groups(
    network.prunable(shapes), allocation=prune.allocation, exclude=exclude
  )
  return PruneSettings(
    levels=prune.levels,
    criterion=prune.criterion,
    fraction=float(prune.fraction),
    densities=densities,
    allocation=prune.allocation,
    rule=prune.rule,
    exclude=exclude,
  )


def _controls(controls, levels) -> ControlSettings:
  for level in controls.levels:
    in_range("controls.levels", level, 1, levels)
  return ControlSettings(
    kinds=tuple(controls.kinds),
    levels=tuple(sorted(set(controls.levels))),
  )


def _execution(execution, dataset: Dataset) -> ExecutionSettings:
  backend = jax.default_backend()
  mode = resolve_execution(execution.mode, backend)
  chosen = {
    "mode": mode,
    "devices": resolve_devices(execution.devices, mode),
    "convolution": resolve_convolution(
      execution.convolution,
      backend=backend,
      images=len(dataset.input_shape) > 1,
    ),
  }
  return ExecutionSettings(**execution.to_dict() | chosen)


def _with_delta(config, name, flat: Mapping[str, Any]):
  """A copy of the config with one experiment's fields set."""
  config = config.copy_and_resolve_references()
  shared = (
    "name",
    "seed",
    "replicates",
    "experiments",
    "claims",
    "execution",
    "scores.compute",
  )
  known = sorted(flatten(config.to_dict()))
  for path, value in flat.items():
    *groups, field = path.split(".")
    if path not in known:
      near = difflib.get_close_matches(path, known, 1)
      hint = f"; did you mean {near[0]!r}?" if near else ""
      raise ValueError(f"experiment {name} sets unknown field {path!r}{hint}")
    if (
      path in shared
      or path.split(".")[0] in shared
      or (groups == ["data"] and field not in STREAM_FIELDS)
    ):
      raise ValueError(
        f"experiment {name} sets {path!r}, which a study's experiments share"
      )
    node = config
    for group in groups:
      node = node[group]
    try:
      if value is None:
        raise TypeError("it must have a value, got None")
      node[field] = tuple(value) if isinstance(value, list) else value
    except TypeError as error:
      raise ValueError(f"experiment {name}, {path}: {error}") from error
  return config
