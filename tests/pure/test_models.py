"""Networks: parameter counts, convolutions against each other, BatchNorm."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves, total_counts
from imp_jax.models import make_model
from imp_jax.models.convolution import convolve
from imp_jax.models.layers import BatchNorm, kernel_init
from tests.kinds import TRAINED
from tests.scoring import initialiser

# (model, classes, input shape, prunable weights): the paper's and He's counts.
COUNTS = [
  ("resnet20", 10, (32, 32, 3), 270_896),
  ("resnet32", 100, (32, 32, 3), 470_192),
  ("resnet56", 10, (32, 32, 3), 851_504),
  ("resnet18", 10, (32, 32, 3), 11_164_352),
  ("resnet50", 10, (32, 32, 3), 23_467_712),
  ("vgg16", 10, (32, 32, 3), 14_715_584),
  ("lenet300100", 10, (28, 28, 1), 266_200),
  ("mlp_skip", 10, (40,), 40 * 500 + 500 * 500 + 500 * 10),
  ("conv1d", 10, (40,), 5 * 16 + 2 * 5 * 16 * 16 + 80 * 10),
  ("resnet1d20", 10, (40,), 48 + 4608 + 17_408 + 69_632 + 640),  # by stage
]


@pytest.mark.parametrize("name,classes,shape,prunable", COUNTS)
def test_prunable_counts(name, classes, shape, prunable):
  model = make_model(name, num_classes=classes, input_shape=shape)
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  paths = model.prunable(params)
  assert sum(total_counts(params, paths).values()) == prunable
  others = set(flat_leaves(params)) - set(paths)
  assert all(p.endswith(("bias", "scale")) for p in others)


@pytest.mark.parametrize(
  "options,message",
  [
    (dict(name="resnet21"), "6m \\+ 2"),
    (dict(name="resnet"), "unknown model 'resnet'; known: lenet300100.*mean"),
    (dict(name="resnet20", conv="quick"), "convolution 'quick'; known: auto"),
    (dict(name="resnet20", dtype="int8"), "model.dtype 'int8'"),
    (dict(name="resnet20", width=0), "width must be > 0, got 0"),
    (dict(name="conv1d"), "conv1d takes signals"),
    (dict(name="resnet1d8"), "resnet1d8 takes signals .*are \\(32, 32, 3\\)$"),
    (dict(name="resnet1d9", input_shape=(40,)), "1-D .* 6m \\+ 2 .*got 9$"),
    (dict(name="resnet8", input_shape=(40,)), "resnet8 takes images"),
    (dict(name="vgg16", input_shape=(8, 8, 3)), "at least 16 x 16"),
  ],
)
def test_bad_models_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    make_model(**(dict(num_classes=10, input_shape=(32, 32, 3)) | options))


@pytest.mark.slow
@pytest.mark.parametrize(
  "axes,window,stride,size,channels,features,batch,dtype",
  [
    (1, 5, 2, 9, 3, 4, 3, "float32"),
    (1, 5, 2, 9, 3, 4, 3, "bfloat16"),
    (1, 3, 1, 8, 1, 2, 3, "float32"),
    (1, 3, 3, 7, 2, 1, 3, "float32"),
    (2, 3, 1, 5, 3, 4, 3, "float32"),
    (2, 3, 1, 5, 3, 4, 16, "float32"),  # of more than one part
    (2, 3, 1, 5, 3, 4, 16, "bfloat16"),
    (2, 3, 2, 6, 2, 3, 8, "float32"),
    (2, 3, 2, 7, 1, 4, 6, "float32"),
    (2, 5, 3, 8, 3, 2, 12, "float32"),
    (2, 5, 3, 8, 3, 2, 12, "bfloat16"),
    (2, 1, 2, 5, 2, 3, 4, "float32"),
  ],
)
def test_all_kinds_of_convolution_agree(
  axes, window, stride, size, channels, features, batch, dtype
):
  """Forward and both gradients, alone and batched over replicates."""
  keys = jax.random.split(jax.random.key(size), 2)
  shape = (2, batch, *[size + i for i in range(axes)], channels)
  x = jax.random.normal(keys[0], shape).astype(dtype)
  kernel_shape = (2, *(window,) * axes, channels, features)
  kernel = jax.random.normal(keys[1], kernel_shape).astype(dtype)

  def both(kind, x, kernel):
    conv = functools.partial(
      convolve, stride=stride, padding=window // 2, kind=kind
    )
    out, pull = jax.vjp(conv, x, kernel)
    weights = jnp.cos(jnp.arange(out.size).reshape(out.shape))
    return out, pull(weights.astype(out.dtype))

  @jax.jit
  def all_ways(x, kernel):
    kinds = ("plain", "packed", "patches", *TRAINED)
    many = {k: jax.vmap(functools.partial(both, k))(x, kernel) for k in kinds}
    return many, {k: both(k, x[1], kernel[1]) for k in kinds}

  many, alone = all_ways(x, kernel)
  # float32: sums of at most ~1e3 products of order 1, so 1e-5 of their scale.
  # bfloat16 has 8 bits: sums of order 10 round by up to 0.06, several times.
  rtol, atol = (1e-5, 1e-4) if dtype == "float32" else (2e-2, 0.3)
  for found in many.values():
    chex.assert_trees_all_close(found, many["plain"], rtol=rtol, atol=atol)
  one = jax.tree.map(lambda t: t[1], many)
  chex.assert_trees_all_close(one, alone, rtol=rtol, atol=atol)


def test_a_strided_convolution_pads_both_sides():
  """PyTorch's convention, by hand: SAME would pad the right side only."""
  x = jnp.arange(1.0, 5.0).reshape(1, 4, 1)
  out = convolve(x, jnp.ones((3, 1, 1)), stride=2, padding=1, kind="fast")
  assert out.ravel().tolist() == [0 + 1 + 2, 2 + 3 + 4]


