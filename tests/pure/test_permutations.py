"""Units derived from what a network computes, and matching them."""

import functools
import itertools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.masks import apply_masks, flat_leaves, init_masks
from imp_jax.landscape.matching import (
  match_activations,
  match_weights,
  unit_correlations,
)
from imp_jax.landscape.permutations import (
  Units,
  activations,
  check_preserved,
  permuted,
  units_of,
)
from imp_jax.models import make_model
from imp_jax.models.layers import BatchNorm, Conv, Dense
from imp_jax.models.registry import Model
from imp_jax.training import SGD, Pipeline, start_state, train_steps
from tests.pure.test_training import make_recipe
from tests.scoring import initialiser

CLASSES = 4


def network_of(name, shape, width=0.25, **options):
  """A model and a network of it whose running statistics are of no default."""
  model = make_model(
    name, num_classes=CLASSES, input_shape=shape, width=width, **options
  )
  return model, drawn(model)


def drawn(model, seed=0):
  """With units that are alive, and no two of them alike in anything."""
  params, stats = initialiser(model)(jax.random.key(seed))
  rng = np.random.default_rng(seed)

  def other(path, leaf):
    size, name = leaf.shape, path[-1].key
    at_hand = {
      "scale": lambda: rng.uniform(0.5, 1.5, size),
      "bias": lambda: rng.uniform(0.0, 1.0, size),
      "mean": lambda: 0.1 * rng.normal(size=size),
      "var": lambda: rng.uniform(0.5, 1.5, size),
    }
    return np.asarray(at_hand.get(name, lambda: leaf)(), np.float32)

  network = {"params": params, "batch_stats": stats}
  return jax.tree_util.tree_map_with_path(other, network)


def logits(model, network, x):
  apply = jax.jit(model.apply)
  return np.asarray(apply(network["params"], network["batch_stats"], x))


@pytest.mark.parametrize(
  "name,shape,count",
  [
    ("lenet300100", (40,), 2),
    ("lenet300100", (6, 6, 3), 2),
    ("mlp_skip", (40,), 1),  # the skip makes one of both layers' units
    ("conv1d", (40,), 3),
    ("resnet8", (8, 8, 3), 6),
    ("resnet1d8", (40,), 6),
    pytest.param("vgg16", (16, 16, 3), 13, marks=pytest.mark.slow),
    pytest.param("resnet50", (8, 8, 3), 37, marks=pytest.mark.long),
  ],
)
def test_permuted_networks_compute_the_same(name, shape, count, rng):
  """All units at once, under masks that are permuted with them."""
  model, network = network_of(name, shape)
  units = units_of(model)
  assert len(units.sizes) == count
  masks = jax.tree.map(
    lambda p: rng.random(p.shape) > 0.3, init_masks(network["params"])
  )
  order = units.drawn(rng)
  assert all((o != np.arange(len(o))).any() for o in order.values())
  x = rng.normal(size=(3, *shape)).astype(np.float32)
  sparse = network | {"params": apply_masks(network["params"], masks)}
  moved = permuted(network, units, order)
  moved = moved | {
    "params": apply_masks(moved["params"], permuted(masks, units, order))
  }
  one, two = (logits(model, n, x) for n in (sparse, moved))
  np.testing.assert_allclose(two, one, rtol=0, atol=1e-5 * abs(one).max())
  assert (np.ptp(one, axis=0) > 1e-4 * abs(one).max()).all()
  # Every kernel moved, on each axis that has units.
  for path, leaf in flat_leaves(network["params"]).items():
    free = any(n for axis in units.leaves[path] for n, _ in axis)
    same = np.array_equal(flat_leaves(moved["params"])[path], leaf)
    assert free != same or not free, path


