"""Resolving the data diet: what pre-training and the levels see."""

from typing import Any

import numpy as np

from imp_jax.core.options import read
from imp_jax.core.ranges import in_range
from imp_jax.data.dataset import Dataset
from imp_jax.data.settings import (
  NO_NOISE,
  NOTHING_MADE,
  MadeSettings,
  NoiseSettings,
  made_settings,
)
from imp_jax.data.subsets import SCORED, check_fits
from imp_jax.engine.imports import Imports
from imp_jax.scores.settings import (
  ALL_EXAMPLES,
  FROM_FILE,
  ImportSettings,
  SubsetSettings,
)
from imp_jax.stages.score import (
  ScoringSettings,
)
from imp_jax.stages.trunk import (
  PretrainSettings,
  SeenSettings,
  Training,
)
from imp_jax.study.noise import resolve_noise
from imp_jax.study.scoring import NOTHING, overlaid, resolve_scoring
from imp_jax.training.settings import resolve_optim


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
    overlaid(config.optim, config.pretrain.optim),
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
  made = made_settings(config.train.made)
  if config.train.file:
    if config.train.subset.kind != "all" or noise.kind:
      raise ValueError(
        "train.file brings the examples: it goes with "
        "train.subset.kind='all' and no train.noise"
      )
    if made != NOTHING_MADE:
      raise ValueError(
        "train.file goes with no train.made: both bring examples"
      )
    return SeenSettings(external=imports.examples(config.train.file, dataset))
  if made != NOTHING_MADE:
    _check_made(made, config.train, noise, dataset)
    return SeenSettings(made=made)
  subset, scoring = _subset("train", config, base, noise, dataset, imports)
  if subset.kind == "all":
    subset = ALL_EXAMPLES
  return SeenSettings(subset, noise, scoring)


def _check_made(
  made: MadeSettings, train: Any, noise: NoiseSettings, dataset: Dataset
) -> None:
  """Refuses data that such examples cannot be made of."""
  if train.subset.kind != "all" or noise.kind:
    raise ValueError(
      f"train.made.kind={made.kind!r} makes the examples: it goes with "
      "train.subset.kind='all' and no train.noise"
    )
  if len(dataset.input_shape) != 1:
    raise ValueError(
      f"train.made.kind={made.kind!r} makes signals; the data's inputs are "
      f"{dataset.input_shape}: give images by train.file"
    )
  counts = np.bincount(dataset.train.labels, minlength=dataset.num_classes)
  drawn = made.kind.startswith("gaussian")
  if not drawn and counts.min() < made.per_class:
    raise ValueError(
      f"train.made.kind={made.kind!r} needs train.made.per_class="
      f"{made.per_class} training examples of each class, but the rarest has "
      f"{counts.min()}"
    )


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
