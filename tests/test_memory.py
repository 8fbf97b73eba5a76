"""How many replicates are in progress at once, and that it changes nothing."""

import functools
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax import memory, replicates
from imp_jax.memory import at_once, free_bytes
from imp_jax.replicates import replicated
from imp_jax.study import prepare
from tests.test_replicates import make_case
from tests.tiny import tiny_config

KIB = 1024


def traced(fn, *shapes):
  return jax.jit(fn).trace(*[jnp.zeros(s, jnp.float32) for s in shapes])


def fits(program, **changes):
  options = dict(count=4, wanted=4, budget=1) | changes
  return at_once(program, (np.zeros(256, np.float32),), **options)


@pytest.mark.parametrize(
  "fn,values",
  [
    (lambda x: x * 2 + 1, 2 * 256),
    (lambda x: (x * x).sum(), 256 + 1),
    (lambda x: jnp.concatenate([x, x]), 512),
    # A loop's body once, its counter and its result.
    (lambda x: jax.lax.fori_loop(0, 9, lambda _, c: jnp.sin(c), x), None),
  ],
)
def test_the_bound_is_the_sum_of_all_values(fn, values):
  bound = memory._bytes_bound(traced(fn, 256).jaxpr.jaxpr)
  if values is None:
    assert 2 * KIB <= bound < 2 * KIB + 64
  else:
    assert bound == 4 * values


def test_nothing_is_compiled_where_the_bound_is_enough():
  """Four replicates: 1 KiB of arguments, 1 of results and 2 of values each."""
  program = traced(lambda x: x * 2 + 1, 256)
  only = types.SimpleNamespace(jaxpr=program.jaxpr)  # cannot be lowered
  assert fits(only, budget=16 * KIB) == 4
  with pytest.raises(AttributeError, match="lower"):
    fits(only, budget=16 * KIB - 1)


@pytest.mark.parametrize(
  "budget,size", [(1, 1), (11, 1), (12, 1), (14, 2), (17, 3), (18, 3), (29, 4)]
)
def test_what_the_compiled_program_takes_decides(budget, size):
  """Arguments and results take 8 KiB, each replicate in progress 3 more."""
  used = types.SimpleNamespace(temp_size_in_bytes=3 * KIB)
  compiled = types.SimpleNamespace(memory_analysis=lambda: used)
  lowered = types.SimpleNamespace(compile=lambda: compiled)
  program = types.SimpleNamespace(
    jaxpr=traced(lambda x: jnp.sin(jnp.cos(x) + 1) * 2, 256).jaxpr,
    lower=lambda: lowered,
  )
  assert fits(program, budget=budget * KIB) == size


def test_a_compiled_program_says_what_it_takes():
  def fn(x):
    return jnp.sin(x[:, None] * x[None, :]) @ x

  used = jax.jit(fn).lower(jnp.zeros(256)).compile().memory_analysis()
  assert used.temp_size_in_bytes >= 256 * KIB
  room = 8 * KIB + 2 * used.temp_size_in_bytes
  assert fits(traced(fn, 256), budget=room) == 2
  assert fits(traced(fn, 256), budget=room - 1) == 1


def test_what_a_device_says_of_its_memory(monkeypatch):
  device = types.SimpleNamespace(
    platform="gpu",
    memory_stats=lambda: {"bytes_limit": 100 * KIB, "bytes_in_use": 40 * KIB},
  )
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert free_bytes() == 60 * KIB
  program = traced(lambda x: x * 2 + 1, 256)
  assert fits(program, budget=0) == 4
  device.memory_stats = lambda: {
    "bytes_limit": 100 * KIB,
    "bytes_in_use": 92 * KIB,
  }
  assert fits(program, budget=0) == 1


def test_a_control_group_limits_a_cpu(tmp_path, monkeypatch):
  assert 2**20 < free_bytes() < 2**46
  left = functools.partial(memory._left_of_limit, tmp_path)
  assert left() is None
  (tmp_path / "memory.max").write_text("max\n")
  (tmp_path / "memory.stat").write_text("anon 3000\nfile 999999\n")
  assert left() is None
  (tmp_path / "memory.max").write_text("4000\n")
  assert left() == 1000
  (tmp_path / "memory.max").write_text("2000\n")
  assert left() == 0
  monkeypatch.setattr(memory, "_left_of_limit", left)
  assert free_bytes() == 0
  monkeypatch.setattr(memory, "_available", lambda: None)
  monkeypatch.setattr(memory, "_left_of_limit", lambda: None)
  assert free_bytes() == 8 * 2**30


@pytest.mark.parametrize("execution", ["threads", "unroll", "map", "vmap"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_replicates_in_parts_are_the_same(monkeypatch, execution, size):
  """Keys and counters too; never more than `size` in progress."""
  asked = []

  def some(traced, own, *, count, wanted, budget):
    asked.append((count, wanted, budget))
    return min(size, wanted)

  together = []

  def fn(key, x, offset):
    together.append(np.shape(x))
    return {"key": jax.random.fold_in(key, 1), "y": x * 2 + offset}

  own = jax.random.split(jax.random.key(0), 5), jnp.arange(10.0).reshape(5, 2)
  whole = replicated(fn, execution, shared=1)(*own, jnp.float32(3))
  monkeypatch.setattr(replicates, "at_once", some)
  run = replicated(fn, execution, shared=1, memory_gib=0.5)
  for _ in range(2):
    chex.assert_trees_all_equal(run(*own, jnp.float32(3)), whole)
  np.testing.assert_array_equal(whole["y"], np.asarray(own[1]) * 2 + 3)
  # One question per shape, and none where one at a time is all there is.
  assert len(asked) == (execution != "map")
  assert all(count == 5 and budget == 2**29 for count, _, budget in asked)


def test_an_unrolled_program_holds_no_more_than_fit(monkeypatch):
  monkeypatch.setattr(replicates, "at_once", lambda *_, **__: 2)
  copies = []

  def fn(x):
    copies.append(1)
    return x + 1

  own = jnp.arange(5.0)
  found = replicated(fn, "unroll")(own)
  np.testing.assert_array_equal(found, np.arange(5) + 1)
  # The text of one, then programs of one and of two.
  assert len(copies) <= 1 + 1 + 2


@pytest.mark.parametrize("execution", ["threads", "unroll", "vmap"])
def test_training_under_the_least_budget(execution):
  """One replicate at a time."""
  fn, own, shared = make_case("conv1d")
  few = replicated(fn, execution, shared=4, memory_gib=1e-9)(*own, *shared)
  free = replicated(fn, "threads", shared=4)(*own, *shared)
  if execution == "vmap":  # a batch of one rounds in its own way too
    near = dict(rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_close(few[0].params, free[0].params, **near)
  else:
    chex.assert_trees_all_equal(few[0].params, free[0].params)


def test_a_negative_budget_is_refused(tmp_path):
  config = tiny_config(execution__memory_gib=-1.0)
  with pytest.raises(ValueError, match="execution.memory_gib must be"):
    prepare(config, str(tmp_path / "new"))
  assert not list(tmp_path.iterdir())
