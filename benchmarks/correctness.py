"""Case `correctness`: whether a device computes what a CPU does.

  python -m benchmarks.correctness

writes what a CPU finds, with its spread, to results/correctness_cpu.json.
"""

import dataclasses
import functools
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.special

from benchmarks.harness import RESULTS, Measured, Options
from benchmarks.problems import Problem, image_problem
from configs import cifar10_resnet20
from imp_jax.core.masks import init_masks
from imp_jax.data.dataset import make_dataset, on_device
from imp_jax.study import Progress, execute, prepare
from imp_jax.training import TrainState, train_steps
from imp_jax.training.evaluation import evaluate

REFERENCE = RESULTS / "correctness_cpu.json"
REPLICATES, SEED = 24, 1  # of the reference
TRIED, TRIED_SEED = 4, 0  # of what is held against it: independent of it
# That a device which computes as a CPU does misses one of the study's numbers:
# by Student's t with Bonferroni's correction.
CHANCE = 0.01
# What may be off in a network of random weights: an example's loss, in nats,
# and the move of one step, relative to its length. A GPU multiplies float32 in
# TF32 (ten bits, as float16), bfloat16 has seven. Rounding that moves a unit
# across ReLU's corner moves its gradient by all of it, so that a step is off by
# the root of the rounding: on a CPU 6e-4 between two kinds of convolution in
# float32, and 0.25 in bfloat16. What is wrong is off by about 1.
LOSS_OFF = {"float32": 0.02, "bfloat16": 0.1}
STEP_OFF = {"float32": 0.2, "bfloat16": 0.5}


def correctness_case(options: Options) -> Measured:
  """The quick config against a CPU's numbers, and a network example by example.

  `ours` are differences as shares of what they may be; details say of what.
  Training is chaotic, so the study's test loss and accuracy are compared within
  the CPU's own spread over replicates, whatever the type.

  Raises:
    ValueError: the reference is of other data.
  """
  dtype = options.dtype
  found = _rounding(options)
  if not options.quick:
    found |= _against(json.loads(REFERENCE.read_text()), dtype)
  else:
    _study(dtype, variant="smoke")
  # What is no number is worse than any.
  found = {n: s if math.isfinite(s) else math.inf for n, s in found.items()}
  worst = max(found, key=lambda name: found[name])
  return Measured(
    case=options.named("correctness").replace("_resnet8", ""),
    unit="of what it may be off",
    ours=[found[worst]],
    reference=[],
    reference_name="a CPU's numbers",
    ratio=1 / max(found[worst], 1e-9),
    goal=1.0,
    limited_by=worst,
    details={name: round(share, 4) for name, share in found.items()},
  )