def test_units_of_a_convolutional_network_by_hand():
  model = make_model(
    "conv1d", num_classes=CLASSES, input_shape=(40,), width=0.25
  )
  units = units_of(model)
  assert units.sizes == {"conv1": 4, "conv2": 4, "conv3": 4}
  window = (None, 5)
  assert units.leaves == {
    "conv1/kernel": ((window,), (), (("conv1", 4),)),
    "conv2/kernel": ((window,), (("conv1", 4),), (("conv2", 4),)),
    "conv3/kernel": ((window,), (("conv2", 4),), (("conv3", 4),)),
    # Five places of four channels, flattened.
    "head/kernel": (((None, 5), ("conv3", 4)), ((None, CLASSES),)),
    "head/bias": (((None, CLASSES),),),
    **{
      f"norm{i}/{leaf}": ((((f"conv{i}"), 4),),)
      for i in (1, 2, 3)
      for leaf in ("scale", "bias", "mean", "var")
    },
  }


def test_a_residual_stream_has_one_permutation():
  model = make_model(
    "resnet14", num_classes=CLASSES, input_shape=(8, 8, 3), width=0.25
  )
  leaves = units_of(model).leaves
  stream = "stem_conv"
  for path in (
    "stage1_block1_1_conv/kernel",
    "stage1_block2_1_conv/kernel",
    "stage2_block1_1_conv/kernel",
    "stage2_block1_shortcut_conv/kernel",
  ):
    assert leaves[path][2] == ((stream, 4),), path  # what goes in
  for path in ("stem_conv/kernel", "stage1_block2_2_conv/kernel"):
    assert leaves[path][3] == ((stream, 4),), path  # what comes out
  assert leaves["stage1_block2_2_norm/scale"] == (((stream, 4),),)
  inner = "stage1_block2_1_conv"
  assert leaves["stage1_block2_2_conv/kernel"][2] == ((inner, 4),)


class Ordered(nn.Module):
  """Units whose order matters, and some whose order does not."""

  @nn.compact
  def __call__(self, x, *, train, weights=None):
    del train, weights
    x = Dense(6, name="free")(x)
    x = nn.LayerNorm(name="norm")(nn.relu(x))
    x = jnp.cumsum(Dense(6, name="ordered")(x), axis=-1)
    x = x * self.param("gate", nn.initializers.normal(), (6,))
    x = Dense(6, name="grouped")(x).reshape(len(x), 3, 2).max(axis=-1)
    x = x + jax.nn.softmax(Dense(3, name="mixed")(x))
    return Dense(CLASSES, name="head")(x)


def test_what_is_not_known_is_not_permuted(rng):
  model = Model("ordered", Ordered(), (5,))
  units = units_of(model)
  # Of the six in three groups of two: the groups, which are one with what is
  # added to them, and the places within each.
  assert units.sizes == {"free": 6, "mixed": 3, "units3": 2}
  assert units.leaves["grouped/bias"] == ((("mixed", 3), ("units3", 2)),)
  assert units.leaves["gate"] == (((None, 6),),)
  assert units.leaves["norm/scale"] == ((("free", 6),),)
  network = drawn(model)
  x = rng.normal(size=(3, 5)).astype(np.float32)
  moved = permuted(network, units, units.drawn(rng))
  np.testing.assert_allclose(
    logits(model, moved, x), logits(model, network, x), rtol=1e-4, atol=1e-5
  )
  check_preserved(model, network, x, units)


def test_units_that_are_none_are_an_error_that_names_the_layer(rng):
  model, network = network_of("conv1d", (40,))
  units = units_of(model)
  x = rng.normal(size=(3, 40)).astype(np.float32)
  check_preserved(model, network, x, units)
  wrong = units.leaves | {"norm2/bias": (((None, 4),),)}
  with pytest.raises(
    ValueError, match="layer 'conv2' of model conv1d changes its logits by"
  ) as error:
    check_preserved(model, network, x, Units(units.sizes, wrong, units.sites))
  assert "\n" not in str(error.value)


