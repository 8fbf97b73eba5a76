"""Convolutions of several replicates as one wide convolution.

A matrix unit has more lanes than a narrow network has channels. Side by side,
the channels of several replicates fill them: the kernels lie on the diagonal of
one wide kernel, zero elsewhere. The zeros cost as many times the products as
replicates are packed; without packing `vmap` makes grouped convolutions.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

# Channels of a wide convolution, at most.
_LANES = 128

PyTree = Any
Convolution = Callable[[jax.Array, jax.Array], jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def packed_convolution(
  convolution: Convolution,
  inputs: Float[Array, "batch height width channels"],
  kernel: Float[Array, "window1 window2 channels features"],
) -> Float[Array, "batch out1 out2 features"]:
  """Returns `convolution(inputs, kernel)`; under `vmap`, packed.

  Has no forward mode and no second derivative.

  Args:
    convolution: linear in both, NHWC and HWIO.
    inputs, kernel: of one replicate.
  """
  alone = custom_vmap(convolution)

  @alone.def_vmap
  def _(
    replicates: int,
    is_own: Sequence[bool],
    inputs: jax.Array,
    kernel: jax.Array,
  ) -> tuple[jax.Array, bool]:
    if not is_own[0]:  # shared inputs: nothing is multiplied with zeros
      wide = convolution(inputs, _beside(kernel))
      return _apart(wide, replicates), True
    stacked = _own(replicates, is_own, (inputs, kernel))
    wide = functools.partial(_side_by_side, convolution)
    return _kept_apart(wide, *stacked), True

  return alone(inputs, kernel)


def _forward(
  convolution: Convolution, inputs: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return packed_convolution(convolution, inputs, kernel), (inputs, kernel)


def _backward(
  convolution: Convolution,
  saved: tuple[jax.Array, jax.Array],
  cotangent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  alone = custom_vmap(functools.partial(_gradients, convolution))

  @alone.def_vmap
  def _(
    replicates: int, is_own: Sequence[bool], *args: jax.Array
  ) -> tuple[PyTree, tuple[bool, bool]]:
    wide = functools.partial(_side_by_side, convolution)
    gradients = functools.partial(_gradients, wide)
    stacked = _own(replicates, is_own, args)
    return _kept_apart(gradients, *stacked), (True, True)

  return alone(*saved, cotangent)


packed_convolution.defvjp(_forward, _backward)


def _gradients(
  convolution: Convolution,
  inputs: jax.Array,
  kernel: jax.Array,
  cotangent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  return jax.vjp(convolution, inputs, kernel)[1](cotangent)


def _side_by_side(
  convolution: Convolution, inputs: jax.Array, kernel: jax.Array
) -> jax.Array:
  """Convolutions of inputs [r, n, h, w, c] with kernels [r, h, w, c, f]."""
  count, channels = len(kernel), max(kernel.shape[-2:])
  parts = -(-count // max(_LANES // channels, 1))
  return jnp.concatenate(
    [
      _apart(convolution(_beside(x), _diagonal(k)), len(k))
      for x, k in zip(
        jnp.array_split(inputs, parts),
        jnp.array_split(kernel, parts),
        strict=True,
      )
    ]
  )


def _beside(stacked: jax.Array) -> jax.Array:
  """[r, ..., c] as [..., r * c]."""
  moved = jnp.moveaxis(stacked, 0, -2)
  return moved.reshape(*moved.shape[:-2], -1)


def _apart(wide: jax.Array, count: int) -> jax.Array:
  """[..., r * c] as [r, ..., c]."""
  return jnp.moveaxis(wide.reshape(*wide.shape[:-1], count, -1), -2, 0)


def _diagonal(kernels: jax.Array) -> jax.Array:
  """Kernels [r, h, w, c, f] on the diagonal of one, [h, w, r * c, r * f]."""
  count, *window, channels, features = kernels.shape
  rows = jnp.moveaxis(kernels, 0, 2)[..., None, :]  # [h, w, r, c, 1, f]
  here = jnp.eye(count, dtype=bool)[:, None, :, None]
  blocks = jnp.where(here, rows, 0)
  return blocks.reshape(*window, count * channels, count * features)


def _kept_apart(fn: Callable[..., PyTree], *args: jax.Array) -> PyTree:
  """`fn` of replicates that share sums: what is not finite stays where it is.

  Zero times infinity is no zero: without this a replicate that diverges would
  take the others along. All of its own results are NaN.
  """
  finite = [jnp.isfinite(arg) for arg in args]
  sound = functools.reduce(
    jnp.logical_and, (f.all(range(1, f.ndim)) for f in finite)
  )
  out = fn(*(jnp.where(f, a, 0) for f, a in zip(finite, args, strict=True)))
  return jax.tree.map(
    lambda leaf: jnp.where(
      sound.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, jnp.nan
    ),
    out,
  )


def _own(
  replicates: int, is_own: Sequence[bool], args: Sequence[jax.Array]
) -> tuple[jax.Array, ...]:
  """Every argument with a replicate axis; shared ones are repeated."""
  return tuple(
    arg if own else jnp.broadcast_to(arg, (replicates, *arg.shape))
    for arg, own in zip(args, is_own, strict=True)
  )
