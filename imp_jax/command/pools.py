"""Where a sweep's workers run: on this machine, or on a Ray cluster.

Workers are processes that run one command. They share a workdir by claims, as
processes do that were started by hand: which items each of them takes is none
of a pool's business.
"""

import ctypes
import dataclasses
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax

# What leaves a process one of a machine's GPUs.
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_LEAVE_SECONDS = 60.0  # for a cluster's workers to save what is in progress
_POLL_SECONDS = 0.2
_KNOCK_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Ended:
  """A worker that has ended.

  Attributes:
    worker: its number.
    code: its exit code; None where it was lost with its machine.
    place: where it ran.
    last_line: of what it wrote, or why it was lost.
  """

  worker: int
  code: int | None
  place: str
  last_line: str


class Pool(Protocol):
  """Workers, by number.

  Attributes:
    size: how many can run at once.
  """

  size: int

  def start(self, worker: int) -> None:
    """Starts a worker, maybe again; it may have to wait for its resources."""

  def ended(self, seconds: float) -> list[Ended]:
    """Returns workers that have ended; waits so long for the first one."""
    ...

  def close(self) -> None:
    """Asks all workers to end, and waits for those of this machine."""


class LocalPool:
  """Workers of this machine, each with one of its devices."""

  def __init__(
    self,
    command: Sequence[str],
    logs: Path,
    environment: Mapping[str, str],
    size: int = 0,
  ):
    """Starts nothing yet.

    Args:
      command: of a worker.
      logs: the folder of their outputs.
      environment: their variables.
      size: how many, or 0: one of each GPU, or of a CPU one.

    Raises:
      ValueError: there are fewer GPUs; or it is a TPU's host, whose chips one
        process has.
    """
    devices = jax.local_devices()
    platform, there = devices[0].platform, len(devices)
    if platform not in ("cpu", "gpu"):
      raise ValueError(
        f"one process has all of a {platform}'s devices here: run the study "
        "itself, with the sweep's experiments in its config"
      )
    known = environment.get(_VISIBLE, "")
    names = known.split(",") if known else list(map(str, range(there)))
    if platform == "gpu" and size > there:
      raise ValueError(f"--workers is {size}, but there are {there} GPUs")
    self._own = (
      [{_VISIBLE: name} for name in names] if platform == "gpu" else []
    )
    self.size = size or len(self._own) or 1
    self._command, self._logs = command, logs
    self._environment = environment
    self._running: dict[int, subprocess.Popen] = {}

  def start(self, worker: int) -> None:
    own = self._own[worker] if self._own else {}
    self._running[worker] = _begin(
      self._command, _log(self._logs, worker), {**self._environment, **own}
    )

  def ended(self, seconds: float) -> list[Ended]:
    deadline = time.monotonic() + seconds
    while True:
      codes = {w: process.poll() for w, process in self._running.items()}
      found = [w for w, code in codes.items() if code is not None]
      if found or time.monotonic() > deadline:
        break
      time.sleep(_POLL_SECONDS)
    for worker in found:
      del self._running[worker]
    return [
      Ended(w, codes[w], "here", _last_line(_log(self._logs, w))) for w in found
    ]

  def close(self) -> None:
    for process in self._running.values():
      process.terminate()
    for process in self._running.values():
      process.wait()


