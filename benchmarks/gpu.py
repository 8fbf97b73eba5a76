"""What a GPU that is lent for a while is asked, most important first.

Each part is a process of its own with what is left of the time: a limit, a
crash or memory that does not suffice costs that part alone, and what it had
found until then is kept.
"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# Seconds with which nothing is worth starting, and that ending a part takes.
LEAST, ENDING = 15, 3


@dataclasses.dataclass(frozen=True)
class Part:
  """A call of `python -m benchmarks`.

  Attributes:
    name: of the part.
    arguments: of the call.
  """

  name: str
  arguments: tuple[str, ...]


def parts(*, quick: bool) -> list[Part]:
  """Returns what is measured, in order: right first, then fast.

  Throughput is of the counts that say most first; each part has both sides.

  Args:
    quick: small shapes, for a CPU too; names say so.
  """
  dtypes = ("float32",) if quick else ("float32", "bfloat16")
  calls = [("correctness", f"--dtype={dtype}") for dtype in dtypes]
  calls += [
    ("throughput", f"--dtype={dtype}", f"--replicates={count}")
    for count in ((2,) if quick else (4, 16, 1, 32, 8, 2))
    for dtype in reversed(dtypes)
  ]
  calls += [("signals",), ("path_together",)]
  small = ("--quick", "--rounds=1") if quick else ()
  return [
    Part(" ".join((*call, *small)).replace("--", ""), (*call, *small))
    for call in calls
  ]


def run_gpu(seconds: int, out: Path, *, quick: bool = False) -> int:
  """Runs parts while there is time; returns the exit code.

  Args:
    seconds: that all of it may take.
    out: gets results of finished parts, OUT/CASE.partial.json of others and
      gpu.json, which says what became of each.
    quick: small shapes; a CPU always gets these.
  """
  started = time.monotonic()
  quick = quick or _backend() == "cpu"
  left = seconds - (time.monotonic() - started)
  return run_parts(parts(quick=quick), left, out)


def _backend() -> str:
  """JAX's name of it; asked elsewhere, for whoever asks holds the device."""
  ask = "import jax; print(jax.default_backend())"
  told = subprocess.run(
    [sys.executable, "-c", ask], check=True, stdout=subprocess.PIPE, text=True
  )
  return told.stdout.strip()


def run_parts(
  wanted: Sequence[Part],
  seconds: float,
  out: Path,
  program: Sequence[str] = (sys.executable, "-m", "benchmarks"),
) -> int:
  """Runs parts while there is time; 1 if one failed, 0 else."""
  deadline = time.monotonic() + seconds
  out.mkdir(parents=True, exist_ok=True)
  # The libraries of both sides share the device's memory.
  environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
  rows = []
  for part in wanted:
    started = time.monotonic()
    left = deadline - started - ENDING
    if left < LEAST:
      state = "left out"
    else:
      command = [*program, *part.arguments, f"--out={out}"]
      print(f"{part.name}, {left:.0f} s left", file=sys.stderr, flush=True)
      # A session of its own, so that what it started ends with it.
      running = subprocess.Popen(
        command, env=environment, start_new_session=True
      )
      try:
        state = "failed" if running.wait(left) else "finished"
      except subprocess.TimeoutExpired:
        state = "cut off"
      finally:
        with contextlib.suppress(ProcessLookupError):
          os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    taken = round(time.monotonic() - started, 1)
    rows.append({"part": part.name, "state": state, "seconds": taken})
    (out / "gpu.json").write_text(json.dumps(rows, indent=1) + "\n")
  for row in rows:
    print(f"{row['part']}: {row['state']}, {row['seconds']} s")
  return int(any(row["state"] == "failed" for row in rows))
