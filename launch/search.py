"""Searches for settings in which a claim can be decided, and writes its tables.

  python -m launch.search --config=configs/search_mnist1d.py \
    --workdir=runs/search --out=results/search

What rewinding gains follows instability, and instability costs no pruning. So
each point of the grid is first trained dense, with two children of W_r at t_r =
0 and at the latest t_r (`dense.csv`). Points that are unstable at first, stable
at last and accurate enough are then pruned and rewound (`sparse.csv`, with the
number of replicates that would decide what is seen there). Every point is a
study of the workdir, so that a search goes on where it was stopped.
"""

import dataclasses
import importlib
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from absl import flags, logging
from ml_collections import config_flags

from configs.recipes import everything, subset
from imp_jax.command.cli import BAD_INPUT, BadInput, run_program, start
from imp_jax.command.output import say
from imp_jax.command.studies import watching
from imp_jax.core.ranges import steps_of
from imp_jax.results.accuracy import paired_differences
from imp_jax.results.load import Results
from imp_jax.statistics.intervals import mean_interval
from imp_jax.statistics.power import powered_replicates
from imp_jax.study import execute, prepare
from imp_jax.study.options import flatten


@dataclasses.dataclass(frozen=True)
class Point:
  """One point of a grid.

  Attributes:
    name: what it sets, e.g. "learning_rate=0.4, width=2.0".
    config: of its study, without experiments.
    steps: T.
    rewind_steps: ascending; the last is the latest at which it must be stable.
  """

  name: str
  config: Any
  steps: int
  rewind_steps: tuple[int, ...]


SPARSE_COLUMNS = (
  "point",
  "seed",
  "experiment",
  "level",
  "density",
  "none",
  "accuracy",
  "difference",
  "low",
  "high",
  "std",
  "replicates",
  "needed",
)
FIELDS = (
  "study",
  "grid",
  "milestones",
  "rewind_shares",
  "diets",
  "unstable",
  "stable",
  "accuracy_slack",
  "confirming",
)


def check_search(search: Any) -> None:
  """Refuses a config that is not a search's.

  Raises:
    ValueError: names the fields that it lacks.
  """
  missing = [field for field in FIELDS if field not in (search or ())]
  if missing:
    raise ValueError(
      f"the config of a search lacks {', '.join(missing)}; "
      "configs/search_mnist1d.py has every field"
    )


def check_seeds(search: Any) -> None:
  """Refuses a search on a seed that a study is to be confirmed on.

  Args:
    search: its config. Each of `confirming` is a module of `configs`; its
      confirming seeds are its config's, and its CONFIRMING_SEEDS if it has any.

  Raises:
    ValueError: names the seed, the search and the config.
  """
  used = {point.config.seed for point in points(search)} | {search.study.seed}
  for name in search.confirming:
    module = importlib.import_module(f"configs.{name}")
    seeds = {module.get_config().seed, *getattr(module, "CONFIRMING_SEEDS", ())}
    if shared := sorted(used & seeds):
      raise ValueError(
        f"seed {shared[0]} of search {search.study.name!r} is a confirming "
        f"seed of configs/{name}.py: settings chosen on it would be confirmed "
        "on what they were chosen for"
      )


def points(search: Any) -> list[Point]:
  """Returns the points of a search's grid.

  Raises:
    ValueError: two points have one name.
  """
  found = []
  for delta in search.grid:
    config = search.study.copy_and_resolve_references()
    flat = flatten(delta)
    config.update_from_flattened_dict(flat)
    told = [f"{k.split('.')[-1]}={_told(v)}" for k, v in flat.items()]
    batch = config.data.batch_size
    if not config.optim.steps.endswith(("step", "ex")):
      raise ValueError(
        "a search counts T in steps or examples, got optim.steps="
        f"{config.optim.steps!r}"
      )
    total = steps_of(config.optim.steps, "optim.steps", 0, batch)
    # Milestones follow T, which a point may set.
    config.optim.milestones = tuple(
      f"{round(total * share)}step" for share in search.milestones
    )
    config.name = "-".join([search.study.name, *told])
    rewind = tuple(round(total * share) for share in search.rewind_shares)
    found.append(Point(", ".join(told), config, total, rewind))
  names = [point.name for point in found]
  if len(set(names)) < len(names):
    raise ValueError(f"two points of the grid are one: {sorted(names)}")
  return found


def dense_config(point: Point) -> Any:
  """Returns a point's study without pruning: children at both ends of t_r."""
  config = point.config.copy_and_resolve_references()
  config.prune.levels = 0
  config.connectivity.update(
    children=2, alphas=(0.5,), splits=("test",), batch_stats=("average",)
  )
  config.experiments = tuple(
    _everything(steps) for steps in (0, point.rewind_steps[-1])
  )
  return config


def sparse_config(point: Point, search: Any) -> Any:
  """Returns a point's study with IMP: none, all, and the search's diets."""
  config = point.config.copy_and_resolve_references()
  config.name += "-sparse"
  experiments = [_everything(0)]
  for steps in point.rewind_steps:
    experiments.append(_everything(steps))
    experiments += [
      subset(kind, size, f"{steps}step", balanced=True)
      | {"name": f"{kind}{size}-{steps}"}
      for kind, size in search.diets
    ]
  config.experiments = tuple(experiments)
  return config


