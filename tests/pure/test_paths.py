"""Paths between networks: ends, closed forms, NumPy's loop, permutations."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.store import Store
from imp_jax.data.dataset import on_device
from imp_jax.data.settings import SplitSettings
from imp_jax.engine.context import Context
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.imports import Imports
from imp_jax.engine.replicates import stack_trees
from imp_jax.engine.trainer import evaluate_networks
from imp_jax.landscape.barriers import barriers, rise_above_line
from imp_jax.landscape.paths import BATCH_STATS, evaluate_path, path_point
from imp_jax.models import Model
from imp_jax.models.layers import Dense
from imp_jax.models.settings import ModelSettings
from imp_jax.probes.paths import Path, PathSettings, measured_paths
from imp_jax.training.evaluation import evaluate, recomputed_batch_stats
from tests.tiny_landscape import (
  blend,
  cross_entropy,
  losses_and_hits,
  recomputed,
)

ALPHAS = (0, 0.25, 0.5, 0.75, 1)
BATCH, RECOMPUTE = 32, 24  # neither divides 80 examples


@pytest.fixture(scope="module")
def networks(conv1d):
  """Three networks without a zero, their statistics those of no data."""
  rng = np.random.default_rng(1)
  shapes = jax.eval_shape(conv1d.init, jax.random.key(0))

  def drawn(path, leaf):
    name = path[-1].key
    if name == "kernel":  # Kaiming's
      values = rng.normal(size=leaf.shape)
      values *= np.sqrt(2 / np.prod(leaf.shape[:-1]))
    else:
      low, high = (0.2, 1.5) if name in ("var", "scale") else (-0.3, 0.6)
      values = rng.uniform(low, high, leaf.shape)
    return values.astype(np.float32)

  return [
    dict(
      zip(
        ("params", "batch_stats"),
        jax.tree.map_with_path(drawn, shapes),
        strict=True,
      )
    )
    for _ in range(3)
  ]


@pytest.fixture(scope="module")
def path_of(conv1d, mnist):
  """Evaluates a path on MNIST-1D's training examples."""
  return functools.partial(
    evaluate_path,
    inputs=mnist.train.inputs,
    labels=mnist.train.labels,
    model=conv1d.normalising(mnist.mean, mnist.std),
    batch_size=BATCH,
    recompute_inputs=mnist.train.inputs,
    recompute_batch_size=RECOMPUTE,
  )


@pytest.fixture(scope="module")
def program(conv1d, mnist):
  """The compiled evaluation of one network."""
  return jax.jit(
    functools.partial(
      evaluate,
      model=conv1d.normalising(mnist.mean, mnist.std),
      batch_size=BATCH,
    )
  )


@pytest.mark.optimised
@pytest.mark.parametrize("mode", BATCH_STATS)
def test_the_ends_are_plain_evaluation_bit_for_bit(
  networks, path_of, program, mnist, mode
):
  a, b, _ = networks
  found = path_of(a, b, ALPHAS, batch_stats=mode)
  assert found["loss"].shape == found["correct"].shape == (5, 80)
  assert found["loss"].dtype == np.float32 and found["correct"].dtype == bool
  for index, end in ((0, a), (-1, b)):
    plain = program(
      end["params"], end["batch_stats"], mnist.train.inputs, mnist.train.labels
    )
    for name, values in plain.items():
      np.testing.assert_array_equal(found[name][index], values)


def reference(a, b, alpha, mode, x):
  """A point's network by NumPy: (params, batch_stats)."""
  params = blend(a["params"], b["params"], alpha)
  stats = blend(a["batch_stats"], b["batch_stats"], alpha)
  if mode == "endpoint":
    stats = (a if alpha <= 0.5 else b)["batch_stats"]
  if mode == "recompute" and 0 < alpha < 1:
    stats = recomputed(params, x, RECOMPUTE)
  return params, stats


