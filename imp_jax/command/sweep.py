"""Runs a study and a sweep's experiments on all devices, or on a cluster.

  imp-jax-sweep --config=FILE --sweep=FILE --workdir=DIR [--ray_address=ADDRESS]

In a clone also python -m launch.sweep, with the same flags. The sweep's file
has a function get_sweep() that returns experiments, as a config's `experiments`
are written; one without a name is named for its fields. They are added to the
study.

Workers, one of each device, run what is missing of it together: each takes
items that no other is at, so that what experiments share is made once. One that
is lost is started again. Workers that are started by hand or by SLURM, with
--worker and the same flags, join them.
"""

import contextlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags, logging

from imp_jax.command.cli import BAD_INPUT, BadInput, run_program, start
from imp_jax.command.output import complain, warn
from imp_jax.command.pools import Ended, LocalPool, Pool, RayPool, end_with
from imp_jax.command.progress import Bar
from imp_jax.command.studies import (
  print_findings,
  watching,
  write_command,
  write_report,
)
from imp_jax.core.files import reading, shown, user_file
from imp_jax.engine.context import Stopped
from imp_jax.results.load import Results
from imp_jax.study import Plan, execute, prepare
from imp_jax.study.options import flatten

ATTEMPTS = 3  # of each worker that is lost
# Exit codes with which a worker has said all; Python's own, 1, is none of them.
_FINISHED, _REFUSED = 0, 2
_LEAVE_SECONDS = 60.0  # for the others, once one has found all finished


def define_flags() -> None:
  """Defines the program's flags."""
  from ml_collections import config_flags

  config_flags.DEFINE_config_file(
    "config",
    help_string="FILE.py or FILE.py:VARIANT; --config.FIELD=VALUE sets one.",
  )
  flags.DEFINE_string("workdir", None, "Shared by all workers; extended.")
  flags.DEFINE_string("sweep", None, "A file whose get_sweep() makes more.")
  flags.DEFINE_string(
    "ray_address", None, "Of a Ray cluster whose nodes the workers run on."
  )
  flags.DEFINE_integer(
    "workers", 0, "How many; 0 = one of each device.", lower_bound=0
  )
  flags.DEFINE_list("resources", [], "Of each worker on Ray, e.g. GPU=1,CPU=4.")
  flags.DEFINE_bool("worker", False, "Be one of the workers.")
  flags.DEFINE_integer("parent", 0, "PID of who started it, and ends with it.")


def load_sweep(path: str) -> list[dict[str, Any]]:
  """Returns the experiments of a sweep's file, each with its name.

  Raises:
    OSError: there is no such file.
    ValueError: it does not make experiments.
  """
  what = f"--sweep={path}"
  file = user_file(path, what)
  with reading(what, "must be a Python file with a function get_sweep()"):
    spec = importlib.util.spec_from_file_location("sweep", str(file))
    assert spec and spec.loader  # of a file whose name ends in .py
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    experiments = list(module.get_sweep())
  if not experiments:
    raise ValueError(f"{what}: get_sweep() returns no experiment")
  for delta in experiments:
    if not isinstance(delta, dict) or not delta:
      raise ValueError(
        f"{what}: get_sweep() returns dicts like "
        f'{{"pretrain.steps": "10step"}}, got {shown(delta)}'
      )
  return [_named(delta) for delta in experiments]


def run_sweep(plan: Plan, pool: Pool) -> int:
  """Runs what is missing of a study in a pool's workers; returns the exit code.

  Args:
    plan: of the study, the sweep's experiments among its own.
    pool: with no worker yet.

  Raises:
    Stopped: it was asked to end; its workers have saved what was in progress.
  """
  write_command(plan, "imp-jax-sweep", "launch.sweep")
  try:
    with Bar() as bar:
      code = _attended(plan, pool, bar)
  except BaseException:
    pool.close()
    with contextlib.suppress(OSError, ValueError):  # nothing has begun
      write_report(Results(plan.store, plan.study.name), plan.dataset)
    raise
  pool.close()
  if code == _REFUSED:
    return code  # no worker has begun
  results = Results(plan.store, plan.study.name)
  write_report(results, plan.dataset)
  print_findings(results)
  return code or int(results.has_failures)


