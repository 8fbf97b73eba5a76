"""Training: one step and many, schedules, evaluation."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.masks import init_masks
from imp_jax.models import make_model
from imp_jax.training import (
  SGD,
  Pipeline,
  Recipe,
  UpdateRule,
  init_opt_state,
  start_state,
  train_step,
  train_steps,
)
from imp_jax.training.evaluation import evaluate
from imp_jax.training.optimiser import learning_rate, make_tx
from imp_jax.training.step import metric_sums
from tests.scoring import initialiser


def make_recipe(**changes):
  numbers = dict(
    learning_rate=0.1,
    milestones=[4, 6],
    factor=0.1,
    warmup=0,
    warmup_offset=0,
    cosine_steps=0,
    momentum=0.9,
    weight_decay=1e-2,
    loss_scale=1.0,
  )
  numbers |= changes
  ints = {"milestones", "warmup", "warmup_offset", "cosine_steps"}
  return Recipe(
    **{
      k: jnp.asarray(v, jnp.int32 if k in ints else jnp.float32)
      for k, v in numbers.items()
    }
  )


@pytest.mark.parametrize(
  "changes,table",
  [
    ({}, {0: 0.1, 3: 0.1, 4: 0.01, 5: 0.01, 6: 0.001, 100: 0.001}),
    (dict(warmup=4, warmup_offset=1), {0: 0.025, 1: 0.05, 3: 0.1, 4: 0.01}),
    (dict(warmup=4), {0: 0.0, 1: 0.025, 3: 0.075, 4: 0.01, 5: 0.01}),
    (dict(cosine_steps=10), {0: 0.1, 5: 0.05, 10: 0.0, 20: 0.0}),
  ],
)
def test_schedules_are_in_absolute_steps(changes, table):
  for step, wanted in table.items():
    got = learning_rate(make_recipe(**changes), jnp.int32(step))
    assert float(got) == pytest.approx(wanted, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay_on", ["all", "kernels"])
def test_sgd_against_numpy(rng, nesterov, decay_on):
  """PyTorch's order: decay joins the gradient, then momentum."""
  params = {"a": {"kernel": rng.normal(size=3), "bias": rng.normal(size=3)}}
  params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
  tx = make_tx(make_recipe(), UpdateRule(nesterov, decay_on))
  state = init_opt_state(params)
  want = {k: np.asarray(v, np.float64) for k, v in params["a"].items()}
  velocity = {k: np.zeros(3) for k in want}
  for _ in range(4):
    grads = {k: rng.normal(size=3).astype(np.float32) for k in want}
    updates, state = tx.update({"a": grads}, state, params)
    params = jax.tree.map(lambda p, u: p - 0.1 * u, params, updates)
    for k, g in grads.items():
      if decay_on == "all" or k == "kernel":
        g = g + 1e-2 * want[k]
      velocity[k] = 0.9 * velocity[k] + g
      want[k] -= 0.1 * (g + 0.9 * velocity[k] if nesterov else velocity[k])
  chex.assert_trees_all_close(
    params["a"], jax.tree.map(np.float32, want), rtol=1e-5
  )


def test_metric_sums_by_hand():
  logits = jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]))
  labels = jnp.array([1, 0, 0])
  sums = metric_sums(logits, labels, jnp.array([1.0, 1.0, 0.0]))
  assert float(sums["loss"]) == pytest.approx(-np.log(0.5) - np.log(0.9))
  assert (float(sums["correct"]), float(sums["count"])) == (1.0, 2.0)
  sums = metric_sums(logits, labels)
  assert float(sums["loss"]) == pytest.approx(-np.log(0.5 * 0.9 * 0.2))
  assert (float(sums["correct"]), float(sums["count"])) == (1.0, 3.0)


@pytest.fixture(scope="module")
def signals():
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(32, 40)), jnp.float32)
  return x, jnp.asarray(rng.integers(0, 10, 32), jnp.int32)


@pytest.fixture(scope="module")
def model():
  return make_model("conv1d", num_classes=10, input_shape=(40,), width=0.25)


