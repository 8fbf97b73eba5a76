"""Scores from gradients: GraNd, its last layer's, VoG, against loops."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves
from imp_jax.models import Model, make_model
from imp_jax.models.gradient_norms import squared_gradient_norms
from imp_jax.scores import (
  gradient_scores,
  input_norms,
  standardised_by_class,
)
from tests.kinds import TRAINED
from tests.scoring import (
  MEAN,
  STD,
  images,
  linear_model,
  network,
  normalised,
  signals,
  softmax,
)


def by_gradients(model, net, data, names, batch_size=4):
  fn = functools.partial(
    gradient_scores,
    model=model.normalising(MEAN, STD),
    names=names,
    batch_size=batch_size,
  )
  return [np.asarray(v) for v in jax.jit(fn)(*net, *data)]


def grand_loop(model, net, data):
  """Norms in float64 of each example's gradient: (all, of the head)."""
  params, stats = net

  @jax.jit
  def gradient(x, y):
    def nll(params):
      return -jax.nn.log_softmax(model.apply(params, stats, x[None])[0])[y]

    return jax.grad(nll)(params)

  found = []
  for x, y in zip(normalised(data[0]), np.asarray(data[1]), strict=True):
    gradients = jax.device_get(gradient(jnp.asarray(x), y))
    norms = [
      np.sqrt(sum((np.asarray(g, np.float64) ** 2).sum() for g in leaves))
      for leaves in (jax.tree.leaves(gradients), gradients["head"].values())
    ]
    found.append(norms)
  return np.asarray(found).T


@pytest.mark.slow
@pytest.mark.parametrize(
  "name,width,data,kinds",
  [
    ("conv1d", 0.5, signals, TRAINED),
    pytest.param("resnet8", 0.25, images, TRAINED, marks=pytest.mark.long),
    ("resnet1d8", 0.25, signals, TRAINED[-1:]),
  ],
)
def test_grand_against_a_loop_over_examples(rng, name, width, data, kinds):
  data = data(rng, 9)
  shape = data[0].shape[1:]
  trained = [
    make_model(name, num_classes=10, input_shape=shape, width=width, conv=conv)
    for conv in kinds
  ]
  net = network(trained[0])
  wanted = grand_loop(trained[0], net, data)
  for model in trained:
    got = by_gradients(model, net, data, ("grand", "grand_last_layer"))
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 9, 100])
def test_the_batch_size_and_order_of_names_change_no_gradient_score(
  rng, conv1d, batch_size
):
  net, data = network(conv1d), signals(rng, 9)
  names = ("grand", "grand_last_layer")
  want = by_gradients(conv1d, net, data, names)
  got = by_gradients(conv1d, net, data, names[::-1], batch_size)
  np.testing.assert_allclose(got[::-1], want, rtol=1e-5)


def test_grand_of_a_multilayer_perceptron_in_closed_form(rng):
  """Squared: the sum over layers of |delta|^2 (|input|^2 + 1)."""
  x, y = signals(rng, 7)
  model = make_model(
    "lenet300100", num_classes=10, input_shape=(40,), width=0.1
  )
  net = network(model)
  layers = [
    [np.asarray(net[0][n][leaf], np.float64) for leaf in ("kernel", "bias")]
    for n in ("hidden1", "hidden2", "head")
  ]
  whole, head = [], []
  for a, label in zip(normalised(x).astype(np.float64), y, strict=True):
    inputs = []
    for i, (kernel, bias) in enumerate(layers):
      inputs.append(a)
      a = a @ kernel + bias
      if i < 2:
        a = np.maximum(a, 0)
    delta, squares = softmax(a) - np.eye(10)[int(label)], []
    for i in (2, 1, 0):
      squares.append((delta**2).sum() * ((inputs[i] ** 2).sum() + 1))
      delta = (layers[i][0] @ delta) * (inputs[i] > 0)
    whole.append(np.sqrt(sum(squares)))
    head.append(np.sqrt(squares[0]))
  got = by_gradients(model, net, (x, y), ("grand", "grand_last_layer"))
  np.testing.assert_allclose(got, [whole, head], rtol=1e-5)


