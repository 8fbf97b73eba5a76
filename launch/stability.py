"""Finds the smallest stable t_r of one experiment, by bisection.

  python -m launch.stability --config=configs/landscape_mnist1d.py \
    --workdir=runs/landscape --experiment=all-20 --high=200

At each t_r that it tries it trains the experiment's W_r and its dense children
(connectivity.children, at level 0) and takes the largest rise of error above
the mean of the ends. What the workdir already has is used.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from absl import flags, logging
from ml_collections import config_flags

from imp_jax.command.cli import BAD_INPUT, BadInput, run_program, start
from imp_jax.command.output import complain, say
from imp_jax.command.studies import watching
from imp_jax.core.files import NAME_BYTES
from imp_jax.landscape.stability import (
  StableStep,
  check_search,
  smallest_stable_step,
)
from imp_jax.results.landscape import STABLE
from imp_jax.study import execute, prepare
from imp_jax.study.options import BLIND, flatten

_CONFIG = config_flags.DEFINE_config_file(
  "config",
  help_string="FILE.py or FILE.py:VARIANT; --config.FIELD=VALUE sets one.",
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Where artefacts and results lie."
)
_EXPERIMENT = flags.DEFINE_string(
  "experiment", None, "The study's experiment whose t_r is varied."
)
_LOW = flags.DEFINE_integer("low", 0, "The smallest t_r, in steps.")
_HIGH = flags.DEFINE_integer("high", None, "The largest t_r, in steps.")
_TOLERANCE = flags.DEFINE_integer(
  "tolerance", 10, "Steps that the result may be too large."
)
_THRESHOLD = flags.DEFINE_float(
  "threshold", STABLE, "Instability below it is stable; a fraction of error."
)
flags.mark_flags_as_required(["config", "workdir", "experiment", "high"])


class Unfinished(Exception):
  """A t_r that was tried has no instability: its runs failed."""


def config_at(config: Any, experiment: str, step: int) -> Any:
  """Returns the config of one experiment at another t_r, dense only.

  Args:
    config: a study's.
    experiment: the name of one of its experiments.
    step: t_r.

  Raises:
    ValueError: there is no such experiment, or it has no children.
  """
  deltas = {d.get("name", ""): flatten(d) for d in config.experiments}
  if experiment not in deltas:
    known = ", ".join(map(str, deltas))
    raise ValueError(f"no experiment {experiment!r}; the study has: {known}")
  delta = deltas[experiment]
  children = delta.get("connectivity.children", config.connectivity.children)
  if not children:
    raise ValueError(
      f"experiment {experiment!r} has no children: set connectivity.children"
    )
  config = config.copy_and_resolve_references()
  config.name = _with_suffix(config.name, "-stability")
  config.experiments = (
    {
      **delta,
      "name": name_at(experiment, step),
      "pretrain.steps": f"{step}step",
      "prune.levels": 0,
      "controls.levels": (),
      **BLIND,  # but for the children
      "connectivity.children": children,
      "connectivity.levels": (0,),
    },
  )
  config.scores.compute = ()
  config.claims.rewinding.treatments = ()
  config.claims.little_data.comparisons = ()
  config.claims.easy_data.comparisons = ()
  config.claims.connected.update(level=0, experiments=())
  return config


def name_at(experiment: str, step: int) -> str:
  """Returns the name of an experiment at another t_r."""
  return _with_suffix(experiment, f"-at-{step}")


def _with_suffix(name: str, suffix: str) -> str:
  """A longer name, within the limit that names have."""
  stem = name.encode()[: NAME_BYTES - len(suffix)].decode(errors="ignore")
  return stem + suffix


def find(
  config: Any, workdir: str, experiment: str, **search: Any
) -> StableStep:
  """Returns the smallest stable t_r of an experiment.

  Args:
    config: a study's.
    workdir: where its artefacts lie, or will.
    experiment: the name of one of its experiments.
    **search: low, high, tolerance and threshold of `smallest_stable_step`.

  Raises:
    ValueError, OSError: bad input.
    Unfinished: runs failed.
  """
  check_search(**search)
  # Both ends first, so that bad input is told before anything runs.
  for step in (search["low"], search["high"]):
    plan = prepare(config_at(config, experiment, step), workdir)
    path = plan.study.experiments[0].probes["connectivity"]
    for field, needed, has in (
      ("splits", "test", [s.name for s in path.splits]),
      ("batch_stats", "average", path.batch_stats),
    ):
      if needed not in has:
        raise ValueError(f"the search needs {needed!r} in connectivity.{field}")

  def instability(step: int) -> float:
    plan = prepare(config_at(config, experiment, step), workdir)
    with watching(plan) as bar:
      results = execute(plan, bar)
    rows = pd.DataFrame()
    if results.has_table("instability"):
      table = results.read_table("instability")
      rows = table[table["experiment"] == name_at(experiment, step)]
    if not len(rows):
      raise Unfinished(f"t_r = {step} has no instability: its runs failed")
    row = rows.iloc[0]
    say(
      f"t_r = {step}: {100 * row['mean']:.2f} % "
      f"[{100 * row['low']:.2f}, {100 * row['high']:.2f}], "
      f"{row['replicates']} replicates"
    )
    return float(row["mean"])

  return smallest_stable_step(instability, **search)


def told(experiment: str, found: StableStep, threshold: float) -> str:
  """Returns what the search found, in one line."""
  bar = f"< {100 * threshold:g} %"
  percent = {s: f"{100 * v:.2f} % at {s}" for s, v in found.tried.items()}
  unstable = percent.get(found.unstable or 0, "")
  if found.step is None:
    return f"no stable t_r of {experiment}: {unstable} is not {bar}"
  line = f"smallest stable t_r of {experiment}: {percent[found.step]} is {bar}"
  if found.unstable is None:
    return f"{line}, and the search began there"
  return f"{line}, {unstable} is not"


def main(argv: Sequence[str]) -> int:
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  logging.set_verbosity(logging.WARNING)
  try:
    start(_CONFIG.value)
    found = find(
      _CONFIG.value,
      str(_WORKDIR.value),
      str(_EXPERIMENT.value),
      low=_LOW.value,
      high=_HIGH.value,
      tolerance=_TOLERANCE.value,
      threshold=_THRESHOLD.value,
    )
  except BAD_INPUT as error:
    raise BadInput(error) from None
  except Unfinished as error:
    complain(f"error: {error}")
    return 1
  say(told(str(_EXPERIMENT.value), found, _THRESHOLD.value))
  return 0


if __name__ == "__main__":
  run_program(main)