PIPELINE = Pipeline(
  crop_pad=0,
  flip=False,
  augment_order="crop_flip",
  rule=SGD,
  padded=False,
)


@functools.cache
def start(model, seed=0):
  params, stats = initialiser(model)(jax.random.key(seed))
  return start_state(params, stats, jax.random.key(9))


def random_masks(params, seed=0):
  rng = np.random.default_rng(seed)
  masks = init_masks(params)
  for name, leaves in masks.items():
    if "kernel" in leaves:
      shape = leaves["kernel"].shape
      masks[name]["kernel"] = jnp.asarray(rng.random(shape) < 0.5)
  return masks


def some_plan(steps, batch=8, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.integers(0, 32, (steps, batch)), jnp.int32)


@functools.cache
def compiled(model, pipeline=PIPELINE):
  return jax.jit(functools.partial(train_steps, model=model, pipeline=pipeline))


@pytest.mark.slow
def test_dead_weights_stay_exactly_zero_even_with_rewound_momentum(
  model, signals
):
  state = start(model)
  masks = random_masks(state.params)
  moving = jax.tree.map(jnp.ones_like, state.opt_state)
  state, sums = compiled(model)(
    state.replace(opt_state=moving),
    masks,
    some_plan(5),
    *signals,
    make_recipe(),
    jnp.int32(5),
  )
  for name, leaves in masks.items():
    for leaf, mask in leaves.items():
      dead = np.asarray(state.params[name][leaf])[~np.asarray(mask)]
      assert (dead == 0).all() and not np.signbit(dead).any()
  assert float(sums["finite"]) == 1 and int(state.step) == 5


@pytest.mark.slow
def test_a_masked_network_trains_as_one_whose_weights_are_zero(model, signals):
  """The mask's gradient: kept weights see what a hand-zeroed network gives."""
  state = start(model)
  masks = random_masks(state.params)
  x, y = signals
  batch = {"inputs": x[:8], "labels": y[:8], "weights": None}
  zeroed = jax.tree.map(lambda p, m: p * m, state.params, masks)

  def loss(params):
    logits, _ = model.apply_train(params, state.batch_stats, x[:8], None)
    return metric_sums(logits, y[:8])["loss"] / 8

  grads = jax.jit(jax.grad(loss))(zeroed)
  wanted = jax.tree.map(
    lambda p, g, m: jnp.where(m, p - 0.1 * (g + 1e-2 * p), 0),
    zeroed,
    grads,
    masks,
  )
  step = functools.partial(
    train_step,
    apply_fn=model.apply_train,
    tx=make_tx(make_recipe(), SGD),
    learning_rate=jnp.float32(0.1),
  )
  got, _, _ = jax.jit(step)(state.replace(params=zeroed), masks, batch)
  chex.assert_trees_all_close(got.params, wanted, rtol=1e-5, atol=1e-6)


def test_golden_step(model, signals):
  """One step from a fixed start. Update it when a change of numerics is meant.

  Printed by this test when it fails; tolerances are those of float32 sums.
  """
  state, sums = compiled(model)(
    start(model),
    init_masks(start(model).params),
    some_plan(1),
    *signals,
    make_recipe(),
    jnp.int32(1),
  )
  kernel = state.params["conv1"]["kernel"]
  got = [
    float(sums["loss"]),
    float(sums["correct"]),
    float(jnp.abs(kernel).sum()),
    float(state.batch_stats["norm2"]["mean"].sum()),
  ]
  assert got == pytest.approx(GOLDEN_STEP, rel=1e-4), got


GOLDEN_STEP = [18.895565, 2.0, 12.072825, 0.0849723]


def test_chunks_of_steps_equal_one_run_bit_for_bit(model, signals):
  run, plan = compiled(model), some_plan(7)
  masks = init_masks(start(model).params)
  whole, _ = run(
    start(model), masks, plan, *signals, make_recipe(), jnp.int32(7)
  )
  state = start(model)
  for first, count in ((0, 3), (3, 1), (4, 3)):
    rows = jnp.concatenate([plan[first:], plan[:first]])  # one shape
    state, _ = run(
      state, masks, rows, *signals, make_recipe(), jnp.int32(count)
    )
  chex.assert_trees_all_equal(state.params, whole.params)
  chex.assert_trees_all_equal(state.batch_stats, whole.batch_stats)


