"""Layers with the paper's conventions: explicit padding, PyTorch's variance."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from imp_jax.models.convolution import convolve

# Kaiming normal: fan-in, gain sqrt(2), not truncated.
kernel_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

BN_SCALE_INITS = {
  "uniform": nn.initializers.uniform(1.0),  # U(0, 1), the paper's
  "ones": nn.initializers.ones,
}


def at_least_float32(x: jax.Array) -> jax.Array:
  """Returns activations as float32, or as float64 where they are that."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Conv(nn.Module):
  """Convolution with a square window, padded on both sides, without bias."""

  features: int
  window: int = 3
  stride: int = 1
  kind: str = "fast"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "batch *spatial channels"]) -> jax.Array:
    shape = (self.window,) * (x.ndim - 2) + (x.shape[-1], self.features)
    kernel = self.param("kernel", kernel_init, shape)
    return convolve(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      stride=self.stride,
      padding=self.window // 2,
      kind=self.kind,
    )


class Dense(nn.Module):
  """Affine map; the bias starts at U(-1, 1) / sqrt(fan_in), as PyTorch's."""

  features: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "batch inputs"]) -> jax.Array:
    fan_in = x.shape[-1]
    kernel = self.param("kernel", kernel_init, (fan_in, self.features))
    bias = self.param(
      "bias",
      lambda key, shape: (
        jax.random.uniform(key, shape, minval=-1, maxval=1) / fan_in**0.5
      ),
      (self.features,),
    )
    x = x.astype(self.dtype) @ kernel.astype(self.dtype)
    return x + bias.astype(self.dtype)


class BatchNorm(nn.Module):
  """Batch normalisation over all axes but the last, statistics in float32.

  It differs from `flax.linen.BatchNorm` where the paper's PyTorch does: the
  running variance is the unbiased one. `weights` leaves padding out of the
  batch statistics and so of the running averages.
  """

  scale_init: str = "uniform"
  momentum: float = 0.9  # Flax's convention; 0.1 in PyTorch's
  epsilon: float = 1e-5
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "batch *spatial channels"],
    *,
    train: bool,
    weights: Float[Array, " batch"] | None = None,
  ) -> jax.Array:
    shape = (x.shape[-1],)
    scale = self.param("scale", BN_SCALE_INITS[self.scale_init], shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    running = {
      "mean": self.variable("batch_stats", "mean", jnp.zeros, shape),
      "var": self.variable("batch_stats", "var", jnp.ones, shape),
    }
    if train:
      mean, var, count = _batch_moments(
        x.astype(jnp.float32), weights, running["mean"].value
      )
      if not self.is_initializing():
        unbiased = var * (count / jnp.maximum(count - 1, 1))
        for name, new in (("mean", mean), ("var", unbiased)):
          old = running[name].value
          running[name].value = self.momentum * old + (1 - self.momentum) * new
    else:
      mean, var = running["mean"].value, running["var"].value
    factor = scale * jax.lax.rsqrt(var + self.epsilon)
    shift = bias - mean * factor
    return (x * factor + shift).astype(self.dtype)


def _batch_moments(
  x: jax.Array, weights: jax.Array | None, shift: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array | int]:
  """Mean, biased variance and number of entries per channel, in one pass.

  The one-pass variance E[x^2] - E[x]^2 cancels where the mean is large against
  the spread, so x is first shifted by a guess of the mean: the running one.
  """
  axes = tuple(range(x.ndim - 1))
  count = len(x) * x[0, ..., 0].size
  x = x - shift
  wx = x
  if weights is not None:
    wx = weights.reshape(-1, *(1,) * (x.ndim - 1)) * x
    count = weights.sum() * x[0, ..., 0].size
  mean = wx.sum(axes) / count
  var = jnp.maximum((wx * x).sum(axes) / count - mean * mean, 0)
  return mean + shift, var, count
