"""Cases of growth: how time rises with what a study is made of."""

import functools
import statistics
import tempfile
import time

import jax

from benchmarks.evaluation import on_examples
from benchmarks.harness import Measured, Options, exponent
from benchmarks.problems import image_problem, signal_problem
from benchmarks.steps import replicating
from imp_jax.evaluation import evaluate
from imp_jax.replicates import resolve_execution

# Small enough that the largest of each curve takes seconds.
MODEL = "resnet8"
STEPS = 2


def growth_replicates_case(options: Options) -> Measured:
  """A train step of so many replicates."""
  problem, mode = image_problem(MODEL, batch=options.batch), _mode()
  sizes = (1, 2, 4) if options.quick else (1, 2, 4, 8, 16, 32)
  runs = {r: replicating(problem, r, mode, STEPS) for r in sizes}
  return _curve("replicates", runs, options, allowed=1.05)


def growth_width_case(options: Options) -> Measured:
  """A train step at a multiple of the channels; FLOPs grow with its square."""
  runs = {}
  for width in (1, 2) if options.quick else (1, 2, 3, 4):
    problem = image_problem(MODEL, batch=options.batch, width=float(width))
    runs[width] = replicating(problem, 1, _mode(), STEPS)
  return _curve("width", runs, options, allowed=2.0)


def growth_examples_case(options: Options) -> Measured:
  """Evaluation of so many examples."""
  sizes = (1000, 4000) if options.quick else (1000, 4000, 16_000, 50_000)
  runs = {
    n: on_examples(signal_problem(examples=n), evaluate, batch_size=500)
    for n in sizes
  }
  return _curve("examples", runs, options, allowed=1.05)


def growth_levels_case(options: Options) -> Measured:
  """A whole study of so many levels, everything compiled before."""
  from configs.mnist1d import get_config
  from imp_jax.study import Progress, execute, prepare

  def study(levels):
    config = get_config("smoke")
    config.update(
      {
        "prune": {"levels": levels},
        "controls": {"kinds": (), "levels": ()},
        "claims": {"primary_level": levels},
      }
    )
    with tempfile.TemporaryDirectory() as folder:
      execute(prepare(config, folder), Progress())

  sizes = (1, 2) if options.quick else (2, 4, 8, 16)
  runs = {n: functools.partial(study, n) for n in sizes}
  return _curve("levels", runs, options, allowed=1.05)


def _curve(name, runs, options, *, allowed) -> Measured:
  """Seconds of each size, taken in turn; the exponent is held to `allowed`."""
  for run in runs.values():
    run()
  seconds = {size: [] for size in runs}
  for _ in range(options.rounds):
    for size, run in runs.items():
      start = time.perf_counter()
      run()
      seconds[size].append(time.perf_counter() - start)
  values = [statistics.median(s) for s in seconds.values()]
  fitted = exponent(list(runs), values)
  return Measured(
    case=f"growth_{name}",
    unit="s",
    ours=values,
    reference=[allowed],
    reference_name="exponent at most",
    ratio=allowed / fitted,
    goal=1.0,
    details={
      name: list(runs),
      "seconds": [float(f"{v:.4g}") for v in values],
      "exponent": round(fitted, 3),
    },
  )


def _mode() -> str:
  return resolve_execution("auto", jax.default_backend())
