"""What a study would cost, estimated before any work and refused if absurd.

Each thing is estimated low, but what experiments share counts for each of them.
"""

import dataclasses
import math
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import jax

from imp_jax.core.buckets import scheme_of
from imp_jax.core.masks import total_counts
from imp_jax.core.options import off
from imp_jax.data.dataset import Dataset
from imp_jax.engine.memory import free_bytes, host_free_bytes
from imp_jax.models.settings import ModelSettings, model_of
from imp_jax.probes.bound import BoundSettings
from imp_jax.probes.facts import Facts
from imp_jax.probes.registry import PROBES
from imp_jax.pruning import drop_counts, excluded_count, leaf_groups
from imp_jax.stages.score import BarrierScoreSettings, ScoreSettings
from imp_jax.stages.trunk import Training, Trunk
from imp_jax.study.experiment import Experiment, Study

# At a million a second, more than any machine makes of the smallest network, a
# study of so many steps takes 12 days.
MOST_STEPS = 10**12
# An emptied network is a legal result; a hundred levels more of it are none.
EMPTY_LEVELS = 100
_FLOAT = 4
# Weights, their gradients, momentum and update, of one network in training.
_COPIES = 4
# Of an artefact, in memory and in tables: its entry, its rows; and on disk: a
# dozen files, of a block each.
_ENTRY, _FILES = 1024, 48 * 1024


@dataclasses.dataclass(frozen=True)
class Extent:
  """What a study would compute, of all replicates together.

  Attributes:
    trainings: networks that are trained.
    looks: paths, planes and curvatures.
    steps: of the optimiser, and batches that are evaluated for looks.
    bytes: of what is stored.
  """

  trainings: int
  looks: int
  steps: int
  bytes: int


def check_data_extent(train_examples: int, test_examples: int) -> None:
  """Refuses more MNIST-1D signals than memory holds.

  Raises:
    ValueError: says how many bytes they are.
  """
  # 40 numbers in float64 as they are generated, and a fourth again of the
  # training signals, which the generator sets apart.
  signals, free = train_examples * 5 // 4 + test_examples, host_free_bytes()
  needed = signals * 40 * 8
  if needed > free:
    raise ValueError(
      f"data.train_examples={train_examples} and data.test_examples="
      f"{test_examples} signals take {_size(needed)}; this machine has "
      f"{_size(free)} of memory free"
    )


def check_extent(study: Study, dataset: Dataset, workdir: str) -> None:
  """Refuses a study that no memory, disk or lifetime is enough for.

  Args:
    study: resolved.
    dataset: its data.
    workdir: where its artefacts go.

  Raises:
    ValueError: names the fields that make it so large, and the estimate.
  """
  counts = _weights(study, dataset)
  for model, (_, weights) in counts.items():
    needed, free = _COPIES * _FLOAT * weights, free_bytes()
    if needed > free:
      raise ValueError(
        f"a width (model.width or scores.model.width) of {model.width:g} makes "
        f"a {model.name} of {weights:.3g} weights; to train one takes "
        f"{_size(needed)}, and {_size(free)} of memory are free"
      )
  for e in study.experiments:
    _check_memory(e, counts[e.trunk.model][1], dataset)
  extent = study_extent(study, dataset, counts)
  levels = max((e.trunk.prune.levels for e in study.experiments), default=0)
  told = (
    f"replicates={study.replicates} of {len(study.experiments)} experiments "
    f"with up to prune.levels={levels} are {extent.trainings:.3g} trainings "
    f"and {extent.looks:.3g} paths, planes and curvatures"
  )
  if extent.steps > MOST_STEPS:
    raise ValueError(
      f"{told}, {extent.steps:.3g} steps in all: at a million steps a second "
      f"{extent.steps / 1e6 / 86_400:.3g} days, more than the {MOST_STEPS:.0e} "
      "steps that are let through"
    )
  for e in study.experiments:
    _check_levels(e, counts[e.trunk.model][0])
  needed, free = _ENTRY * (extent.trainings + extent.looks), host_free_bytes()
  if needed > free:
    raise ValueError(
      f"{told}: to list them takes {_size(needed)}; this machine has "
      f"{_size(free)} of memory free"
    )
  disk = _disk_bytes(workdir)
  if disk is not None and extent.bytes > disk:
    raise ValueError(
      f"{told}: {_size(extent.bytes)} of artefacts; the disk of workdir "
      f"{workdir} has {_size(disk)} in all"
    )
  drawn = (
    study.claims.resamples * 8 * max(study.replicates, len(study.experiments))
  )
  if study.claims.connected is not None and drawn > host_free_bytes():
    raise ValueError(
      f"claims.resamples={study.claims.resamples} take {_size(drawn)}; this "
      f"machine has {_size(host_free_bytes())} of memory free"
    )


