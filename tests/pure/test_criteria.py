"""Criteria beyond magnitude against closed forms, on networks that have them.

Softmax regression has a gradient and a Hessian that fit on a line, a chain of
layers without shifts a flow that is a product of matrices.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from imp_jax.core.masks import flat_leaves, init_masks, nested_leaves
from imp_jax.models import make_model
from imp_jax.models.layers import Dense
from imp_jax.models.registry import Model
from imp_jax.pruning import (
  CRITERIA,
  Network,
  leaf_groups,
  level_drops,
  round_drops,
  select_masks,
)

EXAMPLES, INPUTS, CLASSES = 12, 5, 3


class Regression(nn.Module):
  """Softmax regression."""

  @nn.compact
  def __call__(self, x, *, train, weights=None):
    del train, weights
    return Dense(CLASSES, name="head")(x)


REGRESSION = Model("regression", Regression(), (INPUTS,))


def network_of(model, key, rng, masked=0.3):
  """A drawn network, some of whose weights are removed, and examples."""
  params, stats = model.init(key)
  masks = flat_leaves(init_masks(params))
  for path in model.prunable(params):
    masks[path] = jnp.asarray(rng.random(masks[path].shape) > masked)
  masks = nested_leaves(masks)
  inputs = rng.normal(size=(EXAMPLES, *model.input_shape)).astype(np.float32)
  return Network(
    jax.tree.map(jnp.multiply, params, masks),
    stats,
    jax.random.key(7),
    inputs=jnp.asarray(inputs),
    labels=jnp.asarray(rng.integers(CLASSES, size=EXAMPLES)),
    masks=masks,
  )


def kernels(tree):
  return {
    path: np.asarray(leaf, np.float64)
    for path, leaf in flat_leaves(tree).items()
    if path.endswith("kernel")
  }


def scores_of(criterion, network, model):
  scores = jax.jit(lambda network: CRITERIA[criterion].scores(network, model))
  return kernels(scores(network))


def probabilities(network, temperature):
  w = {
    k: np.asarray(v, np.float64) for k, v in flat_leaves(network.params).items()
  }
  x = np.asarray(network.inputs, np.float64)
  z = (x @ w["head/kernel"] + w["head/bias"]) / temperature
  e = np.exp(z - z.max(1, keepdims=True))
  return x, w["head/kernel"], e / e.sum(1, keepdims=True)


def test_snip_of_softmax_regression(key, rng):
  network = network_of(REGRESSION, key, rng)
  x, w, p = probabilities(network, 1.0)
  gradient = x.T @ (p - np.eye(CLASSES)[network.labels]) / EXAMPLES
  found = scores_of("snip", network, REGRESSION)["head/kernel"]
  np.testing.assert_allclose(found, np.abs(w * gradient), rtol=1e-4, atol=1e-8)


def test_grasp_of_softmax_regression(key, rng):
  """w (H g), of the weights that are left, at a temperature of 200."""
  network = network_of(REGRESSION, key, rng)
  x, w, p = probabilities(network, 200.0)
  mask = kernels(network.masks)["head/kernel"]
  residual = p - np.eye(CLASSES)[network.labels]
  gradient = mask * (x.T @ residual) / EXAMPLES / 200
  moved = x @ gradient / 200
  curved = p * (moved - (p * moved).sum(1, keepdims=True))
  wanted = w * (x.T @ curved) / EXAMPLES / 200
  found = scores_of("grasp", network, REGRESSION)["head/kernel"]
  assert (wanted < 0).any() and (wanted > 0).any()
  np.testing.assert_allclose(
    found / np.abs(wanted).max(), wanted / np.abs(wanted).max(), atol=1e-4
  )
  # Without the masks' part it is another one.
  full = x.T @ residual / EXAMPLES / 200
  assert not np.allclose(full, gradient)


def test_grasp_of_a_network_is_a_derivative(key, rng):
  """sum of w H g is what the gradient's norm does as all weights grow."""
  model = make_model(
    "conv1d", num_classes=3, input_shape=(20,), width=0.5, conv="patches"
  )
  network = network_of(model, key, rng)

  def half_norm(scale):
    params = flat_leaves(network.params)
    used = flat_leaves(network.masks)
    paths = model.prunable(network.params)
    grown = {k: v * scale if k in paths else v for k, v in params.items()}

    def loss(params):
      logits, _ = model.apply_train(
        params, network.batch_stats, network.inputs, None
      )
      each = jax.nn.log_softmax(logits / 200.0)
      return -jnp.take_along_axis(each, network.labels[:, None], 1).mean()

    g = flat_leaves(jax.grad(loss)(nested_leaves(grown)))
    return 0.5 * sum((jnp.square(g[k] * used[k])).sum() for k in paths)

  slope = jax.jit(jax.grad(half_norm))(1.0)
  total = sum(s.sum() for s in scores_of("grasp", network, model).values())
  np.testing.assert_allclose(total, slope, rtol=1e-3)


def chain(key, rng):
  """LeNet whose biases are 0, as they are drawn."""
  model = make_model(
    "lenet300100", num_classes=CLASSES, input_shape=(INPUTS,), width=0.03
  )
  network = network_of(model, key, rng)
  flat = flat_leaves(network.params)
  params = {
    k: v if k.endswith("kernel") else jnp.zeros_like(v) for k, v in flat.items()
  }
  return model, network._replace(params=nested_leaves(params))


