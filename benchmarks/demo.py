"""The demo as a whole process: compile time, and a second run's first step."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.harness import Measured, Options

SHARE, FIRST_STEP = 0.25, 5.0  # of the whole time; seconds

# Events of JAX's own that are spent compiling.
_EVENTS = (
  "/jax/core/compile/jaxpr_trace_duration",
  "/jax/core/compile/jaxpr_to_mlir_module_duration",
  "/jax/core/compile/backend_compile_duration",
)


def demo_case(options: Options) -> Measured:
  """The share of compiling in `make demo`'s study, with an empty cache."""
  with tempfile.TemporaryDirectory() as folder:
    run = _run(folder, "cold", options)
  share = run["compiling"] / run["whole"]
  return Measured(
    case="demo",
    unit="s compiling",
    ours=[run["compiling"]],
    reference=[run["whole"]],
    reference_name="s in all",
    ratio=SHARE / share,
    goal=1.0,
    details={"share": round(share, 3), "first_step_s": run["first_step"]},
  )


def demo_again_case(options: Options) -> Measured:
  """A second run's time from its start to its first step."""
  with tempfile.TemporaryDirectory() as folder:
    _, *runs = [
      _run(folder, f"run{i}", options, until_step=True) for i in range(4)
    ]
  first = [r["first_step"] for r in runs]
  return Measured(
    case="demo_again",
    unit="s to the first step",
    ours=first,
    reference=[FIRST_STEP],
    reference_name="at most",
    ratio=FIRST_STEP / statistics.median(first),
    goal=1.0,
    details={"compiling_s": [r["compiling"] for r in runs]},
  )


def _run(folder, name, options, *, until_step=False):
  """A run in a process of its own; those in one folder share their cache."""
  environment = dict(os.environ, XDG_CACHE_HOME=f"{folder}/cache")
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  started = time.time()
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "benchmarks.demo",
      json.dumps(
        {
          "variant": "smoke" if options.quick else "",
          "workdir": f"{folder}/{name}",
          "started": started,
          "until_step": until_step,
        }
      ),
    ],
    env=environment,
    check=True,
    capture_output=True,
    text=True,
  )
  return json.loads(done.stdout.strip().splitlines()[-1])


class _FirstStep(Exception):
  pass


def _child(variant: str, workdir: str, started: float, until_step: bool):
  """One run in a process of its own; prints what it took."""
  import jax

  spent = dict.fromkeys(_EVENTS, 0.0)

  def listen(event, seconds, **_):
    if event in spent:
      spent[event] += seconds

  jax.monitoring.register_event_duration_secs_listener(listen)
  from configs.mnist1d import get_config
  from imp_jax.command.cli import start
  from imp_jax.study import Progress, execute, prepare

  first = []

  class Watching(Progress):
    def steps(self, count):
      if not first and count:
        first.append(time.time() - started)
        if until_step:
          raise _FirstStep

  study = get_config(variant)
  start(study)
  with contextlib.suppress(_FirstStep):
    execute(prepare(study, workdir), Watching())
  print(
    json.dumps(
      {
        "whole": round(time.time() - started, 2),
        "first_step": round(first[0], 2),
        "compiling": round(sum(spent.values()), 2),
      }
    )
  )


if __name__ == "__main__":
  _child(**json.loads(sys.argv[1]))
