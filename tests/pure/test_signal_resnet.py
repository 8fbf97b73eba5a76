"""The residual network for signals, against NumPy and against images."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cifar10_resnet20
from imp_jax.core.masks import flat_leaves, nested_leaves, total_counts
from imp_jax.models import make_model
from imp_jax.study import prepare
from tests.goldens.weights import golden_leaf
from tests.tiny import random_dataset, tiny_config

make_small = functools.partial(make_model, num_classes=3, width=0.25)


def test_parameters_by_hand():
  """Channels 1-16-16, 16-32-32 and 32-64-64; 336 of them are normalised."""
  model = make_model("resnet1d8", num_classes=10, input_shape=(40,))
  params, stats = jax.eval_shape(model.init, jax.random.key(0))
  counts = total_counts(params, model.prunable(params))
  assert counts == {
    "stem_conv/kernel": 48,
    "stage1_block1_1_conv/kernel": 768,
    "stage1_block1_2_conv/kernel": 768,
    "stage2_block1_1_conv/kernel": 1536,
    "stage2_block1_2_conv/kernel": 3072,
    "stage2_block1_shortcut_conv/kernel": 512,
    "stage3_block1_1_conv/kernel": 6144,
    "stage3_block1_2_conv/kernel": 12_288,
    "stage3_block1_shortcut_conv/kernel": 2048,
    "head/kernel": 640,
  }
  whole = sum(leaf.size for leaf in flat_leaves(params).values())
  assert whole == 27_824 + 2 * 336 + 10
  assert sum(leaf.size for leaf in flat_leaves(stats).values()) == 2 * 336


def golden_network(model):
  """Small means, and variances that fit the scales: signals live through it."""
  return tuple(
    nested_leaves(
      {
        path: jnp.asarray(golden_leaf(path, leaf.shape))
        for path, leaf in flat_leaves(tree).items()
      }
    )
    for tree in jax.eval_shape(model.init, jax.random.key(0))
  )


def numpy_logits(params, stats, x):
  """Loops over positions, in float64, for two blocks of each stage."""
  leaves = flat_leaves(params) | flat_leaves(stats)

  def conv_norm(x, name, stride=1):
    kernel = np.asarray(leaves[f"{name}_conv/kernel"], np.float64)
    window = len(kernel)
    padded = np.pad(x, [(0, 0), (window // 2,) * 2, (0, 0)])
    y = np.stack(
      [
        np.einsum("nwc,wcf->nf", padded[:, i : i + window], kernel)
        for i in range(0, x.shape[1], stride)
      ],
      axis=1,
    )
    scale, bias, mean, var = (
      np.asarray(leaves[f"{name}_norm/{leaf}"], np.float64)
      for leaf in ("scale", "bias", "mean", "var")
    )
    return (y - mean) / np.sqrt(var + 1e-5) * scale + bias

  x = np.maximum(conv_norm(x[..., None], "stem"), 0)
  for stage, block in ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)):
    name = f"stage{stage}_block{block}"
    shrinks = stage > 1 and block == 1
    y = np.maximum(conv_norm(x, f"{name}_1", 1 + shrinks), 0)
    y = conv_norm(y, f"{name}_2")
    x = conv_norm(x, f"{name}_shortcut", 2) if shrinks else x
    x = np.maximum(x + y, 0)
  return x.mean(axis=1) @ leaves["head/kernel"] + leaves["head/bias"]


@pytest.mark.parametrize("length", [13, 40])
def test_forward_against_numpy(rng, length):
  model = make_small("resnet1d14", input_shape=(length,))
  params, stats = golden_network(model)
  x = rng.normal(size=(3, length))
  got = jax.jit(model.apply)(params, stats, jnp.asarray(x, jnp.float32))
  wanted = numpy_logits(params, stats, x)
  assert np.ptp(wanted, axis=0).min() > 0.1  # not the same of every signal
  # Logits of order 1, of 14 layers in float32.
  np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_signals_are_images_of_height_one(rng):
  """Of a 3 x 3 window only the middle row meets anything but padding."""
  signals = make_small("resnet1d8", input_shape=(14,))
  images = make_small("resnet8", input_shape=(1, 14, 1))
  params, stats = golden_network(signals)

  def widened(params):
    leaves = flat_leaves(params)
    for path, leaf in leaves.items():
      if path.endswith("conv/kernel"):
        row = (len(leaf) // 2,) * 2
        leaves[path] = jnp.pad(leaf[None], [row, (0, 0), (0, 0), (0, 0)])
    return nested_leaves(leaves)

  def loss(model, params, x):
    logits, new = model.apply_train(params, stats, x, None)
    return jax.nn.log_softmax(logits)[:, 0].sum(), (logits, new)

  def training(model):
    fn = functools.partial(loss, model)
    return jax.jit(jax.grad(fn, has_aux=True))

  x = jnp.asarray(rng.normal(size=(8, 14)), jnp.float32)
  gradient, (logits, new) = training(signals)(params, x)
  image_gradient, wanted = training(images)(
    widened(params), x[:, None, :, None]
  )
  # Float32's rounding of 7 layers, of values and gradients of order 1.
  chex.assert_trees_all_close((logits, new), wanted, rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(
    widened(gradient), image_gradient, rtol=1e-4, atol=1e-4
  )


def test_a_study_may_name_it(tmp_path):
  config = tiny_config(model__name="resnet1d8", model__width=0.25)
  config.prune.exclude = ("stem_conv", "stage3_block1_shortcut_conv")
  study = prepare(config, str(tmp_path)).study
  assert {e.trunk.model.name for e in study.experiments} == {"resnet1d8"}


def test_a_study_of_images_is_refused(tmp_path, monkeypatch, rng):
  images = random_dataset(rng, train=200, shape=(32, 32, 3), classes=10)
  monkeypatch.setattr("imp_jax.study.run.load_study_data", lambda *_: images)
  config = cifar10_resnet20.get_config()
  config.model.name = "resnet1d20"
  with pytest.raises(
    ValueError,
    match=r"^model resnet1d20 takes signals \(length,\); .* \(32, 32, 3\)$",
  ):
    prepare(config, str(tmp_path / "new"))
