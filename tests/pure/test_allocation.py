"""Densities that are given to layers, by hand; when a mask has settled."""

import math
from fractions import Fraction

import jax
import numpy as np
import pytest

from imp_jax.core.masks import leaf_shapes
from imp_jax.models import layers_in_order, make_model
from imp_jax.pruning.allocate import (
  erk_counts,
  erk_densities,
  scaled_counts,
  smart_ratio_counts,
)
from imp_jax.stages.control_masks import settled

# 75, 200 and 60 weights.
SHAPES = {"conv1": (5, 1, 15), "conv2": (2, 10, 10), "head": (6, 10)}
SIZES = {"conv1": 75, "conv2": 200, "head": 60}


def test_erk_is_dimensions_over_weights():
  assert erk_densities(SHAPES) == {
    "conv1": Fraction(21, 75),
    "conv2": Fraction(22, 200),
    "head": Fraction(16, 60),
  }


@pytest.mark.parametrize(
  "keep,counts",
  [
    (59, (21, 22, 16)),  # as they are
    (118, (42, 44, 32)),  # twice
    (0, (0, 0, 0)),
    (335, (75, 200, 60)),
    # conv1 would keep 93 of 75, head 71 of 60: all of both, the rest of conv2.
    (262, (75, 127, 60)),
    # Halves of 10.5, 11, 8: the largest fractions go up.
    (30, (11, 11, 8)),
  ],
)
def test_erk_counts(keep, counts):
  assert tuple(erk_counts(SHAPES, SIZES, keep).values()) == counts


def test_erk_keeps_no_more_than_there_is():
  """Of 10 left in the head, where it would be 16: 49 are shared, 21 to 22."""
  alive = {"conv1": 75, "conv2": 200, "head": 10}
  assert erk_counts(SHAPES, alive, 53) == {"conv1": 21, "conv2": 22, "head": 10}
  assert erk_counts(SHAPES, alive | {"head": 0}, 43)["head"] == 0
  with pytest.raises(ValueError, match="336 weights cannot be kept of 335"):
    erk_counts(SHAPES, SIZES, 336)


def test_scaled_counts_are_whole_and_add_up(rng):
  for _ in range(100):
    sizes = {str(i): int(n) for i, n in enumerate(rng.integers(1, 500, 5))}
    densities = {k: Fraction(int(rng.integers(1, 99)), 100) for k in sizes}
    keep = int(rng.integers(0, sum(sizes.values()) + 1))
    counts = scaled_counts(densities, sizes, keep)
    assert sum(counts.values()) == keep
    assert all(0 <= counts[k] <= sizes[k] for k in sizes)
    ratio = [
      counts[k] / (densities[k] * sizes[k])
      for k in sizes
      if 20 < counts[k] < sizes[k]
    ]
    assert not ratio or max(ratio) - min(ratio) < 0.1 * max(ratio)


@pytest.mark.parametrize(
  "keep,counts",
  [
    # 18 of the head; 75 * 12 to 200 * 6 share the rest, 3 to 4.
    (18, (0, 0, 18)),
    (88, (30, 40, 18)),
    # 3/7 of 182 are 78: three more than conv1 has, which conv2 gets.
    (200, (75, 107, 18)),
    # conv1 and conv2 are full, and the head takes what is left.
    (300, (75, 200, 25)),
    (335, (75, 200, 60)),
  ],
)
def test_smart_ratios(keep, counts):
  assert tuple(smart_ratio_counts(SHAPES, keep).values()) == counts


@pytest.mark.parametrize(
  "shapes,keep",
  [(SHAPES, 17), (SHAPES, 336), ({"hidden": (4, 5), "head": (5, 2)}, 15)],
)
def test_smart_ratios_that_layers_cannot_have(shapes, keep):
  with pytest.raises(ValueError, match="smart ratios keep 30 % of dense layer"):
    smart_ratio_counts(shapes, keep)


def test_layers_are_in_the_network_s_order():
  """The stem is a ResNet's first, and its head the last: no path says so."""
  resnet = make_model("resnet8", num_classes=10, input_shape=(8, 8, 3))
  order = layers_in_order(resnet)
  assert order[0] == "stem_conv/kernel" and order[-1] == "head/kernel"
  params, _ = jax.eval_shape(resnet.init, jax.random.key(0))
  assert sorted(order) == sorted(resnet.prunable(params))
  shapes = leaf_shapes(params, order)
  counts = smart_ratio_counts(shapes, sum(map(math.prod, shapes.values())) // 4)
  densities = [
    counts[p] / math.prod(shapes[p])
    for p in ("stem_conv/kernel", "stage1_block1_1_conv/kernel", order[-2])
  ]
  assert densities == sorted(densities, reverse=True)


def masks_at(*changes):
  """Masks of ten weights, each with so many more removed."""
  return [np.arange(10) >= n for n in np.cumsum([0, *changes])]


@pytest.mark.parametrize(
  "masks,distance,at",
  [
    (masks_at(1, 0, 0, 0), 0.11, 4),  # a tenth between the first two
    (masks_at(1, 0, 0, 0, 0), 0.1, 5),  # which the later five do not have
    (masks_at(1, 1, 0, 0, 0), 0.11, 5),
    (masks_at(1, 1, 1, 1, 1), 0.11, None),
    (masks_at(0, 0, 0), 0.5, None),  # four are too few
    (masks_at(0, 0, 0, 0), 0.01, 4),
  ],
)
def test_a_mask_has_settled_when_no_two_of_five_differ_much(
  masks, distance, at
):
  assert settled(masks, distance) == at