def _check_memory(e: Experiment, weights: int, dataset: Dataset) -> None:
  """Refuses what no device's memory holds of one replicate."""
  pad = e.trunk.stream.crop_pad
  batch = e.trunk.stream.batch_size
  curvature, bound = e.probes["curvature"], e.probes["bound"]
  vectors = {
    "curvature.lanczos_steps": curvature.lanczos_steps * bool(curvature.levels),
    "bound.lanczos_steps": bound.lanczos_steps * bool(bound.levels),
    "prune.bound, whose lanczos_steps": off(BoundSettings).lanczos_steps
    * bool(e.trunk.prune.bound),
  }
  sides = [n + 2 * pad for n in dataset.input_shape[:2]]
  needs = {
    f"data.crop_pad={pad}": batch * math.prod(sides) * bool(pad),
    # Each of Lanczos' vectors is kept, to stay orthogonal to the others.
    **{f"{f}={n}": n * weights * _FLOAT for f, n in vectors.items()},
  }
  for field, needed in needs.items():
    if needed > free_bytes():
      raise ValueError(
        f"{field} of {e.name} takes {_size(needed)}, and {_size(free_bytes())} "
        "of memory are free"
      )


def study_extent(
  study: Study, dataset: Dataset, counts: Mapping[ModelSettings, tuple]
) -> Extent:
  """Returns what a study would compute; scores that are shared count once.

  Args:
    study: resolved.
    dataset: its data.
    counts: by model, (weights of each prunable leaf, of all parameters).
  """
  parts = [
    _experiment_extent(e, study, dataset, counts[e.trunk.model][1])
    for e in study.experiments
  ]
  here = {e.name for e in study.experiments}
  for e in {
    e.search.name: e
    for e in sorted(study.experiments, key=lambda e: e.trunk.prune.levels)
    if e.search and e.search.name not in here
  }.values():
    parts.append(_search_extent(e, study, counts[e.trunk.model][1]))
  for scoring in set(study.scorings):
    score, networks = scoring.score, scoring.networks
    if isinstance(score, BarrierScoreSettings):
      networks *= score.children
      parts.append(Extent(networks, networks, networks * score.steps, 0))
    elif isinstance(score, ScoreSettings) and score.training:
      steps = networks * score.last_step
      parts.append(Extent(networks, 0, steps, networks * _FILES))
  return Extent(
    trainings=sum(p.trainings for p in parts),
    looks=sum(p.looks for p in parts),
    steps=sum(p.steps for p in parts),
    bytes=sum(p.bytes for p in parts),
  )


