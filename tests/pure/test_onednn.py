"""Convolutions that networks are trained with: their numbers, their choice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.models import onednn
from imp_jax.models.convolution import convolve, resolve_convolution
from imp_jax.study import prepare
from tests.kinds import TRAINED
from tests.tiny import tiny_config

# (size, channels, features, window, stride, padding): a stem, blocks, and what
# leaves rows of the input over, needs negative padding, or has none.
SHAPES = [
  (32, 3, 16, 3, 1, 1),
  (16, 8, 16, 3, 1, 1),
  (8, 32, 32, 3, 1, 1),
  (8, 32, 64, 3, 2, 1),
  (9, 5, 7, 3, 2, 1),
  (10, 3, 4, 5, 3, 0),
  (7, 2, 3, 1, 1, 2),
  (6, 4, 4, 3, 1, 0),
]


def reference(x, k, w, stride, padding):
  """float64: a convolution's value and gradients, by its definition."""
  x, k, w = (a.astype(np.float64) for a in (x, k, w))
  padded = np.pad(x, ((0, 0), *[(padding, padding)] * 2, (0, 0)))
  out, d_padded, dk = np.zeros(w.shape), np.zeros(padded.shape), 0 * k
  rows, columns = w.shape[1:3]
  for i in range(len(k)):
    for j in range(len(k)):
      part = np.s_[
        :,
        i : i + rows * stride : stride,
        j : j + columns * stride : stride,
      ]
      out += padded[part] @ k[i, j]
      d_padded[part] += w @ k[i, j].T
      dk[i, j] = np.einsum("nhwc,nhwo->co", padded[part], w)
  inside = slice(padding, padding + x.shape[1])
  return out, d_padded[:, inside, inside], dk


@pytest.mark.parametrize("kind", TRAINED)
@pytest.mark.parametrize("size,channels,features,window,stride,padding", SHAPES)
def test_values_and_gradients(
  rng, kind, size, channels, features, window, stride, padding
):
  """Against float64, and the same twice, also inside a loop."""
  out = (size + 2 * padding - window) // stride + 1
  x = rng.normal(size=(16, size, size, channels)).astype(np.float32)
  k = rng.normal(size=(window, window, channels, features)).astype(np.float32)
  w = rng.normal(size=(16, out, out, features)).astype(np.float32)

  def both(x, k, w):
    conv = lambda x, k: convolve(
      x, k, stride=stride, padding=padding, kind=kind
    )
    value, pull = jax.vjp(conv, x, k)
    return value, *pull(w)

  looped = jax.jit(
    lambda *args: jax.lax.map(lambda _: both(*args), jnp.arange(2))
  )
  found = jax.device_get(jax.jit(both)(x, k, w))
  wanted = reference(x, k, w, stride, padding)
  for got, many, want in zip(found, looped(x, k, w), wanted, strict=True):
    # Sums of at most 16,384 products of order 1: 1e-5 of their scale.
    np.testing.assert_allclose(
      got, want, rtol=0, atol=1e-5 * np.abs(want).max()
    )
    for again in np.asarray(many):
      np.testing.assert_array_equal(again, got)


@pytest.mark.skipif("onednn" not in TRAINED, reason="not in this jaxlib")
def test_it_is_onednn_that_computes():
  """Also under `vmap`, but bfloat16 stays with XLA."""

  def calls(dtype):
    args = [jnp.zeros(s, dtype) for s in ((2, 4, 8, 8, 3), (2, 3, 3, 3, 4))]
    conv = lambda x, k: convolve(x, k, stride=1, padding=1, kind="onednn")
    program = jax.jit(jax.vmap(conv)).lower(*args).compile()
    return program.as_text().count("__onednn$convolution")

  assert calls(jnp.float32) > 0
  assert calls(jnp.bfloat16) == 0


@pytest.mark.parametrize(
  "there,kind,backend,images,resolved",
  [
    (True, "auto", "cpu", True, "onednn"),
    (True, "auto", "cpu", False, "fast"),
    (True, "auto", "gpu", True, "plain"),
    (True, "auto", "gpu", False, "fast"),
    (False, "auto", "cpu", True, "fast"),
    (True, "plain", "cpu", True, "plain"),
    (True, "onednn", "cpu", False, "onednn"),
  ],
)
def test_the_kind_that_is_chosen(
  monkeypatch, there, kind, backend, images, resolved
):
  monkeypatch.setattr(onednn, "available", lambda: there)
  found = resolve_convolution(kind, backend=backend, images=images)
  assert found == resolved


@pytest.mark.parametrize("version", ["0.10.1", "0.12.0"])
def test_a_release_that_was_not_tested_is_left_alone(monkeypatch, version):
  monkeypatch.setattr("jaxlib.version.__version__", version)
  assert not onednn.available()
  with pytest.raises(ValueError, match="x86-64, Linux.* jaxlib 0.10.2 or"):
    resolve_convolution("onednn", backend="cpu", images=True)


def test_bad_kinds_are_refused_before_anything_is_written(tmp_path):
  config = tiny_config(execution__convolution="mkl")
  with pytest.raises(ValueError, match="unknown execution.convolution 'mkl'"):
    prepare(config, str(tmp_path / "new"))
  with pytest.raises(ValueError, match="onednn' is for a CPU"):
    resolve_convolution("onednn", backend="gpu", images=True)
  assert not list(tmp_path.iterdir())
