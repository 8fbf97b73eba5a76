"""Resolving scores: the networks that score, and when they are looked at."""

import dataclasses
from typing import Any

from imp_jax.core.ranges import at_least, in_range
from imp_jax.data.dataset import Dataset
from imp_jax.data.settings import NO_NOISE, NoiseSettings
from imp_jax.models.settings import model_of
from imp_jax.probes import connectivity
from imp_jax.probes.facts import Facts
from imp_jax.pruning.settings import PruneSettings
from imp_jax.scores import BATCH_MODE, SCORES
from imp_jax.scores.settings import (
  SubsetSettings,
)
from imp_jax.stages.evaluate import resolve_eval
from imp_jax.stages.score import (
  BarrierScoreSettings,
  ScoreSettings,
  ScoringSettings,
)
from imp_jax.stages.train import Train
from imp_jax.stages.trunk import (
  PretrainSettings,
  TicketSettings,
  Training,
  Trunk,
)
from imp_jax.study.experiment import Parents
from imp_jax.study.training import resolve_model
from imp_jax.training.settings import optim_before, resolve_optim

NOTHING = SubsetSettings(kind="none", score="")  # no pre-training


def resolve_scoring(
  name: str,
  config: Any,
  base: Training,
  noise: NoiseSettings,
  dataset: Dataset,
) -> ScoringSettings:
  """Returns one score's settings, with those of the networks that score.

  Args:
    name: of the score.
    config: the experiment's.
    base: its main training, which the scoring networks' differs from where
      `scores.model` and `scores.optim` say so.
    noise: on the labels that the scoring networks see.
    dataset: the data.
  """
  scores = config.scores
  definition = SCORES[name]
  if not definition.needs_network:
    constants = (*dataset.mean, *dataset.std) if name == "input_norm" else ()
    score = ScoreSettings(
      name, definition.version, dataset.fingerprint, constants=constants
    )
    return ScoringSettings(score, 1)
  if scores.bn_mode == "batch" and name not in BATCH_MODE:
    raise ValueError(
      f"scores.bn_mode='batch' is defined for {', '.join(BATCH_MODE)}, not "
      f"for {name}"
    )
  if definition.made_from == "children":
    return _barrier_scoring(config, base, noise, dataset)
  optim = overlaid(config.optim, scores.optim)
  total = base.steps_of(optim.steps, "scores.optim.steps")
  at_least("scores.optim.steps", total, 1)
  training = Train(
    model=resolve_model(overlaid(config.model, scores.model), dataset),
    stream=base.stream,
    optim=resolve_optim(optim, base.steps_of, total, "scores.optim"),
    stop=total,
    family="score_",  # the scoring networks' keys are no replicate's
  )
  shape = dataset.input_shape
  model_of(training.model, shape, config.execution.convolution)
  stop = base.steps_of(scores.steps, "scores.steps")
  batch_size = base.stream.batch_size if scores.bn_mode == "batch" else 0
  settings = ScoreSettings(
    name, definition.version, dataset.fingerprint, batch_size=batch_size
  )
  looks = _looks(name, definition.made_from, scores, base, stop)
  settings = dataclasses.replace(settings, **looks)
  end = training.optim.cosine_steps
  if end and settings.last_step > end:
    raise ValueError(
      f"{name} looks at step {settings.last_step}, but the scoring networks' "
      f"learning rate is 0 from scores.optim.steps = {end} on"
    )
  end = settings.last_step
  seen = dataclasses.replace(
    training, optim=optim_before(training.optim, end), stop=end
  )
  settings = dataclasses.replace(settings, training=seen)
  return ScoringSettings(settings, scores.networks, training, noise)


def _barrier_scoring(
  config: Any, base: Training, noise: NoiseSettings, dataset: Dataset
) -> ScoringSettings:
  """Barriers between dense children of W_r, pre-trained on all the data.

  Where a study has such an experiment, their networks are the same.
  """
  start = base.steps_of(config.scores.rewind_step, "scores.rewind_step")
  if not 0 <= start < base.steps:
    raise ValueError(
      f"scores.rewind_step must be before the run's {base.steps} steps, got "
      f"{start}"
    )
  optim = resolve_optim(
    overlaid(config.optim, config.pretrain.optim),
    base.steps_of,
    base.steps,
    "pretrain.optim",
  )
  subset = SubsetSettings(size=len(dataset.train), score="")
  if not start:
    subset, noise, optim = NOTHING, NO_NOISE, base.optim
  ticket = TicketSettings(finetune_steps=0)
  parents = Trunk(
    model=base.model,
    stream=base.stream,
    optim=base.optim,
    steps=base.steps,
    pretrain=PretrainSettings(start, subset, noise, optim),
    prune=PruneSettings(levels=0),
    ticket=ticket,
  )
  options = config.connectivity.copy_and_resolve_references()
  options.update(levels=(0,), successive=False, matrix=False)
  facts = Facts(base, start, 0, ticket, dataset, {}, len(dataset.train))
  children = connectivity.resolve(options, facts)
  if not children.children:
    raise ValueError("score 'barrier' needs connectivity.children >= 2, got 0")
  score = BarrierScoreSettings(
    "barrier",
    SCORES["barrier"].version,
    dataset.fingerprint,
    rewind_step=start,
    steps=base.steps,
    children=children.children,
    noise=children.noise,
    label_noise=noise,
    batch_stats=children.batch_stats[0],
  )
  networks = config.scores.networks
  curve = resolve_eval(config.eval, base, dataset).curve_steps
  return ScoringSettings(
    score, networks, noise=noise, parents=Parents(parents, curve, children)
  )


def _looks(
  name: str, made_from: str, scores: Any, base: Training, stop: int
) -> dict[str, Any]:
  """When a score looks at its networks, and over what window."""
  if made_from == "checkpoints":
    count = scores.checkpoints
    if stop < count:
      raise ValueError(
        f"scores.checkpoints of {name} must be at most scores.steps, got "
        f"{count} in {stop} steps"
      )
    return {"steps": tuple(stop * (i + 1) // count for i in range(count))}
  if made_from != "stream":
    steps = {base.steps_of(s, "scores.at_steps") for s in scores.at_steps}
    return {"steps": tuple(sorted(steps)) or (stop,)}
  every = base.steps_of(scores.every, "scores.every")
  at_least("scores.every", every, 1)
  if scores.observe == "presentation":
    observations, every = stop // base.per_epoch, 0
  else:
    observations = stop // every
  looks: dict[str, Any] = {"every": every, "stop": stop}
  if name in ("tdds", "dual"):
    # tdds looks at the spread of the window's differences: it needs two.
    least = 3 if name == "tdds" else 2
    looks["window"] = in_range("scores.window", scores.window, least, 10_000)
  if name == "forgetting":
    looks["never_learned"] = scores.never_learned
  needed = ScoreSettings(name, 0, "", **looks).observations
  if observations < needed:
    raise ValueError(
      f"{name} needs {needed} observations; scores.steps = {stop} steps make "
      f"{observations} (scores.observe={scores.observe!r}, "
      f"scores.every={scores.every!r})"
    )
  return looks


def overlaid(base: Any, over: Any) -> Any:
  """Returns a config group with the fields that `over` sets."""
  merged = base.copy_and_resolve_references()
  for name, value in over.items():
    if value is not None:
      merged[name] = value
  return merged
