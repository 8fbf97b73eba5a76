"""Replicates by every way of executing them, and what of the device is used."""

import statistics

import jax

from benchmarks.harness import Measured, Options, in_turn
from benchmarks.problems import Problem
from benchmarks.steps import fixed_batch, one_step, problem_of, replicating
from imp_jax.masks import init_masks
from imp_jax.replicates import EXECUTIONS

# Of the paper: levels 0 to 20, steps of each, replicates, CIFAR-10's examples.
LEVELS, STEPS, REPLICATES, EXAMPLES = 21, 62_400, 4, 50_000
# A program's text grows with the replicates: beyond, compiling takes minutes.
UNROLLED = 8
# Ways besides those that a run takes by itself: execution and convolution. Not on
# a CPU, where XLA's own weight gradients take seconds inside a loop.
OTHERS = (("vmap", "packed"), ("vmap", "plain"), ("threads", "plain"))
# By JAX's device kind: bytes/s and FLOP/s (dense, the maker's data sheet;
# products of float32 in TF32).
PEAKS = {
  "NVIDIA H200": {
    "bytes": 4.8e12,
    "float32": 494e12,
    "bfloat16": 989e12,
  }
}


def throughput_case(options: Options) -> Measured:
  """The fastest way to train replicates against PyTorch's fastest.

  Of PyTorch one network after the other and `torch.func.vmap`, eager and
  compiled. Details have examples/s of each way, "failed" where memory did not
  suffice, and the projected time of the paper's whole run.
  """
  problem, on_cpu = problem_of(options), jax.default_backend() == "cpu"
  counts = (1, 4) if on_cpu else (1, 2, 4, 8, 16, 32, 64)
  steps = 2 if on_cpu else 20
  if options.quick:
    counts, steps = (1, 2), 1
  found: dict[str, dict[int, list[float] | None]] = {}
  for count in counts:
    for name, make in _ways(options, problem, count, steps).items():
      try:
        rates = in_turn({name: make()}, options.rounds)[name]
      except RuntimeError:  # what both raise where memory does not suffice
        rates = None
      found.setdefault(name, {})[count] = rates
  ours, theirs = (
    {
      (name, count): rates
      for name, row in found.items()
      for count, rates in row.items()
      if rates and name.startswith("PyTorch") != is_ours
    }
    for is_ours in (True, False)
  )
  middle = statistics.median
  best, other = (
    max(side, key=lambda k: middle(side[k])) for side in (ours, theirs)
  )
  return Measured(
    case=options.named("throughput"),
    unit="examples/s",
    ours=ours[best],
    reference=theirs[other],
    reference_name=f"{other[0]}, {other[1]} replicates",
    ratio=middle(ours[best]) / middle(theirs[other]),
    goal=None if on_cpu else 3.0,
    details={
      "fastest": f"{best[0]}, {best[1]} replicates",
      "examples_per_s": {
        name: {n: round(middle(r)) if r else "failed" for n, r in row.items()}
        for name, row in found.items()
      },
    }
    | _projected(max(middle(ours[k]) for k in ours if k[1] <= REPLICATES))
    | _used(options, problem, middle(ours[best])),
  )


def _ways(options: Options, problem: Problem, count: int, steps: int):
  """What makes each way's run of so many replicates."""
  from benchmarks import pytorch

  baseline = pytorch.baseline(options)
  ours = {
    mode: (mode, problem)
    for mode in EXECUTIONS[1:]
    if mode != "unroll" or count <= UNROLLED
  } | {
    f"{mode}, {conv}": (mode, problem_of(options, conv=conv))
    for mode, conv in OTHERS
    if jax.default_backend() != "cpu"
  }
  ways = {
    name: lambda mode=mode, own=own: replicating(own, count, mode, steps)
    for name, (mode, own) in ours.items()
  }
  theirs = (
    baseline.train_runs(steps)
    if count == 1
    else baseline.replicate_runs(count, steps)
  )
  return ways | {name: lambda run=run: run for name, run in theirs.items()}


def _projected(rate: float) -> dict[str, float]:
  """The paper's run at so many examples per second."""
  seconds = LEVELS * STEPS * REPLICATES * 128 / rate
  return {
    "replicate_epochs_per_s": float(f"{rate / EXAMPLES:.3g}"),
    "paper_hours": round(seconds / 3600, 1),
  }


def _used(options: Options, problem: Problem, rate: float) -> dict[str, float]:
  """What of the device's peak is used, by XLA's own count for one step.

  Nothing on a CPU, where XLA does not see into the convolutions.
  """
  device = jax.devices()[0]
  if device.platform == "cpu":
    return {}
  state = problem.state()
  args = (state, init_masks(state.params), fixed_batch(problem, state))
  counted = one_step(problem).lower(*args).compile().cost_analysis()
  per_s = rate / problem.batch
  used = {
    "bytes": counted["bytes accessed"] * per_s,
    options.dtype: counted["flops"] * per_s,
  }
  peaks = PEAKS.get(device.device_kind, {})
  return {
    "tera_bytes_per_s": float(f"{used['bytes'] / 1e12:.3g}"),
    "tera_flops_per_s": float(f"{used[options.dtype] / 1e12:.3g}"),
  } | {
    f"share_of_peak_{name}": float(f"{value / peaks[name]:.3g}")
    for name, value in used.items()
    if name in peaks
  }
