"""Norms of each example's loss gradient, from one backward pass over a batch.

In evaluation mode an example's gradient is its own, and a layer's is made from
its inputs and the gradient by its outputs. Both are there in a batch's backward
pass; no example's gradient by the whole of the parameters is ever kept.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.linen.module import InterceptorContext
from jax import lax
from jaxtyping import Array, Float, Int

from imp_jax.core.masks import flat_leaves
from imp_jax.models.convolution import window_columns
from imp_jax.models.layers import BatchNorm, Conv, Dense
from imp_jax.models.registry import Model

PyTree = Any
# (x, d_y, known) -> squared norms of each example, by a layer's parameters.
Rule = Callable[[jax.Array, jax.Array, Any], dict[str, jax.Array]]


def squared_gradient_norms(
  params: PyTree,
  batch_stats: PyTree,
  x: Float[Array, " batch *shape"],
  labels: Int[Array, " batch"],
  *,
  model: Model,
) -> dict[str, Float[Array, " batch"]]:
  """Returns ||d loss / d leaf||_2^2 of each example, by parameter leaf.

  Args:
    params, batch_stats: one network, in evaluation mode.
    x: normalised inputs.
    labels: their classes.
    model: built from this package's `Conv`, `Dense` and `BatchNorm`.

  Returns:
    {"stem_conv/kernel": ..., ...} of every parameter.

  Raises:
    ValueError: a parameter is of another kind of layer.
  """
  leaves, seen = flat_leaves(params), set()

  def loss(probes: Mapping[str, jax.Array]) -> jax.Array:
    def probed(
      layer: Callable[..., Any],
      args: tuple[Any, ...],
      kwargs: dict[str, Any],
      context: InterceptorContext,
    ) -> Any:
      y, module = layer(*args, **kwargs), context.module
      if context.method_name != "__call__" or type(module) not in _SQUARES:
        return y
      rule, known = _SQUARES[type(module)](module)
      place = "/".join(module.path)
      paths = {n: f"{place}/{n}" for n in module.variables["params"]}
      seen.update(paths.values())
      here = {name: probes[path] for name, path in paths.items()}
      return _probed(rule, y, (args[0], known), here)

    with nn.intercept_methods(probed):
      logits = model.apply(params, batch_stats, x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).sum()

  squares = jax.grad(loss)({leaf: jnp.zeros(len(x)) for leaf in leaves})
  if seen != set(leaves):
    others = ", ".join(sorted(set(leaves) - seen))
    raise ValueError(f"no rule for the gradient norms of: {others}")
  return squares


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _probed(
  rule: Rule, y: jax.Array, saved: PyTree, probes: Mapping[str, jax.Array]
) -> jax.Array:
  """Returns y; the probes' "gradients" are `rule` of the gradient by y."""
  del rule, saved, probes
  return y


def _probed_forward(
  rule: Rule, y: jax.Array, saved: PyTree, probes: Mapping[str, jax.Array]
) -> tuple[jax.Array, PyTree]:
  del rule, probes
  return y, saved


def _probed_backward(
  rule: Rule, saved: PyTree, d_y: jax.Array
) -> tuple[jax.Array, PyTree, dict[str, jax.Array]]:
  x, known = saved
  nothing = jax.tree.map(jnp.zeros_like, saved)
  squares = rule(x.astype(jnp.float32), d_y.astype(jnp.float32), known)
  return d_y, nothing, squares


_probed.defvjp(_probed_forward, _probed_backward)


def _conv_rule(module: Conv) -> tuple[Rule, Any]:
  """The gradient of one example: its windows, correlated with d_y."""

  def rule(x: jax.Array, d_y: jax.Array, known: Any) -> dict[str, jax.Array]:
    del known
    fn = functools.partial(_kernel_squares, module.window, module.stride)
    # A CPU is fast at products of two matrices and slow at batches of them.
    return {
      "kernel": lax.platform_dependent(
        x, d_y, cpu=functools.partial(_by_example, fn), default=fn
      )
    }

  return rule, ()


def _dense_rule(module: Dense) -> tuple[Rule, Any]:
  """The gradient is the outer product of x, or 1, and d_y."""
  del module

  def rule(x: jax.Array, d_y: jax.Array, known: Any) -> dict[str, jax.Array]:
    del known
    errors = (d_y**2).sum(axis=1)
    return {"kernel": (x**2).sum(axis=1) * errors, "bias": errors}

  return rule, ()


def _norm_rule(module: BatchNorm) -> tuple[Rule, Any]:
  """Scale and bias are shared by an example's positions."""
  running = {n: module.get_variable("batch_stats", n) for n in ("mean", "var")}

  def rule(x: jax.Array, d_y: jax.Array, known: Any) -> dict[str, jax.Array]:
    factor = lax.rsqrt(known["var"] + module.epsilon)
    normal = (x - known["mean"]) * factor
    axes = tuple(range(1, x.ndim - 1))
    return {
      "scale": ((d_y * normal).sum(axes) ** 2).sum(axis=-1),
      "bias": (d_y.sum(axes) ** 2).sum(axis=-1),
    }

  return rule, running


_SQUARES: Mapping[type, Callable[[Any], tuple[Rule, Any]]] = {
  Conv: _conv_rule,
  Dense: _dense_rule,
  BatchNorm: _norm_rule,
}

# Examples whose products are independent of each other in one turn.
_AT_ONCE = 8


def _kernel_squares(
  window: int, stride: int, x: jax.Array, d_y: jax.Array
) -> jax.Array:
  axes = x.ndim - 2
  columns = window_columns(
    x, (window,) * axes, stride=stride, padding=window // 2
  )
  gradients = jnp.einsum(
    "npk,npo->nko",
    columns.reshape(len(x), -1, columns.shape[-1]),
    d_y.reshape(len(x), -1, d_y.shape[-1]),
  )
  return (gradients**2).sum(axis=(1, 2))


def _by_example(
  fn: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, d_y: jax.Array
) -> jax.Array:
  """fn of each example by itself, some of them in each turn of a loop."""
  size = min(len(x), _AT_ONCE)

  def some(start: jax.Array) -> jax.Array:
    parts = (lax.dynamic_slice_in_dim(a, start, size) for a in (x, d_y))
    pairs = zip(*parts, strict=True)
    return jnp.concatenate([fn(a[None], b[None]) for a, b in pairs])

  def body(i: jax.Array, out: jax.Array) -> jax.Array:
    start = jnp.minimum(i * size, len(x) - size)
    return lax.dynamic_update_slice_in_dim(out, some(start), start, 0)

  return lax.fori_loop(0, -(-len(x) // size), body, jnp.zeros(len(x)))