def _experiment_extent(
  e: Experiment, study: Study, dataset: Dataset, weights: int
) -> Extent:
  """One experiment's extent; its pre-training may be another's too."""
  trunk, r = e.trunk, study.replicates
  facts = Facts(
    # Steps of an epoch, which nothing here asks for.
    Training(trunk.model, trunk.stream, trunk.optim, trunk.steps, 0),
    trunk.pretrain.steps,
    trunk.prune.levels,
    trunk.ticket,
    dataset,
    e.probes,
    len(dataset.train),  # which nothing here asks for either
  )
  batches = -(-len(dataset.train) // study.execution.eval_batch_size)
  probed = [
    probe.extent(e.probes[group], facts, batches)
    for group, probe in PROBES.items()
  ]
  controls = len(e.controls.kinds) * len(e.controls.levels)
  trained = trunk.prune.levels + 1 + controls + sum(x.trainings for x in probed)
  looks = sum(x.looks * (1 if x.shared else r) for x in probed)
  evaluated = sum(x.steps for x in probed)
  steps, stored = _trained_extent(trunk, trained, weights)
  steps += evaluated
  # A float per example of a look.
  stored += sum(x.looks for x in probed) * (
    _FILES + len(dataset.train) * _FLOAT
  )
  return Extent(r * trained, looks, r * steps, r * stored)


def _search_extent(e: Experiment, study: Study, weights: int) -> Extent:
  """What finds an experiment's masks, where it is none of the study's."""
  assert e.search is not None
  # The last level's own training finds no masks.
  trained, r = e.trunk.prune.levels, study.replicates
  steps, stored = _trained_extent(e.search.trunk, trained, weights)
  return Extent(r * trained, 0, r * steps, r * stored)


def _trained_extent(
  trunk: Trunk, trained: int, weights: int
) -> tuple[int, int]:
  """Steps and bytes of a pre-training and so many trainings after it."""
  start = trunk.pretrain.steps
  steps = trained * (trunk.steps - start) + start
  if trunk.prune.bound and not trunk.prune.masks_of:
    how = off(BoundSettings)
    steps += trunk.prune.levels * how.probes * how.lanczos_steps
  made = trunk.train.made
  if made.kind == "distilled":
    steps += made.networks * made.matchings * (1 + made.network_steps)
  # Parameters alone, a bit for each as a mask.
  return steps, trained * (_FILES + weights * _FLOAT + weights // 8)


def _check_levels(e: Experiment, counts: Mapping[str, int]) -> None:
  """Refuses levels far beyond the one that leaves no weight; warns of few."""
  p = e.trunk.prune
  if p.densities:
    return  # each level is given
  # Shares of layers add up to the whole's.
  allocation = "global" if p.allocation == "erk" else p.allocation
  groups = leaf_groups(tuple(counts), allocation=allocation, exclude=p.exclude)
  fixed = excluded_count(counts, groups, allocation=allocation, rule=p.rule)
  alive = [sum(counts[path] for path in group) for group in groups]
  extra = 1 if p.rule == "threshold" else 0
  fraction = min(p.adaptive, default=p.fraction)
  for level in range(1, p.levels + 1):
    drops = drop_counts(alive, alive, fraction=fraction, excluded=fixed)
    alive = [
      max(n - q - (extra if q else 0), 0)
      for n, q in zip(alive, drops, strict=True)
    ]
    if any(alive):
      continue
    if fixed:
      raise ValueError(
        f"prune.exclude of {e.name} leaves {fixed} of {sum(counts.values())} "
        f"weights out, and the others would give up all of theirs by level "
        f"{level} of {p.levels}: fewer prune.levels, or prune.rule='exact'"
      )
    if p.levels > level + EMPTY_LEVELS:
      raise ValueError(
        f"prune.levels of {e.name} is {p.levels}, but of its "
        f"{sum(counts.values())} weights none is left at level {level}: all "
        "later ones would train nothing"
      )
    if p.levels > level:
      warnings.warn(
        f"prune.levels of {e.name} is {p.levels}, but of its "
        f"{sum(counts.values())} weights none is left from level {level} on",
        stacklevel=2,
      )
    return


def _weights(study: Study, dataset: Dataset) -> dict[ModelSettings, tuple]:
  """By model: the weights of each prunable leaf, and of all parameters."""
  models = [e.trunk.model for e in study.experiments]
  for scoring in study.scorings:
    if scoring.training:
      models.append(scoring.training.model)
    elif scoring.parents:
      models.append(scoring.parents.trunk.model)
  found = {}
  for settings in dict.fromkeys(models):
    model = model_of(settings, dataset.input_shape, study.execution.convolution)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    leaves = total_counts(params, model.prunable(params))
    weights = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
    found[settings] = (leaves, weights)
  return found


def _disk_bytes(workdir: str) -> int | None:
  """The size of the disk that a workdir is or would be on; None of a bucket."""
  if scheme_of(workdir):
    return None
  folder = Path(os.path.expanduser(workdir)).absolute()
  while not folder.exists():
    folder = folder.parent
  return shutil.disk_usage(folder).total or None  # /proc has no size


def _size(count: float) -> str:
  """Bytes in a unit that people read."""
  units = ("bytes", "KiB", "MiB", "GiB", "TiB")
  power = min(int(math.log2(max(count, 1))) // 10, len(units) - 1)
  return f"{count / 1024**power:.3g} {units[power]}"
