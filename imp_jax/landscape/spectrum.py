"""Spectra of symmetric matrices that are known by their products with vectors.

Eigenvalues, trace and density ask for any symmetric v -> A v on flat vectors;
the library `matfree`, imported where it is used, decomposes it. All is float32,
at full precision: a GPU's or TPU's default is too coarse for Lanczos.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

# f32[parameters] -> f32[parameters], linear and symmetric
MatVec = Callable[[jax.Array], jax.Array]


def restricted(matvec: MatVec, mask: Bool[Array, " parameters"]) -> MatVec:
  """Returns v -> m * A (m * v), the principal submatrix where m is True."""

  def inside(v: jax.Array) -> jax.Array:
    return jnp.where(mask, matvec(jnp.where(mask, v, 0)), 0)

  return inside


def largest_eigenvalues(
  matvec: MatVec,
  mask: Bool[Array, " parameters"],
  *,
  count: int,
  lanczos_steps: int,
  key: jax.Array,
) -> dict[str, jax.Array]:
  """Returns both ends of the spectrum, from one random start.

  Lanczos' method with full reorthogonalisation; Ritz values lie inside the
  spectrum, so the largest are approached from below, the smallest from above.
  In exact arithmetic one start sees every distinct eigenvalue once; rounding
  starts it afresh where it breaks down, which shows most repeated ones.

  Args:
    matvec: of the whole matrix.
    mask: the restriction; may be traced.
    count: of the algebraically largest eigenvalues, at most lanczos_steps.
    lanczos_steps: products with the matrix. Steps beyond the restriction's
      dimension, or once nothing is left of the Krylov space, do not count.
    key: of the start, normal in the restriction.

  Returns:
    "eigenvalues", f32[count] descending, NaN where the steps hold fewer, and
    "smallest", f32[], the most negative. An empty mask makes all of them NaN.
  """
  if not 1 <= count <= lanczos_steps:
    raise ValueError(
      f"count must be in 1 to lanczos_steps = {lanczos_steps}, got {count}"
    )
  start = jnp.where(mask, jax.random.normal(key, mask.shape), 0)
  ritz, _, held = _lanczos(matvec, mask, start, lanczos_steps)
  # Of ascending values, the last `held` are Ritz values.
  rank = jnp.arange(count)
  largest = jnp.where(rank < held, ritz[len(ritz) - 1 - rank], jnp.nan)
  smallest = jnp.where(held > 0, ritz[len(ritz) - held], jnp.nan)
  return {"eigenvalues": largest, "smallest": smallest}


def trace(
  matvec: MatVec,
  mask: Bool[Array, " parameters"],
  *,
  probes: int,
  key: jax.Array,
) -> dict[str, jax.Array]:
  """Returns Hutchinson's estimate of the trace and its standard error.

  Args:
    matvec, mask: as of `largest_eigenvalues`.
    probes: vectors of random signs, one product each; at least 2.
    key: of the signs.

  Returns:
    "trace" and "trace_error", f32[]: the mean of v^T A v and its standard
    deviation (ddof = 1) over the root of probes.
  """
  if probes < 2:
    raise ValueError(f"probes of a trace must be at least 2, got {probes}")
  from matfree import stochtrace

  integrand = stochtrace.monte_carlo_trace()
  inside = restricted(matvec, mask)

  def sample(key: jax.Array) -> jax.Array:
    return integrand(inside, _signs(key, mask))

  # One after another: matfree's own estimator maps all probes at once, which
  # takes as many times the memory.
  with jax.default_matmul_precision("highest"):
    samples = jax.lax.map(sample, jax.random.split(key, probes))
  error = samples.std(ddof=1) / np.float32(probes) ** 0.5
  return {"trace": samples.mean(), "trace_error": error}


def spectral_density(
  matvec: MatVec,
  mask: Bool[Array, " parameters"],
  *,
  probes: int,
  lanczos_steps: int,
  key: jax.Array,
) -> dict[str, jax.Array]:
  """Returns the eigenvalues' distribution by stochastic Lanczos quadrature.

  Ghorbani et al. 2019 (arXiv 1901.10159), algorithm 2, with random signs and
  full reorthogonalisation. Each probe's sum of weight * f(Ritz value) estimates
  the mean of f over the restriction's eigenvalues.

  Args:
    matvec, mask, lanczos_steps: as of `largest_eigenvalues`.
    probes: random starts, one after another; at least 1.
    key: of the signs.

  Returns:
    "ritz" and "weights", f32[probes, steps] with steps = lanczos_steps, or the
    number of all parameters if less. Each probe's weights sum to 1; steps that
    do not count have weight 0, at some value in the spectrum.
  """
  if min(probes, lanczos_steps) < 1:
    raise ValueError(
      "probes and lanczos_steps must be at least 1, got "
      f"{probes} and {lanczos_steps}"
    )

  def sample(key: jax.Array) -> dict[str, jax.Array]:
    ritz, weights, held = _lanczos(
      matvec, mask, _signs(key, mask), lanczos_steps
    )
    filled = jnp.arange(len(ritz)) < len(ritz) - held
    return {"ritz": jnp.where(filled, ritz[-1], ritz), "weights": weights}

  return jax.lax.map(sample, jax.random.split(key, probes))


def density_on_grid(
  ritz: Float[np.ndarray, "probes steps"],
  weights: Float[np.ndarray, "probes steps"],
  grid: Float[np.ndarray, " points"],
  width: float,
) -> Float[np.ndarray, " points"]:
  """Returns the density of eigenvalues at the grid's points, in float64.

  Each Ritz value is a normal density of standard deviation `width` > 0, in the
  eigenvalues' unit; probes are averaged. It integrates to 1 over all numbers.
  """
  if not width > 0:
    raise ValueError(f"width must be > 0, got {width}")
  centres, masses = np.float64(ritz).ravel(), np.float64(weights).ravel()
  density = np.zeros(len(grid))
  for centre, mass in zip(centres, masses / len(ritz), strict=True):
    density += mass * np.exp(-0.5 * ((grid - centre) / width) ** 2)
  return density / (width * np.sqrt(2 * np.pi))


def _signs(key: jax.Array, mask: jax.Array) -> jax.Array:
  signs = jax.random.rademacher(key, mask.shape, jnp.float32)
  return jnp.where(mask, signs, 0)


def _lanczos(
  matvec: MatVec, mask: jax.Array, start: jax.Array, steps: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(ascending values, weights of the start, how many are Ritz values).

  The last ones are; those before are a filling below the spectrum.
  """
  from matfree import decomp

  steps = min(steps, mask.size)
  tridiagonal = decomp.tridiag_sym(
    steps, reortho="full", materialize=False, custom_vjp=False
  )
  with jax.default_matmul_precision("highest"):
    result = tridiagonal(restricted(matvec, mask), start)
    basis, (diagonal, off) = jnp.asarray(result.Q_tall), result.J_small
    defects = jnp.abs(basis @ basis.T - jnp.eye(steps))
  # The next vector of a space that is used up is made of rounding errors, or
  # NaN (0 / 0): one that is orthonormal is a fresh start, others are the end,
  # with a product of at least steps ** -0.5. A CPU's long sums of float32 lose
  # orthogonality in proportion to their length: 3e-4 was seen of 1e6 terms.
  used = mask.sum()
  tolerance = jnp.minimum(1e-5 + 6e-9 * used, 0.05)
  ends = ~(jnp.tril(defects) <= tolerance).all(axis=1)
  ends |= jnp.arange(steps) >= used
  valid = jnp.cumsum(ends) == 0
  diagonal, off = jnp.where(valid, diagonal, 0), jnp.where(valid[1:], off, 0)
  # Twice Gershgorin's bound, so that filling comes first in ascending order.
  bound = jnp.abs(diagonal).max() + 2 * jnp.abs(off).max(initial=0)
  small = jnp.diag(jnp.where(valid, diagonal, -2 * bound))
  small += jnp.diag(off, 1) + jnp.diag(off, -1)
  values, vectors = jnp.linalg.eigh(small)
  return values, vectors[0] ** 2, valid.sum()
