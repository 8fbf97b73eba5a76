"""Distances, signs and masks of two networks; joining two trees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.landscape.geometry import (
  apartness,
  expected_overlap,
  mask_overlap,
)
from imp_jax.landscape.structure import (
  check_same_structure,
  host_vector,
  lerp,
)

PRUNABLE = ("conv/kernel", "head/kernel")


def tree(conv, head, bias):
  """Leaves of shapes [2, 2], [2] and [1]."""
  return {
    "conv": {"kernel": jnp.asarray(conv).reshape(2, 2)},
    "head": {"kernel": jnp.asarray(head), "bias": jnp.asarray(bias)},
  }


A = tree([1.0, 2.0, 0.0, -2.0], [0.0, 4.0], [0.0])  # norm 5
B = tree([1.0, 0.0, 0.0, -2.0], [4.0, 4.0], [4.0])  # 6 from A
MASKS = tree([True, True, True, False], [False, True], [True])


def turned(t):
  """The same tree, its keys put in the other way round."""
  return {
    k: turned(v) if isinstance(v, dict) else v
    for k, v in reversed(list(t.items()))
  }


@pytest.mark.parametrize(
  "change,message",
  [
    (
      {"conv1": {"kernel": np.zeros((5, 1, 8))}},
      "^conv1/kernel: a has shape (5, 1, 4), b (5, 1, 8)$",
    ),
    ({"head": {}}, "^head/bias is in a but not in b$"),
    ({"a": np.zeros(1)}, "^a is in b but not in a$"),
    ({"conv1": np.zeros(2)}, "^conv1 is in b but not in a$"),
    # Of several differences the first by path, whichever side it is on.
    ({"b": np.zeros(1), "head": {}}, "^b is in b but not in a$"),
  ],
)
def test_the_first_differing_leaf_is_named(change, message):
  a = {"conv1": {"kernel": np.zeros((5, 1, 4))}, "head": {"bias": np.zeros(2)}}
  for special in "()":
    message = message.replace(special, "\\" + special)
  check_same_structure(a, turned(a))
  with pytest.raises(ValueError, match=message):
    check_same_structure(a, a | change)


def test_structure_errors_use_the_callers_names():
  with pytest.raises(ValueError, match="^x is in masks but not in params$"):
    check_same_structure({}, {"x": np.zeros(1)}, names=("params", "masks"))


def test_lerp_by_hand():
  found = lerp(A, B, 0.25)
  np.testing.assert_array_equal(found["conv"]["kernel"], [[1, 1.5], [0, -2]])
  np.testing.assert_array_equal(found["head"]["kernel"], [1, 4])
  np.testing.assert_array_equal(found["head"]["bias"], [1])
  np.testing.assert_array_equal(lerp(A, B, 2)["head"]["bias"], [8])


@pytest.mark.parametrize("join", [lerp, jax.jit(lerp)], ids=["eager", "jit"])
def test_lerp_is_exact_at_its_ends(rng, join):
  a, b = (
    {"x": rng.normal(size=99).astype("float32") * 10.0**power}
    for power in (np.float32(30), np.float32(-30))
  )
  for one, other in ((a, b), (b, a)):
    for alpha, end in ((0.0, one), (1.0, other)):
      found = join(one, other, alpha)["x"]
      assert isinstance(found, jax.Array) and found.dtype == jnp.float32
      np.testing.assert_array_equal(found, end["x"])


def test_lerp_refuses_other_structures():
  with pytest.raises(ValueError, match="^x: a has shape .* b "):
    lerp({"x": np.zeros(2)}, {"x": np.zeros(3)}, 0.5)


def test_a_vector_holds_the_leaves_by_path():
  vector = host_vector(turned(A))
  assert vector.dtype == np.float64
  assert vector.tolist() == [1, 2, 0, -2, 0, 0, 4]  # conv, bias, kernel
  assert host_vector({}).tolist() == []


def apart(a, b, quantity, prunable=PRUNABLE):
  return apartness(a, b, prunable)[quantity]


def test_distances_by_hand():
  assert apart(A, B, "distance") == apart(B, A, "distance") == 6.0
  assert apart(A, B, "relative_distance") == 6 / 5
  assert apart(A, A, "distance") == apart(A, A, "relative_distance") == 0.0
  zero = jax.tree.map(jnp.zeros_like, A)
  assert apart(zero, A, "distance") == 5.0
  assert np.isnan(apart(zero, A, "relative_distance"))


def test_distances_are_computed_in_double_precision():
  # In float32 the 10^4 small differences' squares would not add up to 1.
  a = {"big": np.float32([1e4]), "small": np.zeros(10_000, "float32")}
  b = {"big": np.float32([0.0]), "small": np.full(10_000, 1e-2, "float32")}
  found = apart(a, b, "distance", ["big"])
  assert found == pytest.approx(np.hypot(1e4, 1), rel=1e-12)


def test_sign_agreement_by_hand():
  # 0 in neither: 1 and 1, -2 and -2, 4 and 4. The bias does not count.
  assert apart(A, B, "sign_agreement") == 1.0
  other = tree([-1.0, 3.0, 5.0, -9.0], [7.0, -1.0], [0.0])
  # 1 and -1 (not), 2 and 3, -2 and -9 (agree), 4 and -1 (not).
  assert apart(A, other, "sign_agreement") == 2 / 4
  assert apart(other, A, "sign_agreement") == 2 / 4
  assert apart(A, other, "sign_agreement", ["conv/kernel"]) == 2 / 3
  flipped = jax.tree.map(jnp.negative, A)
  assert apart(A, flipped, "sign_agreement") == 0.0
  zero = jax.tree.map(jnp.zeros_like, A)
  assert np.isnan(apart(A, zero, "sign_agreement"))


def test_mask_overlap_by_hand():
  other = tree([True, False, True, True], [False, True], [False])
  # Both: 2 of conv, 1 of head; either: 4 and 1. The bias does not count.
  assert mask_overlap(MASKS, other, PRUNABLE) == 3 / 5
  assert mask_overlap(other, MASKS, PRUNABLE) == 3 / 5
  assert mask_overlap(MASKS, other, ["conv/kernel"]) == 2 / 4
  assert mask_overlap(MASKS, MASKS, PRUNABLE) == 1.0
  inverse = jax.tree.map(jnp.logical_not, MASKS)
  assert mask_overlap(MASKS, inverse, PRUNABLE) == 0.0
  none = jax.tree.map(jnp.zeros_like, MASKS)
  assert np.isnan(mask_overlap(none, none, PRUNABLE))


@pytest.mark.parametrize("density", [0.05, 0.3, 0.9])
def test_random_masks_overlap_as_expected(rng, density):
  size = 100_000
  masks = [
    {"x": rng.permutation(size) < round(density * size)} for _ in range(2)
  ]
  found = mask_overlap(*masks, ["x"])
  # Both keep a hypergeometric count of deviation <= density (1 - density)
  # sqrt(size); four of them.
  allowed = 4 * 2 * (1 - density) / np.sqrt(size)
  assert found == pytest.approx(expected_overlap(density), abs=allowed)


def test_expected_overlap_by_hand():
  assert expected_overlap(1.0) == 1.0
  assert expected_overlap(0.5) == pytest.approx(1 / 3, abs=1e-15)
  assert np.isnan(expected_overlap(0.0))  # of nothing and nothing
  for density in (-0.1, 1.2):
    message = rf"density must be in \[0, 1\], got {density}"
    with pytest.raises(ValueError, match=message):
      expected_overlap(density)


def test_the_order_of_leaves_changes_nothing(rng):
  a, b = (
    {k: {"w": rng.normal(size=9).astype("float32")} for k in "pqr"}
    for _ in range(2)
  )
  paths = ["p/w", "q/w"]
  assert apartness(a, b, paths) == apartness(turned(a), b, paths)
  masks = [jax.tree.map(np.signbit, t) for t in (a, b)]
  assert mask_overlap(*masks, paths) == mask_overlap(
    turned(masks[0]), masks[1], paths
  )


@pytest.mark.parametrize(
  "function",
  [
    lambda t: apartness(A, t, PRUNABLE),
    lambda t: mask_overlap(MASKS, t, PRUNABLE),
  ],
)
def test_other_structures_are_refused(function):
  with pytest.raises(ValueError, match="^head/bias is in a but not in b"):
    function(A | {"head": {"kernel": A["head"]["kernel"]}})


def test_unknown_prunable_leaves_are_refused():
  message = "prunable must name leaves, got 'stem'; known: conv/kernel, head/b"
  with pytest.raises(ValueError, match=message):
    apartness(A, B, ["stem"])
  with pytest.raises(ValueError, match=message):
    mask_overlap(MASKS, MASKS, ["stem"])
