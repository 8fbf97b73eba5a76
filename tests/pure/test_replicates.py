"""The replicate law: a replicate is the same alone and in company."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.masks import init_masks
from imp_jax.engine.replicates import (
  chunks,
  replicate_slice,
  replicated,
  resolve_execution,
  stack_trees,
)
from imp_jax.models import make_model
from imp_jax.training import (
  SGD,
  Pipeline,
  start_state,
  train_steps,
)
from tests.kinds import TRAINED
from tests.pure.test_training import make_recipe
from tests.scoring import initialiser

pytestmark = pytest.mark.optimised

STEPS, BATCH, REPLICATES = 10, 8, 2


@functools.cache
def make_case(name, conv="fast"):
  """A train function, stacked own arguments and shared ones."""
  rng = np.random.default_rng(0)
  if "1d" in name:
    shape, inputs = (40,), rng.normal(size=(32, 40)).astype(np.float32)
    moments, crop = ((0.0,), (1.0,)), 0
  else:
    shape = (8, 8, 3)
    inputs = rng.integers(0, 256, (32, *shape), dtype="uint8")
    moments, crop = ((0.5,) * 3, (0.25,) * 3), 1
  model = make_model(
    name, num_classes=4, input_shape=shape, width=0.25, conv=conv
  ).normalising(*moments)
  pipeline = Pipeline(
    crop_pad=crop,
    flip=crop > 0,
    augment_order="crop_flip",
    rule=SGD,
    padded=False,
  )
  init = initialiser(model)
  states = []
  for r in range(REPLICATES):
    params, stats = init(jax.random.key(r))
    states.append(start_state(params, stats, jax.random.key(100 + r)))
  masks = stack_trees([init_masks(s.params) for s in states])
  plans = rng.integers(0, 32, (REPLICATES, STEPS, BATCH))
  own = (stack_trees(states), masks, jnp.asarray(plans, jnp.int32))
  shared = (
    jnp.asarray(inputs),
    jnp.asarray(rng.integers(0, 4, 32), jnp.int32),
    make_recipe(learning_rate=0.02),
    jnp.int32(STEPS),
  )
  fn = functools.partial(train_steps, model=model, pipeline=pipeline)
  return fn, own, shared


@pytest.mark.slow
@pytest.mark.parametrize(
  "name,conv,modes",
  [
    ("conv1d", "fast", ("threads", "unroll", "map")),
    pytest.param(
      "resnet8", "fast", ("threads", "unroll"), marks=pytest.mark.long
    ),
    pytest.param(
      "resnet8", TRAINED[-1], ("threads", "map"), marks=pytest.mark.long
    ),
  ],
)
def test_bit_identical_alone_and_in_company(name, conv, modes):
  """And in threads or unrolled, so that a study may change between them."""
  fn, own, shared = make_case(name, conv)
  programs = {mode: replicated(fn, mode, shared=4) for mode in modes}
  found = {mode: run(*own, *shared) for mode, run in programs.items()}
  for r, mode in itertools.product(range(REPLICATES), found):
    only = jax.tree.map(lambda x, r=r: x[r : r + 1], own)
    alone = programs["map" if mode == "map" else "threads"]
    wanted = replicate_slice(alone(*only, *shared), 0)
    got = replicate_slice(found[mode], r)
    chex.assert_trees_all_equal(got[0].params, wanted[0].params)
    chex.assert_trees_all_equal(got[0].batch_stats, wanted[0].batch_stats)
    chex.assert_trees_all_equal(got[1], wanted[1])


@pytest.mark.parametrize(
  "name", ["conv1d", pytest.param("resnet8", marks=pytest.mark.long)]
)
def test_batched_execution_agrees_over_ten_steps(name):
  """1e-5 relative to each leaf's scale; later, rounding grows by chaos."""
  fn, own, shared = make_case(name)
  batched = replicated(fn, "vmap", shared=4)(*own, *shared)[0].params
  single = replicated(fn, "threads", shared=4)(*own, *shared)[0].params
  for one, two in zip(
    jax.tree.leaves(batched), jax.tree.leaves(single), strict=True
  ):
    scale = float(jnp.abs(two).max())
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5 * scale)


def test_execution_modes_by_name():
  assert resolve_execution("auto", "cpu") == "threads"
  assert resolve_execution("auto", "gpu") == "vmap"
  assert resolve_execution("map", "gpu") == "map"
  with pytest.raises(ValueError, match="execution.mode 'pmap'; known: auto"):
    resolve_execution("pmap", "cpu")


def test_chunks_are_few_and_even():
  assert [list(c) for c in chunks(range(5), 4)] == [[0, 1], [2, 3, 4]]
  assert [list(c) for c in chunks(range(4), 4)] == [[0, 1, 2, 3]]
  assert chunks([], 4) == []