@pytest.mark.parametrize("mode", BATCH_STATS)
def test_examples_barriers_against_a_numpy_loop(networks, path_of, mnist, mode):
  """Over pairs, alphas and examples, each with its own arithmetic."""
  x = (mnist.train.inputs - mnist.mean[0]) / mnist.std[0]
  for i, j in ((0, 1), (0, 2), (1, 2)):
    a, b = networks[i], networks[j]
    found = path_of(a, b, ALPHAS, batch_stats=mode)
    loops = [
      losses_and_hits(*reference(a, b, alpha, mode, x), x, mnist.train.labels)
      for alpha in ALPHAS
    ]
    for k, (loss, hits) in enumerate(loops):
      # 80 losses of about 2 to 4 nats, in float32.
      np.testing.assert_allclose(found["loss"][k], loss, rtol=2e-5, atol=2e-5)
      np.testing.assert_array_equal(found["correct"][k], hits)
    own = barriers(found["loss"], ALPHAS)
    for n in range(80):
      curve = [loss[n] for loss, _ in loops]
      ends = (curve[0] + curve[4]) / 2
      line = max(
        value - ((1 - alpha) * curve[0] + alpha * curve[4])
        for alpha, value in zip(ALPHAS, curve, strict=True)
      )
      for form, wanted in (
        ("midpoint", curve[2] - ends),
        ("rise_above_mean", max(curve) - ends),
        ("rise_above_line", line),
      ):
        assert own[form][n] == pytest.approx(wanted, abs=1e-4), form
    assert np.abs(own["midpoint"]).mean() > 0.02  # far from the tolerance


def test_the_ways_to_get_statistics_differ(networks, path_of):
  """The tolerance above would not tell them apart if they were alike."""
  a, b, _ = networks
  found = [path_of(a, b, ALPHAS, batch_stats=m)["loss"] for m in BATCH_STATS]
  for i, j in ((0, 1), (0, 2), (1, 2)):
    assert np.abs(found[i] - found[j])[1:-1].mean(axis=1).min() > 0.01


def test_statistics_of_points_by_hand(networks):
  a, b, _ = networks
  for mode, alpha, wanted in (
    ("average", 0.25, blend(a["batch_stats"], b["batch_stats"], 0.25)),
    ("recompute", 0.25, blend(a["batch_stats"], b["batch_stats"], 0.25)),
    ("endpoint", 0.25, a["batch_stats"]),
    ("endpoint", 0.5, a["batch_stats"]),
    ("endpoint", 0.51, b["batch_stats"]),
  ):
    point = path_point(a, b, alpha, batch_stats=mode)
    for got, want in zip(
      jax.tree.leaves(point["batch_stats"]),
      jax.tree.leaves(wanted),
      strict=True,
    ):
      np.testing.assert_allclose(got, want, rtol=1e-6)
    # The parameters are interpolated in every mode.
    want = blend(a["params"], b["params"], alpha)["head"]["kernel"]
    np.testing.assert_allclose(
      point["params"]["head"]["kernel"], want, rtol=1e-5, atol=1e-6
    )


def test_recomputed_statistics_against_numpy(networks, conv1d, mnist):
  """Unbiased variances, and deeper layers behind the batch's own norm."""
  params, others = jax.tree.map(
    jnp.asarray, (networks[0]["params"], networks[1]["batch_stats"])
  )
  found = recomputed_batch_stats(
    params,
    others,  # of another network: they enter by rounding only
    jnp.asarray(mnist.train.inputs),
    model=conv1d.normalising(mnist.mean, mnist.std),
    batch_size=RECOMPUTE,
  )
  x = (mnist.train.inputs - mnist.mean[0]) / mnist.std[0]
  wanted = recomputed(params, x, RECOMPUTE)
  for layer, stats in wanted.items():
    for name, values in stats.items():
      np.testing.assert_allclose(
        found[layer][name], values, rtol=1e-4, atol=1e-5
      )


class TwoLinear(nn.Module):
  """Two layers, and nothing between them."""

  @nn.compact
  def __call__(self, x, *, train, weights=None):
    del train, weights
    return Dense(3, name="head")(Dense(4, name="hidden")(x))


