"""Cases of training: one step, the loop, masks, replicates."""

import functools
import statistics
from unittest import mock

import jax

from benchmarks.harness import Measured, Options, compared, in_turn
from benchmarks.problems import (
  OPTIM,
  Problem,
  image_problem,
  signal_problem,
)
from imp_jax.core.masks import init_masks
from imp_jax.engine.replicates import (
  EXECUTIONS,
  replicated,
  resolve_execution,
  stack_trees,
)
from imp_jax.training import SGD, train_step, train_steps
from imp_jax.training.loop import make_batch
from imp_jax.training.optimiser import learning_rate, make_tx
from imp_jax.training.settings import make_recipe

# What the profiles say (benchmarks/README.md).
WEIGHT_GRADIENTS = (
  "weight gradients as forward convolutions, about 100 of 264 ms; oneDNN's "
  "own primitive is not to be had through XLA"
)


def problem_of(options: Options, **changes) -> Problem:
  """The image problem that the options name."""
  return image_problem(
    options.model, batch=options.batch, dtype=options.dtype, **changes
  )


def one_step(problem: Problem):
  """Returns jitted (state, masks, batch) -> (state, sums), outside a loop."""

  def fn(state, masks, batch):
    recipe = make_recipe(OPTIM)
    state, sums, _ = train_step(
      state,
      masks,
      batch,
      apply_fn=problem.model.apply_train,
      tx=make_tx(recipe, SGD),
      learning_rate=learning_rate(recipe, state.step),
    )
    return state, sums

  return jax.jit(fn)


def fixed_batch(problem: Problem, state):
  """One prepared batch on the device."""
  train, index = problem.dataset.train, problem.plan(1)[0]
  fn = functools.partial(make_batch, pipeline=problem.pipeline)
  return jax.jit(fn)(state, index, train.inputs, train.labels)


def stepping(problem: Problem, steps: int, masks):
  """A run that makes `steps` steps one by one on one batch."""
  program, first = one_step(problem), problem.state()
  batch = fixed_batch(problem, first)
  program(first, masks, batch)  # compiles

  def run():
    state = first
    for _ in range(steps):
      state, _ = program(state, masks, batch)
    jax.block_until_ready(state)
    return steps * problem.batch

  return run


def train_step_case(options: Options) -> Measured:
  """A step as training makes it against PyTorch's.

  Ours is masked, in its loop, and makes its augmented batch; PyTorch's is dense
  and is given one batch again and again.
  """
  from benchmarks import pytorch

  problem, steps = problem_of(options), 2 if options.quick else 10
  baseline = pytorch.baseline(options)
  name, reference = pytorch.fastest(baseline.train_runs(steps))
  auto = resolve_execution("auto", jax.default_backend())
  ours = replicating(problem, 1, auto, steps)
  rates = in_turn({"ours": ours, name: reference}, options.rounds)
  return compared(
    options.named("train_step"),
    "examples/s",
    rates,
    goal=0.7,
    limited_by=WEIGHT_GRADIENTS,
  )


def scan_step_case(options: Options) -> Measured:
  """A step with its batch made, in the compiled loop and by itself."""
  problem, steps = problem_of(options), 2 if options.quick else 10
  train, plan, first = (
    problem.dataset.train,
    problem.plan(steps),
    problem.state(),
  )
  masks = init_masks(first.params)
  step = one_step(problem)
  batch_of = functools.partial(make_batch, pipeline=problem.pipeline)

  @jax.jit
  def outside(state, masks, index, inputs, labels):
    return step(state, masks, batch_of(state, index, inputs, labels))

  inside = jax.jit(
    functools.partial(
      train_steps, model=problem.model, pipeline=problem.pipeline
    )
  )

  def looped():
    jax.block_until_ready(inside(first, masks, plan, *problem.shared(steps)))
    return steps * problem.batch

  def alone():
    state = first
    for i in range(steps):
      state, _ = outside(state, masks, plan[i], train.inputs, train.labels)
    jax.block_until_ready(state)
    return steps * problem.batch

  rates = in_turn({"ours": looped, "outside the loop": alone}, options.rounds)
  return compared(
    options.named("scan_step"), "examples/s", rates, goal=1 / 1.05
  )


def masked_step_case(options: Options) -> Measured:
  """A step of a half pruned network against one without any masks."""
  problem, steps = problem_of(options), 2 if options.quick else 10
  masks = problem.masks(problem.state())
  masked = stepping(problem, steps, masks)
  with mock.patch("imp_jax.training.step.apply_masks", lambda tree, _: tree):
    dense = stepping(problem, steps, masks)
  rates = in_turn({"ours": masked, "without masks": dense}, options.rounds)
  return compared(
    options.named("masked_step"), "examples/s", rates, goal=1 / 1.03
  )


def replicating(
  problem: Problem, count: int, mode: str, steps: int, memory_gib: float = 0.0
):
  """A run of `count` replicates, `steps` steps each; returns its examples."""
  fn = functools.partial(
    train_steps, model=problem.model, pipeline=problem.pipeline
  )
  program = replicated(fn, mode, shared=4, memory_gib=memory_gib)
  states = [problem.state(r) for r in range(count)]
  own = (
    stack_trees(states),
    stack_trees([init_masks(s.params) for s in states]),
    stack_trees([problem.plan(steps, r) for r in range(count)]),
  )
  shared = problem.shared(steps)

  def run():
    jax.block_until_ready(program(*own, *shared))
    return count * steps * problem.batch

  return run


def replicates_case(count: int, options: Options) -> Measured:
  """Replicates together, as a run executes them, against one alone."""
  problem, steps = problem_of(options), 2 if options.quick else 5
  mode = resolve_execution("auto", jax.default_backend())
  rates = in_turn(
    {
      "ours": replicating(problem, count, mode, steps),
      "one replicate": replicating(problem, 1, mode, count * steps),
    },
    options.rounds,
  )
  return compared(
    options.named(f"replicates_{count}"),
    "examples/s",
    rates,
    goal=1.0,
    details={"execution": mode},
  )


def executions_case(model: str, options: Options) -> Measured:
  """Every way of executing four replicates against one replicate alone.

  `ours` is the way that a run takes by itself; details have all of them.
  """
  count, chosen = 4, resolve_execution("auto", jax.default_backend())
  if model == "conv1d":
    problem, steps = signal_problem(), 20 if options.quick else 500
  else:
    problem, steps = image_problem(model), 2
  runs = {
    mode: replicating(problem, count, mode, steps) for mode in EXECUTIONS[1:]
  }
  runs["one replicate"] = replicating(problem, 1, chosen, count * steps)
  rates = in_turn(runs, options.rounds)
  one = rates["one replicate"]
  ratios = {
    mode: statistics.median(a / b for a, b in zip(found, one, strict=True))
    for mode, found in rates.items()
  }
  return compared(
    f"executions_{model}",
    "examples/s",
    {chosen: rates[chosen], "one replicate": one},
    goal=None,
    details={mode: round(ratio, 3) for mode, ratio in ratios.items()},
  )