class RayPool:
  """Workers of a Ray cluster, which places them by what they need."""

  def __init__(
    self,
    command: Sequence[str],
    logs: Path,
    address: str,
    needs: Mapping[str, float],
    size: int = 0,
  ):
    """Meets the cluster and starts nothing yet.

    Args:
      command: of a worker; all it names must be at the same place on each node.
      logs: the folder of their outputs, on each node.
      address: of the cluster: HOST:PORT, "auto", ray://HOST:PORT.
      needs: of each worker, by Ray's names: CPU, GPU, TPU, ...; empty is one
        GPU or TPU where there are any, else one CPU.
      size: how many workers, or 0: as many as there is room for.

    Raises:
      ImportError: Ray is not installed.
      ValueError: no cluster is there, or no node has what a worker needs.
    """
    try:
      import ray  # pyright: ignore
    except ImportError:
      raise ImportError(
        "--ray_address needs Ray: pip install 'imp-jax[cluster]'"
      ) from None
    from ray.exceptions import RayError  # pyright: ignore

    self._ray, self._lost = ray, RayError
    try:
      _knock(address)  # Ray itself would wait for minutes
      ray.init(
        address=address, log_to_driver=False, logging_level=logging.ERROR
      )
    except Exception as error:  # it raises anything
      reason = " ".join(str(error).split())[:160]
      raise ValueError(
        f"--ray_address={address}: no Ray cluster answers there ({reason})"
      ) from None
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    kinds = [k for k in ("GPU", "TPU") if any(node.get(k) for node in nodes)]
    needs = dict(needs) or {kinds[0] if kinds else "CPU": 1.0}
    for name, amount in needs.items():
      most = max((node.get(name, 0.0) for node in nodes), default=0.0)
      if most < amount:
        ray.shutdown()
        raise ValueError(
          f"a worker needs {name}={amount:g}, and no node of the cluster has "
          f"more than {most:g}"
        )
    room = sum(
      min(int(node.get(name, 0.0) // n) for name, n in needs.items())
      for node in nodes
    )
    if not room:
      ray.shutdown()
      wanted = ", ".join(f"{name}={n:g}" for name, n in needs.items())
      raise ValueError(f"no node of the cluster has {wanted} together")
    self.size = size or room
    others = {k: n for k, n in needs.items() if k not in ("CPU", "GPU")}
    self._work = ray.remote(_work).options(
      num_cpus=needs.get("CPU", 0),
      num_gpus=needs.get("GPU", 0),
      resources=others,
      max_retries=0,  # a lost one is started anew by who asked for it
      scheduling_strategy="SPREAD",
    )
    self._command, self._logs = list(command), logs
    self._running: dict[Any, int] = {}

  def start(self, worker: int) -> None:
    log = str(_log(self._logs, worker).absolute())
    ref = self._work.remote(self._command, log, os.getcwd())
    self._running[ref] = worker

  def ended(self, seconds: float) -> list[Ended]:
    ready, _ = self._ray.wait(list(self._running), timeout=seconds)
    found = []
    for ref in ready:
      worker = self._running.pop(ref)
      try:
        code, place, line = self._ray.get(ref)
        found.append(Ended(worker, code, place, line))
      except self._lost as error:
        line = str(error).strip().splitlines()[0].partition(". ")[0]
        found.append(Ended(worker, None, "a node that is gone", line))
    return found

  def close(self) -> None:
    running = list(self._running)
    for ref in running:
      self._ray.cancel(ref)  # interrupts `_work`
    if running:
      self._ray.wait(running, num_returns=len(running), timeout=_LEAVE_SECONDS)
    self._ray.shutdown()


def _knock(address: str) -> None:
  """Makes sure that something listens at HOST:PORT.

  Args:
    address: of a Ray cluster; other forms than that are left to Ray.

  Raises:
    OSError: nothing does.
    ValueError: the port is no number.
  """
  host, colon, port = address.removeprefix("ray://").rpartition(":")
  if colon:
    socket.create_connection((host, int(port)), _KNOCK_SECONDS).close()


def _work(
  command: Sequence[str], log: str, folder: str
) -> tuple[int, str, str]:
  """Runs a worker on a node; returns its exit code, place and last line."""
  os.chdir(folder)
  process = _begin(command, Path(log), os.environ)
  try:
    code = process.wait()
  except KeyboardInterrupt:  # the sweep was asked to end
    process.terminate()
    code = process.wait()
  return code, socket.gethostname(), _last_line(Path(log))


def _begin(
  command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen:
  log.parent.mkdir(parents=True, exist_ok=True)
  with log.open("ab") as out:
    return subprocess.Popen(
      [*command, f"--parent={os.getpid()}"],
      env=environment,
      stdin=subprocess.DEVNULL,
      stdout=out,
      stderr=out,
      start_new_session=True,  # Ctrl-C is for who started it to pass on
    )


def end_with(parent: int) -> None:
  """Has this process asked to end when who started it dies, where Linux can.

  Args:
    parent: its PID, which may be gone already.
  """
  try:
    prctl = ctypes.CDLL(None).prctl
  except (OSError, AttributeError):
    return
  prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
  if os.getppid() != parent:
    os.kill(os.getpid(), signal.SIGTERM)


def _log(logs: Path, worker: int) -> Path:
  return logs / f"worker{worker}.log"


def _last_line(log: Path) -> str:
  try:
    lines = log.read_text(errors="replace").strip().splitlines()
  except OSError:
    return ""
  return lines[-1] if lines else ""