def test_a_two_layer_linear_network_in_closed_form(rng):
  """Its logits along a path are a parabola, made of the ends' products."""
  model, mean, std = Model("linear", TwoLinear(), (6,)), (0.3,), (2.0,)
  x = rng.normal(size=(20, 6)).astype(np.float32)
  labels = rng.integers(0, 3, 20, dtype=np.int32)
  shapes, _ = jax.eval_shape(model.init, jax.random.key(0))
  a, b = (
    {
      "params": jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes
      )
    }
    for _ in range(2)
  )
  alphas = (-0.5, 0, 0.2, 0.5, 0.7, 1, 1.5)
  found = evaluate_path(
    a | {"batch_stats": {}},
    b | {"batch_stats": {}},
    alphas,
    x,
    labels,
    model=model.normalising(mean, std),
    extrapolate=True,
  )

  def logits(inner, outer):
    """Of one end's first layer and one end's second."""
    first, last = inner["params"]["hidden"], outer["params"]["head"]
    kernels = [np.asarray(p["kernel"], np.float64) for p in (first, last)]
    hidden = (x - 0.3) / 2 @ kernels[0] + np.asarray(first["bias"])
    return hidden @ kernels[1], np.asarray(last["bias"], np.float64)

  (aa, bias_a), (ab, bias_b) = logits(a, a), logits(a, b)
  (ba, _), (bb, _) = logits(b, a), logits(b, b)
  for k, t in enumerate(alphas):
    s = 1 - t
    z = s * s * aa + s * t * (ab + ba) + t * t * bb + s * bias_a + t * bias_b
    wanted = [cross_entropy(row, y) for row, y in zip(z, labels, strict=True)]
    np.testing.assert_allclose(found["loss"][k], wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["correct"][k], z.argmax(1) == labels)
  curve = found["loss"].mean(axis=1)
  assert (
    np.ptp(curve) > 0.05 and abs(barriers(curve, alphas)["midpoint"]) > 0.01
  )


