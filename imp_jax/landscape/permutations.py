"""Permutations of a network's units that leave its function as it is.

Entezari et al. 2022 (arXiv 2110.06296), Ainsworth et al. 2023 (arXiv
2209.04836). Which units there are, and where they stand in which array, is
derived from the network itself (`landscape.traced`): those of a residual stream
are one, and so are a convolution's channels and what its normalisation has.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from imp_jax.landscape.traced import Site, named_sites, trace_axes, walk
from imp_jax.models import Model, layers_in_order

PyTree = Any
# Of each layer's units, by its name: the new unit i is the old unit p[i].
Permutation = Mapping[str, Int[np.ndarray, " _"]]

# A leaf's axis as a product of (a layer's name or None, size).
Factors = tuple[tuple[str | None, int], ...]


@dataclasses.dataclass(frozen=True)
class Units:
  """The units of a network that may be permuted.

  Attributes:
    sizes: how many each layer has; a layer is named after the first kernel
      whose outputs they are.
    leaves: of each leaf of params and batch_stats, by its path, its axes.
    sites: where each layer's last activations are made; see `activations`.
  """

  sizes: Mapping[str, int]
  leaves: Mapping[str, tuple[Factors, ...]]
  sites: Mapping[str, Site]

  def identity(self) -> dict[str, np.ndarray]:
    """Returns the permutation that moves nothing."""
    return {name: np.arange(size) for name, size in self.sizes.items()}

  def drawn(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns a random permutation of every layer's units."""
    return {name: rng.permutation(size) for name, size in self.sizes.items()}


@functools.lru_cache(maxsize=64)
def units_of(model: Model) -> Units:
  """Returns the units of a model that may be permuted.

  Args:
    model: with convolutions in any kind; they are looked at as plain ones.
  """
  network, traced = _traced(model)
  names: dict[Any, str] = {}
  sites = dict(named_sites(traced))
  flat = _by_path(network)
  order = dict(zip(flat, traced.leaves, strict=True))
  for path in layers_in_order(model):
    axis = order[path][-1].root
    if axis in sites and axis not in names:
      names[axis] = path.removesuffix("/kernel")
  for axis in sites:  # of no kernel's outputs, e.g. a learned vector's
    if axis not in names and any(
      axis in a.factors for axes in traced.leaves for a in axes
    ):
      names[axis] = f"units{len(names) + 1}"
  leaves = {
    path: tuple(
      tuple((names.get(f.root), f.size) for f in axis.factors) for axis in axes
    )
    for path, axes in order.items()
  }
  return Units(
    {name: axis.size for axis, name in names.items()},
    leaves,
    {name: sites[axis] for axis, name in names.items()},
  )


def permuted(tree: PyTree, units: Units, permutation: Permutation) -> PyTree:
  """Returns a tree whose leaves are permuted wherever they have units.

  Args:
    tree: params, batch_stats, masks, or an optimiser's state: any whose leaves
      end in the paths of a network's, e.g. "trace/conv1/kernel"; others stay.
    units: of the network.
    permutation: of some or all of its layers.
  """

  def moved(path: tuple[Any, ...], leaf: Any) -> Any:
    keys = [str(k.key) for k in path if hasattr(k, "key")]
    axes = next(
      (
        units.leaves[name]
        for i in range(len(keys))
        if (name := "/".join(keys[i:])) in units.leaves
      ),
      None,
    )
    if axes is None or np.ndim(leaf) != len(axes):
      return leaf
    for place, factors in enumerate(axes):
      if any(name in permutation for name, _ in factors):
        order = _order(factors, permutation)
        leaf = (np if isinstance(leaf, np.ndarray) else jnp).take(
          leaf, order, axis=place
        )
    return leaf

  return jax.tree_util.tree_map_with_path(moved, tree)


