"""Measures speed: python -m benchmarks [CASE ...] [--rounds=5] [--quick].

Prints a table and writes benchmarks/results/<cpu, h200, ...>.json. A name such
as "growth" takes all cases that begin with it; no name takes all there are.
"""

import argparse
import functools
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Measured, Options, table, write
from imp_jax.compilation import choose_cpu_library, cpu_library

VERSIONS = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


def cases() -> dict[str, Callable[[Options], Measured]]:
  """Every case by its name, in the order they are measured."""
  from benchmarks import demo, evaluation, growth, steps

  return {
    "train_step": steps.train_step_case,
    "scan_step": steps.scan_step_case,
    "masked_step": steps.masked_step_case,
    "replicates_4": functools.partial(steps.replicates_case, 4),
    "replicates_16": functools.partial(steps.replicates_case, 16),
    "executions_conv1d": functools.partial(steps.executions_case, "conv1d"),
    "executions_resnet8": functools.partial(steps.executions_case, "resnet8"),
    "evaluate": evaluation.evaluate_case,
    "el2n": evaluation.el2n_case,
    "grand": evaluation.grand_case,
    "path": evaluation.path_case,
    "demo": demo.demo_case,
    "demo_again": demo.demo_again_case,
    "memory": growth.memory_case,
    "growth_replicates": growth.growth_replicates_case,
    "growth_width": growth.growth_width_case,
    "growth_examples": growth.growth_examples_case,
    "growth_levels": growth.growth_levels_case,
  }


def main() -> int:
  parser = argparse.ArgumentParser(prog="python -m benchmarks")
  parser.add_argument("cases", nargs="*", metavar="CASE")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--model", default="resnet20")
  parser.add_argument("--batch", type=int, default=128)
  parser.add_argument(
    "--quick", action="store_true", help="small, and nothing is written"
  )
  chosen = parser.parse_args()
  choose_cpu_library("auto", images=True)
  known = cases()
  names = [
    name
    for name in known
    if not chosen.cases
    or any(name == c or name.startswith(f"{c}_") for c in chosen.cases)
  ]
  unknown = [c for c in chosen.cases if not any(n.startswith(c) for n in known)]
  if unknown or chosen.rounds < 1:
    what = ", ".join(unknown) or "--rounds must be at least 1"
    print(f"error: {what}; cases: {', '.join(known)}", file=sys.stderr)
    return 2
  options = Options(chosen.rounds, chosen.model, chosen.batch, chosen.quick)
  place, machine = machine_of()
  found = []
  for name in names:
    print(f"{name} ...", file=sys.stderr, flush=True)
    found.append(known[name](options))
    if not options.quick:  # at once: a later case may fail
      write(place, machine, versions(), found)
  print(table([m.to_json() for m in found]))
  return 0


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
    "cpu_library": cpu_library() if on_cpu else "",
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
