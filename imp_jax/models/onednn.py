"""oneDNN's convolution, which jaxlib carries for a CPU but XLA does not call.

XLA's CPU compiler makes the custom call `__onednn$convolution` a primitive of
oneDNN (xla/service/cpu/onednn_config.proto). It writes such calls itself only
where it was built with oneDNN's asynchronous runtime, which jaxlib is not. The
call is no public interface: it is for the releases that were tested with it.
"""

import json
import platform
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jaxlib.version
from jaxtyping import Array, Float

RELEASES = ("0.10.2", "0.11.2")


def available() -> bool:
  """Whether this jaxlib is known to carry oneDNN for this kind of CPU."""
  return (
    sys.platform == "linux"
    and platform.machine() == "x86_64"
    and jaxlib.version.__version__ in RELEASES
  )


def convolution(
  inputs: Float[Array, "batch height width channels"],
  kernel: Float[Array, "rows columns channels features"],
  pads: Sequence[tuple[int, int]],
  *,
  stride: int,
  dilation: int,
) -> Float[Array, "batch out_height out_width features"]:
  """Returns the cross-correlation of float32 images with a float32 kernel.

  It has no derivatives, and under `vmap` becomes a loop. A program that holds
  it cannot be kept by JAX's persistent cache.

  Args:
    inputs: on a CPU.
    kernel: of the inputs' channels.
    pads: zeros before and after, along height and width; none negative.
    stride: of the window, along both.
    dilation: of the kernel, along both; 1 leaves no gaps.
  """
  out = [
    (size + sum(pad) - (window - 1) * dilation - 1) // stride + 1
    for size, window, pad in zip(
      inputs.shape[1:3], kernel.shape[:2], pads, strict=True
    )
  ]
  images = {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}
  filters = {
    "input_feature_dim": 2,
    "output_feature_dim": 3,
    "spatial_dims": [0, 1],
  }
  config = {
    "dims": 4,
    "input": {"dims": 4, "data": images},
    "kernel": {"dims": 4, "filter": filters},
    "output": {"dims": 4, "data": images},
    "window": {
      "pad_left": [low for low, _ in pads],
      "pad_right": [high for _, high in pads],
      "strides": [stride, stride],
      "window_dilations": [dilation, dilation],
    },
    "feature_groups": 1,
  }
  call = jax.ffi.ffi_call(
    "__onednn$convolution",
    jax.ShapeDtypeStruct((len(inputs), *out, kernel.shape[-1]), jnp.float32),
    vmap_method="sequential",
    custom_call_api_version=1,
    legacy_backend_config=json.dumps({"onednn_conv_config": config}),
  )
  return call(inputs, kernel)
