"""Resolving the data diet: subsets, label noise, scores."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from imp_jax.core.options import read
from imp_jax.core.ranges import at_least, in_range
from imp_jax.data.dataset import Dataset
from imp_jax.data.settings import NO_NOISE, NoiseSettings
from imp_jax.data.subsets import SCORED, check_fits
from imp_jax.engine.imports import Imports
from imp_jax.models.settings import model_of
from imp_jax.probes import connectivity
from imp_jax.probes.facts import Facts
from imp_jax.pruning.settings import PruneSettings
from imp_jax.scores import BATCH_MODE, SCORES
from imp_jax.scores.settings import (
  ALL_EXAMPLES,
  FROM_FILE,
  ImportSettings,
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
  SeenSettings,
  TicketSettings,
  Training,
  Trunk,
)
from imp_jax.study.experiment import Parents
from imp_jax.study.training import resolve_model
from imp_jax.training.settings import optim_before, resolve_optim

NOTHING = SubsetSettings(kind="none", score="")  # no pre-training


def resolve_pretrain(
  config: Any,
  base: Training,
  steps: int,
  dataset: Dataset,
  imports: Imports,
) -> PretrainSettings:
  """Returns pre-training's settings, with the scores that its subset needs.

  With t_r = 0 no example is seen: subset and noise are none, so that every
  such experiment starts from the same artefact.

  Raises:
    OSError: a file is not there.
    ValueError: a field is out of its range, or the subset does not fit.
  """
  noise = resolve_noise(config.pretrain.noise, dataset, imports)
  if config.pretrain.subset.kind == "none" and steps:
    raise ValueError(
      "pretrain.subset.kind='none' means no pre-training: it goes with "
      f"pretrain.steps='0step', not {steps} steps"
    )
  optim = resolve_optim(
    _overlaid(config.optim, config.pretrain.optim),
    base.steps_of,
    base.steps,
    "pretrain.optim",
  )
  settings, scoring = _subset("pretrain", config, base, noise, dataset, imports)
  if not steps:
    settings, noise, scoring = NOTHING, NO_NOISE, None
    optim = base.optim
  return PretrainSettings(steps, settings, noise, optim, scoring)


def resolve_seen(
  config: Any, base: Training, dataset: Dataset, imports: Imports
) -> SeenSettings:
  """Returns what the trainings of the levels see of the data.

  Raises:
    OSError: a file is not there.
    ValueError: a field is out of its range, or the subset does not fit.
  """
  if config.train.subset.kind == "none":
    raise ValueError(
      "train.subset.kind='none' means no examples: levels are trained on some"
    )
  noise = resolve_noise(config.train.noise, dataset, imports, "train.noise")
  if config.train.file:
    if config.train.subset.kind != "all" or noise.kind:
      raise ValueError(
        "train.file brings the examples: it goes with "
        "train.subset.kind='all' and no train.noise"
      )
    return SeenSettings(external=imports.examples(config.train.file, dataset))
  subset, scoring = _subset("train", config, base, noise, dataset, imports)
  if subset.kind == "all":
    subset = ALL_EXAMPLES
  return SeenSettings(subset, noise, scoring)


def resolve_noise(
  noise: Any, dataset: Dataset, imports: Imports, group: str = "pretrain.noise"
) -> NoiseSettings:
  """Returns the noise on labels; none of it is one and the same setting.

  Args:
    noise: a config's group.
    dataset, imports: the data, and what the config's files hold.
    group: its name.

  Raises:
    OSError: a file is not there.
    ValueError: a field is out of its range, or of another kind of noise.
  """
  kind = noise.kind
  if noise.fraction and kind in ("matrix", "file"):
    raise ValueError(
      f"{group}.fraction is for 'redrawn' and 'symmetric'; a matrix or a "
      f"file says itself how much noise it is, got {noise.fraction}"
    )
  for field in ("matrix", "file"):
    if bool(noise[field]) != (kind == field):
      raise ValueError(
        f"{group}.{field} goes with {group}.kind={field!r}, got "
        f"{str(noise[field])[:80]!r} and {kind!r}"
      )
  if kind == "matrix":
    return _noise_by_class(noise, dataset.num_classes, f"{group}.matrix")
  if kind == "file":
    content = imports.labels(noise.file, dataset)
    return read(NoiseSettings, noise, fraction=0.0, content=content)
  return read(NoiseSettings, noise) if noise.fraction else NO_NOISE


def _noise_by_class(noise: Any, num_classes: int, field: str) -> NoiseSettings:
  """Noise by a transition matrix, which must have a distribution per class."""
  rows = [tuple(row) for row in noise.matrix]
  if [len(row) for row in rows] != [num_classes] * num_classes:
    raise ValueError(
      f"{field} must be {num_classes} rows of {num_classes} probabilities, one "
      f"row per class, got rows of {[len(row) for row in rows][:20]}"
    )
  for i, row in enumerate(rows):
    if not all(0 <= p <= 1 for p in row) or abs(sum(row) - 1) > 1e-6:
      raise ValueError(
        f"{field}: row {i} must be probabilities that add up to 1, got {row}"
      )
  values = np.asarray(rows, np.float64)
  if np.array_equal(values, np.eye(num_classes)):
    return NO_NOISE
  content = hashlib.sha256(values.tobytes()).hexdigest()[:32]
  return read(NoiseSettings, noise, fraction=0.0, content=content)


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
  optim = _overlaid(config.optim, scores.optim)
  total = base.steps_of(optim.steps, "scores.optim.steps")
  at_least("scores.optim.steps", total, 1)
  training = Train(
    model=resolve_model(_overlaid(config.model, scores.model), dataset),
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
    _overlaid(config.optim, config.pretrain.optim),
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


def _subset(
  group: str,
  config: Any,
  base: Training,
  noise: NoiseSettings,
  dataset: Dataset,
  imports: Imports,
) -> tuple[SubsetSettings, ScoringSettings | None]:
  """The subset of one of the config's groups, and the scores it needs."""
  subset, field = config[group].subset, f"{group}.subset"
  num_train, kind = len(dataset.train), subset.kind
  if kind == "none":
    return NOTHING, None
  if kind == "all":
    return SubsetSettings(size=num_train, score=""), None
  if kind == "keep_list":
    if not subset.file:
      raise ValueError(f"{field}.kind='keep_list' needs {field}.file")
    content, size = imports.keep_list(subset.file, dataset)
    settings = SubsetSettings(
      kind="keep_list", size=size, score="", content=content
    )
    return settings, None
  if subset.file:
    raise ValueError(f"{field}.file is for 'keep_list', not for {kind!r}")
  in_range(f"{field}.size", subset.size, 1, num_train)
  in_range(f"{field}.offset", subset.offset, 0, num_train)
  if subset.offset and kind not in ("easy", "hard"):
    raise ValueError(
      f"{field}.offset is for 'easy' and 'hard', not for {kind!r}"
    )
  if subset.drop_hardest and kind != "ccs":
    raise ValueError(f"{field}.drop_hardest is for 'ccs', not for {kind!r}")
  check_fits(
    kind,
    imports.train_labels(dataset, noise, config.seed),
    size=subset.size,
    num_classes=dataset.num_classes,
    offset=subset.offset,
    balanced=bool(subset.balanced),
    drop_hardest=float(subset.drop_hardest),
  )
  if kind not in SCORED:
    return read(SubsetSettings, subset, score=""), None
  if subset.score == FROM_FILE:
    if not config.scores.file:
      raise ValueError(f"{field}.score='file' needs scores.file")
    scoring = ScoringSettings(imports.scores(config.scores.file, dataset), 1)
  else:
    shown = noise if config[group].noise.scoring else NO_NOISE
    if group == "train" and noise.kind and subset.score == "barrier":
      raise ValueError(
        "train.subset.score='barrier' is of networks that see no noise after "
        "W_r: it goes with no train.noise"
      )
    scoring = resolve_scoring(subset.score, config, base, shown, dataset)
  _check_order(field, kind, subset.drop_hardest, scoring, imports)
  return read(SubsetSettings, subset, score=subset.score), scoring


def _check_order(
  field: str,
  kind: str,
  drop_hardest: float,
  scoring: ScoringSettings,
  imports: Imports,
) -> None:
  """Refuses infinite scores where a range is cut into strata."""
  score = scoring.score
  if kind != "ccs":
    return
  if not isinstance(score, ImportSettings):  # how many, none can say yet
    infinite = score.never_learned == "inf" and not drop_hardest
  else:
    values = imports.arrays[score.content]
    infinite = np.isinf(values).sum() > round(drop_hardest * len(values))
  if infinite:
    raise ValueError(
      f"{field}.kind='ccs' needs finite scores; set "
      "scores.never_learned='max' for forgetting, drop_hardest, or another "
      "score"
    )


def _overlaid(base: Any, over: Any) -> Any:
  """The config group with the fields that `over` sets."""
  merged = base.copy_and_resolve_references()
  for name, value in over.items():
    if value is not None:
      merged[name] = value
  return merged
