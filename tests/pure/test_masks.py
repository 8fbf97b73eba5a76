"""Mask pytrees: literal tables and laws."""

import io

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core import masks as m

PARAMS = {
  "a": {"kernel": jnp.array([[1.0, -2.0], [3.0, jnp.nan]]), "bias": jnp.ones(2)}
}
MASKS = {
  "a": {
    "kernel": np.array([[True, False], [True, False]]),
    "bias": np.ones(2, bool),
  }
}
PRUNABLE = ("a/kernel",)


def test_apply_masks_gives_positive_zero_even_for_nan_and_negatives():
  kernel = np.asarray(m.apply_masks(PARAMS, MASKS)["a"]["kernel"])
  np.testing.assert_array_equal(kernel, [[1, 0], [3, 0]])
  assert not np.signbit(kernel[:, 1]).any()


def test_counts_and_density_see_prunable_leaves_only():
  assert m.kept_counts(MASKS, PRUNABLE) == {"a/kernel": 2}
  assert m.total_counts(PARAMS, PRUNABLE) == {"a/kernel": 4}
  assert m.density(MASKS, PRUNABLE) == 0.5


def test_layer_table_counts_emptied_output_channels():
  assert m.layer_table(MASKS, PRUNABLE) == [
    {
      "layer": "a/kernel",
      "kept": 2,
      "total": 4,
      "density": 0.5,
      "channels": 2,
      "emptied_channels": 1,
    }
  ]


@pytest.mark.parametrize("shapes", [[(3, 3)], [(2, 3, 5), (7, 2), (1, 1)]])
def test_packed_masks_survive_an_npz_without_pickle(rng, shapes):
  tree = {
    f"l{i}": {"kernel": rng.random(s) < 0.5, "bias": np.ones(s[-1], bool)}
    for i, s in enumerate(shapes)
  }
  prunable = tuple(f"l{i}/kernel" for i in range(len(shapes)))
  buffer = io.BytesIO()
  np.savez(buffer, **m.pack_masks(tree, prunable))
  buffer.seek(0)
  packed = np.load(buffer, allow_pickle=False)
  assert packed["bits"].size == -(-sum(np.prod(s) for s in shapes) // 8)
  chex.assert_trees_all_equal(m.unpack_masks(packed, tree), tree)


def test_unpacking_onto_other_params_names_the_leaf():
  packed = m.pack_masks(MASKS, PRUNABLE)
  other = {"a": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
  with pytest.raises(ValueError, match=r"a/kernel \(2, 2\).*\(2, 3\)"):
    m.unpack_masks(packed, other)


def test_regrown_leaf_is_named():
  child = {"a": {"kernel": ~MASKS["a"]["kernel"], "bias": np.ones(2, bool)}}
  assert m.regrown_leaf(MASKS, MASKS) is None
  assert m.regrown_leaf(child, MASKS) == "a/kernel"


def test_pruned_at_level_table():
  levels = [
    {"w": np.array([True, True, True])},
    {"w": np.array([True, False, True])},
    {"w": np.array([False, False, True])},
  ]
  assert m.pruned_at_level(levels)["w"].tolist() == [2, 1, 255]
