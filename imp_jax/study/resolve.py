"""Resolving a study: its experiments, one by one, from the config."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from imp_jax.core.masks import leaf_shapes
from imp_jax.core.options import off, read
from imp_jax.core.ranges import at_least, one_of
from imp_jax.data.dataset import Dataset
from imp_jax.data.settings import NO_NOISE
from imp_jax.engine.execution import resolve_execution_settings
from imp_jax.engine.imports import Imports
from imp_jax.models import Model
from imp_jax.models.settings import ModelSettings, model_of
from imp_jax.probes.bound import BoundSettings
from imp_jax.probes.facts import Facts
from imp_jax.probes.registry import PROBES
from imp_jax.pruning import CRITERIA, leaf_groups
from imp_jax.pruning.settings import PruneSettings, idle
from imp_jax.scores.settings import ImportSettings
from imp_jax.stages.control_settings import resolve_controls
from imp_jax.stages.evaluate import resolve_eval
from imp_jax.stages.score import ScoringSettings
from imp_jax.stages.trunk import (
  SeenSettings,
  TicketSettings,
  Training,
  Trunk,
)
from imp_jax.study.claims import resolve_claims
from imp_jax.study.diet import resolve_pretrain, resolve_seen
from imp_jax.study.experiment import Experiment, Search, Study
from imp_jax.study.noise import resolve_noise
from imp_jax.study.options import flatten, with_delta
from imp_jax.study.scoring import resolve_scoring
from imp_jax.study.training import resolve_training
from imp_jax.training.settings import OptimSettings


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
      _experiment(name, with_delta(config, name, flat), dataset, imports)
    )
  experiments = [_with_search(e, config, experiments) for e in experiments]
  study = Study(
    name=config.name,
    seed=config.seed,
    replicates=config.replicates,
    experiments=tuple(experiments),
    scores=tuple(
      _wanted_score(name, config, dataset, imports) for name in wanted
    ),
    claims=resolve_claims(config.claims, experiments),
    execution=resolve_execution_settings(
      config.execution,
      len(dataset.input_shape),
      config.replicates,
      config.data.batch_size,
    ),
  )
  if config.scores.file and not any(
    isinstance(scoring.score, ImportSettings) for scoring in study.scorings
  ):
    raise ValueError(
      "scores.file is given, but no subset asks for it by "
      "pretrain.subset.score='file' or train.subset.score='file'"
    )
  return study


def _experiment(
  name: str, config: Any, dataset: Dataset, imports: Imports
) -> Experiment:
  training = resolve_training(config, dataset)
  trunk = _trunk(name, config, training, dataset, imports)
  probes: dict[str, Any] = {}
  facts = Facts(
    training,
    trunk.pretrain.steps,
    trunk.prune.levels,
    trunk.ticket,
    dataset,
    probes,
    _examples_seen(trunk.train, dataset, imports),
  )
  for group, probe in PROBES.items():
    probes[group] = probe.resolve(config[group], facts)
  return Experiment(
    name=name,
    trunk=trunk,
    controls=resolve_controls(
      config.controls,
      trunk.prune.levels,
      trunk.pretrain.steps,
      replicates=config.replicates,
      convolutions=_has_convolutions(trunk.model, dataset),
      rewound=trunk.ticket.kind == "weight_rewind",
    ),
    eval=resolve_eval(config.eval, training, dataset),
    probes=probes,
  )


def _examples_seen(
  seen: SeenSettings, dataset: Dataset, imports: Imports
) -> int:
  if seen.external:
    return len(imports.splits[seen.external])
  if seen.made.kind in ("class_means", "distilled"):
    return seen.made.per_class * dataset.num_classes
  return seen.subset.size or len(dataset.train)


def _has_convolutions(settings: ModelSettings, dataset: Dataset) -> bool:
  model = model_of(settings, dataset.input_shape, "plain")
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  shapes = leaf_shapes(params, model.prunable(params))
  return any(len(shape) > 2 for shape in shapes.values())


def _with_search(
  e: Experiment, config: Any, experiments: Sequence[Experiment]
) -> Experiment:
  """An experiment that takes its masks from the one that its option names."""
  name = e.trunk.prune.masks_of
  if not name:
    return e
  field = f"prune.masks_of of {e.name}"
  one_of(field, name, tuple(other.name for other in experiments))
  if name == e.name:
    raise ValueError(f"{field} is the experiment itself")
  (delta,) = (d for d in config.experiments if d["name"] == e.name)
  own = [
    path
    for path in flatten(delta)
    if path.startswith("prune.")
    and path not in ("prune.masks_of", "prune.levels")
  ]
  if own:
    raise ValueError(
      f"experiment {e.name} sets {own[0]}, but its masks are those of "
      f"{name!r}: set it there"
    )
  other = next(other for other in experiments if other.name == name)
  if other.trunk.prune.masks_of:
    raise ValueError(
      f"{field} is {name!r}, which takes its masks from another itself"
    )
  if other.trunk.model != e.trunk.model:
    raise ValueError(f"{field} is {name!r}, whose network is another one")
  if other.trunk.prune.levels < e.trunk.prune.levels:
    raise ValueError(
      f"{field} is {name!r}, which has {other.trunk.prune.levels} levels, but "
      f"prune.levels is {e.trunk.prune.levels}"
    )
  levels = e.trunk.prune.levels
  prune = dataclasses.replace(other.trunk.prune, levels=levels, masks_of=name)
  return dataclasses.replace(
    e,
    trunk=dataclasses.replace(e.trunk, prune=prune),
    search=Search(name, other.trunk, other.eval.curve_steps),
  )


def _trunk(
  name: str,
  config: Any,
  training: Training,
  dataset: Dataset,
  imports: Imports,
) -> Trunk:
  """What an experiment trains."""
  steps = training.steps_of
  rewind_step = steps(config.pretrain.steps, "pretrain.steps")
  if rewind_step >= training.steps:
    raise ValueError(
      f"pretrain.steps of {name} is {rewind_step}, but the run has "
      f"{training.steps} steps: the rewind step must come before its end"
    )
  pretrain = resolve_pretrain(config, training, rewind_step, dataset, imports)
  network = model_of(
    training.model, dataset.input_shape, config.execution.convolution
  )
  seen = resolve_seen(config, training, dataset, imports)
  own = not config.prune.masks_of  # else what is pruned is another's
  if (
    own
    and seen != SeenSettings()
    and (
      CRITERIA[config.prune.criterion].needs_examples or config.prune.adaptive
    )
  ):
    what = "adaptive" if config.prune.adaptive else "criterion"
    raise ValueError(
      f"prune.{what}={config.prune[what]!r} of {name} looks at the training "
      "data, all of them and as they are: it goes with no train.subset, "
      "train.noise, train.file or train.made"
    )
  return Trunk(
    model=training.model,
    stream=training.stream,
    optim=training.optim,
    steps=training.steps,
    pretrain=pretrain,
    prune=_prune(config.prune, network, dataset, rewind_step),
    ticket=_ticket(config, training, pretrain.optim),
    train=seen,
  )


def _ticket(
  config: Any, training: Training, before: OptimSettings
) -> TicketSettings:
  ticket = read(
    TicketSettings,
    config.ticket,
    finetune_steps=training.steps_of(
      config.ticket.finetune_steps, "ticket.finetune_steps"
    ),
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
  if ticket.optimizer == "rewound" and before.name != training.optim.name:
    raise ValueError(
      "ticket.optimizer='rewound' goes on with W_r's optimiser: "
      f"pretrain.optim.name is {before.name!r}, optim.name "
      f"{training.optim.name!r}"
    )
  return ticket


def _wanted_score(
  name: str, config: Any, dataset: Dataset, imports: Imports
) -> ScoringSettings:
  """A score that the study itself asks for, by its own settings."""
  base = resolve_training(config, dataset)
  noise = NO_NOISE
  if config.pretrain.noise.scoring:
    noise = resolve_noise(config.pretrain.noise, dataset, imports)
  return resolve_scoring(name, config, base, noise, dataset)


def _prune(
  prune: Any, network: Model, dataset: Dataset, rewind_step: int
) -> PruneSettings:
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
  adaptive = tuple(map(float, prune.adaptive))
  if list(adaptive) != sorted(set(adaptive)):
    raise ValueError(f"prune.adaptive must rise, got {adaptive}")
  if adaptive and (densities or prune.source != "trained"):
    raise ValueError(
      "prune.adaptive chooses fractions after training: it goes with no "
      "prune.densities, and with prune.source='trained'"
    )
  for field, value in (
    ("rounds", prune.rounds > 1),
    ("allocation", prune.allocation == "erk"),
  ):
    if value and prune.rule != "exact":
      raise ValueError(
        f"prune.{field}={prune[field]!r} asks for exact counts: it goes with "
        f"prune.rule='exact', not {prune.rule!r}"
      )
  if prune.rounds > 1 and not CRITERIA[prune.criterion].rescored:
    raise ValueError(
      f"prune.rounds={prune.rounds} change nothing of prune.criterion="
      f"{prune.criterion!r}: its scores are the same once some weights are gone"
    )
  drawn = prune.source == "rewound" and not rewind_step
  if CRITERIA[prune.criterion].needs_initial and drawn:
    raise ValueError(
      f"prune.criterion={prune.criterion!r} tells weights from what they were "
      "drawn as: prune.source='rewound' at pretrain.steps=0 scores just these"
    )
  if CRITERIA[prune.criterion].needs_movement and prune.source != "trained":
    raise ValueError(
      f"prune.criterion={prune.criterion!r} sums over a level's training: it "
      f"goes with prune.source='trained', not {prune.source!r}"
    )
  rarest = int(np.bincount(dataset.train.labels).min())
  needs_examples = CRITERIA[prune.criterion].needs_examples
  if needs_examples and prune.examples_per_class > rarest:
    raise ValueError(
      f"prune.examples_per_class is {prune.examples_per_class}, but the rarest "
      f"class has {rarest} training examples"
    )
  shapes, _ = jax.eval_shape(network.init, jax.random.key(0))
  leaf_groups(
    network.prunable(shapes),
    allocation=prune.allocation,
    exclude=tuple(prune.exclude),
  )
  if prune.masks_of:  # what the search has is checked there
    return read(PruneSettings, prune, **idle(prune))
  if adaptive and prune.bound:
    plain = prune.criterion == "magnitude" and prune.allocation == "global"
    if not plain or prune.exclude:
      raise ValueError(
        f"prune.bound={prune.bound} is a bound on how many of the smallest "
        "weights go, of all layers together: it goes with "
        "prune.criterion='magnitude', prune.allocation='global' and no "
        "prune.exclude"
      )
    examples = min(off(BoundSettings).examples, len(dataset.train))
    return read(PruneSettings, prune, curved_examples=examples, **idle(prune))
  if prune.bound:
    raise ValueError(
      f"prune.bound={prune.bound} chooses among prune.adaptive, which is empty"
    )
  return read(PruneSettings, prune, **idle(prune))
