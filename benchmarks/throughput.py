"""Replicates by every way of executing them, and what of the device is used."""

import resource
import statistics
import sys

import jax
import jax.numpy as jnp

from benchmarks.harness import Measured, Options, compared, in_turn
from benchmarks.problems import Problem, image_problem
from benchmarks.steps import fixed_batch, one_step, problem_of, replicating
from imp_jax.core.masks import init_masks
from imp_jax.engine.replicates import EXECUTIONS, resolve_execution

# Of the paper: levels 0 to 20, steps of each, replicates, CIFAR-10's examples.
LEVELS, STEPS, REPLICATES, EXAMPLES = 21, 62_400, 4, 50_000
# A program's text grows with the replicates: beyond, compiling takes minutes.
UNROLLED = 8
# Ways besides those that a run takes by itself: execution and convolution. Not
# on a CPU, where XLA's own weight gradients take seconds inside a loop.
OTHERS = (("vmap", "packed"), ("vmap", "fast"), ("threads", "fast"))
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
  compiled. Details have examples/s of each way, taken one after the other, or
  why there are none, and the projected time of the paper's whole run; the two
  fastest are then timed in turn.

  Raises:
    RuntimeError: no way of one side ran.
  """
  from benchmarks import pytorch

  problem, on_cpu = problem_of(options), jax.default_backend() == "cpu"
  counts = (1, 4) if on_cpu else (1, 2, 4, 8, 16, 32, 64)
  steps = 2 if on_cpu else 20
  if options.quick:
    counts, steps = (1, 2), 1
  counts = options.replicates or counts
  makes = {
    (name, count): make
    for count in counts
    for name, make in _ways(options, problem, count, steps).items()
  }
  case = "_".join([options.named("throughput"), *map(str, options.replicates)])
  rates: dict[tuple[str, int], float] = {}
  found: dict[str, dict[int, float | str]] = {}
  peaks: dict[str, dict[int, float]] = {}
  for (name, count), make in makes.items():
    try:
      all_rates = in_turn({name: make()}, options.rounds)[name]
      rates[name, count] = statistics.median(all_rates)
      said = round(rates[name, count])
    except RuntimeError as error:  # such as where memory does not suffice
      said = (str(error).splitlines() or [repr(error)])[0][:200]
    found.setdefault(name, {})[count] = said
    peaks.setdefault(name, {})[count] = peak_gib(name)
    few = [
      rate
      for (way, n), rate in rates.items()
      if n <= REPLICATES and not way.startswith("PyTorch")
    ]
    options.keep(
      case,
      {"examples_per_s": found, "peak_gib_so_far": peaks}
      | (_projected(max(few)) if few else {}),
    )
    print(f"  {name}, {count}: {said}", file=sys.stderr, flush=True)
    pytorch.forget()
  sides = (
    [way for way in rates if way[0].startswith("PyTorch") == is_theirs]
    for is_theirs in (False, True)
  )
  ours, theirs = (sorted(side, key=lambda way: -rates[way]) for side in sides)
  if not ours or not theirs:
    raise RuntimeError(f"one side of throughput did not run at all: {found}")
  timed = in_turn(
    {"ours": makes[ours[0]](), _said(theirs[0]): makes[theirs[0]]()},
    options.rounds,
  )
  few = [rates[way] for way in ours if way[1] <= REPLICATES]
  return compared(
    case,
    "examples/s",
    timed,
    goal=None if on_cpu else 3.0,
    details={
      "fastest": _said(ours[0]),
      "examples_per_s": found,
      "peak_gib_so_far": peaks,
    }
    | _projected(max(few, default=rates[ours[0]]))
    | _used(options, problem.batch, statistics.median(timed["ours"])),
  )


def peak_gib(name: str) -> float:
  """Returns the most memory that this process has taken so far.

  On a GPU of the device, by the library that a way is of; on a CPU of the host.
  """
  device = jax.devices()[0]
  if device.platform == "cpu":
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  elif name.startswith("PyTorch"):
    import torch

    taken = torch.cuda.max_memory_allocated()
  else:
    taken = (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
  return float(f"{taken / 2**30:.3g}")


def _said(way: tuple[str, int]) -> str:
  name, count = way
  return f"{name}, {count} replicate{'s' if count > 1 else ''}"


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
  ways |= {name: lambda run=run: run for name, run in theirs.items()}
  # What a run takes by itself and PyTorch first: a limit may end a case early.
  auto = resolve_execution("auto", jax.default_backend())
  first = [auto, *theirs]
  return {name: ways[name] for name in dict.fromkeys([*first, *ways])}


def _projected(rate: float) -> dict[str, float]:
  """The paper's run at so many examples per second."""
  seconds = LEVELS * STEPS * REPLICATES * 128 / rate
  return {
    "replicate_epochs_per_s": float(f"{rate / EXAMPLES:.3g}"),
    "paper_hours": round(seconds / 3600, 1),
  }


def _used(options: Options, batch: int, rate: float) -> dict[str, float]:
  """What of the device's peak is used, by the work of one replicate's step.

  XLA does not see into a GPU's library calls, so its count is that of the
  step with XLA's own convolutions: FLOP as it is written, bytes as it is
  compiled and fused for a CPU in float32, in proportion to the type.
  """
  device = jax.devices()[0]
  if device.platform == "cpu":
    return {}
  done = work_of_a_step(options)
  size = jnp.dtype(options.dtype).itemsize
  per_s = rate / batch
  used = {
    "bytes": done["bytes"] * size / 4 * per_s,
    options.dtype: done["flop"] * per_s,
  }
  peaks = PEAKS.get(device.device_kind, {})
  return {
    "tera_bytes_per_s": float(f"{used['bytes'] / 1e12:.3g}"),
    "tera_flop_per_s": float(f"{used[options.dtype] / 1e12:.3g}"),
  } | {
    f"share_of_peak_{name}": float(f"{value / peaks[name]:.3g}")
    for name, value in used.items()
    if name in peaks
  }


def work_of_a_step(options: Options) -> dict[str, float]:
  """Returns {"flop", "bytes"} of one float32 step; see `_used`."""
  with jax.default_device(jax.devices("cpu")[0]):
    problem = image_problem(options.model, batch=options.batch, conv="plain")
    state = problem.state()
    args = (state, init_masks(state.params), fixed_batch(problem, state))
    lowered = one_step(problem).lower(*args)
    compiled = lowered.compile()
  return {
    "flop": lowered.cost_analysis()["flops"],
    "bytes": compiled.cost_analysis()["bytes accessed"],
  }
