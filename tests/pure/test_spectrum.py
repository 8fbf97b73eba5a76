"""Spectra and traces of matrices that are given in full."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.landscape.spectrum import (
  density_on_grid,
  largest_eigenvalues,
  spectral_density,
  trace,
)

pytest.importorskip("matfree")


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
  @jax.jit
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
