"""The bound on pruning against numbers made by hand, and exact spectra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.landscape.bound import bounded_fraction, reached_share
from imp_jax.landscape.spectrum import spectral_density
from imp_jax.probes.bound import FRACTIONS, borne


def exact(values):
  """An exact spectrum: each eigenvalue with the same weight."""
  return (
    np.asarray([values], np.float32),
    np.full((1, len(values)), 1 / len(values), np.float32),
  )


def test_what_of_the_dimensions_may_be_lacking():
  """eps = 0.5: a radius of 1 / sqrt(|lambda|)."""
  values, weights = exact([0.0, 1.0, -4.0])
  distances = np.array([0.0, 1.0, 2.0])
  found = reached_share(values, weights, distances, 0.5)
  wanted = [1.0, (1 + 1 / 2 + 1 / 5) / 3, (1 + 1 / 5 + 1 / 17) / 3]
  np.testing.assert_allclose(found, wanted, rtol=1e-6)
  # Two probes are averaged.
  both = [np.concatenate([a, a]) for a in (values, weights)]
  np.testing.assert_allclose(
    reached_share(*both, distances, 0.5), wanted, rtol=1e-6
  )


def test_the_fraction_is_that_of_the_first_weight_too_many(rng):
  """By a loop over counts, whatever the order of the weights."""
  magnitudes = np.abs(rng.normal(size=40))
  for scale, epsilon, extra in ((1.0, 0.05, 5), (30.0, 0.5, 0), (0.01, 1, 20)):
    spectrum = exact(scale * rng.normal(size=40 + extra))
    dimension = 40 + extra
    kept, allowed = np.sort(magnitudes), 0
    for count in range(1, 41):
      distance = np.linalg.norm(kept[:count])
      share = np.mean(
        1 / (1 + np.abs(spectrum[0]) * distance**2 / (2 * epsilon))
      )
      if count / dimension > share:
        break
      allowed = count
    found = bounded_fraction(
      rng.permutation(magnitudes),
      *spectrum,
      dimension=dimension,
      epsilon=epsilon,
    )
    assert found == allowed / 40


def test_flat_and_steep_ends():
  flat, steep = exact([0.0] * 4), exact([1e12] * 4)
  weights = np.ones(4)
  of = lambda spectrum: bounded_fraction(
    weights, *spectrum, dimension=4, epsilon=0.1
  )
  assert of(flat) == 1.0 and of(steep) == 0.0
  assert bounded_fraction(weights[:0], *flat, dimension=4, epsilon=0.1) == 0


def test_lanczos_gives_the_exact_spectrum_s_fraction(rng):
  """Of a Hessian that eigvalsh can take, with as many steps as dimensions."""
  size = 40
  values = np.concatenate([np.geomspace(1e-3, 30, size - 4), [-1, -0.2, 0, 0]])
  basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
  matrix = jnp.asarray(basis @ np.diag(values) @ basis.T, jnp.float32)
  found = jax.jit(
    lambda key: spectral_density(
      lambda v: matrix @ v,
      jnp.ones(size, bool),
      probes=16,
      lanczos_steps=size,
      key=key,
    )
  )(jax.random.key(0))
  magnitudes = np.abs(rng.normal(size=size))
  by_lanczos, by_eigvalsh = (
    bounded_fraction(magnitudes, *spectrum, dimension=size, epsilon=0.5)
    for spectrum in (
      (np.asarray(found["ritz"]), np.asarray(found["weights"])),
      exact(np.linalg.eigvalsh(np.asarray(matrix, np.float64))),
    )
  )
  assert 0.1 < by_eigvalsh < 0.9
  assert abs(by_lanczos - by_eigvalsh) <= 2 / size


@pytest.mark.parametrize(
  "errors,found",
  [
    ([0.0] * 19, 0.95),
    ([0.3] * 19, 0.0),
    ([0.1, 0.1, 0.3, 0.1, *[0.5] * 15], 0.1),  # what follows does not count
  ],
)
def test_what_is_borne(errors, found):
  assert len(FRACTIONS) == 19 and FRACTIONS[:2] == (0.05, 0.1)
  assert borne(errors, 0.1) == found
