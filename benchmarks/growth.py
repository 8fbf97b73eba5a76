"""The case of growth: how time rises with what a study is made of."""

import dataclasses
import functools
import statistics
import tempfile

import jax

from benchmarks.evaluation import on_examples
from benchmarks.harness import Measured, Options, exponent, in_turn
from benchmarks.problems import image_problem, signal_problem
from benchmarks.steps import replicating
from imp_jax.engine.replicates import resolve_execution
from imp_jax.training.evaluation import evaluate

# Small enough that the largest of each curve takes seconds.
MODEL = "resnet8"
STEPS = 2


@dataclasses.dataclass(frozen=True)
class Curve:
  """Seconds by size, and what their exponent may be."""

  sizes: tuple[int, ...]
  seconds: list[float]
  allowed: float

  @property
  def exponent(self) -> float:
    return exponent(self.sizes, self.seconds)


def growth_case(options: Options) -> Measured:
  """How seconds grow with replicates, width, examples and levels.

  The ratio is that of the curve that is nearest to its allowed exponent.
  """
  curves = {
    "replicates": _replicates(options),
    "width": _width(options),
    "examples": _examples(options),
    "levels": _levels(options),
  }
  return Measured(
    case="growth",
    unit="of the allowed exponent",
    ours=[curve.exponent / curve.allowed for curve in curves.values()],
    reference=[],
    reference_name=", ".join(
      f"{name} {curve.exponent:.2f} of {curve.allowed:g}"
      for name, curve in curves.items()
    ),
    ratio=min(curve.allowed / curve.exponent for curve in curves.values()),
    goal=1.0,
    details={
      name: {
        "sizes": list(curve.sizes),
        "seconds": [float(f"{v:.4g}") for v in curve.seconds],
        "exponent": round(curve.exponent, 3),
        "allowed": curve.allowed,
      }
      for name, curve in curves.items()
    },
  )


def _replicates(options: Options) -> Curve:
  """A train step of so many replicates."""
  problem, mode = image_problem(MODEL, batch=options.batch), _mode()
  sizes = (1, 2, 4) if options.quick else (1, 2, 4, 8, 16, 32)
  runs = {r: replicating(problem, r, mode, STEPS) for r in sizes}
  return _curve(runs, options, allowed=1.05)


def _width(options: Options) -> Curve:
  """A train step at a multiple of the channels; FLOPs grow with its square."""
  runs = {}
  for width in (1, 2) if options.quick else (1, 2, 3, 4):
    problem = image_problem(MODEL, batch=options.batch, width=float(width))
    runs[width] = replicating(problem, 1, _mode(), STEPS)
  return _curve(runs, options, allowed=2.0)


def _examples(options: Options) -> Curve:
  """Evaluation of so many examples."""
  sizes = (1000, 4000) if options.quick else (1000, 4000, 16_000, 50_000)
  runs = {
    n: on_examples(signal_problem(examples=n), evaluate, batch_size=500)
    for n in sizes
  }
  return _curve(runs, options, allowed=1.05)


def _levels(options: Options) -> Curve:
  """A whole study of so many levels, everything compiled before."""
  from configs.mnist1d import get_config
  from imp_jax.study import Progress, execute, prepare

  def study(levels):
    config = get_config("smoke")
    config.update(
      {
        "prune": {"levels": levels},
        "controls": {"kinds": (), "levels": ()},
        "claims": {"rewinding": {"level": levels}},
      }
    )
    with tempfile.TemporaryDirectory() as folder:
      execute(prepare(config, folder), Progress())

  sizes = (2, 4) if options.quick else (2, 4, 8, 16)
  runs = {n: functools.partial(study, n) for n in sizes}
  return _curve(runs, options, allowed=1.05)


def _curve(runs, options, *, allowed) -> Curve:
  """Seconds of each size, the median of rounds taken in turn."""

  def once(run):
    run()
    return 1

  calls = {n: functools.partial(once, run) for n, run in runs.items()}
  rates = in_turn(calls, options.rounds)
  seconds = [1 / statistics.median(found) for found in rates.values()]
  return Curve(tuple(runs), seconds, allowed)


def _mode() -> str:
  return resolve_execution("auto", jax.default_backend())
