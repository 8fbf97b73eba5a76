"""Runs a config on several seeds, or in several ways, and lists the verdicts.

  python -m launch.seeds --config=configs/mnist1d.py --workdir=runs/seeds \
    --seeds=300,301,302 --out=results/mnist1d_seeds/seeds.csv
  python -m launch.seeds --config=configs/mnist1d.py --workdir=runs/ways \
    --ways=threads,unroll,map,vmap,plain --out=results/mnist1d_seeds/ways.csv

A verdict counts if another machine gives it too: other seeds are other draws,
other ways of executing are other rounding. A way is an `execution.mode`, or an
`execution.convolution` in the config's own mode.
"""

import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from absl import flags, logging
from ml_collections import config_flags

from imp_jax.command.cli import BAD_INPUT, BadInput, run_program, start
from imp_jax.command.output import complain, say
from imp_jax.command.studies import watching
from imp_jax.engine.replicates import EXECUTIONS
from imp_jax.models.convolution import CONVOLUTIONS
from imp_jax.results.verdicts import VERDICT_COLUMNS
from imp_jax.study import execute, prepare

_MODES = EXECUTIONS[1:]  # "auto" is the config's own, whatever that is
_KINDS = CONVOLUTIONS[1:]


def variations(
  config: Any, seeds: Sequence[int], ways: Sequence[str]
) -> Iterator[tuple[dict[str, Any], Any]]:
  """Yields (columns that tell it apart, config) of every seed in every way.

  Each has a name of its own, and a way a workdir of its own: numbers of two
  ways are never mixed.

  Raises:
    ValueError: an unknown way.
  """
  for way in ways or [""]:
    for seed in seeds or [config.seed]:
      own = config.copy_and_resolve_references()
      own.seed, own.name = seed, f"{config.name}-seed{seed}"
      if way in _MODES:
        own.execution.mode = way
      elif way in _KINDS:
        own.execution.convolution = way
      elif way:
        raise ValueError(
          f"unknown way {way!r}; known: {', '.join((*_MODES, *_KINDS))}"
        )
      yield {"seed": seed, "way": way or "default"}, own


def run_all(
  config: Any,
  workdir: str,
  seeds: Sequence[int],
  ways: Sequence[str],
  out: pathlib.Path,
) -> tuple[pd.DataFrame, int]:
  """Returns the verdicts of every variation, and the program's exit code.

  They are written to a file too, after each. The table has the columns seed and
  way, then those of verdicts.csv, in which seconds are of the whole run as it
  was waited for, or missing where some of it was there already.

  Raises:
    ValueError, OSError: bad input.
  """
  for given in (seeds, ways):
    if len(set(given)) < len(given):
      raise ValueError(f"seeds and ways must be given once each, got {given}")
  todo = list(variations(config, seeds, ways))
  for columns, own in todo:  # bad input is told before anything runs
    plan = prepare(own, f"{workdir}/{columns['way']}")
    if plan.study.claims.primary_level is None:
      raise ValueError(f"study {config.name!r} declares no claim to decide")
  out.parent.mkdir(parents=True, exist_ok=True)
  table, failed = pd.DataFrame(columns=["seed", "way", *VERDICT_COLUMNS]), 0
  for columns, own in todo:
    started = time.monotonic()
    plan = prepare(own, f"{workdir}/{columns['way']}")
    fresh = not any(
      plan.store.is_finished(node.object_id(plan.study.seed, r))
      for node, replicates in plan.nodes.items()
      for r in replicates
    )
    with watching(plan) as bar:
      results = execute(plan, bar)
    seconds = time.monotonic() - started
    place = f"seed {columns['seed']}, {columns['way']}"
    if results.has_failures:
      complain(f"{place}: a replicate failed")
      failed = 1
    if not results.has_table("verdicts"):
      complain(f"{place}: there are no verdicts")
      failed = 1
      continue
    found = results.read_table("verdicts").assign(
      **columns, seconds=round(seconds, 1) if fresh else np.nan
    )
    found = found.reindex(columns=table.columns)
    table = found if table.empty else pd.concat([table, found])
    # After each, for a run may be stopped.
    table.to_csv(out, index=False, float_format="%.6g")
    for row in found.to_dict("records"):
      say(
        f"seed {row['seed']}, {row['way']}: {row['what']} = "
        f"{row['estimate']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]: "
        f"{row['verdict']}, {seconds:.0f} s"
      )
  return table.reset_index(drop=True), failed


def told(table: pd.DataFrame) -> list[str]:
  """Returns, for each comparison, how often it held, and its bounds' means."""
  lines = []
  groups: Any = table.groupby(["claim", "what"], sort=False)
  for (_, what), rows in groups:
    holds = list(rows["verdict"]).count("holds")
    mean, low, high = (
      float(np.mean(rows[c])) for c in ("estimate", "low", "high")
    )
    lines.append(
      f"{what}: {holds} of {len(rows)} hold; mean {mean:+.4f} [{low:+.4f}, "
      f"{high:+.4f}], lowest bound {min(rows['low']):+.4f}"
    )
  return lines


def main(argv: Sequence[str]) -> int:
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  logging.set_verbosity(logging.WARNING)
  try:
    start(flags.FLAGS.config)
    if any(not seed.isdecimal() for seed in flags.FLAGS.seeds):
      raise ValueError(
        f"--seeds must be whole numbers, got {flags.FLAGS.seeds}"
      )
    seeds = [int(seed) for seed in flags.FLAGS.seeds]
    table, failed = run_all(
      flags.FLAGS.config,
      str(flags.FLAGS.workdir),
      seeds,
      flags.FLAGS.ways,
      pathlib.Path(str(flags.FLAGS.out)),
    )
    for line in told(table):
      say(line)
  except BAD_INPUT as error:
    raise BadInput(error) from None
  return failed


def define_flags() -> None:
  """Defines the program's flags; not on import, for programs share names."""
  config_flags.DEFINE_config_file(
    "config",
    help_string="FILE.py or FILE.py:VARIANT; --config.FIELD=VALUE sets one.",
  )
  flags.DEFINE_string("workdir", None, "Where its studies lie.")
  flags.DEFINE_list("seeds", [], "Seeds; none = the config's own.")
  flags.DEFINE_list("ways", [], "Ways of executing; none = the config's.")
  flags.DEFINE_string("out", None, "The table, a .csv file.")
  flags.mark_flags_as_required(["config", "workdir", "out"])


if __name__ == "__main__":
  define_flags()
  run_program(main)