def images(side: int = 16) -> dict[str, np.ndarray]:
  """Arrays of an `.npz`: an image's class is a coarse pattern under noise.

  Of raw bits, which no release of NumPy changes.
  """
  bits = np.random.PCG64(0)

  def draw(*shape: int) -> np.ndarray:
    count = math.prod(shape)
    words = np.asarray(bits.random_raw(-(-count // 8)), "<u8")
    return words.view(np.uint8)[:count].reshape(shape).astype(np.int64)

  coarse = draw(10, 4, 4, 3)
  patterns = coarse.repeat(side // 4, axis=1).repeat(side // 4, axis=2)
  found = {}
  for split, count in (("train", 2560), ("test", 1000)):
    labels = np.arange(count) % 10
    noise = draw(count, side, side, 3)
    mixed = (patterns[labels] + 2 * noise) // 3
    found[f"{split}_image"] = mixed.astype(np.uint8)
    found[f"{split}_label"] = labels
  return found


def _rounding(options: Options) -> dict[str, float]:
  """How far losses and one step are off a CPU's, as shares of what they may."""

  def make(**changes: str) -> Problem:
    # Not noise: a network makes its images all but equal, and BatchNorm, which
    # divides by the little that differs, much of any rounding.
    made = images(32)
    splits = {
      s: (made[f"{s}_image"], made[f"{s}_label"]) for s in ("train", "test")
    }
    dataset = on_device(make_dataset("patterns", splits))
    problem = image_problem(options.model, examples=10, **changes)
    return dataclasses.replace(problem, dataset=dataset)

  with jax.default_device(jax.devices("cpu")[0]):
    plain = make(conv="plain")
    state = jax.device_get(plain.state())
    wanted = _losses_and_step(plain, state)
  found = _losses_and_step(make(dtype=options.dtype), state)
  off = float(np.abs(found[0] - wanted[0]).max())
  size = np.linalg.norm(wanted[1])
  step_off = float(np.linalg.norm(found[1] - wanted[1]) / size)
  return {
    "losses of random weights": off / LOSS_OFF[options.dtype],
    "one step": step_off / STEP_OFF[options.dtype],
  }


def _losses_and_step(
  problem: Problem, state: TrainState
) -> tuple[np.ndarray, np.ndarray]:
  """Each example's loss, and how one step moves all weights, in float64."""
  split = problem.dataset.splits["test"]
  evaluation = functools.partial(evaluate, model=problem.model, batch_size=100)
  metrics = jax.jit(evaluation)(
    state.params, state.batch_stats, split.inputs, split.labels
  )
  step = functools.partial(
    train_steps, model=problem.model, pipeline=problem.pipeline
  )
  masks = init_masks(state.params)
  after, _ = jax.jit(step)(state, masks, problem.plan(1), *problem.shared(1))
  moved = jax.tree.map(
    lambda new, old: np.asarray(new, np.float64) - old,
    after.params,
    state.params,
  )
  return (
    np.asarray(metrics["loss"], np.float64),
    np.concatenate([np.ravel(x) for x in jax.tree.leaves(moved)]),
  )


def _against(reference: dict[str, Any], dtype: str) -> dict[str, float]:
  """Differences from the reference, as shares of what they may be."""
  fingerprint, found = _study(dtype)
  if fingerprint != reference["fingerprint"]:
    raise ValueError(
      f"{REFERENCE} is of data {reference['fingerprint']}, these are "
      f"{fingerprint}: python -m benchmarks.correctness, on a CPU"
    )
  shares = {}
  for name, known in reference["means"].items():
    values = found.get(name, [])
    if len(values) < TRIED:  # a replicate failed
      shares[name] = math.inf
    else:
      off = abs(statistics.fmean(values) - known["mean"])
      shares[name] = off / may_be_off(known["std"], len(reference["means"]))
  return shares


def may_be_off(std: float, comparisons: int) -> float:
  """Returns how far the mean of what is tried may be from the reference's.

  Args:
    std: of one replicate, as the reference's show it.
    comparisons: that share out CHANCE.
  """
  quantile = scipy.special.stdtrit(REPLICATES - 1, 1 - CHANCE / comparisons / 2)
  return float(quantile) * std * math.sqrt(1 / TRIED + 1 / REPLICATES)


def _study(
  dtype: str,
  variant: str = "quick",
  replicates: int = TRIED,
  seed: int = TRIED_SEED,
) -> tuple[str, dict[str, list[float]]]:
  """The data's fingerprint, and each level's test loss and accuracy."""
  config = cifar10_resnet20.get_config(variant)
  config.replicates, config.seed = replicates, seed
  config.model.dtype = dtype
  config.data.update(source="npz", mean=(), std=(), crop_pad=2)
  with tempfile.TemporaryDirectory() as folder:
    config.data.path = str(Path(folder) / "images.npz")
    np.savez(config.data.path, **images())
    plan = prepare(config, f"{folder}/runs")
    rows = execute(plan, Progress()).table.query("split == 'test'")
    rows = rows[rows["metric"].isin(("loss", "accuracy"))]
    found: dict[str, list[float]] = {}
    for row in rows.to_dict("records"):
      name = f"{row['experiment']}, level {row['level']}, {row['metric']}"
      found.setdefault(name, []).append(row["value"])
  return plan.dataset.fingerprint, found


def main() -> int:
  """Writes the reference."""
  if jax.default_backend() != "cpu":
    print("error: the reference is a CPU's", file=sys.stderr)
    return 2
  fingerprint, found = _study("float32", replicates=REPLICATES, seed=SEED)
  means = {
    name: {"mean": statistics.fmean(v), "std": statistics.stdev(v)}
    for name, v in found.items()
  }
  content = {"fingerprint": fingerprint, "means": means}
  REFERENCE.write_text(json.dumps(content, indent=1) + "\n")
  return 0


if __name__ == "__main__":
  sys.exit(main())
