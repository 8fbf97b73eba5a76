"""Packed convolutions: of any number of replicates, each by itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.models.convolution import convolve

conv = functools.partial(convolve, stride=2, padding=1)


def case(rng, replicates, channels=3, features=4):
  x = rng.normal(size=(replicates, 5, 8, 8, channels))
  kernel = rng.normal(size=(replicates, 3, 3, channels, features))
  return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


def vjp(kind, inputs_axis=0):
  """Batched value and both gradients."""

  def both(x, kernel):
    out, pull = jax.vjp(functools.partial(conv, kind=kind), x, kernel)
    return out, *pull(jnp.sin(out))

  return jax.jit(jax.vmap(both, in_axes=(inputs_axis, 0)))


@pytest.mark.parametrize(
  "replicates,channels,features",
  # one; a part of 128 lanes, more parts, uneven ones; too wide for two
  [(1, 3, 4), (3, 3, 16), (9, 16, 16), (5, 48, 16), (2, 8, 130)],
)
def test_against_replicates_one_by_one(rng, replicates, channels, features):
  x, kernel = case(rng, replicates, channels, features)
  got = vjp("packed")(x, kernel)
  alone = vjp("plain")
  for r in range(replicates):
    wanted = alone(x[r : r + 1], kernel[r : r + 1])
    for a, b in zip(got, wanted, strict=True):
      scale = float(jnp.abs(b).max())
      np.testing.assert_allclose(a[r], b[0], rtol=1e-5, atol=1e-5 * scale)


def test_kernels_on_shared_inputs(rng):
  """Without a product with zeros: as many as one replicate after another."""
  x, kernel = case(rng, 4)
  got = vjp("packed", None)(x[0], kernel)
  wanted = vjp("plain")(jnp.stack([x[0]] * 4), kernel)
  for a, b in zip(got, wanted, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)
  shared = jax.vmap(functools.partial(conv, kind="packed"), (None, 0))
  flops = [
    jax.jit(fn).lower(*args).compile().cost_analysis()["flops"]
    for fn, args in (
      (shared, (x[0], kernel)),
      (functools.partial(conv, kind="plain"), (x[0], kernel[0])),
    )
  ]
  assert flops[0] < 4.5 * flops[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["inputs", "kernel"])
def test_a_diverged_replicate_keeps_to_itself(rng, bad, where):
  x, kernel = case(rng, 3)
  wanted = vjp("packed")(x, kernel)
  if where == "inputs":
    x = x.at[1, 0, 4, 4, 0].set(bad)
  else:
    kernel = kernel.at[1, 1, 1, 0, 0].set(bad)
  got = vjp("packed")(x, kernel)
  for a, b in zip(got, wanted, strict=True):
    assert np.isnan(a[1]).all()
    np.testing.assert_array_equal(a[::2], b[::2])