def test_synflow_of_a_chain_is_a_product_of_matrices(key, rng):
  model, network = chain(key, rng)
  weights = kernels(network.params)
  first, second, last = (
    np.abs(weights[f"{name}/kernel"]) for name in ("hidden1", "hidden2", "head")
  )
  one, out = np.ones(INPUTS), np.ones(CLASSES)
  flow = one @ first @ second @ last @ out
  wanted = {
    "hidden1/kernel": first * np.outer(one, second @ last @ out),
    "hidden2/kernel": second * np.outer(one @ first, last @ out),
    "head/kernel": last * np.outer(one @ first @ second, out),
  }
  found = scores_of("synflow", network, model)
  for path, scores in wanted.items():
    np.testing.assert_allclose(found[path], scores / flow, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["lenet300100", "conv1d"])
def test_what_flows_into_each_layer_flows_out(name, key, rng):
  """SynFlow's conservation: all layers have the same sum, here 1."""
  model = make_model(
    name, num_classes=CLASSES, input_shape=(40,), width=0.25, conv="plain"
  )
  network = network_of(model, key, rng)
  flat = flat_leaves(network.params)
  params = {
    k: jnp.zeros_like(v) if k.endswith("bias") else v for k, v in flat.items()
  }
  network = network._replace(params=nested_leaves(params))
  found = scores_of("synflow", network, model)
  assert len(found) in (3, 4)
  for path, scores in found.items():
    assert scores.sum() == pytest.approx(1, rel=1e-4), path
    removed = ~np.asarray(flat_leaves(network.masks)[path])
    assert (scores[removed] == 0).all() and (scores >= 0).all()


def test_ntk_sap_of_softmax_regression(key, rng):
  """2 eps^2 sum over x of x_i e_ij (x (m e))_j: no weight enters."""
  network = network_of(REGRESSION, key, rng)
  _, for_noise, for_inputs = jax.random.split(network.key, 3)
  x = np.asarray(jax.random.normal(for_inputs, (EXAMPLES, INPUTS)), np.float64)
  found = scores_of("ntk_sap", network, REGRESSION)["head/kernel"]
  mask = kernels(network.masks)["head/kernel"]
  ratio = found / np.abs(x.T @ x).max()
  assert np.isfinite(ratio).all() and (found[mask > 0] > 0).all()
  other = network._replace(params=jax.tree.map(jnp.zeros_like, network.params))
  np.testing.assert_array_equal(
    found, scores_of("ntk_sap", other, REGRESSION)["head/kernel"]
  )
  noise = np.asarray(
    optax.tree.random_like(for_noise, network.params, jax.random.normal)[
      "head"
    ]["kernel"],
    np.float64,
  )
  noise = mask * noise
  wanted = 2 * 0.01**2 * np.abs(noise * (x.T @ (x @ noise)))
  np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-7)


def removed_in(rounds, criterion, model, network, drop=30):
  """Masks after so many rounds, as a level makes them."""
  paths = tuple(model.prunable(network.params))
  groups = leaf_groups(paths, allocation="global")
  masks = network.masks
  alive = sum(int(flat_leaves(masks)[p].sum()) for p in paths)

  @jax.jit
  def one_round(masks, drops):
    params = jax.tree.map(jnp.multiply, network.params, masks)
    scores = CRITERIA[criterion].scores(
      network._replace(params=params, masks=masks), model
    )
    return select_masks(scores, masks, drops, groups=groups, rule="exact")

  for drops in round_drops([alive], [drop], rounds):
    masks = one_round(masks, jnp.asarray(drops))
  left = {p: np.asarray(flat_leaves(masks)[p]) for p in paths}
  assert sum(m.sum() for m in left.values()) == alive - drop
  return left


def test_rounds_matter_to_synflow_and_not_to_magnitude(key, rng):
  """Rescoring avoids what one round does: a layer without weights."""
  model, network = chain(key, rng)
  network = network._replace(masks=init_masks(network.params))
  one, many = (removed_in(n, "magnitude", model, network, 70) for n in (1, 20))
  assert all((one[p] == many[p]).all() for p in one)
  one, many = (removed_in(n, "synflow", model, network, 70) for n in (1, 100))
  assert any((one[p] != many[p]).any() for p in one)
  assert all(mask.any() for mask in many.values())


@pytest.mark.parametrize(
  "alive,drop,rounds,wanted",
  [
    (100, 75, 1, [75]),
    (100, 75, 2, [50, 25]),
    (1000, 999, 3, [900, 90, 9]),
    (7, 7, 3, [7, 0, 0]),
    (7, 0, 2, [0, 0]),
    (0, 0, 2, [0, 0]),
  ],
)
def test_rounds_leave_equal_shares(alive, drop, rounds, wanted):
  assert [q for (q,) in round_drops([alive], [drop], rounds)] == wanted


def test_rounds_add_up(rng):
  for _ in range(50):
    alive = [int(n) for n in rng.integers(0, 5000, size=3)]
    drops = [int(rng.integers(0, n + 1)) for n in alive]
    rounds = int(rng.integers(1, 120))
    found = np.array(round_drops(alive, drops, rounds))
    assert found.shape == (rounds, 3) and (found >= 0).all()
    assert found.sum(0).tolist() == drops


def test_levels_share_out_by_erk():
  """Of a layer of 20 x 10 and one of 4 x 5, densities 3/20 and 9/20, scaled."""
  shapes = {"a": (20, 10), "b": (4, 5)}
  groups = (("a",), ("b",))
  give = dict(allocation="erk", rule="exact")
  # 110 are left: b would keep 25.4 of its 20 at one factor; so a keeps 90.
  assert level_drops(
    {"a": 200, "b": 20}, shapes, groups, fraction=0.5, **give
  ) == (110, 0)
  # 39 are left: 200 * 3/20 and 20 * 9/20 are 30 and 9.
  assert level_drops(
    {"a": 90, "b": 20}, shapes, groups, fraction=0.5, density=39 / 220, **give
  ) == (60, 11)
  assert level_drops(
    {"a": 90, "b": 20}, shapes, groups, fraction=0.2, density=0.05, **give
  ) == (82, 17)