def check_preserved(
  model: Model, network: PyTree, inputs: Any, units: Units
) -> None:
  """Refuses units whose permutation is seen in a network's logits.

  Args:
    model: of the network.
    network: {"params", "batch_stats"}.
    inputs: examples as in the data set.
    units: as of `units_of`.

  Raises:
    ValueError: names the first layer whose units are none.
  """
  logits, inputs = _logits_program(model), jnp.asarray(inputs)
  wanted = np.asarray(logits(network, inputs))
  scale = float(np.abs(wanted).max()) or 1.0
  for name, order in units.identity().items():
    # Every unit is moved.
    moved = permuted(network, units, {name: np.roll(order, 1)})
    apart = float(np.abs(np.asarray(logits(moved, inputs)) - wanted).max())
    if not apart <= _TOLERANCE * scale:
      raise ValueError(
        f"permuting the units of layer {name!r} of model {model.name} changes "
        f"its logits by {apart:.3g} of {scale:.3g}: they are no units that can "
        "be matched"
      )


@functools.lru_cache(maxsize=16)
def _logits_program(model: Model) -> Callable[..., jax.Array]:
  """Compiled once for all networks of a model."""
  exact = model.in_dtype(jnp.float32)  # whose rounding is known

  def logits(network: PyTree, inputs: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("highest"):
      return exact.apply(network["params"], network["batch_stats"], inputs)

  return jax.jit(logits)


_TOLERANCE = 1e-4  # of the largest logit: sums are in another order


def activations(
  model: Model,
  units: Units,
  network: PyTree,
  inputs: jax.Array | np.ndarray,
) -> dict[str, Float[jax.Array, "values units"]]:
  """Returns what each layer's units give: one row per example and place.

  Of several values that have these units it is the last of those at the most
  places: after its normalisation and non-linearity, and before it is pooled; of
  a residual stream after its last block.

  Args:
    model: of the network.
    units: its.
    network: {"params", "batch_stats"}.
    inputs: examples as in the data set.
  """
  # Operations are counted from the inputs that the first layer takes.
  inputs = model.prepared(jnp.asarray(inputs)).astype(jnp.float32)
  function = jax.make_jaxpr(_applied(model))(network, inputs)
  wanted: dict[int, list[tuple[str, int]]] = {}
  for name, site in units.sites.items():
    wanted.setdefault(site.number, []).append((name, site.axis))
  found, done = {}, 0

  def rule(eqn: Any, ins: Sequence[Any]) -> list[Any]:
    nonlocal done
    outs = eqn.primitive.bind(*ins, **eqn.params)
    outs = list(outs) if eqn.primitive.multiple_results else [outs]
    for name, axis in wanted.get(done, ()):
      value = jnp.moveaxis(outs[0], axis, -1)
      found[name] = value.reshape(-1, value.shape[-1])
    done += 1
    return outs

  walk(function, jax.tree.leaves((network, inputs)), rule, lambda value: value)
  return found


_EXAMPLES = 8191  # of which nothing is computed: a prime that no layer has


def _traced(model: Model) -> tuple[PyTree, Any]:
  """The shapes of a network, and its axes."""
  params, stats = jax.eval_shape(model.init, jax.random.key(0))
  network = {"params": params, "batch_stats": stats}
  inputs = jax.ShapeDtypeStruct((_EXAMPLES, *model.input_shape), jnp.float32)
  return network, trace_axes(_applied(model), network, inputs)


def _applied(model: Model) -> Callable[..., jax.Array]:
  """The network as a function of itself and prepared inputs, in plain terms."""
  plain = _plain(model).of_prepared().in_dtype(jnp.float32)

  def apply(network: PyTree, inputs: jax.Array) -> jax.Array:
    return plain.apply(network["params"], network["batch_stats"], inputs)

  return apply


def _plain(model: Model) -> Model:
  if not hasattr(model.module, "conv"):
    return model
  return dataclasses.replace(model, module=model.module.clone(conv="plain"))


def _by_path(network: PyTree) -> dict[str, Any]:
  """A network's leaves, by path within their part, in the tree's order."""
  leaves = jax.tree_util.tree_leaves_with_path(network)
  return {"/".join(str(k.key) for k in path[1:]): leaf for path, leaf in leaves}


def _order(factors: Factors, permutation: Permutation) -> np.ndarray:
  """Where each entry of an axis comes from."""
  order = np.zeros(1, np.int64)
  for name, size in factors:
    own = np.arange(size) if name is None else permutation.get(name)
    own = np.arange(size) if own is None else np.asarray(own)
    order = (order[:, None] * size + own).ravel()
  return order
