"""VGG-16 with batch normalisation for 32 x 32 images.

Simonyan & Zisserman 2015, configuration D, with one dense layer behind a
global average, as lottery-ticket papers use it (arXiv 1912.05671).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imp_jax.models.layers import BatchNorm, Conv, Dense, at_least_float32

STAGES = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)


class VGG16(nn.Module):
  """Thirteen 3 x 3 convolutions in five stages, halved in size after each."""

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
    for stage, widths in enumerate(STAGES, start=1):
      for i, features in enumerate(widths, start=1):
        x = Conv(
          max(round(features * self.width), 1),
          kind=self.conv,
          dtype=self.dtype,
          name=f"stage{stage}_conv{i}",
        )(x)
        x = BatchNorm(
          scale_init=self.bn_scale_init,
          momentum=self.bn_momentum,
          dtype=self.dtype,
          name=f"stage{stage}_norm{i}",
        )(x, train=train, weights=weights)
        x = nn.relu(x)
      # Four halvings, then a global average of what is left (2 x 2 at 32).
      if stage < len(STAGES):
        x = nn.max_pool(x, (2, 2), (2, 2))
    x = at_least_float32(x).mean(axis=(1, 2))
    return Dense(self.num_classes, dtype=self.dtype, name="head")(x)
