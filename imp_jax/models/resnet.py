"""Residual networks: CIFAR ResNet-n, and low-resolution ResNet-18 and -50.

He et al. 2016 (arXiv 1512.03385), section 4.2 and table 1. Shortcuts are 1 x 1
convolutions with batch normalisation where the shape changes. On signals every
window has one axis, and the rest is as it is on images.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from imp_jax.models.layers import BatchNorm, Conv, Dense, at_least_float32


class ResNet(nn.Module):
  """Stages of residual blocks behind a 3-wide stem without pooling.

  It takes images [batch, height, width, channels] or signals [batch, length].

  Attributes:
    num_classes: units of the head.
    blocks: blocks per stage; stages after the first begin with stride 2.
    features: channels per stage, before the width multiplier.
    bottleneck: 1x1-3x3-1x1 blocks with 4 times the channels at their end.
    width: multiplies every stage's channels.
    conv: "fast" or "plain".
    bn_scale_init: "uniform" or "ones".
    bn_momentum: of the running statistics, in Flax's convention.
    dtype: of activations; parameters stay float32.
  """

  num_classes: int
  blocks: Sequence[int]
  features: Sequence[int]
  bottleneck: bool = False
  width: float = 1
  conv: str = "fast"
  bn_scale_init: str = "uniform"
  bn_momentum: float = 0.9
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, weights: jax.Array | None = None
  ) -> jax.Array:
    widths = [max(round(f * self.width), 1) for f in self.features]

    def conv_norm(
      x: jax.Array, features: int, name: str, window: int = 3, stride: int = 1
    ) -> jax.Array:
      x = Conv(
        features,
        window=window,
        stride=stride,
        kind=self.conv,
        dtype=self.dtype,
        name=f"{name}_conv",
      )(x)
      norm = BatchNorm(
        scale_init=self.bn_scale_init,
        momentum=self.bn_momentum,
        dtype=self.dtype,
        name=f"{name}_norm",
      )
      return norm(x, train=train, weights=weights)

    if x.ndim == 2:
      x = x[..., None]
    x = nn.relu(conv_norm(x, widths[0], "stem"))
    for stage, (count, features) in enumerate(
      zip(self.blocks, widths, strict=True), start=1
    ):
      for block in range(1, count + 1):
        stride = 2 if stage > 1 and block == 1 else 1
        name = f"stage{stage}_block{block}"
        if self.bottleneck:
          out = 4 * features
          y = nn.relu(conv_norm(x, features, f"{name}_1", window=1))
          y = nn.relu(conv_norm(y, features, f"{name}_2", stride=stride))
          y = conv_norm(y, out, f"{name}_3", window=1)
        else:
          out = features
          y = nn.relu(conv_norm(x, out, f"{name}_1", stride=stride))
          y = conv_norm(y, out, f"{name}_2")
        if stride > 1 or x.shape[-1] != out:
          x = conv_norm(x, out, f"{name}_shortcut", window=1, stride=stride)
        x = nn.relu(x + y)
    positions = tuple(range(1, x.ndim - 1))
    x = at_least_float32(x).mean(axis=positions)
    return Dense(self.num_classes, dtype=self.dtype, name="head")(x)


def make_cifar_resnet(depth: int, **options: Any) -> ResNet:
  """Returns the CIFAR ResNet of depth 6m + 2: three stages of m blocks.

  On signals it is that network's 1-D sibling.

  Raises:
    ValueError: depth is not 6m + 2 with m >= 1, or absurd.
  """
  if depth > 1202:
    raise ValueError(
      "a CIFAR ResNet has at most 1202 layers, as the deepest that was ever "
      f"trained (He et al. 2016), got {depth}"
    )
  if depth < 8 or (depth - 2) % 6:
    raise ValueError(
      "a CIFAR ResNet, as its 1-D sibling, has depth 6m + 2 (8, 14, 20, 32, "
      f"56, ...), got {depth}"
    )
  return ResNet(
    blocks=((depth - 2) // 6,) * 3, features=(16, 32, 64), **options
  )
