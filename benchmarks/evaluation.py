"""Cases of evaluation: plain, scores, paths between networks."""

import dataclasses
import functools
import statistics
import tempfile

import jax

from benchmarks.harness import Measured, Options, compared, in_turn
from benchmarks.problems import Problem, signal_problem
from benchmarks.steps import problem_of, replicating
from imp_jax.core.store import Store
from imp_jax.data.settings import SplitSettings
from imp_jax.engine.context import Context
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.imports import Imports
from imp_jax.engine.replicates import resolve_execution, stack_trees
from imp_jax.engine.trainer import evaluate_networks
from imp_jax.models.settings import ModelSettings
from imp_jax.probes.paths import Path, PathSettings, measured_paths
from imp_jax.scores import gradient_scores, output_scores
from imp_jax.training.evaluation import evaluate

# What layer times add up to (benchmarks/README.md).
PASSES = (
  "passes of their own for BatchNorm, ReLU and sums of blocks: convolutions "
  "alone would make 2,400 examples/s"
)
BATCH = 500  # of evaluation, both sides
ALPHAS = tuple(i / 10 for i in range(11))


def on_examples(problem: Problem, fn, **options):
  """A run of what is made of every training example by one network."""
  train, network = problem.dataset.train, problem.network()
  fn = functools.partial(
    fn,
    model=problem.model,
    **options,
  )
  program = jax.jit(fn)

  def run():
    jax.block_until_ready(
      program(
        network["params"], network["batch_stats"], train.inputs, train.labels
      )
    )
    return len(train)

  return run


def _problem(options: Options) -> Problem:
  return problem_of(options, examples=BATCH if options.quick else 4 * BATCH)


def evaluate_case(options: Options) -> Measured:
  """Losses and hits of every example against PyTorch's."""
  from benchmarks import pytorch

  problem = _problem(options)
  # Ours in the batches that runs take, and PyTorch on a GPU; on a CPU smaller
  # ones suit it better.
  on_cpu = jax.default_backend() == "cpu"
  batch = options.batch if on_cpu else BATCH
  baseline = pytorch.baseline(dataclasses.replace(options, batch=batch))
  batches = max(len(problem.dataset.train) // batch, 1)
  name, reference = pytorch.fastest(baseline.forward_runs(batches))
  rates = in_turn(
    {"ours": on_examples(problem, evaluate, batch_size=BATCH), name: reference},
    options.rounds,
  )
  return compared(
    options.named("evaluate"),
    "examples/s",
    rates,
    goal=1.0,
    limited_by=PASSES,
  )


def el2n_case(options: Options) -> Measured:
  """EL2N of every example against plain evaluation."""
  problem = _problem(options)
  el2n = on_examples(
    problem,
    output_scores,
    names=("el2n",),
    batch_mode=False,
    batch_size=BATCH,
  )
  plain = on_examples(problem, evaluate, batch_size=BATCH)
  rates = in_turn({"ours": el2n, "plain evaluation": plain}, options.rounds)
  return compared(options.named("el2n"), "examples/s", rates, goal=0.95)


def grand_case(options: Options) -> Measured:
  """Full gradient norms of every example against training."""
  problem = _problem(options)
  ours = on_examples(
    problem, gradient_scores, names=("grand",), batch_size=options.batch
  )
  steps = max(len(problem.dataset.train) // options.batch, 1)
  auto = resolve_execution("auto", jax.default_backend())
  training = replicating(problem, 1, auto, steps)
  rates = in_turn({"ours": ours, "train step": training}, options.rounds)
  return compared(options.named("grand"), "examples/s", rates, goal=0.8)


def path_case(options: Options) -> Measured:
  """Networks along paths of 11 points against networks by themselves."""
  problem, pairs = problem_of(options, examples=BATCH), 2
  context, settings = _paths_of(problem, options.dtype)
  ends = [
    (problem.network(2 * i), problem.network(2 * i + 1)) for i in range(pairs)
  ]
  networks = stack_trees([end for pair in ends for end in pair])
  repeats = max(round(pairs * len(ALPHAS) / (2 * pairs)), 1)

  def plain():
    for _ in range(repeats):
      evaluate_networks(
        networks,
        problem.dataset.train,
        model=problem.model,
        execution=context.execution,
      )
    return repeats * 2 * pairs

  def paths():
    measured_paths(context, settings, ends)
    return pairs * len(ALPHAS)

  rates = in_turn({"ours": paths, "plain evaluation": plain}, options.rounds)
  return compared(options.named("path"), "networks/s", rates, goal=0.95)


def path_together_case(options: Options) -> Measured:
  """All points of paths in one program against one point at a time.

  Of the image network; details have the ratio of the MNIST-1D network too. It
  is to choose the default of `execution.alphas_at_once`.
  """
  found = {}
  for name, problem, dtype in (
    ("images", problem_of(options, examples=BATCH), options.dtype),
    ("signals", signal_problem(examples=4 * BATCH), "float32"),
  ):
    ends = [
      (problem.network(2 * i), problem.network(2 * i + 1)) for i in (0, 1)
    ]
    context, settings = _paths_of(problem, dtype)
    runs = {}
    for side, at_once in (("ours", 0), ("one at a time", 1)):
      execution = dataclasses.replace(context.execution, alphas_at_once=at_once)
      own = dataclasses.replace(context, execution=execution)

      def run(own=own, settings=settings, ends=ends):
        measured_paths(own, settings, ends)
        return len(ends) * len(ALPHAS)

      runs[side] = run
    found[name] = in_turn(runs, options.rounds)
  of_signals = zip(*found["signals"].values(), strict=True)
  return compared(
    options.named("path_together"),
    "networks/s",
    found["images"],
    goal=None,
    details={
      "signals": round(statistics.median(a / b for a, b in of_signals), 3)
    },
  )


def _paths_of(problem: Problem, dtype: str):
  """What `measured_paths` wants: a context, and a path's settings."""
  execution = ExecutionSettings(
    mode=resolve_execution("auto", jax.default_backend()),
    alphas_at_once=1 if jax.default_backend() == "cpu" else 0,  # the default
    devices=1,
    devices_each=1,
    chunk_steps=1,
    eval_batch_size=BATCH,
  )
  context = Context(
    store=Store(tempfile.mkdtemp()),
    dataset=problem.dataset,
    seed=0,
    execution=execution,
    progress=lambda _: None,
    imports=Imports(),
  )
  splits = (SplitSettings("train", problem.dataset.fingerprint),)
  settings = Path(
    model=ModelSettings(
      problem.dataset.num_classes,
      problem.model.mean,
      problem.model.std,
      problem.model.name,
      dtype=dtype,
    ),
    path=PathSettings(ALPHAS, splits, ("average",), 0, problem.batch),
    must_differ=True,
  )
  return context, settings
