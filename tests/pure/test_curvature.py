"""Curvature of networks against their dense matrices."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from imp_jax.core.masks import flat_leaves, init_masks
from imp_jax.landscape.curvature import (
  MATRICES,
  Sizes,
  curvature,
  dimension,
  layer_restrictions,
  matrix_vector_product,
)
from imp_jax.landscape.spectrum import density_on_grid, restricted
from imp_jax.models import Model, make_model
from imp_jax.models.layers import Conv
from tests.scoring import (
  MEAN,
  STD,
  images,
  linear_model,
  network,
  normalised,
  signals,
)

pytest.importorskip("matfree")

EXAMPLES = 11


def perceptron():
  """59 parameters."""
  return make_model("lenet300100", num_classes=3, input_shape=(5,), width=0.02)


def convolutional():
  return make_model(
    "conv1d", num_classes=3, input_shape=(12,), width=0.125, conv="patches"
  )


def linear():
  return linear_model(classes=4, length=6)


@functools.cache
def problem(make):
  """A model, its network and 11 examples."""
  model, rng = make(), np.random.default_rng(0)
  classes = 4 if make is linear else 3
  data = signals(rng, EXAMPLES, length=model.input_shape[0], classes=classes)
  return model, network(model), data


@functools.cache
def dense(make, matrix):
  """float64[n, n] of a mean loss and logits written for the purpose."""
  model, (params, stats), (x, y) = problem(make)
  flat, unravel = ravel_pytree(params)
  x = jnp.asarray(normalised(x))

  def logits(flat):
    return model.apply(unravel(flat), stats, x)

  def loss(flat):
    z = logits(flat)
    return -jnp.mean(z[jnp.arange(EXAMPLES), y] - jax.nn.logsumexp(z, axis=1))

  if matrix == "hessian":
    found = jax.jit(jax.hessian(loss))(flat)
    return np.asarray(found, np.float64)
  jacobians = np.asarray(jax.jit(jax.jacrev(logits))(flat), np.float64)
  total = 0
  for z, jacobian in zip(np.asarray(logits(flat)), jacobians, strict=True):
    p = np.exp(z.astype(np.float64))
    p /= p.sum()
    total += jacobian.T @ (np.diag(p) - np.outer(p, p)) @ jacobian
  return total / EXAMPLES


@functools.cache
def columns_program(make, matrix, batch_size):
  model, (params, _), _ = problem(make)
  size = ravel_pytree(params)[0].size

  @jax.jit
  def program(params, stats, x, y, mask):
    matvec = matrix_vector_product(
      params,
      stats,
      x,
      y,
      model=model.normalising(MEAN, STD),
      matrix=matrix,
      batch_size=batch_size,
    )
    return jax.lax.map(restricted(matvec, mask), jnp.eye(size))

  return program


def columns(make, matrix, batch_size=4, mask=None):
  """The matrix whose columns are the products with unit vectors."""
  _, net, data = problem(make)
  masks = jnp.ones(ravel_pytree(net[0])[0].size, bool) if mask is None else mask
  return np.asarray(
    columns_program(make, matrix, batch_size)(*net, *data, masks)
  ).T


def estimates(make, matrix, restriction=None, **sizes):
  model, net, data = problem(make)
  return curvature(
    *net,
    *data,
    model=model.normalising(MEAN, STD),
    matrix=matrix,
    restriction=init_masks(net[0]) if restriction is None else restriction,
    key=jax.random.key(1),
    sizes=Sizes(**{**SMALL, **sizes}),
  )


SMALL = dict(
  eigenvalues=3,
  lanczos_steps=30,
  trace_probes=400,
  density_probes=25,
  batch_size=4,
)


def some_masks(params, rng):
  return jax.tree.map(lambda p: rng.uniform(size=p.shape) < 0.6, params)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize(
  "make",
  [perceptron, pytest.param(convolutional, marks=pytest.mark.slow)],
)
def test_products_against_the_dense_matrix(make, matrix):
  want = dense(make, matrix)
  got = columns(make, matrix)
  # float32 sums of products as large as the largest entry.
  np.testing.assert_allclose(got, want, atol=2e-6 * np.abs(want).max())


def test_the_two_matrices_are_not_the_same():
  difference = dense(perceptron, "hessian") - dense(perceptron, "gauss_newton")
  assert np.abs(difference).max() > 0.01


def test_gauss_newton_is_the_hessian_of_a_linear_model():
  hessian, gauss_newton = (columns(linear, matrix) for matrix in MATRICES)
  np.testing.assert_allclose(hessian, gauss_newton, atol=1e-6)
  assert np.abs(hessian).max() > 0.1


def test_gauss_newton_is_positive_semi_definite_and_the_hessian_is_not():
  """Also on the largest entry's scale, which rounding is relative to."""
  lowest = {m: np.linalg.eigvalsh(columns(perceptron, m))[0] for m in MATRICES}
  largest = np.linalg.eigvalsh(dense(perceptron, "gauss_newton"))[-1]
  assert lowest["gauss_newton"] > -1e-6 * largest
  assert lowest["hessian"] < -1e-3 * largest


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("batch_size", [1, 100])
def test_the_batch_size_changes_no_product(matrix, batch_size):
  """Against 4, of which the last batch has 3 examples."""
  want = columns(perceptron, matrix, 4)
  got = columns(perceptron, matrix, batch_size)
  np.testing.assert_allclose(got, want, atol=1e-6 * np.abs(want).max())


