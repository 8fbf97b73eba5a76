"""What this process has spent since it began: time by kind, examples, FLOP."""

import collections
import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from imp_jax.core.masks import init_masks
from imp_jax.models import Model
from imp_jax.training import (
  SGD,
  TrainState,
  make_recipe,
  optim_in_steps,
  start_state,
  train_step,
)
from imp_jax.training.optimiser import learning_rate, make_tx

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Spent:
  """What has been spent.

  Attributes:
    compile_seconds: of wall time in which JAX traced, lowered or compiled.
    program_seconds: in which the programs over replicates ran, without that.
    examples: presented in training, each time that they were.
    flop: of training, as its steps are written: a masked weight counts.
  """

  compile_seconds: float = 0.0
  program_seconds: float = 0.0
  examples: int = 0
  flop: float = 0.0

  def __sub__(self, other: "Spent") -> "Spent":
    fields = [field.name for field in dataclasses.fields(self)]
    return Spent(*(getattr(self, f) - getattr(other, f) for f in fields))


_spent, _adding = Spent(), threading.Lock()


def spent() -> Spent:
  """Returns what has been spent so far."""
  return _spent


def spend(**more: float) -> None:
  """Adds to what has been spent.

  Args:
    **more: by the names of `Spent`'s attributes.
  """
  global _spent
  with _adding:
    new: Any = {n: getattr(_spent, n) + value for n, value in more.items()}
    _spent = dataclasses.replace(_spent, **new)


@contextlib.contextmanager
def in_program() -> Iterator[None]:
  """Counts the block's time as a program's, but for what it compiles."""
  started, compiled = time.monotonic(), _spent.compile_seconds
  try:
    yield
  finally:
    seconds = time.monotonic() - started
    compiling = _spent.compile_seconds - compiled
    spend(program_seconds=max(seconds - compiling, 0.0))


class Union:
  """The length of a union of intervals, which come in the order of their ends.

  What is within another, or beside it in another thread, counts once.
  """

  def __init__(self):
    self._kept: collections.deque[tuple[float, float]] = collections.deque()
    self._lock = threading.Lock()

  def add(self, start: float, stop: float) -> float:
    """Returns by how much an interval makes the union longer."""
    with self._lock:
      within = 0.0
      while self._kept and self._kept[-1][0] >= start:
        first, last = self._kept.pop()
        within += last - first
      if self._kept:
        start = max(start, self._kept[-1][1])
      self._kept.append((start, stop))
      if len(self._kept) > 1000:  # a program has no more within it
        self._kept.popleft()
      return stop - start - within


# As jax.monitoring names them; one that is renamed is not counted.
_COMPILING = (
  "/jax/core/compile/jaxpr_trace_duration",
  "/jax/core/compile/jaxpr_to_mlir_module_duration",
  "/jax/core/compile/backend_compile_duration",
)
_compiling = Union()


def _heard(event: str, duration_secs: float, **_: Any) -> None:
  if event in _COMPILING:
    stop = time.monotonic()
    spend(compile_seconds=_compiling.add(stop - duration_secs, stop))


jax.monitoring.register_event_duration_secs_listener(_heard)


@functools.lru_cache(maxsize=64)
def flop_of_a_step(
  model: Model, batch_size: int, input_shape: tuple[int, ...], dtype: str
) -> float:
  """Returns XLA's count of one replicate's step, as it is written; 0 unknown.

  Args:
    model: of plain convolutions, for those to be counted as such.
    batch_size: of the step.
    input_shape, dtype: of one example.
  """
  state, masks = jax.eval_shape(functools.partial(fresh, model), 0)
  batch = {
    "inputs": jax.ShapeDtypeStruct((batch_size, *input_shape), dtype),
    "labels": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
    "weights": None,
  }
  recipe = make_recipe(optim_in_steps())

  def fn(state: TrainState, masks: PyTree, batch: PyTree) -> PyTree:
    return train_step(
      state,
      masks,
      batch,
      apply_fn=model.apply_train,
      tx=make_tx(recipe, SGD),
      learning_rate=learning_rate(recipe, state.step),
    )

  try:
    host = jax.default_device(jax.devices("cpu")[0])
  except RuntimeError:  # JAX_PLATFORMS leaves it out
    host = contextlib.nullcontext()
  try:
    with host:
      counted = jax.jit(fn).lower(state, masks, batch).cost_analysis()
  except Exception:  # what a backend does not count is no reason to end a run
    return 0.0
  return float((counted or {}).get("flops", 0.0))


def fresh(model: Model, seed: int | jax.Array) -> tuple[TrainState, PyTree]:
  """Returns a train state, and masks that keep everything."""
  params, stats = model.init(jax.random.key(seed))
  state = start_state(params, stats, jax.random.key(seed))
  return state, init_masks(params)
