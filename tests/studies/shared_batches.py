"""Batches that several of four devices share; run by test_devices.py."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.engine import replicates
from imp_jax.engine.replicates import replicated
from imp_jax.models import make_model
from imp_jax.study import prepare
from imp_jax.training.evaluation import evaluate, recomputed_batch_stats
from tests.pure.test_replicates import REPLICATES, make_case
from tests.tiny import run_tiny, tiny_config

DEVICES, EACH = 4, 2  # of two replicates


def close(got, wanted, tolerance):
  """Relative to each leaf's scale."""
  for one, two in zip(
    jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True
  ):
    scale = float(jnp.abs(two).max())
    np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance * scale)


def test_there_are_four():
  assert jax.local_device_count() == DEVICES


@pytest.mark.optimised
@pytest.mark.parametrize(
  "name,mode",
  [
    ("lenet300100", "vmap"),
    ("conv1d", "map"),
    pytest.param("resnet8", "vmap", marks=pytest.mark.long),
  ],
)
def test_ten_steps_are_those_of_one_device(name, mode):
  """BatchNorm's statistics over the whole batch, gradients summed: 1e-4."""
  fn, own, shared = make_case(name)
  one = replicated(fn, mode, shared=4)(*own, *shared)
  several = replicated(fn, mode, shared=4, devices=DEVICES, devices_each=EACH)
  state, sums = several(*own, *shared)
  close(state.params, one[0].params, 1e-4)
  close(state.batch_stats, one[0].batch_stats, 1e-4)
  close(sums, one[1], 1e-4)
  again, _ = several(state, *own[1:], *shared)  # results go in as they come out
  wanted, _ = replicated(fn, mode, shared=4)(one[0], *own[1:], *shared)
  close(again.batch_stats, wanted.batch_stats, 1e-3)


def test_one_replicate_has_all_devices():
  fn, own, shared = make_case("conv1d")
  wanted, _ = replicated(fn, "vmap", shared=4)(*own, *shared)
  alone = jax.tree.map(lambda leaf: leaf[:1], own)
  run = replicated(fn, "vmap", shared=4, devices=DEVICES, devices_each=DEVICES)
  state, _ = run(*alone, *shared)
  close(state.params, jax.tree.map(lambda x: x[:1], wanted.params), 1e-4)


def test_each_device_has_its_part_of_the_work():
  """Sums go from device to device, examples and networks do not."""
  fn, own, shared = make_case("conv1d", "plain")

  def compiled(devices, each):
    mesh = replicates._mesh(devices, each)
    program = replicates._sharded(
      functools.partial(replicates._together, fn, "vmap"), mesh
    )
    common = replicates.spread(shared, devices)
    placed = replicates._placed(own, mesh)
    return jax.jit(program).lower(placed, common).compile()

  text = compiled(DEVICES, EACH).as_text()
  counts = {
    word: len(re.findall(rf"= \S.* {word}(?:-start)?\(", text))
    for word in ("all-reduce", "all-gather", "all-to-all", "collective-permute")
  }
  leaves = len(jax.tree.leaves(own[0].params))
  norms = len(jax.tree.leaves(own[0].batch_stats))
  # One for each gradient, and for each of BatchNorm's sums both ways.
  assert 0 < counts.pop("all-reduce") <= leaves + 2 * norms + 4
  assert not any(counts.values())
  rows = compiled(REPLICATES, 1).cost_analysis()["flops"]
  split = compiled(DEVICES, EACH).cost_analysis()["flops"]
  assert split < 1.3 * rows / EACH


def test_evaluation_is_that_of_one_device(rng):
  model = make_model("conv1d", num_classes=4, input_shape=(40,), width=0.25)
  _, own, _ = make_case("conv1d")
  inputs = rng.normal(size=(50, 40)).astype(np.float32)
  labels = rng.integers(0, 4, 50).astype(np.int32)
  args = own[0].params, own[0].batch_stats, inputs, labels
  # The last batch goes back; 12 is divided by four, 10 is not.
  for size in (12, 10):
    fn = functools.partial(evaluate, model=model, batch_size=size)
    one = replicated(fn, "vmap", shared=2)(*args)
    several = replicated(
      fn, "vmap", shared=2, devices=DEVICES, devices_each=EACH
    )(*args)
    close(several["loss"], one["loss"], 1e-5)
    np.testing.assert_array_equal(several["correct"], one["correct"])
  fn = functools.partial(recomputed_batch_stats, model=model, batch_size=12)
  one = replicated(fn, "vmap", shared=1)(*args[:3])
  several = replicated(
    fn, "vmap", shared=1, devices=DEVICES, devices_each=EACH
  )(*args[:3])
  close(several, one, 1e-5)


def test_a_study_is_the_same_but_for_rounding(tmp_path):
  settings = dict(
    model__name="lenet300100",
    model__width=0.1,
    experiments=({"name": "all", "pretrain.steps": "1step"},),
    claims__rewinding={"treatments": ()},
    prune__levels=1,
    replicates=2,
    execution__mode="vmap",
  )
  (one, _), (several, _) = (
    run_tiny(tmp_path / str(d), **settings, execution__devices=d)
    for d in (1, 0)
  )
  made = several.ticket("all", level=0).record["made_with"]
  assert (made["devices"], made["devices_each"]) == (DEVICES, EACH)
  a, b = (r.table.query("metric == 'loss'").value for r in (one, several))
  np.testing.assert_allclose(a, b, rtol=1e-3)
  settings |= {"prune__levels": 2, "execution__devices_each": 1}
  with pytest.raises(
    ValueError, match="add vmap/cpu/fast, which rounds differently"
  ):
    prepare(tiny_config(**settings), str(tmp_path / "0"))