def test_a_restriction_is_the_principal_submatrix(rng):
  _, (params, _), _ = problem(perceptron)
  mask = np.asarray(ravel_pytree(some_masks(params, rng))[0])
  whole = columns(perceptron, "hessian")
  got = columns(perceptron, "hessian", mask=jnp.asarray(mask))
  want = whole * mask[:, None] * mask
  np.testing.assert_allclose(got, want, atol=1e-6 * np.abs(whole).max())
  assert 0 < mask.sum() < len(mask) and not got[~mask].any()


def test_layer_restrictions_are_disjoint_and_make_up_the_masks(rng):
  model, (params, _), _ = problem(perceptron)
  masks, prunable = some_masks(params, rng), model.prunable(params)
  layers = layer_restrictions(masks, prunable)
  assert list(layers) == ["head/kernel", "hidden1/kernel", "hidden2/kernel"]
  for path, layer in layers.items():
    for p, leaf in flat_leaves(layer).items():
      want = flat_leaves(masks)[p] if p == path else np.zeros_like(leaf)
      np.testing.assert_array_equal(leaf, want)
    assert dimension(layer, params) == flat_leaves(masks)[path].sum()


def test_traces_of_disjoint_layers_add_up_to_the_whole():
  _, (params, _), _ = problem(perceptron)
  layers = layer_restrictions(init_masks(params), list(flat_leaves(params)))
  flat = [jnp.asarray(ravel_pytree(layer)[0]) for layer in layers.values()]
  parts = [np.trace(columns(perceptron, "hessian", mask=m)) for m in flat]
  whole = np.trace(dense(perceptron, "hessian"))
  np.testing.assert_allclose(sum(parts), whole, rtol=1e-5)
  assert min(np.abs(parts)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("matrix", MATRICES)
def test_curvature_against_the_restricted_dense_matrix(rng, matrix):
  _, (params, _), _ = problem(perceptron)
  masks = some_masks(params, rng)
  mask = np.asarray(ravel_pytree(masks)[0])
  part = dense(perceptron, matrix)[np.ix_(mask, mask)]
  values = np.linalg.eigvalsh(part)
  found = estimates(perceptron, matrix, masks)
  assert found["dimension"] == mask.sum()
  scale = np.abs(values).max()
  np.testing.assert_allclose(
    found["eigenvalues"], values[:-4:-1], atol=1e-5 * scale
  )
  np.testing.assert_allclose(found["smallest"], values[0], atol=1e-5 * scale)
  # The key is fixed; 4 errors is generous to any other.
  squares = (part**2).sum() - (np.diag(part) ** 2).sum()
  error = np.sqrt(2 * squares / 400)
  assert abs(found["trace"] - np.trace(part)) < 4 * error
  np.testing.assert_allclose(found["trace_error"], error, rtol=0.2)
  # 25 probes have four times the error of 400.
  means = (found["ritz"] * found["weights"]).sum(axis=1) * mask.sum()
  assert means.shape == (25,)
  assert abs(means.mean() - np.trace(part)) < 4 * 4 * error
  np.testing.assert_allclose(found["weights"].sum(axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_one_program_serves_all_restrictions_and_networks(rng):
  traced = []

  @dataclasses.dataclass(frozen=True)
  class Counted(Model):
    def apply(self, params, batch_stats, inputs):
      traced.append(inputs.shape)
      return super().apply(params, batch_stats, inputs)

  plain, _, (x, y) = problem(linear)
  shape = plain.input_shape
  model = Counted(plain.name, plain.module, shape, MEAN, STD)
  found = []
  for seed in range(3):
    params, stats = network(plain, seed)
    sizes = Sizes(2, 3, 2, 1, 4)
    result = curvature(
      params,
      stats,
      x,
      y,
      model=model,
      matrix="hessian",
      restriction=some_masks(params, rng),
      key=jax.random.key(seed),
      sizes=sizes,
    )
    found.append((len(traced), result["dimension"], result["trace"].item()))
  assert found[0][0] == found[1][0] == found[2][0] > 0
  assert len({trace for _, _, trace in found}) == 3


def test_refusals(rng, key):
  model, (params, stats), (x, y) = problem(perceptron)
  call = functools.partial(
    curvature,
    params,
    stats,
    model=model.normalising(MEAN, STD),
    key=key,
    name="layer head/kernel",
  )
  masks = init_masks(params)
  nothing = jax.tree.map(jnp.zeros_like, masks)
  with pytest.raises(ValueError, match="layer head/kernel is empty"):
    call(x, y, matrix="hessian", restriction=nothing)
  with pytest.raises(ValueError, match="layer head/kernel must be boolean"):
    call(x, y, matrix="hessian", restriction=params)
  with pytest.raises(ValueError, match="layer head/kernel must be boolean"):
    call(x, y, matrix="hessian", restriction={"head": masks["head"]})
  with pytest.raises(ValueError, match="unknown matrix 'fisher'; known: hess"):
    call(x, y, matrix="fisher", restriction=masks)
  with pytest.raises(ValueError, match="got 0 examples"):
    call(x[:0], y[:0], matrix="hessian", restriction=masks)
  with pytest.raises(ValueError, match="count must be in 1 to lanczos_steps"):
    sizes = Sizes(eigenvalues=5, lanczos_steps=4)
    call(x, y, matrix="hessian", restriction=masks, sizes=sizes)
  with pytest.raises(ValueError, match="at least 2, got 1"):
    sizes = Sizes(trace_probes=1)
    call(x, y, matrix="hessian", restriction=masks, sizes=sizes)
  with pytest.raises(ValueError, match="must be at least 1, got 0"):
    sizes = Sizes(density_probes=0)
    call(x, y, matrix="hessian", restriction=masks, sizes=sizes)
  with pytest.raises(ValueError, match="width must be > 0"):
    density_on_grid(np.ones((1, 2)), np.ones((1, 2)), np.ones(3), 0.0)


class FastConvolution(nn.Module):
  """One convolution of an image."""

  @nn.compact
  def __call__(self, x, *, train, weights=None):
    del train, weights
    x = Conv(2, window=3, stride=2, kind="fast", dtype=jnp.float32)(x)
    return x.sum(axis=(1, 2))


def test_fast_convolutions_have_no_gauss_newton(rng, key):
  model = Model("convolution", FastConvolution(), (8, 8, 3))
  params, stats = network(model)
  with pytest.raises(ValueError, match="make it with conv='patches'"):
    curvature(
      params,
      stats,
      *images(rng, 2, classes=2),
      model=model.normalising(MEAN, STD),
      matrix="gauss_newton",
      restriction=init_masks(params),
      key=key,
    )