@pytest.mark.optimised
def test_training_goes_on_as_if_nothing_was_permuted(rng):
  """Weights, statistics and momentum after more steps, to rounding."""
  model, network = network_of("conv1d", (40,))
  units = units_of(model)
  order = units.drawn(rng)
  x = rng.normal(size=(32, 40)).astype(np.float32)
  y = rng.integers(0, CLASSES, 32).astype(np.int32)
  plan = jnp.asarray(rng.integers(0, 32, (4, 8)), jnp.int32)
  masks = init_masks(network["params"])
  run = jax.jit(
    functools.partial(
      train_steps,
      model=model,
      pipeline=Pipeline(
        crop_pad=0,
        flip=False,
        augment_order="crop_flip",
        rule=SGD,
        padded=False,
      ),
    )
  )

  def trained(state):
    args = masks, plan, x, y, make_recipe(learning_rate=0.02), jnp.int32(4)
    return run(state, *args)[0]

  first = trained(
    start_state(network["params"], network["batch_stats"], jax.random.key(1))
  )
  parts = ("params", "batch_stats", "opt_state")
  moved = first.replace(
    **{p: permuted(getattr(first, p), units, order) for p in parts}
  )
  changed = [
    not np.array_equal(a, b)
    for a, b in zip(
      jax.tree.leaves(first.opt_state),
      jax.tree.leaves(moved.opt_state),
      strict=True,
    )
  ]
  assert sum(changed) >= 9  # the momentum of every leaf with units
  after, wanted = trained(moved), trained(first)
  for part in parts:
    chex.assert_trees_all_close(
      getattr(after, part),
      permuted(getattr(wanted, part), units, order),
      rtol=1e-4,
      atol=1e-5,
    )


@pytest.mark.parametrize(
  "name,shape", [("lenet300100", (40,)), ("conv1d", (40,))]
)
def test_a_planted_permutation_is_found(name, shape, rng):
  model, network = network_of(name, shape)
  units = units_of(model)
  order = units.drawn(rng)
  noise = lambda leaf: leaf + 0.01 * rng.normal(size=leaf.shape)
  other = jax.tree.map(noise, permuted(network, units, order))
  by_weights = match_weights([(network["params"], other["params"])], units, rng)
  x = rng.normal(size=(200, *shape)).astype(np.float32)
  other = permuted(network, units, order)
  by_values = match_activations(
    [(network, other)], x, model=model, batch_size=64
  )
  for found in (by_weights, by_values):
    for layer, planted in order.items():
      back = planted[found.permutation[layer]]
      np.testing.assert_array_equal(back, np.arange(len(back)))
    assert found.similarity > found.before
  assert by_values.similarity == pytest.approx(1, abs=1e-3)
  assert by_weights.similarity == pytest.approx(
    sum(
      float(np.vdot(leaf, leaf))
      for path, leaf in flat_leaves(network["params"]).items()
      if path != "head/bias"  # no unit has any of it
    ),
    rel=0.01,
  )


def test_weight_matching_of_one_layer_is_the_best_of_all(rng):
  """Of one hidden layer the assignment is exact: by trying all 24."""

  class Hidden(nn.Module):
    @nn.compact
    def __call__(self, x, *, train, weights=None):
      del train, weights
      return Dense(3, name="head")(nn.relu(Dense(4, name="hidden")(x)))

  model = Model("hidden", Hidden(), (5,))
  units = units_of(model)
  pairs = [
    tuple(drawn(model, seed)["params"] for seed in (2 * i, 2 * i + 1))
    for i in range(2)
  ]

  def similarity(order, pairs):
    total = 0.0
    for a, b in pairs:
      for path in ("hidden/kernel", "hidden/bias", "head/kernel"):
        one, two = (flat_leaves(t)[path].astype(np.float64) for t in (a, b))
        axis = 0 if path == "head/kernel" else -1
        total += np.vdot(one, np.take(two, order, axis))
    return total

  for wanted in (pairs[:1], pairs[1:], pairs):  # and one for two pairs
    found = match_weights(wanted, units, rng)
    best = max(
      similarity(np.array(order), wanted)
      for order in itertools.permutations(range(4))
    )
    assert found.similarity == pytest.approx(best, rel=1e-6)
    assert similarity(found.permutation["hidden"], wanted) == pytest.approx(
      best
    )
    assert found.before == pytest.approx(similarity(np.arange(4), wanted))