def _attended(plan: Plan, pool: Pool, bar: Bar) -> int:
  """Starts workers, and lost ones again, until one has found all finished."""
  # One even where all is there: it looks for damage, and writes what is meant.
  size = max(1, min(pool.size, _missing(plan)))
  attempts = dict.fromkeys(range(size), 1)
  for worker in attempts:
    pool.start(worker)
  running, code, told_at = set(attempts), 0, time.monotonic()
  while running:
    if why := bar.stop():
      raise Stopped(why)
    found = pool.ended(seconds=1.0)
    running -= {ended.worker for ended in found}
    for ended in found:
      worker = ended.worker
      if ended.code == _FINISHED:
        _see_off(pool, running)
        return 0
      line = f"worker {worker} {_said(ended)}"
      if ended.code == _REFUSED or attempts[worker] == ATTEMPTS:
        warn(line)
        code = ended.code or 1
        continue
      attempts[worker] += 1
      warn(f"{line}; started again, {attempts[worker]} of {ATTEMPTS} times")
      pool.start(worker)
      running.add(worker)
    if time.monotonic() - told_at > plan.study.execution.line_seconds:
      told_at = time.monotonic()
      complain(
        f"{_missing(plan)} of {len(_ids(plan))} artefacts to come; "
        f"{len(running)} workers"
      )
  return code


def _see_off(pool: Pool, running: set[int]) -> None:
  """Lets workers end by themselves: all is finished."""
  deadline = time.monotonic() + _LEAVE_SECONDS
  while running and time.monotonic() < deadline:
    running -= {ended.worker for ended in pool.ended(seconds=1.0)}


def _said(ended: Ended) -> str:
  if ended.code is None:
    return f"was lost: {ended.last_line}"
  return f"({ended.place}) ended with {ended.code}: {ended.last_line}"


def _ids(plan: Plan) -> list[str]:
  seed = plan.study.seed
  return [n.object_id(seed, r) for n, rs in plan.nodes.items() for r in rs]


def _missing(plan: Plan) -> int:
  return sum(not plan.store.has(object_id) for object_id in _ids(plan))


def _named(delta: dict[str, Any]) -> dict[str, Any]:
  if "name" in delta:
    return delta
  fields = [f"{field}={value}" for field, value in flatten(delta).items()]
  return {"name": "+".join(fields), **delta}


def _needs(resources: Sequence[str]) -> dict[str, float]:
  """What a worker needs, from NAME=NUMBER each.

  Raises:
    ValueError: one is none.
  """
  needs = {}
  for text in resources:
    name, _, number = text.partition("=")
    try:
      needs[name] = float(number)
    except ValueError:
      needs[name] = 0.0
    if not name or not 0 < needs[name] < float("inf"):
      raise ValueError(f"--resources are like GPU=1, got {shown(text)}")
  return needs


def main(argv: list[str]) -> int:
  """Runs what the flags ask for; returns the exit code."""
  given = flags.FLAGS
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  for name in ("config", "sweep", "workdir"):
    if given[name].value is None:
      raise BadInput(f"--{name} is missing")
  logging.set_verbosity(logging.WARNING)
  environment = dict(os.environ)
  if not given.worker:
    # Workers need the memory of the devices that this process only counts.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  config, workdir = given.config, given.workdir
  try:
    needs = _needs(given.resources)
    if needs and given.ray_address is None:
      raise ValueError("--resources are of a Ray cluster: give --ray_address")
    with config.unlocked():
      config.experiments = (*config.experiments, *load_sweep(given.sweep))
    start(config)
    plan = prepare(config, workdir, executes=given.worker)
    pool = None
    if not given.worker:
      pool = _pool(_logs(plan), environment, needs)
  except BAD_INPUT as error:
    raise BadInput(error) from None
  return run_sweep(plan, pool) if pool else _work(plan, given.parent)


def _work(plan: Plan, parent: int) -> int:
  """Runs what is missing beside other workers; returns the exit code.

  It is the same where replicates failed: the sweep's program looks for that.
  """
  with watching(plan) as bar:
    if parent:
      end_with(parent)
    execute(plan, bar)
  return _FINISHED


def _logs(plan: Plan) -> Path:
  """Where the workers' outputs are kept: none can be added to in a bucket."""
  if not plan.store.is_remote:
    return Path(plan.store.root) / "logs"
  folder = Path(tempfile.mkdtemp(prefix="imp_jax_sweep_"))
  complain(f"the workers' outputs are in {folder}, on each machine")
  return folder


def _pool(
  logs: Path, environment: Mapping[str, str], needs: Mapping[str, float]
) -> Pool:
  given = flags.FLAGS
  command = [sys.executable, "-m", "imp_jax.command.sweep", "--worker"]
  command += sys.argv[1:]
  if given.ray_address is None:
    return LocalPool(command, logs, environment, given.workers)
  return RayPool(command, logs, given.ray_address, needs, given.workers)


def run() -> None:
  """The entry point."""
  define_flags()
  run_program(main)


if __name__ == "__main__":
  run()
