"""Made examples: moments in closed form, gradients against NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.data.made import class_means, gaussian_twin
from imp_jax.models.registry import Model, make_model
from imp_jax.training.distillation import (
  distil_in_a_network,
  gradient_distance,
)


def whitened(rng, count, size):
  """Numbers with mean 0 and covariance 1, exactly."""
  drawn = rng.normal(size=(count, size))
  drawn -= drawn.mean(axis=0)
  root = np.linalg.cholesky(np.linalg.inv(drawn.T @ drawn / count))
  return drawn @ root


def test_a_twin_has_its_classes_mean_and_covariance(rng):
  labels = np.repeat([0, 2], 30)
  inputs = rng.exponential(size=(60, 4)) @ rng.normal(size=(4, 4))
  inputs[labels == 2] *= 3
  normal = np.concatenate([whitened(rng, 30, 4) for _ in range(2)])
  order = rng.permutation(60)
  twin = gaussian_twin(inputs[order], labels[order], normal[order])
  for c in (0, 2):
    ours, theirs = (x[labels[order] == c] for x in (twin, inputs[order]))
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0))
    np.testing.assert_allclose(
      np.cov(ours.T, ddof=0), np.cov(theirs.T, ddof=0), rtol=1e-9, atol=1e-12
    )
  assert abs(twin - inputs[order]).max() > 0.1


def test_a_constant_input_stays_what_it_is(rng):
  inputs = np.c_[rng.normal(size=(20, 2)), np.ones(20)].astype(np.float32)
  twin = gaussian_twin(inputs, np.zeros(20, int), rng.normal(size=(20, 3)))
  assert twin.dtype == np.float32
  np.testing.assert_allclose(twin[:, 2], 1, atol=1e-6)


def test_class_means_are_means_of_parts(rng):
  labels = np.repeat([1, 0], (12, 9))
  inputs = rng.normal(size=(21, 3)).astype(np.float32)
  made, of = class_means(inputs, labels, per_class=1, words=(5,))
  assert of.tolist() == [0, 1]
  for c in (0, 1):
    wanted = inputs[labels == c].astype(float).mean(axis=0)
    np.testing.assert_allclose(made[c], wanted, rtol=1e-6)
  made, of = class_means(inputs, labels, per_class=3, words=(5,))
  assert of.tolist() == [0, 0, 0, 1, 1, 1]
  for c in (0, 1):  # parts of equal size
    np.testing.assert_allclose(
      made[of == c].mean(axis=0), inputs[labels == c].mean(axis=0), rtol=1e-5
    )
  other, _ = class_means(inputs, labels, per_class=3, words=(6,))
  assert abs(other - made).max() > 0.01
  # As many as there are: the examples themselves.
  made, of = class_means(inputs[:12], labels[:12], per_class=12, words=(5,))
  assert sorted(map(tuple, made)) == sorted(map(tuple, inputs[:12]))


def test_distance_is_over_units_by_hand():
  one = {"a": {"kernel": jnp.array([[3.0, 0.0], [4.0, 0.0]])}}
  other = {"a": {"kernel": jnp.array([[-3.0, 1.0], [-4.0, 1.0]])}}
  leaves = ("a/kernel",)
  # Opposite: 2; a unit without a gradient: 1.
  assert gradient_distance(one, other, leaves) == pytest.approx(3)
  assert gradient_distance(one, one, leaves) == pytest.approx(1, abs=1e-6)
  slope = jax.grad(lambda x: gradient_distance(x, other, leaves))(one)
  assert np.isfinite(slope["a"]["kernel"]).all()


class Linear(nn.Module):
  """One dense layer, whose gradient NumPy has in a line."""

  num_classes: int

  @nn.compact
  def __call__(self, x, *, train, weights=None):
    del train, weights
    return nn.Dense(self.num_classes, name="head")(x)


def softmax_gradient(kernel, bias, x, label):
  logits = x @ kernel + bias
  p = np.exp(logits - logits.max(axis=1, keepdims=True))
  p /= p.sum(axis=1, keepdims=True)
  p[np.arange(len(x)), label] -= 1
  return x.T @ p / len(x), p.mean(axis=0)


def test_one_matching_is_numpy_s_step(rng):
  """On a linear network, its numerical derivative, in float64."""
  model = Model("linear", Linear(3), (4,))
  inputs = rng.normal(size=(6, 4)).astype(np.float32)
  members = jnp.arange(6).reshape(3, 2), jnp.array([1, 1, 1])  # one of each
  examples = rng.normal(size=(3, 2, 4)).astype(np.float32)
  velocity = rng.normal(size=(3, 2, 4)).astype(np.float32)
  key = jax.random.key(3)
  found, moving, distance = distil_in_a_network(
    jnp.asarray(examples),
    jnp.asarray(velocity),
    key,
    jnp.asarray(inputs),
    members,
    jnp.array([0.2, 0.1]),
    model=model,
    matchings=1,
    network_steps=0,
    batch_size=5,
  )
  params, _ = model.init(jax.random.split(key)[0])
  kernel, bias = (
    np.asarray(params["head"][name], np.float64) for name in ("kernel", "bias")
  )
  wanted = [
    softmax_gradient(kernel, bias, inputs[2 * c : 2 * c + 1].astype(float), c)[
      0
    ]
    for c in range(3)
  ]

  def apart(s):
    total = 0.0
    for c in range(3):
      own, _ = softmax_gradient(kernel, bias, s[c], c)
      norms = np.linalg.norm(own, axis=0) * np.linalg.norm(wanted[c], axis=0)
      total += (1 - (own * wanted[c]).sum(axis=0) / (norms)).sum()
    return total

  start, slope = examples.astype(np.float64), np.zeros((3, 2, 4))
  for place in np.ndindex(slope.shape):
    up, down = start.copy(), start.copy()
    up[place] += 1e-6
    down[place] -= 1e-6
    slope[place] = (apart(up) - apart(down)) / 2e-6
  assert distance == pytest.approx(apart(start), rel=1e-5)
  step = 0.5 * velocity + slope
  np.testing.assert_allclose(moving, step, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(found, examples - 0.2 * step, rtol=1e-4, atol=1e-5)


def test_a_network_is_trained_on_the_examples_in_between(rng):
  """After so many plain steps the second matching is in that network."""
  model = Model("linear", Linear(2), (3,))
  inputs = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)
  members = jnp.arange(2).reshape(2, 1), jnp.array([1, 1])
  examples = rng.normal(size=(2, 2, 3)).astype(np.float32)

  def means(matchings, steps):
    *_, distance = distil_in_a_network(
      jnp.asarray(examples),
      jnp.zeros_like(examples),
      jax.random.key(1),
      inputs,
      members,
      jnp.array([0.0, 0.5]),  # the examples stay
      model=model,
      matchings=matchings,
      network_steps=steps,
      batch_size=1,
    )
    return float(distance)

  params, _ = model.init(jax.random.split(jax.random.key(1))[0])
  kernel, bias = (
    np.asarray(params["head"][name], np.float64) for name in ("kernel", "bias")
  )
  distances = []
  for _ in range(2):
    total = 0.0
    for c in range(2):
      own, _ = softmax_gradient(kernel, bias, examples[c].astype(float), c)
      real = np.asarray(inputs[c : c + 1], np.float64)
      other, _ = softmax_gradient(kernel, bias, real, c)
      norms = np.linalg.norm(own, axis=0) * np.linalg.norm(other, axis=0)
      total += (1 - (own * other).sum(axis=0) / (norms)).sum()
    distances.append(total)
    for _ in range(3):
      grads = [
        softmax_gradient(kernel, bias, examples[c].astype(float), c)
        for c in range(2)
      ]
      kernel = kernel - 0.5 * np.mean([g[0] for g in grads], axis=0)
      bias = bias - 0.5 * np.mean([g[1] for g in grads], axis=0)
  assert abs(distances[1] - distances[0]) > 1e-3
  assert means(1, 3) == pytest.approx(distances[0], rel=1e-4)
  assert means(2, 3) == pytest.approx(np.mean(distances), rel=1e-4)


@pytest.mark.parametrize("name", ["conv1d", "mlp_skip"])
def test_the_real_examples_are_where_distilling_ends(name, rng):
  """Gradients of equal examples are equal: nothing moves."""
  model = make_model(name, num_classes=3, input_shape=(40,), width=0.2)
  inputs = jnp.asarray(rng.normal(size=(3, 40)), jnp.float32)
  members = jnp.arange(3)[:, None], jnp.ones(3, int)

  def distil(examples):
    found, _, distance = distil_in_a_network(
      examples,
      jnp.zeros_like(examples),
      jax.random.key(0),
      inputs,
      members,
      jnp.array([0.5, 0.01]),
      model=model,
      matchings=2,
      network_steps=1,
      batch_size=1,
    )
    return np.asarray(found), float(distance)

  same, none = distil(inputs[:, None])
  other, some = distil(inputs[::-1, None])
  dead = some - none  # units without a gradient are 1 apart in both
  assert dead > 1
  np.testing.assert_allclose(same, inputs[:, None], atol=1e-4)
  assert abs(other - np.asarray(inputs[::-1, None])).max() > 1e-3
