"""Case `overhead`: what a study of small trainings does besides training."""

import collections
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import jax

from benchmarks.harness import Measured, Options
from configs.mnist1d import get_config
from imp_jax.engine.replicates import replicated
from imp_jax.study import Plan, Progress, execute, prepare

GOAL_MS = 30.0  # per training


def overhead_case(options: Options) -> Measured:
  """Milliseconds per training outside compiled programs, all compiled before.

  Of the demo's study with as many seeds as rounds, each from an empty workdir
  to its last artefact; a first one compiles.
  """
  command = [sys.executable, "-m", "benchmarks.overhead"]
  command += ["smoke" if options.quick else "", str(options.rounds)]
  done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
  found = json.loads(done.stdout.strip().splitlines()[-1])
  own = found.pop("ms_outside")
  return Measured(
    case="overhead",
    unit="ms per training",
    ours=own,
    reference=[GOAL_MS],
    reference_name="at most",
    ratio=GOAL_MS / statistics.median(own),
    goal=1.0,
    details={name: statistics.median(v) for name, v in found.items()},
  )


def _child(variant: str, rounds: int) -> None:
  """Studies in a process of their own; prints what they took."""
  inside, found = [0.0], collections.defaultdict(list)

  def timed(*args: Any, **options: Any) -> Any:
    program = replicated(*args, **options)

    def run(*args: Any) -> Any:
      started = time.monotonic()
      result = jax.block_until_ready(program(*args))
      inside[0] += time.monotonic() - started
      return result

    return run

  with mock.patch("imp_jax.engine.trainer.replicated", timed):
    for i in range(rounds + 1):
      config = get_config(variant)
      config.seed = 1_000_000 + i
      with tempfile.TemporaryDirectory() as folder:
        inside[0] = 0.0
        whole, plan = _seconds(config, folder)
        spent = inside[0]
        again, _ = _seconds(config, folder)
        artefacts = list(Path(folder).glob("objects/*"))
        files = [file for a in artefacts for file in a.iterdir()]
        size = sum(file.stat().st_size for file in files)
      if not i:
        continue
      trainings = sum(
        len(rs) for n, rs in plan.nodes.items() if n.stage.trains()
      )
      for name, value in {
        "ms_outside": 1000 * (whole - spent) / trainings,
        "share_outside": 1 - spent / whole,
        "trainings": trainings,
        "files_per_artefact": len(files) / len(artefacts),
        "kib_per_artefact": size / len(artefacts) / 1024,
        "seconds_again": again,
      }.items():
        found[name].append(round(value, 3))
  print(json.dumps(found))


def _seconds(config: Any, folder: str) -> tuple[float, Plan]:
  started = time.monotonic()
  plan = prepare(config, folder)
  execute(plan, Progress())
  return time.monotonic() - started, plan


if __name__ == "__main__":
  _child(sys.argv[1], int(sys.argv[2]))
