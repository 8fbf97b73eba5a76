"""Resolving evaluation, and the dense parents of the barrier score."""

from typing import Any

from imp_jax.data.dataset import Dataset
from imp_jax.resolve.landscape import (
  NO_CURVATURE,
  NO_PLANES,
  evaluated_splits,
  resolve_connectivity,
)
from imp_jax.resolve.training import Training
from imp_jax.settings import (
  NO_NOISE,
  ControlSettings,
  EvalSettings,
  Experiment,
  NoiseSettings,
  OptimSettings,
  PretrainSettings,
  PruneSettings,
  SubsetSettings,
  TicketSettings,
)


def resolve_eval(config: Any, base: Training, dataset: Dataset) -> EvalSettings:
  """Returns when and on what networks are evaluated.

  Raises:
    ValueError: an unknown split, or "test" is not among them.
  """
  splits = evaluated_splits("eval.splits", config.splits, dataset)
  if "test" not in config.splits:
    raise ValueError(
      f"eval.splits must name 'test', got {tuple(config.splits)}"
    )
  curve = {base.steps_of(d, "eval.curve_steps") for d in config.curve_steps}
  return EvalSettings(
    test_examples=len(dataset.splits["test"]),
    splits=splits,
    curve_steps=tuple(sorted(curve)),
  )


def dense_experiment(
  config: Any,
  base: Training,
  rewind_step: int,
  optim: OptimSettings,
  noise: NoiseSettings,
  dataset: Dataset,
) -> Experiment:
  """Returns the experiment of dense networks that a barrier score is of.

  Pre-trained on all the data for `rewind_step` steps, trained to the end, with
  children at level 0 as `config.connectivity` says. Where a study has such an
  experiment, their networks are the same.

  Args:
    config: the experiment's that wants the score.
    base: its main training.
    rewind_step: t_r of the parents.
    optim, noise: of their pre-training.
    dataset: the data.

  Raises:
    ValueError: a field is out of its range.
  """
  if not 0 <= rewind_step < base.steps:
    raise ValueError(
      f"scores.rewind_step must be before the run's {base.steps} steps, got "
      f"{rewind_step}"
    )
  connectivity = config.connectivity.copy_and_resolve_references()
  connectivity.update(levels=(0,), successive=False)
  subset = SubsetSettings("all", len(dataset.train))
  if not rewind_step:
    subset, noise, optim = SubsetSettings("none", 0), NO_NOISE, base.optim
  ticket = TicketSettings("weight_rewind", "fresh", 0)
  return Experiment(
    name="barrier parents",
    model=base.model,
    stream=base.stream,
    optim=base.optim,
    steps=base.steps,
    pretrain=PretrainSettings(rewind_step, subset, noise, optim, None),
    prune=PruneSettings(0, "magnitude", 0.0, (), "global", "threshold", ()),
    ticket=ticket,
    controls=ControlSettings((), ()),
    eval=resolve_eval(config.eval, base, dataset),
    connectivity=resolve_connectivity(
      connectivity, base, rewind_step, 0, ticket, dataset
    ),
    curvature=NO_CURVATURE,
    planes=NO_PLANES,
  )
