"""How many replicates are in progress at once, and that it changes nothing."""

import concurrent.futures
import functools
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.engine import memory, replicates
from imp_jax.engine.memory import (
  bytes_bound,
  bytes_of,
  free_bytes,
  working_bytes,
)
from imp_jax.engine.replicates import chunks, replicated
from imp_jax.study import prepare
from tests.pure.test_replicates import make_case
from tests.tiny import tiny_config

KIB = 1024


def traced(fn, *shapes):
  return jax.jit(fn).trace(*[jnp.zeros(s, jnp.float32) for s in shapes])


@pytest.mark.parametrize(
  "fn,values",
  [
    (lambda x: x * 2 + 1, 2 * 256),
    (lambda x: (x * x).sum(), 256 + 1),
    (lambda x: jnp.concatenate([x, x]), 512),
    # The loop's body once, with its counter and its end, and its result.
    (lambda x: jax.lax.fori_loop(0, 9, lambda _, c: jnp.sin(c), x), 2 * 256),
  ],
)
def test_the_bound_is_the_sum_of_all_values(fn, values):
  bound = bytes_bound(traced(fn, 256).jaxpr.jaxpr)
  assert 4 * values <= bound <= 4 * values + 32


def test_a_compiled_program_says_what_it_takes():
  """An outer product of 256 KiB, of whose values nothing else is kept."""
  program = traced(lambda x: jnp.sin(x[:, None] * x[None, :]) @ x, 256)
  taken = working_bytes(program)
  assert 256 * KIB <= taken <= bytes_bound(program.jaxpr.jaxpr)


def test_bytes_of_arrays_and_keys():
  tree = {"x": np.zeros((3, 5), np.float16), "k": jax.random.key(0)}
  assert bytes_of(tree) == 3 * 5 * 2 + 8


def product(x):
  """1 KiB of arguments and of results, 2 x 256 KiB of values."""
  return jnp.sin(x[:, None] * x[None, :]) @ x


@pytest.fixture
def sizes(monkeypatch):
  """How many replicates at once they are split into, call by call."""
  found = []
  monkeypatch.setattr(
    replicates,
    "chunks",
    lambda items, n: found.append(n) or chunks(items, n),
  )
  return found


@pytest.mark.parametrize("execution", ["threads", "unroll", "vmap"])
@pytest.mark.parametrize(
  "each,budget,size",
  [
    (300, 10**6, 4),  # the bound is enough: nobody asks the compiler
    (300, 8 + 1200, 4),
    (300, 8 + 1199, 3),
    (300, 8 + 600, 2),
    (300, 8 + 599, 1),
    (300, 9, 1),
    (300, 1, 1),
  ],
)
def test_as_many_as_the_budget_holds(
  monkeypatch, sizes, execution, each, budget, size
):
  """Four replicates, whose arguments and results take 8 KiB."""
  monkeypatch.setattr("os.cpu_count", lambda: 4)
  asked = []
  whole = 1 if execution == "threads" else 4  # replicates in what is asked of

  def working(program):
    asked.append(program)
    return whole * each * KIB

  def pool(workers):
    sizes.append(workers)
    return concurrent.futures.thread.ThreadPoolExecutor(workers)

  monkeypatch.setattr(replicates, "working_bytes", working)
  monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", pool)
  own = jnp.arange(4 * 256.0).reshape(4, 256)
  run = replicated(product, execution, memory_gib=budget * KIB / 2**30)
  for _ in range(2):  # the answer is kept
    found = run(own)
  near = dict(rtol=1e-5, atol=1e-2)
  np.testing.assert_allclose(found, jax.vmap(product)(own), **near)
  assert len(asked) == (budget < 10**6)
  together = execution != "threads" and size == 4
  assert sizes == ([] if together else [size, size])


def test_what_a_device_says_of_its_memory(monkeypatch):
  device = types.SimpleNamespace(
    platform="gpu",
    memory_stats=lambda: {"bytes_limit": 10_000, "bytes_in_use": 4_000},
  )
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert free_bytes() == 6_000
  device.memory_stats = lambda: None  # as from some allocators
  assert free_bytes() == 8 * 2**30


def test_four_fifths_of_what_is_free_are_taken_by_default(monkeypatch, sizes):
  monkeypatch.setattr(replicates, "working_bytes", lambda _: 4 * 300 * KIB)
  own = jnp.ones((4, 256))
  for free in (1505, 1515):  # 1204 and 1212 of 1208
    monkeypatch.setattr(
      replicates, "free_bytes", lambda devices, n=free: n * KIB
    )
    replicated(product, "vmap")(own)
  assert sizes == [3]


def test_a_stated_budget_holds_what_replicates_share(monkeypatch, sizes):
  """Of 1,208 KiB needed by four; the shared array lies there in any case."""
  monkeypatch.setattr(replicates, "working_bytes", lambda _: 4 * 300 * KIB)
  own, common = jnp.ones((4, 256)), jnp.ones(64 * 256)  # 4 and 64 KiB
  for budget in (1230, 1290):
    run = replicated(
      lambda x, y, number: product(x) + number * y[0],
      "vmap",
      shared=2,
      memory_gib=budget * KIB / 2**30,
    )
    run(own, common, 2.0)
  assert sizes == [3]


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
@pytest.mark.parametrize("memory_gib", [1e-9, 0.0])
def test_replicates_in_parts_are_the_same(execution, memory_gib):
  """Also keys and dictionaries."""

  def fn(key, x, offset):
    return {"key": jax.random.fold_in(key, 1), "y": x * 2 + offset}

  own = jax.random.split(jax.random.key(0), 5), jnp.arange(10.0).reshape(5, 2)
  run = replicated(fn, execution, shared=1, memory_gib=memory_gib)
  found = run(*own, jnp.float32(3))
  wanted = jax.vmap(lambda k: jax.random.fold_in(k, 1))(own[0])
  np.testing.assert_array_equal(found["y"], np.asarray(own[1]) * 2 + 3)
  chex.assert_trees_all_equal(
    jax.random.key_data(found["key"]), jax.random.key_data(wanted)
  )


@pytest.mark.slow
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
