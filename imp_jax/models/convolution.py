"""Convolution: `fast` or `onednn` for training and evaluation, others besides.

XLA's CPU backend runs the weight gradient of a 2-D convolution many times
slower inside a loop than outside, since it no longer calls its fast kernel for
that form. `fast` writes both gradients as ordinary forward convolutions, the
weight gradient's a part of the batch at a time. `onednn` is the same, but where
images are float32 every convolution is oneDNN's, which on a CPU is faster.
Custom gradients have no forward mode and no second derivative; under `vmap`
`fast` becomes grouped convolutions and `onednn` a loop.

`patches` is one matrix product over the window's shifted slices, with any
derivative: per-example gradients, the vmapped ones, become batched matrix
products (grouped convolutions otherwise, which the CPU backend runs more than
ten times slower). `plain` is XLA's own convolution, and `packed` the same, but
under `vmap` one wide convolution of several replicates (`models.packed`). All
agree by test. With one spatial axis `fast`, `onednn` and `packed` are
`patches`, which for narrow networks is faster than XLA's.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from imp_jax.models import onednn
from imp_jax.models.packed import packed_convolution

CONVOLUTIONS = ("auto", "fast", "onednn", "plain", "packed", "patches")
_NHWC = ("NHWC", "HWIO", "NHWC")
# Of a batch, in the weight gradient: the fastest of 1, 4, 8, 16 and 32 measured
# for ResNet-20's layers and batches of 128.
_PARTS = 8


def resolve_convolution(kind: str, *, backend: str, images: bool) -> str:
  """Returns the kind that "auto" means, and any other as it is.

  "onednn" for images on a CPU where jaxlib has it (benchmarks/README.md), else
  "fast" there. Elsewhere "plain" for images, as what "fast" mends is the CPU's;
  nothing has been measured there yet.

  Args:
    kind: one of CONVOLUTIONS.
    backend: JAX's name of it.
    images: whether there are two spatial axes.

  Raises:
    ValueError: an unknown kind, or one that this backend does not have.
  """
  if kind not in CONVOLUTIONS:
    raise ValueError(
      f"unknown execution.convolution {kind!r}; known: "
      f"{', '.join(CONVOLUTIONS)}"
    )
  there = backend == "cpu" and onednn.available()
  if kind == "onednn" and not there:
    raise ValueError(
      "execution.convolution='onednn' is for a CPU (x86-64, Linux) and jaxlib "
      f"{' or '.join(onednn.RELEASES)}; 'auto' takes it where it is"
    )
  if kind != "auto":
    return kind
  if not images:
    return "fast"
  if there:
    return "onednn"
  return "fast" if backend == "cpu" else "plain"


def convolve(
  inputs: Float[Array, "batch *spatial channels"],
  kernel: Float[Array, "*window channels features"],
  *,
  stride: int,
  padding: int,
  kind: str,
) -> Float[Array, "batch *out features"]:
  """Returns the cross-correlation of channels-last inputs with a kernel.

  Args:
    inputs: one or two spatial axes.
    kernel: as many window axes.
    stride: the same along every spatial axis.
    padding: zeros on both sides of every spatial axis (PyTorch's convention;
      Flax's SAME pads strided windows on one side only).
    kind: of CONVOLUTIONS, resolved.
  """
  window = kernel.shape[:-2]
  if kind == "plain":
    return _plain(inputs, kernel, stride, padding)
  if len(window) == 1 or kind == "patches":
    return _shifted_slices(inputs, kernel, stride, padding)
  if window == (1, 1) and not padding:
    return inputs[:, ::stride, ::stride] @ kernel[0, 0]
  if kind == "packed":
    plain = functools.partial(_plain, stride=stride, padding=padding)
    return packed_convolution(plain, inputs, kernel)
  return _fast_2d(inputs, kernel, stride, padding, kind)


def _plain(
  inputs: jax.Array, kernel: jax.Array, stride: int, padding: int
) -> jax.Array:
  axes = kernel.ndim - 2
  spec = ("NWC", "WIO", "NWC") if axes == 1 else _NHWC
  return lax.conv_general_dilated(
    inputs,
    kernel,
    (stride,) * axes,
    [(padding, padding)] * axes,
    dimension_numbers=spec,
  )


def window_columns(
  inputs: Float[Array, "batch *spatial channels"],
  window: Sequence[int],
  *,
  stride: int,
  padding: int,
) -> Float[Array, "batch *out columns"]:
  """Returns every window's entries, [batch, *out, window * channels].

  Args:
    inputs: channels last.
    window: sizes along the spatial axes.
    stride, padding: as of `convolve`.
  """
  channels = inputs.shape[-1]
  pads = [(padding, padding)] * len(window)
  padded = jnp.pad(inputs, [(0, 0), *pads, (0, 0)])
  out = [
    (size - w) // stride + 1
    for size, w in zip(padded.shape[1:-1], window, strict=True)
  ]
  return jnp.concatenate(
    [
      lax.slice(
        padded,
        (0, *shift, 0),
        (
          len(inputs),
          *(s + (o - 1) * stride + 1 for s, o in zip(shift, out, strict=True)),
          channels,
        ),
        (1, *[stride] * len(window), 1),
      )
      for shift in itertools.product(*map(range, window))
    ],
    axis=-1,
  )


def _shifted_slices(
  inputs: jax.Array, kernel: jax.Array, stride: int, padding: int
) -> jax.Array:
  """One matrix product over the window's shifted slices; any derivative."""
  columns = window_columns(
    inputs, kernel.shape[:-2], stride=stride, padding=padding
  )
  *place, size = columns.shape
  features = kernel.shape[-1]
  product = jnp.matmul(
    columns.reshape(-1, size),
    kernel.reshape(-1, features),
    preferred_element_type=jnp.float32,
  )
  return product.reshape(*place, features).astype(inputs.dtype)


def _correlate(
  inputs: jax.Array,
  kernel: jax.Array,
  pads: Sequence[tuple[int, int]],
  kind: str,
  *,
  stride: int = 1,
  spread: int = 1,
  dilation: int = 1,
  preferred_element_type: Any = None,
) -> jax.Array:
  """One forward convolution in the layout that has fast kernels on a CPU.

  Args:
    inputs, kernel: NHWC and HWIO.
    pads: zeros before and after along height and width; less than 0 crops.
    kind: "fast" or "onednn".
    stride: of the window.
    spread: distance between neighbours of the input, zeros between them.
    dilation: the same of the kernel.
    preferred_element_type: of sums, and of what is returned.
  """
  if kind == "onednn" and inputs.dtype == kernel.dtype == jnp.float32:
    if spread > 1 or min(min(pad) for pad in pads) < 0:
      gaps = [(0, 0, 0), *((*pad, spread - 1) for pad in pads), (0, 0, 0)]
      inputs, pads = lax.pad(inputs, jnp.float32(0), gaps), [(0, 0)] * 2
    return onednn.convolution(
      inputs, kernel, pads, stride=stride, dilation=dilation
    )
  return lax.conv_general_dilated(
    inputs,
    kernel,
    (stride, stride),
    pads,
    lhs_dilation=(spread, spread),
    rhs_dilation=(dilation, dilation),
    dimension_numbers=_NHWC,
    preferred_element_type=preferred_element_type,
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _fast_2d(
  inputs: jax.Array, kernel: jax.Array, stride: int, padding: int, kind: str
) -> jax.Array:
  return _correlate(
    inputs, kernel, [(padding, padding)] * 2, kind, stride=stride
  )


def _fast_2d_forward(
  inputs: jax.Array, kernel: jax.Array, stride: int, padding: int, kind: str
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _fast_2d(inputs, kernel, stride, padding, kind), (inputs, kernel)


def _fast_2d_backward(
  stride: int,
  padding: int,
  kind: str,
  saved: tuple[jax.Array, jax.Array],
  cotangent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  inputs, kernel = saved
  window = kernel.shape[:2]
  size, out = inputs.shape[1:3], cotangent.shape[1:3]
  # Both gradients are spelled with explicit transposes, in the one layout that
  # the CPU backend has a fast kernel for inside a loop; naming the exchanged
  # axes in dimension_numbers instead was measured 3 to 75 times slower.
  # Input gradient: the cotangent, spread by the stride, with the kernel
  # flipped and its channel axes exchanged.
  low = [w - 1 - padding for w in window]
  high = [
    s + w - 1 - ((o - 1) * stride + 1) - lo
    for s, w, o, lo in zip(size, window, out, low, strict=True)
  ]
  d_inputs = _correlate(
    cotangent,
    jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2),
    list(zip(low, high, strict=True)),
    kind,
    spread=stride,
  )
  # Weight gradient: inputs and cotangent correlated over the batch, which
  # changes places with the channels; a part of the batch at a time, for the
  # exchange is slow where it does not fit into a cache (benchmarks/README.md).
  trim = [
    w + (o - 1) * stride - s - padding
    for s, w, o in zip(size, window, out, strict=True)
  ]
  parts = math.gcd(len(inputs), _PARTS)
  x, y = (a.reshape(parts, -1, *a.shape[1:]) for a in (inputs, cotangent))

  def add_part(i: jax.Array, total: jax.Array) -> jax.Array:
    return total + _correlate(
      x[i].transpose(3, 1, 2, 0),
      y[i].transpose(1, 2, 0, 3),
      [(padding, t) for t in trim],
      kind,
      dilation=stride,
      preferred_element_type=jnp.float32,
    )

  zeros = jnp.zeros((kernel.shape[2], *window, kernel.shape[3]), jnp.float32)
  d_kernel = lax.fori_loop(0, parts, add_part, zeros).transpose(1, 2, 0, 3)
  return d_inputs, d_kernel.astype(kernel.dtype)


_fast_2d.defvjp(_fast_2d_forward, _fast_2d_backward)
