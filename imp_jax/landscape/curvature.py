"""Curvature of one network's mean cross-entropy, through products with vectors.

The Hessian, or the generalised Gauss-Newton matrix, of the mean cross-entropy
over stated examples with respect to the parameters. Weight decay is no part of
it; BatchNorm's running statistics are constants. A restriction, boolean masks
with the structure of params, leaves the principal submatrix where it is True:
surviving weights, one layer, all parameters, or what several of them share.

All is float32, at full precision, on flat vectors (`ravel_pytree`).
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
from jaxtyping import Array, Float32, Int

from imp_jax.core.masks import flat_leaves, nested_leaves
from imp_jax.landscape.spectrum import (
  MatVec,
  largest_eigenvalues,
  spectral_density,
  trace,
)
from imp_jax.models import Model

PyTree = Any
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
    inputs, labels: the examples, as in the data set.
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
  program = _program(model, matrix, sizes)
  try:
    estimates = program(params, batch_stats, inputs, labels, restriction, key)
  except TypeError as error:
    if "custom_vjp" not in str(error):
      raise
    raise ValueError(
      f"matrix {matrix!r} needs forward mode, which model {model.name!r} lacks "
      "with convolutions of kind 'fast'; make it with conv='patches'"
    ) from error
  return {**jax.device_get(estimates), "dimension": used}


def matrix_vector_product(
  params: PyTree,
  batch_stats: PyTree,
  inputs: jax.Array | np.ndarray,
  labels: Int[Array | np.ndarray, " examples"],
  *,
  model: Model,
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

    def body(total: PyTree, index: jax.Array) -> tuple[PyTree, None]:
      weights = (index < num) / jnp.float32(num)
      # Padding repeats the last example, which is as finite as the others.
      index = jnp.minimum(index, num - 1)
      x = inputs[index]
      logits = lambda params: model.apply(params, batch_stats, x)
      part = product(logits, labels[index], weights, params, direction)
      return jax.tree.map(jnp.add, total, part), None

    zeros = jax.tree.map(jnp.zeros_like, direction)
    with jax.default_matmul_precision("highest"):
      total, _ = jax.lax.scan(body, zeros, indices)
    return ravel_pytree(total)[0]

  return matvec


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


def _hessian(
  logits: Callable[[PyTree], jax.Array],
  labels: jax.Array,
  weights: jax.Array,
  params: PyTree,
  direction: PyTree,
) -> PyTree:
  def loss(params: PyTree) -> jax.Array:
    losses = optax.softmax_cross_entropy_with_integer_labels(
      logits(params), labels
    )
    return weights @ losses

  return jax.jvp(jax.grad(loss), (params,), (direction,))[1]


def _gauss_newton(
  logits: Callable[[PyTree], jax.Array],
  labels: jax.Array,
  weights: jax.Array,
  params: PyTree,
  direction: PyTree,
) -> PyTree:
  del labels
  z, change = jax.jvp(logits, (params,), (direction,))
  p = jax.nn.softmax(z)
  centred = change - (p * change).sum(axis=-1, keepdims=True)
  return jax.vjp(logits, params)[1](weights[:, None] * p * centred)[0]


@functools.lru_cache(maxsize=64)
def _program(model: Model, matrix: str, sizes: Sizes) -> Callable[..., Any]:
  """The compiled estimates of one model; restrictions are arguments."""

  @jax.jit
  def estimates(
    params: PyTree,
    batch_stats: PyTree,
    inputs: jax.Array,
    labels: jax.Array,
    restriction: PyTree,
    key: jax.Array,
  ) -> dict[str, jax.Array]:
    matvec = matrix_vector_product(
      params,
      batch_stats,
      inputs,
      labels,
      model=model,
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
