"""Replicates sharded over three devices; run by test_devices.py."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.engine import replicates
from imp_jax.engine.memory import free_bytes
from imp_jax.engine.replicates import replicated, resolve_devices
from imp_jax.models.convolution import convolve
from tests.kinds import TRAINED
from tests.pure.test_replicates import make_case
from tests.tiny import run_tiny

DEVICES = 3


@functools.cache
def four(name="lenet300100"):
  """A train function and the arguments of four replicates."""
  fn, own, shared = make_case(name)

  @jax.jit  # one program, not one for each leaf
  def repeated(own):
    return jax.tree.map(lambda leaf: leaf[jnp.array([0, 1, 1, 0])], own)

  return fn, repeated(own), shared


def test_there_are_three():
  assert jax.local_device_count() == DEVICES
  assert resolve_devices(0, "vmap") == resolve_devices(3, "map") == DEVICES
  assert resolve_devices(0, "threads") == resolve_devices(1, "vmap") == 1
  assert free_bytes(2) < 0.6 * free_bytes(1)


@pytest.mark.optimised
@pytest.mark.parametrize(
  "mode", [pytest.param("map", marks=pytest.mark.long), "vmap"]
)
def test_sharded_replicates_are_those_of_one_device(mode):
  """Four over three devices: two of them have two, the last its own twice."""
  fn, own, shared = four()
  one = replicated(fn, mode, shared=4)(*own, *shared)
  run = replicated(fn, mode, shared=4, devices=DEVICES)
  several = run(*own, *shared)
  again = run(several[0], *own[1:], *shared)  # results go in as they come out
  wanted = replicated(fn, mode, shared=4)(one[0], *own[1:], *shared)
  for got, want in ((several, one), (again, wanted)):
    assert jax.tree.leaves(got)[0].shape[0] == 4
    parts = (got[0].params, got[0].batch_stats, got[1])
    wants = (want[0].params, want[0].batch_stats, want[1])
    if mode == "vmap":  # two at once, not four: rounded otherwise
      chex.assert_trees_all_close(parts, wants, rtol=1e-4, atol=1e-5)
    else:
      chex.assert_trees_all_equal(parts, wants)


@pytest.mark.parametrize(
  "kind,mode", [("packed", "vmap"), ("fast", "vmap"), (TRAINED[-1], "map")]
)
def test_batched_and_looped_convolutions_can_be_sharded(rng, kind, mode):
  conv = functools.partial(convolve, stride=1, padding=1, kind=kind)

  def fn(x, kernel):
    out, pull = jax.vjp(conv, x, kernel)
    return out, *pull(jnp.sin(out))

  x = rng.normal(size=(4, 2, 6, 6, 3)).astype(np.float32)
  kernel = rng.normal(size=(4, 3, 3, 3, 4)).astype(np.float32)
  wanted = replicated(fn, mode)(x, kernel)
  got = replicated(fn, mode, devices=DEVICES)(x, kernel)
  chex.assert_trees_all_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_every_device_works_and_none_talks_to_another():
  """Once the arguments are there: replicates share no sums."""
  fn, own, shared = four("conv1d")
  mesh = replicates._mesh(DEVICES, 1)
  own = replicates._placed(own, mesh)
  program = replicates._sharded(
    lambda own, common: jax.vmap(lambda a: fn(*a, *common))(own), mesh
  )
  common = replicates.spread(shared, DEVICES)
  compiled = jax.jit(program).lower(own, common).compile()
  for word in ("all-reduce", "all-gather", "all-to-all", "collective"):
    assert word not in compiled.as_text()
  state, _ = compiled(own, common)
  for leaf in jax.tree.leaves(state.params):
    shards = leaf.addressable_shards
    assert {s.data.shape[0] for s in shards} == {2}
    assert len({s.device for s in shards}) == DEVICES


@pytest.mark.optimised
def test_the_least_memory_runs_one_on_each_device(rng):
  fn = lambda x, weights: jnp.tanh(x @ weights)
  x = rng.normal(size=(4, 5, 6)).astype(np.float32)
  weights = rng.normal(size=(6, 3)).astype(np.float32)
  wanted = replicated(fn, "threads", shared=1)(x, weights)
  least = replicated(fn, "unroll", shared=1, memory_gib=1e-6, devices=DEVICES)
  chex.assert_trees_all_equal(least(x, weights), wanted)


@pytest.mark.long  # tests/studies/test_hosts.py has one, of vmap
def test_a_study_is_the_same(tmp_path):
  """Training, evaluation, and programs that look at one network."""
  settings = dict(
    model__name="lenet300100",
    model__width=0.1,
    experiments=({"name": "all", "pretrain.steps": "1step"},),
    claims__rewinding={"treatments": ()},
    prune__levels=1,
    replicates=2,
    execution__mode="map",
    connectivity__children=2,
    connectivity__alphas=(0.5,),
    connectivity__batch_stats=("average",),
  )
  (one, _), (several, _) = (
    run_tiny(tmp_path / str(d), **settings, execution__devices=d)
    for d in (1, 0)
  )
  for name in ("results", "barriers"):
    a, b = (r.read_table(name) for r in (one, several))
    assert len(a)
    for column in a:
      np.testing.assert_array_equal(a[column], b[column], err_msg=column)
  made = [r.ticket("all", level=0).record["made_with"] for r in (one, several)]
  assert [m["devices"] for m in made] == [1, DEVICES]