def dense_row(point: Point, results: Results, search: Any) -> dict[str, Any]:
  """Returns a point's row of dense.csv; all but steps and counts in fractions.

  `unstable` and `stable` say whether its children are, at t_r = 0 and at the
  latest; the search's thresholds are of the mean over replicates.
  """
  table, late = results.table, point.rewind_steps[-1]
  instability = results.read_table("instability").set_index("experiment")
  config = point.config
  row = {
    "point": point.name,
    "seed": config.seed,
    "model": config.model.name,
    "width": config.model.width,
    "steps": point.steps,
    "late": late,
  }
  for steps, when in ((0, "none"), (late, "late")):
    name = _everything(steps)["name"]
    rows = table.query(
      "experiment == @name and level == 0 and split == 'test' "
      "and metric == 'accuracy'"
    )
    row[f"accuracy_{when}"] = rows["value"].mean()
    for column in ("mean", "low", "high"):
      row[f"instability_{when}_{column}"] = instability.loc[name, column]
  row["replicates"] = len(rows)
  row["unstable"] = row["instability_none_mean"] >= search.unstable
  row["stable"] = row["instability_late_mean"] < search.stable
  return row


def sparse_rows(point: Point, results: Results) -> list[dict[str, Any]]:
  """Returns a point's rows of sparse.csv: each experiment less none.

  Columns: point, experiment, level, density, none and accuracy (means),
  difference (of pairs, with its 95 % interval low..high and standard deviation
  std), replicates, and needed: replicates with which its interval would exclude
  0 with a probability of 95 %, the effect and the spread being as seen.
  """
  table, rows = results.table, []
  accuracy = table.query("split == 'test' and metric == 'accuracy'")
  columns = ["value", "density"]
  grouped: Any = accuracy.groupby(["experiment", "level"])[columns].mean()
  means: dict[tuple[str, int], Any] = grouped.to_dict("index")
  for name, level in means:
    if name == "none":
      continue
    interval = mean_interval(paired_differences(table, name, "none", level))
    rows.append(
      {
        "point": point.name,
        "seed": point.config.seed,
        "experiment": name,
        "level": level,
        "density": means[name, level]["density"],
        "none": means["none", level]["value"],
        "accuracy": means[name, level]["value"],
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "std": interval.std,
        "replicates": interval.count,
        "needed": np.nan
        if interval.std is None
        else powered_replicates(interval.mean, interval.std),
      }
    )
  return rows


def run_search(search: Any, workdir: str, out: pathlib.Path) -> int:
  """Runs a search; returns the program's exit code.

  Raises:
    ValueError, OSError: bad input.
  """
  check_search(search)
  check_seeds(search)
  grid = points(search)
  for point in grid:  # bad input is told before anything runs
    prepare(dense_config(point), workdir)
    prepare(sparse_config(point, search), workdir)
  out.mkdir(parents=True, exist_ok=True)
  dense, failed = [], False
  for point in grid:
    results, seconds = _run(dense_config(point), workdir)
    if results is None:  # it stands in the table, without numbers
      failed = True
      dense.append({"point": point.name, "failed": True})
      say(f"{point.name}: a replicate failed")
      continue
    dense.append({**dense_row(point, results, search), "failed": False})
    say(
      f"{point.name}: {seconds:.0f} s, instability "
      f"{100 * dense[-1]['instability_none_mean']:.1f} -> "
      f"{100 * dense[-1]['instability_late_mean']:.1f} %, accuracy "
      f"{100 * dense[-1]['accuracy_none']:.1f} %"
    )
  table = pd.DataFrame(dense)
  if "accuracy_none" in table:
    best = table.groupby(["model", "width"])["accuracy_none"].transform("max")
    intact = table["accuracy_none"] >= best - search.accuracy_slack
    apart = table["unstable"].eq(True) & table["stable"].eq(True)
    table["pruned"] = intact & apart  # what failed has neither
  _write(table, out / f"{search.study.name}_dense.csv")
  sparse: list[Mapping[str, Any]] = []
  chosen = set()
  if "pruned" in table:
    chosen = set(table.loc[table["pruned"], "point"])
  for point in grid:
    if point.name not in chosen:
      continue
    results, seconds = _run(sparse_config(point, search), workdir)
    if results is None:
      failed = True
      continue
    sparse += sparse_rows(point, results)
    say(f"{point.name}: {seconds:.0f} s, pruned and rewound")
  _write(
    pd.DataFrame(sparse, columns=list(SPARSE_COLUMNS)),
    out / f"{search.study.name}_sparse.csv",
  )
  return int(failed)


def _run(config: Any, workdir: str) -> tuple[Results | None, float]:
  """A study's results, None if a replicate failed; and the seconds it took."""
  started, plan = time.monotonic(), prepare(config, workdir)
  with watching(plan) as bar:
    results = execute(plan, bar)
  seconds = time.monotonic() - started
  return None if results.has_failures else results, seconds


def _everything(steps: int) -> dict[str, Any]:
  """Pre-training on all the data for so many steps."""
  return everything(f"all-{steps}" if steps else "none", f"{steps}step")


def _told(value: Any) -> str:
  if isinstance(value, (tuple, list)):
    return "_".join(map(str, value))
  return str(value)


def _write(table: pd.DataFrame, file: pathlib.Path) -> None:
  table.to_csv(file, index=False, float_format="%.6g")


def main(argv: Sequence[str]) -> int:
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  logging.set_verbosity(logging.WARNING)
  try:
    check_search(flags.FLAGS.config)
    start(flags.FLAGS.config.study)
    return run_search(
      flags.FLAGS.config,
      str(flags.FLAGS.workdir),
      pathlib.Path(str(flags.FLAGS.out)),
    )
  except BAD_INPUT as error:
    raise BadInput(error) from None


def define_flags() -> None:
  """Defines the program's flags; not on import, for programs share names."""
  config_flags.DEFINE_config_file("config", help_string="a search")
  flags.DEFINE_string("workdir", None, "Where its studies lie.")
  flags.DEFINE_string("out", None, "The folder of its tables.")
  flags.mark_flags_as_required(["config", "workdir", "out"])


if __name__ == "__main__":
  define_flags()
  run_program(main)
