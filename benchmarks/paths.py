"""Times paths between networks against plain evaluation, in turn in one run.

  python -m benchmarks.paths [--model=conv1d] [--examples=4000] [--pairs=8]

Prints networks evaluated per second on all examples by plain evaluation and
along paths of 11 points (interpolation, barriers per example and of the mean
included), their ratio (larger is better), and what bounds memory: the compiled
evaluation's working memory with ten times the examples, and the host's arrays
with ten times the points.
"""

import dataclasses
import statistics
import tempfile
import time
import tracemalloc

import jax
import numpy as np
from absl import app, flags

from imp_jax.data.dataset import make_dataset, on_device
from imp_jax.exchange import Imports
from imp_jax.nodes import Path
from imp_jax.replicates import resolve_execution, stack_trees
from imp_jax.runs import _evaluate_program, evaluate_networks
from imp_jax.settings import (
  ExecutionSettings,
  ModelSettings,
  PathSettings,
  StreamSettings,
)
from imp_jax.stages.context import Context
from imp_jax.stages.paths import measured_paths
from imp_jax.store import Store

_MODEL = flags.DEFINE_string("model", "conv1d", "conv1d or an image model")
_EXAMPLES = flags.DEFINE_integer("examples", 4000, "of the split")
_PAIRS = flags.DEFINE_integer("pairs", 8, "paths evaluated together")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "timed calls of each")

ALPHAS = tuple(i / 10 for i in range(11))
CLASSES = 10


def main(_) -> None:
  model, examples, pairs = _MODEL.value, _EXAMPLES.value, _PAIRS.value
  context, settings, ends = _case(model, examples, pairs)
  networks = stack_trees([end for pair in ends for end in pair])
  count = 2 * pairs
  part = context.dataset.splits["train"]

  def plain():
    evaluate_networks(
      networks,
      part,
      model=context.model(settings.model),
      stream=settings.stream,
      execution=context.execution,
    )

  def paths():
    measured_paths(context, settings, ends)

  cases = {"plain": (plain, count), "paths": (paths, pairs * len(ALPHAS))}
  rates: dict[str, list[float]] = {name: [] for name in cases}
  for run, _ in cases.values():
    run()  # compiles
  for _ in range(_ROUNDS.value):
    for name, (run, evaluated) in cases.items():
      # As many networks in each timed call, so that neither has the luck of a
      # short one.
      repeats = max(round(pairs * len(ALPHAS) / evaluated), 1)
      start = time.perf_counter()
      for _ in range(repeats):
        run()
      seconds = time.perf_counter() - start
      rates[name].append(repeats * evaluated / seconds)
  ratios = [p / q for p, q in zip(rates["paths"], rates["plain"], strict=True)]
  device, mode = jax.devices()[0], context.execution.mode
  print(f"{model}, {examples} examples, {pairs} pairs, {mode} on {device}")
  for name, found in rates.items():
    print(f"{name:>6}: {statistics.median(found):8.2f} networks/s")
  print(
    f" ratio: {statistics.median(ratios):.3f} "
    f"({min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} rounds)"
  )
  few, many = (
    _temporary_bytes(model, n) / 2**20 for n in (examples, 10 * examples)
  )
  print(
    f"working memory of the compiled evaluation: {few:.1f} MiB, with ten times "
    f"the examples {many:.1f} MiB"
  )
  few, many = (_bytes_per_example(model, examples, n) for n in (11, 101))
  print(
    f"host memory of one path at its peak: {few:.0f} bytes per example with 11 "
    f"points, {many:.0f} with 101"
  )


def _temporary_bytes(model, examples) -> int:
  context, settings, [(a, _)] = _case(model, examples, 1)
  part, execution = context.dataset.splits["train"], context.execution
  program = _evaluate_program(
    context.model(settings.model),
    settings.stream.mean,
    settings.stream.std,
    execution.eval_batch_size,
    "map",
  )
  stacked = stack_trees([a])
  compiled = program.lower(
    stacked["params"], stacked["batch_stats"], part.inputs, part.labels
  ).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def _bytes_per_example(model, examples, points) -> float:
  context, settings, ends = _case(model, examples, 1)
  alphas = tuple(i / (points - 1) for i in range(points))
  path = dataclasses.replace(settings.path, alphas=alphas)
  settings = dataclasses.replace(settings, path=path)
  measured_paths(context, settings, ends)  # compiles
  tracemalloc.start()
  measured_paths(context, settings, ends)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  return peak / examples


def _case(name, examples, pairs):
  """Random data, and pairs of random networks."""
  rng = np.random.default_rng(0)
  if name == "conv1d":
    inputs = rng.normal(size=(examples, 40)).astype(np.float32)
  else:
    inputs = rng.integers(0, 256, (examples, 32, 32, 3), dtype=np.uint8)
  labels = rng.permutation(examples) % CLASSES
  dataset = on_device(
    make_dataset(
      "random",
      {"train": (inputs, labels), "test": (inputs[:10], labels[:10])},
    )
  )
  channels = len(dataset.mean)
  settings = Path(
    model=ModelSettings(name, CLASSES, 1.0, "uniform", "float32"),
    stream=StreamSettings(
      fingerprint=dataset.fingerprint,
      batch_size=128,
      last_batch="drop",
      order="replicate",
      augment_noise="replicate",
      crop_pad=0,
      flip=False,
      augment_order="crop_flip",
      mean=(0.0,) * channels,
      std=(1.0,) * channels,
    ),
    path=PathSettings(ALPHAS, ("train",), ("average",), 0, 128),
    must_differ=True,
  )
  context = Context(
    store=Store(tempfile.mkdtemp()),
    dataset=dataset,
    seed=0,
    execution=ExecutionSettings(
      mode=resolve_execution("auto", jax.default_backend()),
      replicates_at_once=0,
      convolution="fast",
      chunk_steps=1,
      checkpoint_seconds=60.0,
      eval_batch_size=500,
      mix=False,
    ),
    progress=lambda _: None,
    imports=Imports(),
  )
  init = jax.jit(context.model(settings.model).init)

  def network(seed):
    params, stats = jax.device_get(init(jax.random.key(seed)))
    return {"params": params, "batch_stats": stats}

  return (
    context,
    settings,
    [(network(2 * i), network(2 * i + 1)) for i in range(pairs)],
  )


if __name__ == "__main__":
  app.run(main)
