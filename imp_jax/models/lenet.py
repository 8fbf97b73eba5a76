"""Small networks: LeNet-300-100, an MLP with a skip, a 1-D convolution net."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imp_jax.models.layers import BatchNorm, Conv, Dense


class LeNet300100(nn.Module):
  """Two hidden layers of 300 and 100 units (LeCun et al. 1998)."""

  num_classes: int
  width: float = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, weights: jax.Array | None = None
  ) -> jax.Array:
    del train, weights
    x = x.reshape(len(x), -1)
    for units, name in ((300, "hidden1"), (100, "hidden2")):
      units = max(round(units * self.width), 1)
      x = nn.relu(Dense(units, dtype=self.dtype, name=name)(x))
    return Dense(self.num_classes, dtype=self.dtype, name="head")(x)


class MLPSkip(nn.Module):
  """Two hidden layers of 500 units, the second with a skip around it.

  As of the MNIST-1D notebook on lottery tickets (Greydanus 2020).
  """

  num_classes: int
  width: float = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, weights: jax.Array | None = None
  ) -> jax.Array:
    del train, weights
    x = x.reshape(len(x), -1)
    units = max(round(500 * self.width), 1)
    x = nn.relu(Dense(units, dtype=self.dtype, name="hidden1")(x))
    x = x + nn.relu(Dense(units, dtype=self.dtype, name="hidden2")(x))
    return Dense(self.num_classes, dtype=self.dtype, name="head")(x)


class Conv1D(nn.Module):
  """Three convolutions (window 5, stride 2, 16 channels), then a dense head."""

  num_classes: int
  width: float = 1
  conv: str = "fast"
  bn_scale_init: str = "uniform"
  bn_momentum: float = 0.9
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, weights: jax.Array | None = None
  ) -> jax.Array:
    x = x[..., None]
    features = max(round(16 * self.width), 1)
    for i in (1, 2, 3):
      x = Conv(
        features,
        window=5,
        stride=2,
        kind=self.conv,
        dtype=self.dtype,
        name=f"conv{i}",
      )(x)
      x = BatchNorm(
        scale_init=self.bn_scale_init,
        momentum=self.bn_momentum,
        dtype=self.dtype,
        name=f"norm{i}",
      )(x, train=train, weights=weights)
      x = nn.relu(x)
    x = x.reshape(len(x), -1)
    return Dense(self.num_classes, dtype=self.dtype, name="head")(x)
