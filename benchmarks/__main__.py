"""Measures speed: python -m benchmarks [CASE ...] [--rounds=5] [--quick].

  python -m benchmarks gpu --seconds=540 --out=DIR

Prints a table and writes benchmarks/results/<cpu, h200, ...>.json. A name such
as "growth" takes all cases that begin with it; no name takes all there are.
`gpu` spends so many seconds on what a new GPU is to be asked first.
"""

import argparse
import functools
import importlib.metadata
import itertools
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.harness import RESULTS, Measured, Options, table, write
from imp_jax.models.convolution import resolve_convolution

DTYPES = ("float32", "bfloat16")
VERSIONS = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


def cases() -> dict[str, Callable[[Options], Measured]]:
  """Every case by its name, in the order they are measured."""
  from benchmarks import (
    correctness,
    demo,
    evaluation,
    growth,
    memory,
    overhead,
    reporting,
    signals,
    steps,
    throughput,
  )

  return {
    "correctness": correctness.correctness_case,
    "train_step": steps.train_step_case,
    "scan_step": steps.scan_step_case,
    "masked_step": steps.masked_step_case,
    "replicates_4": functools.partial(steps.replicates_case, 4),
    "replicates_16": functools.partial(steps.replicates_case, 16),
    "signals": signals.signals_case,
    "throughput": throughput.throughput_case,
    "executions_conv1d": functools.partial(steps.executions_case, "conv1d"),
    "executions_resnet8": functools.partial(steps.executions_case, "resnet8"),
    "evaluate": evaluation.evaluate_case,
    "el2n": evaluation.el2n_case,
    "grand": evaluation.grand_case,
    "path": evaluation.path_case,
    "path_together": evaluation.path_together_case,
    "demo": demo.demo_case,
    "demo_again": demo.demo_again_case,
    "overhead": overhead.overhead_case,
    "report": reporting.report_case,
    "memory": memory.memory_case,
    "memory_replicates": memory.memory_replicates_case,
    "growth": growth.growth_case,
  }


def main() -> int:
  parser = argparse.ArgumentParser(prog="python -m benchmarks")
  parser.add_argument("cases", nargs="*", metavar="CASE")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--model", default="")
  parser.add_argument("--batch", type=int, default=128)
  parser.add_argument("--dtype", default="float32", choices=DTYPES)
  parser.add_argument(
    "--replicates", type=int, nargs="+", default=(), help="of throughput"
  )
  parser.add_argument(
    "--quick", action="store_true", help="small, and nothing is written"
  )
  parser.add_argument("--out", help="the folder of the results")
  parser.add_argument(
    "--seconds", type=int, default=0, help="of gpu, which is all of a call"
  )
  chosen = parser.parse_args()
  if chosen.cases == ["gpu"]:
    from benchmarks.gpu import run_gpu

    if chosen.seconds < 1 or not chosen.out:
      print("error: gpu needs --seconds and --out", file=sys.stderr)
      return 2
    return run_gpu(chosen.seconds, Path(chosen.out), quick=chosen.quick)
  known = cases()
  names, unknown = matching(known, chosen.cases)
  if unknown or min(chosen.rounds, *chosen.replicates, 1) < 1:
    what = ", ".join(unknown) or "--rounds, --replicates must be at least 1"
    print(f"error: {what}; cases: {', '.join(known)}", file=sys.stderr)
    return 2
  options = Options(
    chosen.rounds,
    chosen.model or ("resnet8" if chosen.quick else "resnet20"),
    chosen.batch,
    chosen.dtype,
    chosen.quick,
    tuple(chosen.replicates),
    Path(chosen.out) if chosen.out else None if chosen.quick else RESULTS,
  )
  place, machine = machine_of()
  found = []
  for name in names:
    print(f"{name} ...", file=sys.stderr, flush=True)
    found.append(known[name](options))
    if options.out:  # at once: a later case may fail
      write(place, machine, versions(), found, options.out)
  print(table([m.to_json() for m in found]))
  wrong = [m for m in found if m.case.startswith("correctness") and not m.met]
  return int(bool(wrong))  # to be slow is a finding, to be wrong a failure


def matching(
  known: Iterable[str], asked: Sequence[str]
) -> tuple[list[str], list[str]]:
  """Returns the cases that are asked for, and what asks for none.

  Args:
    known: the names of all cases.
    asked: names, or what names begin with up to an underscore; none asks for
      every case.
  """
  named = {a: [k for k in known if f"{k}_".startswith(f"{a}_")] for a in asked}
  wanted = set(itertools.chain.from_iterable(named.values()))
  names = [k for k in known if not asked or k in wanted]
  return names, [a for a, found in named.items() if not found]


def machine_of() -> tuple[str, dict[str, object]]:
  """Returns the results' name and what the machine is."""
  import jax

  device = jax.devices()[0]
  on_cpu = device.platform == "cpu"
  info = Path("/proc/cpuinfo")
  lines = info.read_text().splitlines() if info.exists() else []
  models = [
    n.split(":")[1].strip() for n in lines if n.startswith("model name")
  ]
  machine = {
    "processor": (models or [platform.processor()])[0],
    "cores": os.cpu_count(),
    "device": device.device_kind,
    "python": platform.python_version(),
    "convolution": resolve_convolution(
      "auto", backend=device.platform, images=True
    ),
  }
  return "cpu" if on_cpu else device.device_kind.split()[-1].lower(), machine


def versions() -> dict[str, str]:
  found = {}
  for name in VERSIONS:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


if __name__ == "__main__":
  sys.exit(main())
