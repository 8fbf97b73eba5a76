"""Cases of memory: its growth with replicates, and a budget that is kept."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import jax

from benchmarks.harness import Measured, Options, exponent
from benchmarks.problems import image_problem
from benchmarks.steps import replicating
from imp_jax.engine.replicates import resolve_execution

MODEL, STEPS = "resnet8", 2
BUDGET = 1.0  # GiB


def memory_case(options: Options) -> Measured:
  """The peak of batched replicates under a budget that not all of them fit."""
  count = 4 if options.quick else 16
  free = _peak(count, "vmap", 0.0)
  kept = _peak(count, "vmap", BUDGET)
  return Measured(
    case="memory",
    unit="MiB",
    ours=[kept],
    reference=[BUDGET * 1024],
    reference_name=f"budget of {count} replicates under vmap",
    ratio=BUDGET * 1024 / kept,
    goal=1.0,
    details={"mebibytes_without_a_budget": round(free, 1)},
  )


def memory_replicates_case(options: Options) -> Measured:
  """Peaks of more and more replicates, batched and as a run executes them."""
  sizes = (1, 2) if options.quick else (2, 4, 8, 16)
  auto = resolve_execution("auto", jax.default_backend())
  peaks = {}
  for mode in dict.fromkeys(("vmap", auto)):
    peaks[mode] = [_peak(r, mode, 0.0) for r in sizes]
  fitted = {mode: exponent(sizes, values) for mode, values in peaks.items()}
  allowed = 1.1
  return Measured(
    case="memory_replicates",
    unit="MiB",
    ours=peaks["vmap"],
    reference=[allowed],
    reference_name="exponent at most",
    ratio=allowed / max(fitted.values()),
    goal=1.0,
    details={
      "replicates": list(sizes),
      "mebibytes": {m: [round(v, 1) for v in p] for m, p in peaks.items()},
      "exponent": {m: round(f, 3) for m, f in fitted.items()},
    },
  )


def _peak(replicates: int, mode: str, budget: float) -> float:
  """MiB that training takes in a process of its own, once it is compiled."""
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "benchmarks.memory",
      json.dumps([replicates, mode, budget]),
    ],
    check=True,
    stdout=subprocess.PIPE,
    text=True,
    # Else a GPU's peak is that of trying out convolutions.
    env=os.environ
    | {
      "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} "
      "--xla_gpu_autotune_level=0"
    },
  )
  return json.loads(done.stdout.strip().splitlines()[-1]) / 2**20


def _child(replicates: int, mode: str, budget: float) -> None:
  """Trains so many replicates and prints what that took, in bytes."""
  problem = image_problem(MODEL)
  run = replicating(problem, replicates, mode, STEPS, memory_gib=budget)
  run()  # compiles, which takes more than many replicates
  if jax.default_backend() == "cpu":
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
  before = _taken()
  run()
  print(json.dumps(_taken(peak=True) - before))


def _taken(peak: bool = False) -> int:
  device = jax.devices()[0]
  if device.platform != "cpu":
    stats = device.memory_stats()
    return stats["peak_bytes_in_use" if peak else "bytes_in_use"]
  # Not ru_maxrss, which begins with the parent's.
  name = "VmHWM:" if peak else "VmRSS:"
  lines = Path("/proc/self/status").read_text().splitlines()
  (kilobytes,) = (n.split()[1] for n in lines if n.startswith(name))
  return int(kilobytes) * 1024


if __name__ == "__main__":
  _child(*json.loads(sys.argv[1]))