def test_one_program_serves_every_count_mask_and_number(model, signals):
  run = compiled.__wrapped__(model)  # its own, which nothing else has called
  state = start(model)
  for count, masks, recipe in (
    (1, init_masks(state.params), make_recipe()),
    (3, random_masks(state.params), make_recipe(learning_rate=0.01)),
    (0, init_masks(state.params), make_recipe(momentum=0.0)),
  ):
    masks = jax.device_put(masks)
    run(state, masks, some_plan(4), *signals, recipe, jnp.int32(count))
  assert run._cache_size() == 1


@pytest.mark.slow
def test_a_padded_batch_equals_the_batch_without_padding(model, signals):
  """Parameters, statistics and sums after steps on 5 of 8 examples."""
  padded = PIPELINE.__class__(**(vars(PIPELINE) | {"padded": True}))
  plan = some_plan(3, batch=5)
  wide = jnp.concatenate([plan, -jnp.ones((3, 3), jnp.int32)], axis=1)
  masks = init_masks(start(model).params)
  args = (*signals, make_recipe(), jnp.int32(3))
  one, sums1 = compiled(model, padded)(start(model), masks, wide, *args)
  two, sums2 = compiled(model)(start(model), masks, plan, *args)
  chex.assert_trees_all_close(one.params, two.params, rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(
    one.batch_stats, two.batch_stats, rtol=1e-4, atol=1e-5
  )
  chex.assert_trees_all_close(sums1, sums2, rtol=1e-5)
  assert float(sums1["count"]) == 15


def test_a_loss_that_is_not_finite_is_reported(model, signals):
  recipe = make_recipe(learning_rate=1e30)
  masks = init_masks(start(model).params)
  _, sums = compiled(model)(
    start(model), masks, some_plan(4), *signals, recipe, jnp.int32(4)
  )
  assert float(sums["finite"]) == 0


def test_loss_scale_changes_no_float32_gradient(model, signals):
  masks = init_masks(start(model).params)
  states = [
    compiled(model)(
      start(model),
      masks,
      some_plan(2),
      *signals,
      make_recipe(loss_scale=scale),
      jnp.int32(2),
    )[0]
    for scale in (1.0, 1024.0)
  ]
  chex.assert_trees_all_close(
    states[0].params, states[1].params, rtol=1e-5, atol=1e-6
  )


@pytest.mark.slow
def test_an_overflowing_float16_gradient_skips_the_update(model, signals):
  """With a loss scale only: else it is an error that shows."""
  masks = init_masks(start(model).params)
  recipe = make_recipe(loss_scale=float("inf"))  # overflows for certain
  args = (masks, some_plan(2), *signals, recipe, jnp.int32(2))
  skipping = PIPELINE.__class__(**(vars(PIPELINE) | {"skip_overflow": True}))
  state, sums = compiled(model, skipping)(start(model), *args)
  chex.assert_trees_all_equal(state.params, start(model).params)
  assert float(sums["finite"]) == 1 and int(state.step) == 2
  _, sums = compiled(model)(start(model), *args)
  assert float(sums["finite"]) == 0


@pytest.mark.parametrize("batch_size", [1, 5, 8, 32, 100])
def test_evaluation_covers_every_example(model, signals, batch_size):
  """Whole batches, a ragged last one, and a batch larger than the data."""
  state = start(model)
  x, y = signals
  found = jax.jit(
    functools.partial(
      evaluate, model=model.normalising((0.5,), (2.0,)), batch_size=batch_size
    )
  )(state.params, state.batch_stats, x, y)
  logits = jax.jit(model.apply)(
    state.params, state.batch_stats, (x - 0.5) / 2.0
  )
  wanted = np.asarray(jax.nn.log_softmax(logits))[np.arange(32), np.asarray(y)]
  np.testing.assert_allclose(found["loss"], -wanted, rtol=1e-5)
  correct = np.argmax(logits, -1) == np.asarray(y)
  np.testing.assert_array_equal(found["correct"], correct)