def test_correlations_are_numpys(rng):
  """Of values at all places, in batches; of a unit that is dead it is 0."""
  model, a = network_of("conv1d", (40,))
  b = drawn(model, 5)
  b["params"]["norm2"]["scale"][1] = 0
  b["params"]["norm2"]["bias"][1] = -1  # a rectifier gives nothing of it
  x = rng.normal(size=(48, 40)).astype(np.float32) + 3
  found = unit_correlations(model, a, b, x, batch_size=16)
  one, two = (
    jax.jit(functools.partial(activations, model, units_of(model)))(n, x)
    for n in (a, b)
  )
  assert one["conv2"].shape == (48 * 10, 4) and (one["conv2"] >= 0).all()
  for layer, table in found.items():
    x, y = (np.asarray(v[layer], np.float64) for v in (one, two))
    with np.errstate(invalid="ignore"):
      wanted = np.corrcoef(x.T, y.T)[:4, 4:]
    np.testing.assert_allclose(table, np.nan_to_num(wanted), atol=2e-4)
  assert (found["conv2"][:, 1] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_activations_of_images_are_those_after_each_layer(dtype, rng):
  """Bytes that are normalised: by Flax's own account of what modules return."""
  model = make_model(
    "resnet8",
    num_classes=CLASSES,
    input_shape=(8, 8, 3),
    width=0.25,
    dtype=dtype,
  ).normalising((0.5,) * 3, (0.25,) * 3)
  network, units = drawn(model), units_of(model)
  images = rng.integers(0, 256, (6, 8, 8, 3), dtype="uint8")
  found = jax.jit(functools.partial(activations, model, units))(network, images)
  plain = model.in_dtype(jnp.float32)
  on_device = jax.tree.map(jnp.asarray, network)
  prepared = plain.prepared(jnp.asarray(images))
  _, state = plain.module.apply(
    on_device, prepared, train=False, capture_intermediates=True
  )
  made = {
    path.removesuffix("/__call__"): np.asarray(value[0])
    for path, value in flat_leaves(state["intermediates"]).items()
  }
  rectified = lambda path: np.maximum(made[path], 0)
  stem = rectified("stem_norm")
  stream = np.maximum(stem + made["stage1_block1_2_norm"], 0)
  inner = rectified("stage1_block1_1_norm")
  last = np.maximum(
    made["stage3_block1_shortcut_norm"] + made["stage3_block1_2_norm"], 0
  )
  for layer, values in (
    ("stem_conv", stream),  # of the stream, after its last block
    ("stage1_block1_1_conv", inner),
    ("stage3_block1_2_conv", last),  # before it is averaged
  ):
    wanted = values.reshape(-1, values.shape[-1])
    assert found[layer].dtype == jnp.float32
    np.testing.assert_allclose(found[layer], wanted, rtol=1e-4, atol=1e-4)
  check_preserved(model, network, images, units)


class Shared(nn.Module):
  """One stream that a layer reads and writes: units on both of its axes."""

  @nn.compact
  def __call__(self, x, *, train, weights=None):
    x = Conv(5, name="stem", kind="plain")(x[..., None])
    x = x + nn.relu(Conv(5, name="block", kind="plain")(x))
    x = BatchNorm(name="norm")(x, train=train, weights=weights)
    return Dense(CLASSES, name="head")(x.mean(axis=1))


def test_a_layer_with_its_units_on_both_sides_is_matched(rng):
  """By what raises the similarity alone: it is no assignment any more."""
  model = Model("shared", Shared(), (12,))
  units = units_of(model)
  assert units.sizes == {"stem": 5}
  assert units.leaves["block/kernel"][1:] == ((("stem", 5),),) * 2
  network = drawn(model)
  order = units.drawn(rng)
  found = match_weights(
    [(network["params"], permuted(network, units, order)["params"])], units, rng
  )
  assert found.similarity > 1.2 * found.before
  moved = permuted(permuted(network, units, order), units, found.permutation)[
    "params"
  ]
  assert found.similarity == pytest.approx(
    sum(
      float(np.vdot(leaf, flat_leaves(moved)[path]))
      for path, leaf in flat_leaves(network["params"]).items()
      if path != "head/bias"
    ),
    rel=1e-5,
  )
  x = rng.normal(size=(3, 12)).astype(np.float32)
  check_preserved(model, network, x, units)