@pytest.mark.slow
def test_norms_of_every_leaf_against_per_example_gradients(rng):
  """More examples than are taken in one turn, and not a multiple of them."""
  x, y = images(rng, 11)
  model = make_model(
    "resnet8", num_classes=10, input_shape=x.shape[1:], width=0.25
  )
  net, x = network(model), jnp.asarray(normalised(x))

  @jax.jit
  def loops(params, x, y):
    def nll(params, x, y):
      return -jax.nn.log_softmax(model.apply(params, net[1], x[None])[0])[y]

    return jax.lax.map(lambda a: jax.grad(nll)(params, *a), (x, y))

  fn = functools.partial(squared_gradient_norms, model=model)
  got, gradients = jax.jit(fn)(*net, x, y), flat_leaves(loops(net[0], x, y))
  assert set(got) == set(gradients)
  for leaf, gradient in gradients.items():
    want = (np.asarray(gradient, np.float64).reshape(11, -1) ** 2).sum(axis=1)
    np.testing.assert_allclose(
      got[leaf], want, rtol=2e-5, atol=1e-6 * want.max(), err_msg=leaf
    )


def test_a_layer_without_a_rule_is_named(rng):
  class Foreign(nn.Module):
    @nn.compact
    def __call__(self, x, *, train, weights=None):
      return nn.Dense(3, name="head")(x)

  model = Model("foreign", Foreign(), (4,))
  x, y = signals(rng, 5, length=4, classes=3)
  with pytest.raises(ValueError, match="no rule for .*: head/bias, head"):
    squared_gradient_norms(*network(model), x, y, model=model)


def test_grand_of_softmax_regression_in_closed_form(rng):
  """|p - onehot| sqrt(|x|^2 + 1); the head is all there is."""
  model, data = linear_model(), signals(rng, 8, length=6, classes=4)
  net = network(model)
  kernel, bias = (np.asarray(net[0]["head"][k]) for k in ("kernel", "bias"))
  want = []
  for x, y in zip(normalised(data[0]).astype(float), data[1], strict=True):
    error = softmax(x @ kernel + bias) - np.eye(4)[int(y)]
    want.append(np.sqrt((error**2).sum()) * np.sqrt((x**2).sum() + 1))
  got = by_gradients(model, net, data, ("grand", "grand_last_layer"))
  # p_y - 1 is exact to 6e-8 only, times a norm of up to 10.
  np.testing.assert_allclose(got, [want, want], rtol=1e-5, atol=1e-6)


def stacked(networks):
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)


def input_gradients(model, net, data):
  """float64[examples, ...]: of the label's logit by the normalised input."""

  @jax.jit
  def gradient(x, y):
    return jax.grad(lambda x: model.apply(*net, x[None])[0][y])(x)

  xs = map(jnp.asarray, normalised(data[0]))
  return np.asarray(
    [gradient(x, int(y)) for x, y in zip(xs, data[1], strict=True)], np.float64
  )


def vog(model, checkpoints, data):
  (values,) = by_gradients(model, checkpoints, data, ("vog",))
  return standardised_by_class(np.asarray(values), np.asarray(data[1]))


def in_class(values, labels):
  out = np.zeros(len(values))
  for c in np.unique(labels):
    part = values[labels == c]
    if part.std() > 0:
      out[labels == c] = (part - part.mean()) / part.std()
  return out


@pytest.mark.parametrize(
  "name,width,data",
  [
    ("conv1d", 0.5, signals),
    pytest.param("resnet8", 0.25, images, marks=pytest.mark.slow),
  ],
)
def test_vog_against_a_loop_over_examples_and_checkpoints(
  rng, name, width, data
):
  x, _ = data(rng, 9)
  labels = np.asarray([0, 0, 0, 0, 3, 3, 3, 3, 7])  # 7 has one example
  model = make_model(
    name, num_classes=10, input_shape=x.shape[1:], width=width, conv="plain"
  )
  checkpoints = [network(model, seed) for seed in range(3)]
  both = x, jnp.asarray(labels, jnp.int32)
  gradients = np.stack([input_gradients(model, n, both) for n in checkpoints])
  spread = ((gradients - gradients.mean(0)) ** 2).sum(0) / 3
  want = in_class(spread.reshape(9, -1).mean(1), labels)
  got = vog(model, stacked(checkpoints), both)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  assert got[8] == 0


def test_vog_of_equal_checkpoints_is_zero(rng, conv1d):
  net = stacked([network(conv1d)] * 4)
  got = vog(conv1d, net, signals(rng, 12, classes=3))
  np.testing.assert_array_equal(got, 0)


def test_vog_of_a_class_without_spread_is_zero(rng):
  """A linear model's input gradient is the same for a class's examples."""
  model, data = linear_model(), signals(rng, 40, length=6, classes=4)
  net = stacked([network(model, seed) for seed in range(3)])
  got = vog(model, net, data)
  np.testing.assert_array_equal(got, 0)


def test_input_norms_against_numpy(rng):
  x, _ = images(rng, 5)
  want = [np.linalg.norm(one.astype(np.float64)) for one in normalised(x)]
  got = input_norms(x, mean=MEAN, std=STD)
  np.testing.assert_allclose(got, want, rtol=1e-5)