def test_batch_norm_by_hand():
  """Statistics of one batch, and PyTorch's unbiased running variance."""
  x = np.array([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0]], np.float32)
  norm = BatchNorm(scale_init="ones")
  variables = norm.init(jax.random.key(0), jnp.asarray(x), train=False)
  out, new = norm.apply(
    variables, jnp.asarray(x), train=True, mutable=["batch_stats"]
  )
  mean, var = x.mean(0), x.var(0)
  np.testing.assert_allclose(
    out, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-5, atol=1e-6
  )
  stats = new["batch_stats"]
  np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-6)
  np.testing.assert_allclose(
    stats["var"], 0.9 + 0.1 * x.var(0, ddof=1), rtol=1e-6
  )


def test_batch_norm_variance_survives_a_large_mean(rng):
  """Mean 100 times the spread; unshifted, float32 would be off by 2e-3."""
  x = (rng.normal(size=(4096, 1)) + 100).astype(np.float32)
  norm = BatchNorm()
  variables = norm.init(jax.random.key(0), jnp.asarray(x), train=False)
  variables["batch_stats"]["mean"] = jnp.array([99.0])  # nearly converged
  _, new = norm.apply(
    variables, jnp.asarray(x), train=True, mutable=["batch_stats"]
  )
  got = (new["batch_stats"]["var"] - 0.9) / 0.1
  np.testing.assert_allclose(got, x.astype(float).var(ddof=1), rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
  "name,shape",
  [("conv1d", (40,)), ("resnet1d8", (40,))],  # goldens: a padded ResNet-20
)
def test_padding_equals_leaving_it_out(rng, name, shape):
  """Logits, gradient and running statistics of 5 examples padded to 8."""
  model = make_model(name, num_classes=3, input_shape=shape, width=0.25)
  params, stats = initialiser(model)(jax.random.key(0))
  x = jnp.asarray(rng.normal(size=(8, *shape)), jnp.float32)
  weights = jnp.array([1.0] * 5 + [0.0] * 3)

  def loss(params, x, weights):
    logits, new = model.apply_train(params, stats, x, weights)
    rows = jax.nn.log_softmax(logits)[:, 0]
    total = rows.sum() if weights is None else (rows * weights).sum()
    return total, (new, logits[:5])

  grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
  padded, unpadded = grad(params, x, weights), grad(params, x[:5], None)
  chex.assert_trees_all_close(padded, unpadded, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_kernels_start_kaiming_normal_and_scales_uniform():
  """Fan-in, gain sqrt(2), not truncated; U(0, 1); U(-1, 1) / sqrt(fan_in)."""
  kernel = kernel_init(jax.random.key(0), (3, 3, 64, 256))
  assert abs(float(kernel.std()) / np.sqrt(2 / (9 * 64)) - 1) < 0.01
  assert float(jnp.abs(kernel).max() / kernel.std()) > 3.5  # 2 if truncated
  model = make_model("resnet20", num_classes=10, input_shape=(32, 32, 3))
  params, _ = initialiser(model)(jax.random.key(0))
  scales = jnp.concatenate(
    [v for k, v in flat_leaves(params).items() if k.endswith("scale")]
  )
  assert 0.4 < float(scales.mean()) < 0.6 and float(scales.min()) >= 0
  assert float(jnp.abs(params["head"]["bias"]).max()) <= 1 / 8


@pytest.mark.slow
def test_bfloat16_computes_in_bfloat16_but_keeps_float32_parameters():
  model = make_model(
    "resnet8", num_classes=3, input_shape=(8, 8, 3), dtype="bfloat16"
  )
  params, stats = initialiser(model)(jax.random.key(0))
  chex.assert_trees_all_equal_dtypes(
    params, jax.tree.map(lambda x: x.astype(jnp.float32), params)
  )
  x = jnp.ones((2, 8, 8, 3))
  text = jax.jit(model.apply).lower(params, stats, x).as_text()
  assert "convolution" in text and "bf16" in text
  assert jax.eval_shape(model.apply, params, stats, x).dtype == jnp.float32
