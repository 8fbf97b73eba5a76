"""Times each way of executing replicates, taken in turn in one run.

  python -m benchmarks.replicates [--model=conv1d] [--replicates=4]

Prints milliseconds per replicate-step (median of the rounds) and each mode's
throughput relative to one replicate alone; larger is better.
"""

import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from imp_jax.masks import init_masks
from imp_jax.models import make_model
from imp_jax.replicates import EXECUTIONS, replicated, stack_trees
from imp_jax.runs import make_recipe
from imp_jax.settings import OptimSettings
from imp_jax.training import (
  Pipeline,
  TrainState,
  init_opt_state,
  train_steps,
)

_MODEL = flags.DEFINE_string("model", "conv1d", "conv1d or an image model")
_REPLICATES = flags.DEFINE_integer("replicates", 4, "stacked replicates")
_STEPS = flags.DEFINE_integer("steps", 500, "train steps per timed call")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "timed calls of each mode")
_MODES = flags.DEFINE_list("modes", list(EXECUTIONS[1:]), "what to time")

EXAMPLES, BATCH, CLASSES = 4000, 128, 10


def main(_) -> None:
  fn, states, masks, plans, shared = _case()
  count = _REPLICATES.value
  own = [stack_trees(x) for x in (states, masks, plans)]
  one = [stack_trees(x[:1]) for x in (states, masks, plans)]
  cases = {"one alone": (replicated(fn, "threads", shared=4), one, 1)}
  for mode in _MODES.value:
    cases[mode] = (replicated(fn, mode, shared=4), own, count)
  compile_s, times = {}, {name: [] for name in cases}
  for name, (run, args, _) in cases.items():
    start = time.perf_counter()
    jax.block_until_ready(run(*args, *shared[:-1], jnp.int32(1)))
    compile_s[name] = time.perf_counter() - start
  for _ in range(_ROUNDS.value):
    for name, (run, args, replicates) in cases.items():
      start = time.perf_counter()
      jax.block_until_ready(run(*args, *shared))
      seconds = time.perf_counter() - start
      times[name].append(1e3 * seconds / replicates / _STEPS.value)
  base = statistics.median(times["one alone"])
  print(
    f"{_MODEL.value}, batch {BATCH}, {count} replicates, {jax.devices()[0]}"
  )
  head = ("mode", "ms/replicate-step", "throughput", "compile s")
  print("{:>10} {:>18} {:>11} {:>10}".format(*head))
  for name, values in times.items():
    ms = statistics.median(values)
    print(f"{name:>10} {ms:18.3f} {base / ms:10.2f}x {compile_s[name]:10.1f}")


def _case():
  """A train function with random data, states, masks and plans."""
  rng = np.random.default_rng(0)
  if _MODEL.value == "conv1d":
    shape, moments, pad = (40,), ((0.0,), (1.0,)), 0
    inputs = rng.normal(size=(EXAMPLES, *shape)).astype(np.float32)
  else:
    shape, moments, pad = (32, 32, 3), ((0.5,) * 3, (0.25,) * 3), 4
    inputs = rng.integers(0, 256, (EXAMPLES, *shape), dtype=np.uint8)
  model = make_model(_MODEL.value, num_classes=CLASSES, input_shape=shape)
  states, masks, plans = [], [], []
  for r in range(_REPLICATES.value):
    params, stats = jax.jit(model.init)(jax.random.key(r))
    states.append(
      TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=stats,
        opt_state=init_opt_state(params),
        key=jax.random.key(r),
      )
    )
    masks.append(init_masks(params))
    plan = rng.integers(0, EXAMPLES, (_STEPS.value, BATCH))
    plans.append(jnp.asarray(plan, jnp.int32))
  pipeline = Pipeline(
    *moments,
    crop_pad=pad,
    flip=pad > 0,
    augment_order="crop_flip",
    nesterov=False,
    decay_on="all",
    padded=False,
  )
  recipe = make_recipe(
    OptimSettings(
      learning_rate=0.1,
      milestones=(),
      factor=0.1,
      warmup=0,
      cosine_steps=0,
      momentum=0.9,
      nesterov=False,
      weight_decay=1e-4,
      decay_on="all",
      loss_scale=1.0,
    )
  )
  labels = jnp.asarray(rng.integers(0, CLASSES, EXAMPLES), jnp.int32)
  shared = (jnp.asarray(inputs), labels, recipe, jnp.int32(_STEPS.value))
  fn = functools.partial(train_steps, model=model, pipeline=pipeline)
  return fn, states, masks, plans, shared


if __name__ == "__main__":
  app.run(main)