def test_permuting_hidden_units_keeps_the_function_and_moves_the_barrier(
  networks, path_of
):
  """Channels of the middle layer, with their normalisation and statistics."""
  a, b, _ = networks
  order = [1, 2, 3, 0]
  params, stats = b["params"], b["batch_stats"]
  permuted = {
    "params": params
    | {
      "conv2": {"kernel": params["conv2"]["kernel"][..., order]},
      "norm2": {k: v[order] for k, v in params["norm2"].items()},
      "conv3": {"kernel": params["conv3"]["kernel"][:, order]},
    },
    "batch_stats": stats
    | {"norm2": {k: v[order] for k, v in stats["norm2"].items()}},
  }

  def path(one, other):
    return path_of(one, other, ALPHAS)["loss"]

  straight, moved = path(a, b), path(a, permuted)
  np.testing.assert_allclose(straight[-1], moved[-1], rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(straight[0], moved[0])
  differing = barriers(straight, ALPHAS)["midpoint"]
  differing = differing - barriers(moved, ALPHAS)["midpoint"]
  assert np.abs(differing).mean() > 0.02
  # One function at both ends, and no straight path between them.
  assert np.abs(path(b, permuted)[2] - straight[-1]).mean() > 0.02
  alone = path(b, b)
  np.testing.assert_allclose(alone, straight[[-1] * 5], rtol=1e-6, atol=1e-6)
  assert rise_above_line(alone, ALPHAS).max() < 1e-5


def grown(tree, layer, **leaves):
  return tree | {"params": tree["params"] | {layer: leaves}}


def test_trees_that_differ_are_refused_by_their_leaf(networks, path_of):
  a, b, _ = networks
  head = b["params"]["head"]
  for other, message in (
    (grown(b, "extra", bias=np.zeros(2)), "extra/bias is in b but not in a"),
    (
      b | {"params": {k: v for k, v in b["params"].items() if k != "head"}},
      "head/bias is in a but not in b",
    ),
    (
      grown(b, "head", kernel=head["kernel"][:, :9], bias=head["bias"]),
      r"head/kernel: a has shape \(20, 10\), b \(20, 9\)",
    ),
    (
      # Of a shape that would broadcast.
      grown(b, "head", kernel=head["kernel"], bias=head["bias"][:1]),
      r"head/bias: a has shape \(10,\), b \(1,\)",
    ),
    (b | {"batch_stats": {}}, "norm1/mean is in a but not in b"),
  ):
    with pytest.raises(ValueError, match=message):
      path_of(a, other, ALPHAS)


@pytest.mark.parametrize(
  "changes,message",
  [
    (dict(alphas=(0, 0.7, 0.3, 1)), "alphas must be increasing numbers"),
    (dict(alphas=(0, float("nan"), 1)), "alphas must be increasing numbers"),
    (dict(alphas=(0, 1, 1.5)), r"in \[0, 1\] unless extrapolation"),
    (dict(alphas=(0.5,)), "ends 0 and 1 among them"),
    (
      dict(batch_stats="recalibrate"),
      "unknown batch_stats 'recalibrate'; known: average, recompute, endpoint",
    ),
    (
      dict(batch_stats="recompute", recompute_inputs=None),
      f"'recompute' needs at least {RECOMPUTE} recompute_inputs",
    ),
    (
      dict(batch_stats="recompute", recompute_batch_size=81),
      "'recompute' needs at least 81 recompute_inputs",
    ),
  ],
)
def test_what_is_no_path_is_refused(networks, path_of, changes, message):
  with pytest.raises(ValueError, match=message):
    path_of(*networks[:2], **({"alphas": ALPHAS} | changes))


@pytest.mark.optimised
@pytest.mark.parametrize("mode", ["threads", "vmap"])
def test_points_of_paths_together_are_those_one_at_a_time(
  networks, mnist, tmp_path, mode
):
  """Two pairs; what does not divide the points, and all of them."""
  pairs = [networks[:2], networks[1:]]
  alphas = (-0.1, 0.0, 0.2, 0.5, 0.7, 1.0)
  context = Context(
    store=Store(str(tmp_path)),
    dataset=on_device(mnist),
    seed=0,
    execution=ExecutionSettings(
      mode=mode,
      devices=1,
      devices_each=1,
      convolution="fast",
      eval_batch_size=BATCH,
    ),
    progress=lambda count: None,
    imports=Imports(),
  )
  settings = Path(
    model=ModelSettings(10, mnist.mean, mnist.std, "conv1d", width=0.25),
    path=PathSettings(
      alphas=alphas,
      splits=(SplitSettings("train", mnist.fingerprint),),
      batch_stats=BATCH_STATS,
      recompute_batches=2,
      batch_size=RECOMPUTE,
    ),
  )

  def measured(at_once):
    execution = dataclasses.replace(context.execution, alphas_at_once=at_once)
    own = dataclasses.replace(context, execution=execution)
    return measured_paths(own, settings, pairs)

  plain = evaluate_networks(
    stack_trees([end for pair in pairs for end in pair]),
    context.dataset.train,
    model=context.model(settings.model),
    execution=context.execution,
  )
  one = measured(1)
  for at_once in (4, 0):
    for found, wanted in zip(measured(at_once), one, strict=True):
      assert found.record["apart"] == wanted.record["apart"]
      for name, values in wanted.arrays.items():
        np.testing.assert_allclose(found.arrays[name], values, atol=1e-6)
      for stats, curve in wanted.record["paths"]["train"].items():
        together = found.record["paths"]["train"][stats]
        assert together["alpha"] == list(alphas) == curve["alpha"]
        for quantity in ("loss", "error"):
          np.testing.assert_allclose(
            together[quantity], curve[quantity], atol=1e-6
          )
  # The ends, bit for bit as plain evaluation in the same mode.
  for i, artefact in enumerate(measured(0)):
    for curve in artefact.record["paths"]["train"].values():
      for end, at in ((0, 1), (1, 5)):
        losses = plain["loss"][2 * i + end]
        assert curve["loss"][at] == losses.mean(dtype=np.float64)
        hits = plain["correct"][2 * i + end]
        assert curve["error"][at] == (~hits).mean()
