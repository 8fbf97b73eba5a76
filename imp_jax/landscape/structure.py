"""Parameter trees: comparing structures, interpolating, flattening."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from imp_jax.core.masks import flat_leaves

PyTree = Any


def check_same_structure(
  a: PyTree, b: PyTree, names: tuple[str, str] = ("a", "b")
) -> None:
  """Checks that two nested dicts have the same leaf paths and shapes.

  Args:
    a, b: nested dicts of arrays (or of anything with a shape).
    names: what the error calls them.

  Raises:
    ValueError: they differ; it names the first such leaf by sorted path.
  """
  leaves = [flat_leaves(tree) for tree in (a, b)]
  for path in sorted(leaves[0].keys() | leaves[1].keys()):
    for here, there in ((0, 1), (1, 0)):
      if path not in leaves[there]:
        raise ValueError(
          f"{path} is in {names[here]} but not in {names[there]}"
        )
    one, other = (np.shape(flat[path]) for flat in leaves)
    if one != other:
      raise ValueError(
        f"{path}: {names[0]} has shape {one}, {names[1]} {other}"
      )


def lerp(a: PyTree, b: PyTree, alpha: Float[ArrayLike, ""]) -> PyTree:
  """Returns (1 - alpha) * a + alpha * b, leaf by leaf.

  Args:
    a, b: nested dicts of float arrays of one structure.
    alpha: scalar, may be traced; beyond [0, 1] it extrapolates.

  Returns:
    A tree of JAX arrays; where a and b are finite, equal to a at alpha 0 and
    to b at alpha 1.

  Raises:
    ValueError: the structures differ; it names the leaf.
  """
  check_same_structure(a, b)
  alpha = jnp.asarray(alpha)
  # Not a + alpha * (b - a), which misses b at alpha 1 by rounding.
  return jax.tree.map(lambda x, y: (1 - alpha) * x + alpha * y, a, b)


def host_vector(tree: PyTree) -> Float[np.ndarray, " weights"]:
  """Returns all leaves as one float64 vector on the host, by sorted path."""
  leaves = [
    np.asarray(leaf, np.float64).ravel() for leaf in flat_leaves(tree).values()
  ]
  return np.concatenate([np.zeros(0), *leaves])
