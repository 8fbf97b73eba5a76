"""Case `signals`: trainings of the MNIST-1D network beside PyTorch's."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import jax

from benchmarks.harness import Measured, Options, compared, in_turn
from benchmarks.problems import signal_problem
from benchmarks.steps import replicating
from imp_jax.engine.replicates import resolve_execution

LENGTH, CLASSES, FEATURES = 40, 10, 16


def signals_case(options: Options) -> Measured:
  """Replicates of the MNIST-1D network against networks in PyTorch.

  Ours are masked replicates in one process, as a run executes them, and make
  their batches; PyTorch's are dense and are given one batch again and again. On
  a CPU they are as many processes as cores with a thread each, eager or
  compiled, whichever is faster; on a GPU one.
  """
  from benchmarks import pytorch

  on_cpu = jax.default_backend() == "cpu"
  count, steps = (4 if on_cpu else 32), (20 if options.quick else 1000)
  processes = (os.cpu_count() or 1) if on_cpu else 1
  mode = resolve_execution("auto", jax.default_backend())
  problem = signal_problem(batch=options.batch)
  with contextlib.ExitStack() as stack:
    theirs = {}
    for name, compiled in (("eager", False), ("compiled", True)):
      run = stack.enter_context(
        _networks(processes, options.batch, steps, compiled)
      )
      told = f"{processes} processes" if processes > 1 else "one process"
      theirs[f"PyTorch {name}, {told}"] = run
    name, reference = pytorch.fastest(theirs)
    rates = in_turn(
      {"ours": replicating(problem, count, mode, steps), name: reference},
      options.rounds,
    )
  return compared(
    "signals",
    "examples/s",
    rates,
    goal=4.0 if on_cpu else None,
    limited_by="small products, half of the time, and thirty passes besides",
    details={"execution": mode, "replicates": count},
  )


@contextlib.contextmanager
def _networks(
  processes: int, batch: int, steps: int, compiled: bool
) -> Iterator[Callable[[], float]]:
  """A run that trains one network in each process, `steps` steps a call."""
  context = multiprocessing.get_context("spawn")
  pipes, workers = [], []
  for _ in range(processes):
    ours, theirs = context.Pipe()
    # A daemon: it ends with this process, however that ends.
    worker = context.Process(
      target=_work, args=(theirs, batch, compiled), daemon=True
    )
    worker.start()
    theirs.close()  # so that a worker that dies is noticed
    pipes.append(ours)
    workers.append(worker)

  def run() -> float:
    for pipe in pipes:
      pipe.send(steps)
    for pipe in pipes:
      pipe.recv()
    return processes * steps * batch

  try:
    yield run
  finally:
    for worker in workers:
      worker.terminate()
      worker.join()


def _work(pipe: Connection, batch: int, compiled: bool) -> None:
  """Trains one network so many steps whenever it is told a number of them."""
  import torch
  import torch.nn.functional as F
  from torch import nn

  from benchmarks.pytorch import device, wait

  torch.set_num_threads(1)
  torch.manual_seed(0)
  layers, inputs = [], 1
  for _ in range(3):
    layers += [
      nn.Conv1d(inputs, FEATURES, 5, stride=2, padding=2, bias=False),
      nn.BatchNorm1d(FEATURES),
      nn.ReLU(),
    ]
    inputs = FEATURES
  head = nn.Linear(FEATURES * LENGTH // 8, CLASSES)
  model = nn.Sequential(*layers, nn.Flatten(), head).to(device()).train()
  x = torch.randn(batch, 1, LENGTH, device=device())
  y = torch.randint(0, CLASSES, (batch,), device=device())
  optimiser = torch.optim.SGD(
    model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True
  )

  def loss(x, y):
    return F.cross_entropy(model(x), y)

  if compiled:
    loss = torch.compile(loss, dynamic=False)
  while True:
    for _ in range(pipe.recv()):
      optimiser.zero_grad(set_to_none=True)
      loss(x, y).backward()
      optimiser.step()
    wait()
    pipe.send(None)
