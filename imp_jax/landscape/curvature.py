"""Curvature of one network's mean cross-entropy, through products with vectors.

The Hessian, or the generalised Gauss-Newton matrix, of the mean cross-entropy
over stated examples with respect to the parameters. Weight decay is no part of
it; BatchNorm's running statistics are constants. A restriction, boolean masks
with the structure of params, leaves the principal submatrix where it is True:
surviving weights, one layer, all parameters, or what several of them share.

Eigenvalues, trace and density ask for any symmetric v -> A v on flat vectors
(`ravel_pytree`); the library `matfree` decomposes it. All is float32, at full
precision: a GPU's or TPU's default is too coarse for Lanczos.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Float32, Int

from imp_jax.data.augment import normalise
from imp_jax.masks import flat_leaves, nested_leaves
from imp_jax.models import Model

PyTree = Any
# f32[parameters] -> f32[parameters], linear and symmetric
MatVec = Callable[[jax.Array], jax.Array]

MATRICES = ("hessian", "gauss_newton")


@dataclasses.dataclass(frozen=True)
class Sizes:
  """How much work the estimates of `curvature` are.

  Attributes:
    eigenvalues: how many of the largest; at most lanczos_steps.
    lanczos_steps: products with the matrix per start; that many vectors of all
      parameters are held at a time.
    trace_probes, density_probes: random vectors, at least 2 and 1.
    batch_size: examples at a time; it does not change what is computed.
  """

  eigenvalues: int = 10
  lanczos_steps: int = 60
  trace_probes: int = 30
  density_probes: int = 4
  batch_size: int = 250


def curvature(
  params: PyTree,
  batch_stats: PyTree,
  inputs: jax.Array | np.ndarray,
  labels: Int[Array | np.ndarray, " examples"],
  *,
  model: Model,
  mean: Sequence[float],
  std: Sequence[float],
  matrix: str,
  restriction: PyTree,
  key: jax.Array,
  sizes: Sizes = Sizes(),
  name: str = "restriction",
) -> dict[str, Any]:
  """Returns the spectrum's ends, trace and density of one restricted matrix.

  One program is compiled for a model, matrix, sizes and shapes: restrictions,
  networks and examples of the same shapes reuse it.

  Args:
    params, batch_stats: one network, evaluated as it is: no mask is applied.
    inputs, labels: the examples, before normalisation by mean and std.
    model: in float32, convolutions by "patches": "fast" ones over images have
      no forward mode, which "gauss_newton" needs, and a CPU's loops are slow
      at gradients of "plain" ones.
    matrix: one of MATRICES.
    restriction: masks with the structure of params, True = coordinate in use.
    key: of the random vectors.
    sizes: how much work.
    name: the restriction's, for messages.

  Returns:
    On the host: "dimension" (int, coordinates in use) and what
    `largest_eigenvalues`, `trace` and `spectral_density` return, in nats per
    squared unit of a parameter.

  Raises:
    ValueError: an unknown matrix, a restriction that is empty or unlike params,
      no examples, sizes out of range, or a model without forward mode.
  """
  if matrix not in MATRICES:
    raise ValueError(f"unknown matrix {matrix!r}; known: {', '.join(MATRICES)}")
  used = dimension(restriction, params, name=name)
  program = _program(model, tuple(mean), tuple(std), matrix, sizes)
  try:
    found = program(params, batch_stats, inputs, labels, restriction, key)
  except TypeError as error:
    if "custom_vjp" not in str(error):
      raise
    raise ValueError(
      f"matrix {matrix!r} needs forward mode, which model {model.name!r} lacks "
      "with convolutions of kind 'fast'; make it with conv='patches'"
    ) from error
  return {**jax.device_get(found), "dimension": used}


def matrix_vector_product(
  params: PyTree,
  batch_stats: PyTree,
  inputs: jax.Array | np.ndarray,
  labels: Int[Array | np.ndarray, " examples"],
  *,
  model: Model,
  mean: Sequence[float],
  std: Sequence[float],
  matrix: str,
  batch_size: int,
) -> MatVec:
  """Returns v -> A v of the whole matrix, on raveled parameters.

  "hessian" is forward over reverse mode (Pearlmutter 1994); "gauss_newton" is
  J^T H J with the logits' Jacobian J and the softmax's H = diag(p) - p p^T
  (Schraudolph 2002). A loop holds one batch's activations; padding of the last
  batch has weight 0. Arguments as of `curvature`.
  """
  num = len(labels)
  if not num or batch_size < 1:
    raise ValueError(
      "examples and batch_size must be at least 1, got "
      f"{num} examples and batch_size {batch_size}"
    )
  inputs, labels = jnp.asarray(inputs), jnp.asarray(labels)
  batch_size = min(batch_size, num)
  indices = jnp.arange(-(-num // batch_size) * batch_size)
  indices = indices.reshape(-1, batch_size)
  _, unravel = ravel_pytree(params)
  product = {"hessian": _hessian, "gauss_newton": _gauss_newton}[matrix]

  def matvec(v: Float32[Array, " parameters"]) -> Float32[Array, " parameters"]:
    direction = unravel(v)

    def body(total, index):
      weights = (index < num) / jnp.float32(num)
      # Padding repeats the last example, which is as finite as the others.
      index = jnp.minimum(index, num - 1)
      x = normalise(inputs[index], mean, std)
      logits = lambda params: model.apply(params, batch_stats, x)
      part = product(logits, labels[index], weights, params, direction)
      return jax.tree.map(jnp.add, total, part), None

    zeros = jax.tree.map(jnp.zeros_like, direction)
    with jax.default_matmul_precision("highest"):
      total, _ = jax.lax.scan(body, zeros, indices)
    return ravel_pytree(total)[0]

  return matvec


def restricted(matvec: MatVec, mask: Bool[Array, " parameters"]) -> MatVec:
  """Returns v -> m * A (m * v), the principal submatrix where m is True."""

  def inside(v):
    return jnp.where(mask, matvec(jnp.where(mask, v, 0)), 0)

  return inside


def layer_restrictions(
  masks: PyTree, prunable: Sequence[str]
) -> dict[str, PyTree]:
  """Returns {path: masks on that leaf, False elsewhere} of prunable leaves."""
  flat = {path: np.asarray(m, bool) for path, m in flat_leaves(masks).items()}
  nowhere = {path: np.zeros_like(mask) for path, mask in flat.items()}
  return {p: nested_leaves({**nowhere, p: flat[p]}) for p in prunable}


def dimension(
  restriction: PyTree, params: PyTree, *, name: str = "restriction"
) -> int:
  """Returns how many coordinates a restriction uses, at least 1.

  Raises:
    ValueError: it uses none, or is no boolean tree with params' shapes.
  """
  wanted = {p: np.shape(leaf) for p, leaf in flat_leaves(params).items()}
  found = {p: np.shape(leaf) for p, leaf in flat_leaves(restriction).items()}
  dtypes = {np.asarray(leaf).dtype for leaf in jax.tree.leaves(restriction)}
  if found != wanted or dtypes != {np.dtype(bool)}:
    raise ValueError(
      f"{name} must be boolean with the leaves of params {wanted}, got {found} "
      f"of {', '.join(sorted(map(str, dtypes)))}"
    )
  used = sum(np.count_nonzero(leaf) for leaf in jax.tree.leaves(restriction))
  if not used:
    raise ValueError(f"{name} is empty: it uses no coordinate of params")
  return int(used)


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

  def sample(key):
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

  def sample(key):
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
  found = np.zeros(len(grid))
  for centre, mass in zip(centres, masses / len(ritz), strict=True):
    found += mass * np.exp(-0.5 * ((grid - centre) / width) ** 2)
  return found / (width * np.sqrt(2 * np.pi))


def _hessian(logits, labels, weights, params, direction):
  def loss(params):
    losses = optax.softmax_cross_entropy_with_integer_labels(
      logits(params), labels
    )
    return weights @ losses

  return jax.jvp(jax.grad(loss), (params,), (direction,))[1]


def _gauss_newton(logits, labels, weights, params, direction):
  del labels
  z, change = jax.jvp(logits, (params,), (direction,))
  p = jax.nn.softmax(z)
  centred = change - (p * change).sum(axis=-1, keepdims=True)
  return jax.vjp(logits, params)[1](weights[:, None] * p * centred)[0]


def _signs(key, mask):
  signs = jax.random.rademacher(key, mask.shape, jnp.float32)
  return jnp.where(mask, signs, 0)


def _lanczos(matvec, mask, start, steps):
  """(ascending values, weights of the start, how many are Ritz values).

  The last ones are; those before are a filling below the spectrum.
  """
  from matfree import decomp

  steps = min(steps, mask.size)
  tridiagonal = decomp.tridiag_sym(
    steps, reortho="full", materialize=False, custom_vjp=False
  )
  with jax.default_matmul_precision("highest"):
    found = tridiagonal(restricted(matvec, mask), start)
    basis, (diagonal, off) = jnp.asarray(found.Q_tall), found.J_small
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


@functools.lru_cache(maxsize=64)
def _program(model, mean, std, matrix, sizes):
  """The compiled estimates of one model; restrictions are arguments."""

  @jax.jit
  def estimates(params, batch_stats, inputs, labels, restriction, key):
    matvec = matrix_vector_product(
      params,
      batch_stats,
      inputs,
      labels,
      model=model,
      mean=mean,
      std=std,
      matrix=matrix,
      batch_size=sizes.batch_size,
    )
    mask, _ = ravel_pytree(restriction)
    keys = jax.random.split(key, 3)
    steps = sizes.lanczos_steps
    ends = largest_eigenvalues(
      matvec, mask, count=sizes.eigenvalues, lanczos_steps=steps, key=keys[0]
    )
    total = trace(matvec, mask, probes=sizes.trace_probes, key=keys[1])
    density = spectral_density(
      matvec,
      mask,
      probes=sizes.density_probes,
      lanczos_steps=steps,
      key=keys[2],
    )
    return ends | total | density

  return estimates
