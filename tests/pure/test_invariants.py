"""Invariants: each is caught, with the leaf's name and numbers."""

import jax.numpy as jnp
import numpy as np

from imp_jax.core.masks import init_masks
from imp_jax.pruning import invariants

PARAMS = {
  "a": {"kernel": jnp.arange(1.0, 7.0).reshape(2, 3), "bias": jnp.ones(3)}
}
DENSE = init_masks(PARAMS)


def masks(rows):
  return {"a": {"kernel": np.array(rows, bool), "bias": np.ones(3, bool)}}


HALF = masks([[1, 0, 1], [0, 1, 0]])
ZEROED = {
  "a": {
    "kernel": PARAMS["a"]["kernel"] * HALF["a"]["kernel"],
    "bias": jnp.ones(3),
  }
}


def test_pruned_weights_must_be_zero():
  assert invariants.nonzero_pruned_weight(ZEROED, HALF) is None
  message = invariants.nonzero_pruned_weight(PARAMS, HALF)
  assert message.startswith("a/kernel: 3 of 3 pruned weights are not 0")
  assert "6" in message  # the largest


def test_the_start_must_be_bit_equal_to_what_was_stored():
  assert invariants.unfaithful_rewind(ZEROED, PARAMS, HALF) is None
  stored = {
    "a": {
      "kernel": PARAMS["a"]["kernel"].at[0, 0].add(1e-7),
      "bias": jnp.ones(3),
    }
  }
  message = invariants.unfaithful_rewind(ZEROED, stored, HALF)
  assert message.startswith("a/kernel: 1 of 3 kept weights differ")
  assert "pruned" in invariants.unfaithful_rewind(PARAMS, PARAMS, HALF)


def test_masks_must_nest_and_keep_the_rules_count():
  groups = (("a/kernel",),)

  def check(new, drops, rule="exact", parent=DENSE):
    return invariants.wrong_masks(
      new, parent, groups=groups, drops=drops, rule=rule
    )

  assert check(HALF, [3]) is None
  assert check(HALF, [2], "threshold") is None  # q + 1 go
  assert check(HALF, [1], "threshold") is None  # and more, on ties
  assert "3 weights kept, the rule keeps 2" in check(HALF, [3], "threshold")
  assert "3 weights kept, the rule keeps 4" in check(HALF, [2])
  assert "level before removed" in check(DENSE, [0], parent=HALF)
  other = {**HALF, "b": {"kernel": np.array([False])}}
  dense = {**DENSE, "b": {"kernel": np.array([True])}}
  assert (
    check(other, [3], parent=dense)
    == "b/kernel: pruned, but left out of pruning"
  )
