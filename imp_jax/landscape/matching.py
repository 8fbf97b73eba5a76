"""Matching: the permutation that brings one network's units nearest another's.

Weight matching and activation matching of Ainsworth et al. 2023 (arXiv
2209.04836), sections 3.1 and 3.2; of several pairs of networks at once their
similarities are added up.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from imp_jax.core.masks import flat_leaves
from imp_jax.landscape.permutations import (
  Factors,
  Permutation,
  Units,
  activations,
  units_of,
)
from imp_jax.models import Model

PyTree = Any

_SWEEPS = 100  # at most; a few are enough
_LEAST = 1e-12  # of the similarity: a smaller gain is rounding


class Matched(NamedTuple):
  """What was found.

  Attributes:
    permutation: of the second network's units: its new unit i, the old p[i],
      is matched with the first one's unit i.
    similarity: the sum that it makes large; of weights their inner product, of
      activations the mean correlation of matched units.
    before: the same without a permutation.
    sweeps: over all layers; 1 of activations, whose layers do not depend on
      each other.
  """

  permutation: dict[str, np.ndarray]
  similarity: float
  before: float
  sweeps: int


def match_weights(
  pairs: Sequence[tuple[PyTree, PyTree]],
  units: Units,
  rng: np.random.Generator,
) -> Matched:
  """Returns the permutation under which weights are most alike.

  One layer after the other, in an order that is drawn anew for each sweep, the
  best assignment of its units while all other layers stay: a local optimum of
  the inner product of all parameters.

  Args:
    pairs: of params; several for one permutation of them all.
    units: of the network.
    rng: draws the orders.
  """
  weights = [
    tuple(_weights(params, units) for params in pair) for pair in pairs
  ]
  found = units.identity()
  before = total = _similarity(weights, units, found)
  sweeps, gained = 0, True
  while gained and sweeps < _SWEEPS:
    sweeps, gained = sweeps + 1, False
    for name in rng.permutation(list(found)):
      gains = _layer_similarity(weights, units, found, name)
      _, order = linear_sum_assignment(gains, maximize=True)
      trial = found | {name: order}
      now = _similarity(weights, units, trial)
      if now > total + _LEAST * max(abs(total), 1):
        found, total, gained = trial, now, True
  return Matched(found, total, before, sweeps)


def match_activations(
  pairs: Sequence[tuple[PyTree, PyTree]],
  inputs: jax.Array | np.ndarray,
  *,
  model: Model,
  batch_size: int = 500,
) -> Matched:
  """Returns the permutation under which activations are most correlated.

  Pearson's correlation over examples and places, as in Jordan et al. 2023
  (arXiv 2211.08403); a unit that does not vary has none. Layers do not depend
  on each other: a permutation of one changes no other one's activations.

  Args:
    pairs: of networks, {"params", "batch_stats"}.
    inputs: examples as in the data set.
    model: of the networks.
    batch_size: examples at a time.

  Raises:
    ValueError: a layer's activations are not finite.
  """
  sums = [
    unit_correlations(model, a, b, inputs, batch_size=batch_size)
    for a, b in pairs
  ]
  units = units_of(model)
  found, matched, plain = {}, 0.0, 0.0
  for name in units.sizes:
    total = np.sum([s[name] for s in sums], axis=0)
    if not np.isfinite(total).all():
      raise ValueError(f"activations of layer {name!r} are not finite")
    rows, order = linear_sum_assignment(total, maximize=True)
    found[name] = order
    matched += float(total[rows, order].sum())
    plain += float(np.trace(total))
  count = len(pairs) * sum(units.sizes.values())
  return Matched(found, matched / count, plain / count, 1)


def unit_correlations(
  model: Model,
  a: PyTree,
  b: PyTree,
  inputs: jax.Array | np.ndarray,
  *,
  batch_size: int,
) -> dict[str, Float[np.ndarray, "units units"]]:
  """Returns the correlation of each unit of a with each of b, by layer.

  Args:
    model: of both.
    a, b: networks.
    inputs: examples as in the data set.
    batch_size: examples at a time.
  """
  program = _moments_program(model)
  # About the first batch's means: sums of squares cancel where these are large.
  first = inputs[:batch_size]
  shifts = [_means_program(model)(network, first) for network in (a, b)]
  totals: dict[str, list[np.ndarray]] = {}
  for start in range(0, len(inputs), batch_size):
    moments = program(a, b, inputs[start : start + batch_size], *shifts)
    for name, parts in jax.device_get(moments).items():
      own = [np.asarray(part, np.float64) for part in parts]
      known = totals.get(name)
      if known is not None:
        own = [x + y for x, y in zip(known, own, strict=True)]
      totals[name] = own
  return {name: _correlation(*parts) for name, parts in totals.items()}


def _correlation(
  count: Any,
  of_a: np.ndarray,
  of_b: np.ndarray,
  square_a: np.ndarray,
  square_b: np.ndarray,
  product: np.ndarray,
) -> Float[np.ndarray, "units units"]:
  mean_a, mean_b = of_a / count, of_b / count
  var_a, var_b = square_a / count - mean_a**2, square_b / count - mean_b**2
  covariance = product / count - mean_a[:, None] * mean_b
  scale = np.sqrt(np.maximum(var_a, 0)[:, None] * np.maximum(var_b, 0))
  known = scale > 1e-12
  return np.where(known, covariance / np.where(known, scale, 1), 0.0)


@functools.lru_cache(maxsize=16)
def _means_program(model: Model) -> Callable[..., Any]:
  units = units_of(model)

  def means(network: PyTree, inputs: jax.Array) -> dict[str, jax.Array]:
    found = activations(model, units, network, inputs)
    return {name: values.mean(0) for name, values in found.items()}

  return jax.jit(means)


@functools.lru_cache(maxsize=16)
def _moments_program(model: Model) -> Callable[..., Any]:
  units = units_of(model)

  def moments(
    a: PyTree, b: PyTree, inputs: jax.Array, shift_a: Any, shift_b: Any
  ) -> dict[str, tuple[jax.Array, ...]]:
    one = activations(model, units, a, inputs)
    two = activations(model, units, b, inputs)
    found = {}
    for name in one:
      x, y = one[name] - shift_a[name], two[name] - shift_b[name]
      found[name] = (
        jnp.float32(len(x)),
        x.sum(0),
        y.sum(0),
        jnp.square(x).sum(0),
        jnp.square(y).sum(0),
        x.T @ y,
      )
    return found

  return jax.jit(moments)


def _weights(params: PyTree, units: Units) -> dict[str, np.ndarray]:
  """Leaves with units, each axis cut into its factors."""
  found = {}
  for path, leaf in flat_leaves(params).items():
    axes = units.leaves[path]
    if any(name for factors in axes for name, _ in factors):
      shape = [size for factors in axes for _, size in factors]
      found[path] = np.asarray(leaf, np.float64).reshape(shape)
  return found


def _names(axes: Sequence[Factors]) -> list[str | None]:
  return [name for factors in axes for name, _ in factors]


def _moved(
  leaf: np.ndarray, names: Sequence[str | None], permutation: Permutation
) -> np.ndarray:
  for place, name in enumerate(names):
    if name is not None:
      leaf = leaf.take(permutation[name], axis=place)
  return leaf


def _similarity(
  weights: Sequence[tuple[Mapping[str, np.ndarray], ...]],
  units: Units,
  permutation: Permutation,
) -> float:
  """The inner product of the first ones and the permuted second ones."""
  return float(
    sum(
      np.vdot(one, _moved(b[path], _names(units.leaves[path]), permutation))
      for a, b in weights
      for path, one in a.items()
    )
  )


def _layer_similarity(
  weights: Sequence[tuple[Mapping[str, np.ndarray], ...]],
  units: Units,
  permutation: Permutation,
  layer: str,
) -> Float[np.ndarray, "units units"]:
  """Of each unit of a layer with each old one, all other layers permuted.

  Of a leaf that has the layer on two axes, on one at a time.
  """
  size = units.sizes[layer]
  total = np.zeros((size, size))
  for a, b in weights:
    for path, one in a.items():
      names = _names(units.leaves[path])
      for place, name in enumerate(names):
        if name != layer:
          continue
        others = [n if i != place else None for i, n in enumerate(names)]
        two = _moved(b[path], others, permutation)
        rows, columns = (
          np.moveaxis(x, place, 0).reshape(size, -1) for x in (one, two)
        )
        total += rows @ columns.T
  return total
