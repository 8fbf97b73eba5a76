"""Curvature: products, spectra and traces against dense matrices."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from imp_jax.landscape.curvature import (
  MATRICES,
  Sizes,
  curvature,
  dimension,
  layer_restrictions,
  matrix_vector_product,
)
from imp_jax.landscape.spectrum import (
  density_on_grid,
  largest_eigenvalues,
  restricted,
  spectral_density,
  trace,
)
from imp_jax.masks import flat_leaves, init_masks
from imp_jax.models import Model, make_model
from imp_jax.models.layers import Conv
from tests.scoring import (
  MEAN,
  STD,
  images,
  linear_model,
  network,
  normalised,
  quick_jit,
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
    found = quick_jit(jax.hessian(loss))(flat)
    return np.asarray(found, np.float64)
  jacobians = np.asarray(quick_jit(jax.jacrev(logits))(flat), np.float64)
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

  @quick_jit
  def program(params, stats, x, y, mask):
    matvec = matrix_vector_product(
      params,
      stats,
      x,
      y,
      model=model,
      mean=MEAN,
      std=STD,
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
    model=model,
    mean=MEAN,
    std=STD,
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


def symmetric(rng, eigenvalues):
  basis, _ = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))
  return (basis * np.asarray(eigenvalues)) @ basis.T


def products_of(matrix):
  """matvec as the Hessian of the quadratic model v^T A v / 2 at some point."""
  gradient = jax.grad(lambda v: v @ matrix @ v / 2)
  point = jnp.ones(len(matrix))
  return lambda v: jax.jvp(gradient, (point,), (v,))[1]


@functools.cache
def spectrum_program(estimate, sizes):
  @quick_jit
  def program(matrix, mask, key):
    return estimate(products_of(matrix), mask, key=key, **dict(sizes))

  return program


def estimated(estimate, matrix, key, mask=None, **sizes):
  """A function of matvec and mask, compiled once for sizes and dimension."""
  program = spectrum_program(estimate, tuple(sizes.items()))
  mask = np.ones(len(matrix), bool) if mask is None else mask
  return jax.device_get(program(jnp.float32(matrix), jnp.asarray(mask), key))


def ends(matrix, key, mask=None, **sizes):
  found = estimated(largest_eigenvalues, matrix, key, mask, **sizes)
  return found["eigenvalues"], found["smallest"]


def density(matrix, key, mask=None, **sizes):
  found = estimated(spectral_density, matrix, key, mask, **sizes)
  return found["ritz"], found["weights"]


# Symmetric matrices.


def test_ends_of_a_spectrum_given_in_advance(rng, key):
  want = [-3.0, -1, *np.linspace(-0.1, 0.1, 30), 2, 5, 7]
  largest, smallest = ends(symmetric(rng, want), key, count=3, lanczos_steps=20)
  # Rounding is 1e-7 of 7; 20 steps of 35 resolve the isolated ones.
  np.testing.assert_allclose(largest, [7, 5, 2], rtol=1e-5)
  np.testing.assert_allclose(smallest, -3, rtol=1e-5)


def test_one_step_is_the_start_s_quotient_and_more_are_nearer(rng, key):
  """Ritz values grow to the largest eigenvalue from below."""
  matrix = symmetric(rng, np.linspace(0, 1, 50))
  found = [
    ends(matrix, key, count=1, lanczos_steps=steps)[0][0] for steps in (1, 8)
  ]
  start = np.asarray(jax.random.normal(key, (50,)), np.float64)
  quotient = start @ matrix @ start / (start @ start)
  np.testing.assert_allclose(found[0], quotient, rtol=1e-5)
  assert found[0] < found[1] < 1


@pytest.mark.parametrize(
  "eigenvalues",
  [
    [2.0] * 8,
    [0.0] * 8,
    [0.0] * 7 + [3],
    [-1.0, -1, 0, 0, 4, 4, 4, 4],
    [-2.0, -1, 0, 1, 2, 3, 4, 5],
  ],
)
@pytest.mark.parametrize("diagonal", [True, False])
def test_a_space_that_is_used_up_early_makes_nothing_up(
  rng, key, eigenvalues, diagonal
):
  """Steps beyond the distinct eigenvalues and the dimension."""
  fill = np.diag if diagonal else functools.partial(symmetric, rng)
  matrix = fill(np.asarray(eigenvalues))
  largest, smallest = ends(matrix, key, count=10, lanczos_steps=12)
  held = np.isfinite(largest).sum()
  assert len(set(eigenvalues)) <= held <= 8
  assert np.isnan(largest[held:]).all()
  # A vector that counts is orthogonal to 1e-5, relative to the scale.
  atol = 2e-5 * np.abs(eigenvalues).max() + 1e-12
  for value in largest[:held]:
    assert np.abs(value - np.asarray(eigenvalues)).min() < atol
  np.testing.assert_allclose(largest[0], max(eigenvalues), atol=atol)
  np.testing.assert_allclose(smallest, min(eigenvalues), atol=atol)
  ritz, weights = density(matrix, key, probes=3, lanczos_steps=12)
  assert ritz.shape == (3, 8)
  np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
  assert ritz.min() > min(eigenvalues) - atol
  assert ritz.max() < max(eigenvalues) + atol


def test_a_restriction_of_fewer_coordinates_than_steps(rng, key):
  matrix, mask = symmetric(rng, rng.normal(size=8)), np.zeros(8, bool)
  mask[[3, 4, 6]] = True
  want = np.linalg.eigvalsh(matrix[np.ix_(mask, mask)])
  largest, smallest = ends(matrix, key, mask, count=10, lanczos_steps=12)
  np.testing.assert_allclose(largest[:3], want[::-1], atol=1e-5)
  assert np.isnan(largest[3:]).all()
  np.testing.assert_allclose(smallest, want[0], atol=1e-5)
  ritz, weights = density(matrix, key, mask, probes=3, lanczos_steps=12)
  # Other steps have a weight of rounding errors' squares at most.
  held = weights > 1e-9
  assert (held.sum(axis=1) == 3).all()
  np.testing.assert_allclose(ritz[held].reshape(3, 3), [want] * 3, atol=1e-5)


def test_long_vectors_keep_all_steps(key):
  """They lose orthogonality to rounding, which is not a space used up."""
  values = jax.random.normal(key, (200_000,)) ** 3
  values = values.at[:3].set(jnp.asarray([1e4, 3e3, -2e3]))
  mask = jnp.ones(len(values), bool)
  fn = functools.partial(
    largest_eigenvalues, lambda v: values * v, count=20, lanczos_steps=20
  )
  found = jax.jit(fn)(mask, key=key)
  assert np.isfinite(found["eigenvalues"]).all()
  # Defects of 1e-4, by a CPU's sums of 200,000 terms.
  np.testing.assert_allclose(found["eigenvalues"][:2], [1e4, 3e3], rtol=5e-4)
  np.testing.assert_allclose(found["smallest"], -2e3, rtol=5e-4)


def test_nothing_is_made_up_of_nan_or_of_an_empty_restriction(key):
  """Where it is traced it cannot be refused."""
  for matrix, mask in (
    (np.full((8, 8), np.nan), None),
    (np.eye(8), [False] * 8),
  ):
    largest, smallest = ends(matrix, key, mask, count=10, lanczos_steps=12)
    assert np.isnan(largest).all() and np.isnan(smallest)


def test_trace_and_its_error_in_closed_form(rng, key):
  """Of signs, v^T A v has variance 2 * (sum of squares off the diagonal)."""
  matrix, mask = symmetric(rng, rng.normal(size=12)), np.arange(12) != 5
  part = matrix[np.ix_(mask, mask)]
  found = estimated(trace, matrix, key, mask, probes=4000)
  variance = 2 * ((part**2).sum() - (np.diag(part) ** 2).sum())
  error = np.sqrt(variance / 4000)
  # The key is fixed; 4 errors is generous to any other.
  assert abs(found["trace"] - np.trace(part)) < 4 * error
  # The estimated deviation of 4,000 samples is good to 1 % or 2 %.
  np.testing.assert_allclose(found["trace_error"], error, rtol=0.08)


def test_trace_of_two_probes_by_hand(rng, key):
  """Of two samples the standard error is half their difference."""
  matrix = symmetric(rng, rng.normal(size=12))
  samples = []
  for one in jax.random.split(key, 2):
    v = np.asarray(jax.random.rademacher(one, (12,)), np.float64)
    samples.append(v @ matrix @ v)
  found = estimated(trace, matrix, key, probes=2)
  np.testing.assert_allclose(found["trace"], np.mean(samples), rtol=1e-5)
  np.testing.assert_allclose(
    found["trace_error"], abs(np.subtract(*samples)) / 2, rtol=1e-5
  )


def test_trace_of_a_diagonal_matrix_is_exact(key):
  mask = np.asarray([True, True, False, True])
  found = estimated(trace, np.diag([1, -2, 4, 8]), key, mask, probes=2)
  assert found["trace"] == 7 and found["trace_error"] == 0


def test_density_s_moments_are_those_of_the_matrix(rng, key):
  matrix = symmetric(rng, rng.normal(size=12))
  ritz, weights = density(matrix, key, probes=4, lanczos_steps=3)
  for i, one in enumerate(jax.random.split(key, 4)):
    v = np.asarray(jax.random.rademacher(one, (12,)), np.float64)
    for power in range(6):  # exact up to 2 * 3 - 1
      want = v @ np.linalg.matrix_power(matrix, power) @ v / 12
      got = weights[i] @ ritz[i].astype(np.float64) ** power
      np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_density_on_a_grid_integrates_to_one_with_the_trace_as_mean(key):
  values = [-1.0, 0, 0, 0, 0.5, 3]
  ritz, weights = density(np.diag(values), key, probes=5, lanczos_steps=6)
  grid = np.linspace(-4, 6, 2001)  # 15 widths beyond either end
  found = density_on_grid(ritz, weights, grid, 0.2)
  step = grid[1] - grid[0]
  np.testing.assert_allclose(found.sum() * step, 1, rtol=1e-5)
  # Signs give a diagonal matrix's trace without error.
  np.testing.assert_allclose(
    (found * grid).sum() * step, np.mean(values), rtol=1e-5
  )
  normal = np.exp(-0.5 * ((grid[:, None] - values) / 0.2) ** 2)
  want = normal.mean(axis=1) / (0.2 * np.sqrt(2 * np.pi))
  # Of diag(values) and signs each probe's weights are the multiplicities.
  np.testing.assert_allclose(found, want, atol=1e-5)


# Networks.


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("make", [perceptron, convolutional])
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


def test_one_program_serves_all_restrictions_and_networks(rng):
  traced = []

  @dataclasses.dataclass(frozen=True)
  class Counted(Model):
    def apply(self, params, batch_stats, inputs):
      traced.append(inputs.shape)
      return super().apply(params, batch_stats, inputs)

  plain, _, (x, y) = problem(linear)
  model = Counted(plain.name, plain.module, plain.input_shape)
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
      mean=list(MEAN),
      std=list(STD),
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
    model=model,
    mean=MEAN,
    std=STD,
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
      model=model,
      mean=MEAN,
      std=STD,
      matrix="gauss_newton",
      restriction=init_masks(params),
      key=key,
    )
