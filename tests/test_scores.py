"""Scores: hand tables, NumPy loops from the published definitions, laws."""

import dataclasses
import functools
import itertools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from imp_jax.masks import init_masks
from imp_jax.models import Model, make_model
from imp_jax.models.layers import Dense
from imp_jax.scores import (
  NEVER_LEARNED,
  SCORES,
  Streams,
  gradient_scores,
  input_norms,
  observed_streams,
  output_scores,
  reliability,
  standardised_by_class,
)
from imp_jax.scores.streams import AUM, DUAL, TDDS, Forgetting
from imp_jax.statistics import rank_correlation
from imp_jax.training import TrainState, init_opt_state, train_steps
from tests.test_training import PIPELINE, make_recipe
from tests.tiny import run_tiny

OUTPUTS = ("el2n", "loss", "margin", "confidence", "entropy")

# These programs run once: unoptimised they compile faster.
quick_jit = functools.partial(
  jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def score(name, logits, label):
  value = SCORES[name].fn(jnp.asarray(logits, jnp.float32), jnp.int32(label))
  assert value.shape == () and value.dtype == jnp.float32
  return float(value)


@pytest.fixture(scope="module")
def conv1d():
  return make_model(
    "conv1d", num_classes=10, input_shape=(40,), width=0.25, conv="plain"
  )


# -- from outputs ------------------------------------------------------------


@pytest.mark.parametrize(
  "p,label,values",
  [
    ((0.7, 0.2, 0.1), 0, (0.37416574, 0.35667494, 0.5, 0.7, 0.80181855)),
    ((0.7, 0.2, 0.1), 1, (1.06770783, 1.60943791, -0.5, 0.2, 0.80181855)),
    ((0.7, 0.2, 0.1), 2, (1.15758369, 2.30258509, -0.6, 0.1, 0.80181855)),
    ((0.25,) * 4, 3, (0.86602540, 1.38629436, 0.0, 0.25, 1.38629436)),
    ((0.5, 0.5), 0, (0.70710678, 0.69314718, 0.0, 0.5, 0.69314718)),
  ],
)
def test_scores_of_outputs_by_hand(p, label, values):
  for name, value in zip(OUTPUTS, values, strict=True):
    got = score(name, np.log(p), label)
    assert got == pytest.approx(value, rel=2e-6, abs=2e-7), name


@pytest.mark.parametrize(
  "label,values", [(0, (0, 0, 1, 1, 0)), (1, (2**0.5, 200, -1, 0, 0))]
)
def test_a_certain_network_gives_the_ends_of_the_ranges(label, values):
  for name, value in zip(OUTPUTS, values, strict=True):
    assert score(name, (200.0, 0.0, 0.0), label) == pytest.approx(value), name


@pytest.mark.parametrize(
  "name",
  [
    "el2n",
    "loss",
    "margin",
    "confidence",
    "entropy",
  ],
)
def test_a_constant_added_to_the_logits_changes_no_score(name, rng):
  logits = rng.integers(-64, 64, 5) / 8  # sums with 512 are exact
  for label in range(5):
    plain = score(name, logits, label)
    assert score(name, logits + 512, label) == plain
    assert score(name, logits - 512, label) == plain


@pytest.mark.parametrize("name", OUTPUTS)
def test_renaming_the_classes_changes_no_score(name, rng):
  logits = rng.normal(size=6) * 3
  for _ in range(5):
    order = rng.permutation(6)
    for label in range(6):
      renamed = int(np.flatnonzero(order == label)[0])
      assert score(name, logits[order], renamed) == pytest.approx(
        score(name, logits, label), rel=1e-5
      )


@pytest.mark.parametrize(
  "name,low,high",
  [
    ("el2n", 0, 2**0.5),
    ("loss", 0, np.inf),
    ("margin", -1, 1),
    ("confidence", 0, 1),
    ("entropy", 0, np.log(5)),
  ],
)
def test_scores_of_outputs_stay_in_their_ranges(name, low, high, rng):
  scale = 10 ** rng.uniform(-2, 3, (2000, 1))
  logits = jnp.asarray(rng.normal(size=(2000, 5)) * scale, jnp.float32)
  labels = jnp.asarray(rng.integers(0, 5, 2000), jnp.int32)
  values = np.asarray(jax.vmap(SCORES[name].fn)(logits, labels))
  assert np.isfinite(values).all()
  assert values.min() >= low and values.max() <= high * (1 + 1e-6)
  assert np.unique(values).size > 500


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_registered_direction_says_which_example_is_harder(name):
  easy = score(name, (4.0, 0.0, 0.0), 0)
  hard = score(name, (0.0, 0.5, 0.0), 0)
  sign = 1 if SCORES[name].larger_is_harder else -1
  assert sign * hard > sign * easy


def test_the_loss_tells_confident_examples_apart():
  assert score("loss", (20.0, 0.0), 0) == pytest.approx(2.0611536e-9, rel=1e-3)


def test_el2n_of_a_confident_example_keeps_the_labels_term():
  want = 2**0.5 * 2.0611536e-9  # two classes: both errors are 1 - p_y
  assert score("el2n", (20.0, 0.0), 0) == pytest.approx(want, rel=1e-3)


# -- from streams of outputs -------------------------------------------------


def softmax(z):
  e = np.exp(z - z.max())
  return e / e.sum()


def forgetting_loop(logits, label, rule):
  correct = [int(np.argmax(z)) == label for z in logits]
  if not any(correct):
    return {"inf": np.inf, "max": float(len(logits)), "zero": 0.0}[rule]
  pairs = itertools.pairwise(correct)
  return float(sum(before and not after for before, after in pairs))


def aum_loop(logits, label):
  return float(np.mean([z[label] - np.delete(z, label).max() for z in logits]))


def tdds_loop(logits, window, decay=0.9):
  """The public code's loop over windows, without its 1e-8."""
  probs, total = [softmax(z) for z in logits], 0.0
  num = len(probs)
  for k in range(num - window + 1):
    kd = [
      np.abs(probs[t + 1] * (np.log(probs[t + 1]) - np.log(probs[t]))).sum()
      for t in range(k, k + window - 1)
    ]
    centred = np.asarray(kd) - sum(kd) / (window - 1)
    age = num - window - k
    total += np.sqrt((centred**2).sum()) * decay * (1 - decay) ** age
  return total


def dual_loop(logits, label, window):
  p = [softmax(z)[label] for z in logits]
  found = []
  for k in range(len(p) - window + 1):
    part = np.asarray(p[k : k + window])
    mean = part.sum() / window
    std = np.sqrt(((part - mean) ** 2).sum() / (window - 1))
    found.append((1 - mean) * std)
  return float(np.mean(found))


@functools.lru_cache
def compiled_update(rule):
  return quick_jit(rule.update)


def streamed(rule, logits, label):
  """One example's score; logits [observations, classes]."""
  carry, update = rule.init(logits.shape[1]), compiled_update(rule)
  for z in logits:
    carry = update(carry, jnp.asarray(z, jnp.float32), jnp.int32(label))
  return float(rule.finish(carry))


def some_logits(rng, length, classes=4):
  return (rng.normal(size=(length, classes)) * 2).astype(np.float32)


@pytest.mark.parametrize("length", [1, 2, 5, 12])
def test_forgetting_and_aum_against_numpy(rng, length):
  for label in range(4):
    logits = some_logits(rng, length)
    wide = logits.astype(np.float64)
    for rule in NEVER_LEARNED:
      assert streamed(Forgetting(rule), logits, label) == forgetting_loop(
        wide, label, rule
      )
    assert streamed(AUM(), logits, label) == pytest.approx(
      aum_loop(wide, label), rel=1e-5, abs=1e-6
    )


@pytest.mark.parametrize(
  "correct,events",
  [
    ("1111", 0),
    ("0001", 0),
    ("1000", 1),
    ("0101", 1),
    ("1010", 2),
    ("110110", 2),
    ("1", 0),
  ],
)
@pytest.mark.parametrize("rule", NEVER_LEARNED)
def test_forgetting_counts_falls_from_correct_to_wrong(correct, events, rule):
  logits = np.asarray([[1.0, 0.0] if c == "1" else [0.0, 1.0] for c in correct])
  assert streamed(Forgetting(rule), logits, 0) == events


def test_what_was_never_learned_scores_by_its_rule():
  wrong = np.tile([0.0, 1.0], (5, 1))
  for rule, value in {"inf": np.inf, "max": 5.0, "zero": 0.0}.items():
    assert streamed(Forgetting(rule), wrong, 0) == value


@pytest.mark.parametrize("window", [3, 5])
@pytest.mark.parametrize("more", [0, 1, 2, 9])
def test_tdds_and_dual_against_numpy(rng, window, more):
  for label in range(3):
    logits = some_logits(rng, window + more, classes=3)
    wide = logits.astype(np.float64)
    assert streamed(TDDS(window), logits, label) == pytest.approx(
      tdds_loop(wide, window), rel=2e-5, abs=1e-7
    )
    assert streamed(DUAL(window), logits, label) == pytest.approx(
      dual_loop(wide, label, window), rel=2e-5, abs=1e-7
    )


def test_tdds_by_hand():
  """Three outputs, two differences d: the spread is |d1 - d2| / sqrt(2)."""
  p = np.asarray([[0.5, 0.5], [0.8, 0.2], [0.5, 0.5]])
  d1 = 0.8 * np.log(1.6) + 0.2 * np.log(2.5)
  d2 = 0.5 * np.log(1.6) + 0.5 * np.log(2.5)
  one = abs(d1 - d2) / 2**0.5
  got = streamed(TDDS(3), np.log(p), 0)
  assert got == pytest.approx(0.9 * one, rel=1e-5)
  # Two windows of it: the older one weighs a tenth.
  p = np.concatenate([p, p[1:2]])
  got = streamed(TDDS(3), np.log(p), 0)
  assert got == pytest.approx((0.9 + 0.09) * one, rel=1e-5)


def test_tdds_has_no_window_in_a_short_stream(rng):
  for length in (1, 2, 4):
    assert np.isnan(streamed(TDDS(5), some_logits(rng, length), 0))


def test_dual_by_hand():
  p = np.asarray([[0.2, 0.8], [0.6, 0.4]])  # mean 0.4, std 0.2 sqrt(2)
  got = streamed(DUAL(2), np.log(p), 0)
  assert got == pytest.approx(0.6 * 0.2 * 2**0.5, rel=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_dual_of_a_stream_shorter_than_its_window_is_no_number(rng, length):
  assert np.isnan(streamed(DUAL(5), some_logits(rng, length), 0))


@pytest.mark.parametrize("name", ["forgetting", "aum", "tdds", "dual"])
def test_the_direction_of_streams_puts_the_unstable_example_last(name):
  """A steadily right example against one between right and wrong."""
  rule = SCORES[name].fn(3, "inf")
  easy = np.tile([8.0, 0.0], (6, 1))
  hard = np.asarray([[0.5, 0], [0, 2], [1, 0], [0, 1], [0, 1], [0, 3]]) * 1.0
  sign = 1 if SCORES[name].larger_is_harder else -1
  assert sign * streamed(rule, hard, 0) > sign * streamed(rule, easy, 0)


# -- from gradients ----------------------------------------------------------


class Linear(nn.Module):
  """Softmax regression, to have closed forms."""

  classes: int

  @nn.compact
  def __call__(self, x, *, train, weights=None):
    del train, weights
    return Dense(self.classes, name="head")(x)


def linear_model(classes=4, length=6):
  return Model("linear", Linear(classes), (length,))


def network(model, seed=0):
  """A network whose running statistics are not those of initialisation."""
  rng = np.random.default_rng(seed)
  params, stats = quick_jit(model.init)(jax.random.key(seed))
  stats = jax.tree.map(
    lambda s: jnp.asarray(rng.uniform(0.5, 1.5, s.shape), jnp.float32), stats
  )
  return params, stats


def signals(rng, num, length=40, classes=10):
  x = jnp.asarray(rng.normal(size=(num, length)), jnp.float32)
  return x, jnp.asarray(rng.integers(0, classes, num), jnp.int32)


def images(rng, num, classes=10):
  x = jnp.asarray(rng.integers(0, 256, (num, 8, 8, 3)), jnp.uint8)
  return x, jnp.asarray(rng.integers(0, classes, num), jnp.int32)


MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def normalised(x):
  x = np.asarray(x)
  if x.ndim == 2:
    return (x - np.float32(MEAN[0])) / np.float32(STD[0])
  return (x / np.float32(255) - np.float32(MEAN)) / np.float32(STD)


def by_gradients(model, net, data, names, batch_size=4):
  fn = functools.partial(
    gradient_scores,
    model=model,
    names=names,
    mean=MEAN,
    std=STD,
    batch_size=batch_size,
  )
  return [np.asarray(v) for v in quick_jit(fn)(*net, *data)]


def grand_loop(model, net, data):
  """Norms in float64 of each example's gradient: (all, of the head)."""
  params, stats = net

  @quick_jit
  def gradient(x, y):
    def nll(params):
      return -jax.nn.log_softmax(model.apply(params, stats, x[None])[0])[y]

    return jax.grad(nll)(params)

  found = []
  for x, y in zip(normalised(data[0]), np.asarray(data[1]), strict=True):
    gradients = jax.device_get(gradient(jnp.asarray(x), y))
    norms = [
      np.sqrt(sum((np.asarray(g, np.float64) ** 2).sum() for g in leaves))
      for leaves in (jax.tree.leaves(gradients), gradients["head"].values())
    ]
    found.append(norms)
  return np.asarray(found).T


@pytest.mark.parametrize(
  "name,width,data", [("conv1d", 0.5, signals), ("resnet8", 0.25, images)]
)
def test_grand_against_a_loop_over_examples(rng, name, width, data):
  data = data(rng, 9)
  shape = data[0].shape[1:]
  plain, fast = (
    make_model(name, num_classes=10, input_shape=shape, width=width, conv=conv)
    for conv in ("plain", "fast")
  )
  net = network(plain)
  names = ("grand", "grand_last_layer")
  got = by_gradients(plain, net, data, names)
  np.testing.assert_allclose(got, grand_loop(plain, net, data), rtol=1e-5)
  np.testing.assert_allclose(got, grand_loop(fast, net, data), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 9, 100])
def test_the_batch_size_and_order_of_names_change_no_gradient_score(
  rng, conv1d, batch_size
):
  net, data = network(conv1d), signals(rng, 9)
  names = ("grand", "grand_last_layer")
  want = by_gradients(conv1d, net, data, names)
  got = by_gradients(conv1d, net, data, names[::-1], batch_size)
  np.testing.assert_allclose(got[::-1], want, rtol=1e-5)


def test_grand_of_a_multilayer_perceptron_in_closed_form(rng):
  """Squared: the sum over layers of |delta|^2 (|input|^2 + 1)."""
  x, y = signals(rng, 7)
  model = make_model(
    "lenet300100", num_classes=10, input_shape=(40,), width=0.1
  )
  net = network(model)
  layers = [
    [np.asarray(net[0][n][leaf], np.float64) for leaf in ("kernel", "bias")]
    for n in ("hidden1", "hidden2", "head")
  ]
  whole, head = [], []
  for a, label in zip(normalised(x).astype(np.float64), y, strict=True):
    inputs = []
    for i, (kernel, bias) in enumerate(layers):
      inputs.append(a)
      a = a @ kernel + bias
      if i < 2:
        a = np.maximum(a, 0)
    delta, squares = softmax(a) - np.eye(10)[int(label)], []
    for i in (2, 1, 0):
      squares.append((delta**2).sum() * ((inputs[i] ** 2).sum() + 1))
      delta = (layers[i][0] @ delta) * (inputs[i] > 0)
    whole.append(np.sqrt(sum(squares)))
    head.append(np.sqrt(squares[0]))
  got = by_gradients(model, net, (x, y), ("grand", "grand_last_layer"))
  np.testing.assert_allclose(got, [whole, head], rtol=1e-5)


def test_grand_of_softmax_regression_in_closed_form(rng):
  """|p - onehot| sqrt(|x|^2 + 1); the head is all there is."""
  model, data = linear_model(), signals(rng, 8, length=6, classes=4)
  net = network(model)
  kernel, bias = (np.asarray(net[0]["head"][k]) for k in ("kernel", "bias"))
  want = []
  for x, y in zip(normalised(data[0]).astype(float), data[1], strict=True):
    error = softmax(x @ kernel + bias) - np.eye(4)[int(y)]
    want.append(np.sqrt((error**2).sum()) * np.sqrt((x**2).sum() + 1))
  got = by_gradients(model, net, data, ("grand", "grand_last_layer"))
  # p_y - 1 is exact to 6e-8 only, times a norm of up to 10.
  np.testing.assert_allclose(got, [want, want], rtol=1e-5, atol=1e-6)


def stacked(networks):
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)


def input_gradients(model, net, data):
  """float64[examples, ...]: of the label's logit by the normalised input."""

  @quick_jit
  def gradient(x, y):
    return jax.grad(lambda x: model.apply(*net, x[None])[0][y])(x)

  xs = map(jnp.asarray, normalised(data[0]))
  return np.asarray(
    [gradient(x, int(y)) for x, y in zip(xs, data[1], strict=True)], np.float64
  )


def vog(model, checkpoints, data):
  (values,) = by_gradients(model, checkpoints, data, ("vog",))
  return standardised_by_class(np.asarray(values), np.asarray(data[1]))


def in_class(values, labels):
  out = np.zeros(len(values))
  for c in np.unique(labels):
    part = values[labels == c]
    if part.std() > 0:
      out[labels == c] = (part - part.mean()) / part.std()
  return out


@pytest.mark.parametrize(
  "name,width,data", [("conv1d", 0.5, signals), ("resnet8", 0.25, images)]
)
def test_vog_against_a_loop_over_examples_and_checkpoints(
  rng, name, width, data
):
  x, _ = data(rng, 9)
  labels = np.asarray([0, 0, 0, 0, 3, 3, 3, 3, 7])  # 7 has one example
  model = make_model(
    name, num_classes=10, input_shape=x.shape[1:], width=width, conv="plain"
  )
  checkpoints = [network(model, seed) for seed in range(3)]
  both = x, jnp.asarray(labels, jnp.int32)
  gradients = np.stack([input_gradients(model, n, both) for n in checkpoints])
  spread = ((gradients - gradients.mean(0)) ** 2).sum(0) / 3
  want = in_class(spread.reshape(9, -1).mean(1), labels)
  got = vog(model, stacked(checkpoints), both)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  assert got[8] == 0


def test_vog_of_equal_checkpoints_is_zero(rng, conv1d):
  net = stacked([network(conv1d)] * 4)
  got = vog(conv1d, net, signals(rng, 12, classes=3))
  np.testing.assert_array_equal(got, 0)


def test_vog_of_a_class_without_spread_is_zero(rng):
  """A linear model's input gradient is the same for a class's examples."""
  model, data = linear_model(), signals(rng, 40, length=6, classes=4)
  net = stacked([network(model, seed) for seed in range(3)])
  got = vog(model, net, data)
  np.testing.assert_array_equal(got, 0)


def test_input_norms_against_numpy(rng):
  x, _ = images(rng, 5)
  want = [np.linalg.norm(one.astype(np.float64)) for one in normalised(x)]
  got = input_norms(x, mean=MEAN, std=STD)
  np.testing.assert_allclose(got, want, rtol=1e-5)


# -- batch by batch ----------------------------------------------------------


def by_outputs(model, net, data, batch_size, batch_mode=False):
  fn = functools.partial(
    output_scores,
    model=model,
    names=OUTPUTS,
    batch_mode=batch_mode,
    mean=MEAN,
    std=STD,
    batch_size=batch_size,
  )
  return np.stack(quick_jit(fn)(*net, *data))


def scored(logits, labels):
  """[scores, examples] from the functions of one example."""
  rows = zip(np.asarray(logits), np.asarray(labels), strict=True)
  return np.asarray([[score(n, z, y) for n in OUTPUTS] for z, y in rows]).T


def test_the_batch_size_of_scoring_changes_no_score(rng, conv1d):
  net, data = network(conv1d), signals(rng, 23)
  logits = conv1d.apply(*net, jnp.asarray(normalised(data[0])))
  want = scored(logits, data[1])
  whole = by_outputs(conv1d, net, data, 23)
  np.testing.assert_allclose(whole, want, rtol=1e-5, atol=1e-6)
  for batch_size in (5, 7, 100):
    got = by_outputs(conv1d, net, data, batch_size)
    # Not bit for bit: matrix products of other sizes sum in another order.
    np.testing.assert_allclose(got, whole, rtol=1e-6, atol=1e-6)


def test_batch_mode_normalises_by_the_scored_batch(rng, conv1d):
  """The last batch is whole, and goes back over the one before."""
  net, data = network(conv1d), signals(rng, 23)
  x = jnp.asarray(normalised(data[0]))
  for size in (5, 7):
    want = np.zeros((len(OUTPUTS), 23))
    for start in [*range(0, 23 - size, size), 23 - size]:
      part = slice(start, start + size)
      logits, _ = conv1d.apply_train(*net, x[part], None)
      want[:, part] = scored(logits, data[1][part])
    got = by_outputs(conv1d, net, data, size, batch_mode=True)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  other = by_outputs(conv1d, net, data, 23, batch_mode=True)
  assert np.abs(other - got).max() > 0.1
  assert np.abs(by_outputs(conv1d, net, data, 23) - other).max() > 0.1


ALL_STREAMS = Streams((Forgetting("max"), AUM(), TDDS(3), DUAL(2)))


@pytest.mark.parametrize("batch_size", [7, 100])
def test_an_evaluation_is_one_observation_of_each_example(
  rng, conv1d, batch_size
):
  """The overlap of the last two batches is not observed twice."""
  data, nets = signals(rng, 23), [network(conv1d, s) for s in (0, 1, 0)]
  observe = quick_jit(
    functools.partial(
      observed_streams,
      model=conv1d,
      streams=ALL_STREAMS,
      mean=MEAN,
      std=STD,
      batch_size=batch_size,
    )
  )
  got = want = ALL_STREAMS.init(23, 10)
  for net in nets:
    got = observe(*net, got, *data)
    logits = conv1d.apply(*net, jnp.asarray(normalised(data[0])))
    want = ALL_STREAMS.update(want, logits, data[1])
  chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(got["0"]["seen"], 3)
  assert int(got["0"]["events"].sum()) > 0


# -- presentations -----------------------------------------------------------


def test_presented_examples_are_watched_and_training_is_not_touched(
  rng, conv1d
):
  x, y = signals(rng, 20, classes=10)
  # Examples 16.. are never presented; two of each batch's places are padding.
  plan = np.full((12, 6), -1, np.int32)
  for step in plan:
    step[rng.permutation(6)[:4]] = rng.permutation(16)[:4]
  pipeline = dataclasses.replace(PIPELINE, padded=True)
  watch = Streams((Forgetting("inf"), AUM()))
  params, stats = network(conv1d)
  masks, recipe = init_masks(params), make_recipe()

  def fresh(watched=()):
    return TrainState(
      step=jnp.int32(0),
      params=params,
      batch_stats=stats,
      opt_state=init_opt_state(params),
      key=jax.random.key(1),
      watched=watched,
    )

  def program(watch):
    return jax.jit(
      functools.partial(
        train_steps, model=conv1d, pipeline=pipeline, watch=watch
      )
    )

  plain_program = program(None)

  def train(state, first, count, fn=plain_program):
    rows = jnp.asarray(np.roll(plan, -first, axis=0))
    return fn(state, masks, rows, x, y, recipe, jnp.int32(count))[0]

  carries = watch.init(20, 10)
  watched = train(fresh(carries), 0, 12, program(watch))
  plain = train(fresh(), 0, 12)
  chex.assert_trees_all_equal(
    (watched.params, watched.batch_stats, watched.opt_state),
    (plain.params, plain.batch_stats, plain.opt_state),
  )
  # A replay, step by step: the logits of each batch before its update.
  seen = {i: [] for i in range(20)}
  forward = quick_jit(conv1d.apply_train)
  state = fresh()
  for step in range(12):
    index = plan[step]
    rows = jnp.asarray(np.maximum(index, 0))
    weights = jnp.asarray(index >= 0, jnp.float32)
    logits, _ = forward(state.params, state.batch_stats, x[rows], weights)
    for place in np.flatnonzero(index >= 0):
      seen[int(index[place])].append(np.asarray(logits[place], np.float64))
    state = train(state, step, 1)
  found = watched.watched
  for i, logits in seen.items():
    assert int(found["0"]["seen"][i]) == len(logits)
    if not logits:
      chex.assert_trees_all_equal(
        *(jax.tree.map(lambda a: a[i], c) for c in (found, carries))
      )
      continue
    one = jax.tree.map(lambda a: a[i], found)
    assert float(Forgetting("inf").finish(one["0"])) == forgetting_loop(
      logits, int(y[i]), "inf"
    )
    assert float(AUM().finish(one["1"])) == pytest.approx(
      aum_loop(logits, int(y[i])), rel=1e-3, abs=1e-4
    )
  assert {len(logits) for logits in seen.values()} >= {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["aum", "forgetting", "tdds", "dual"])
def test_presentations_that_are_too_few_are_refused_before_training(
  tmp_path, name
):
  """With the last partial batch dropped an epoch leaves examples out."""
  settings = dict(
    experiments=(),
    claims__rewinding={"treatments": ()},
    data__batch_size=48,  # of 80 examples: one step an epoch
    scores__compute=(name,),
    scores__observe="presentation",
    scores__window=3,
    scores__steps={"aum": "1ep", "forgetting": "2ep"}.get(name, "3ep"),
    scores__networks=1,
  )
  _, log = run_tiny(tmp_path / "dropped", **settings)
  (warning,) = log.warnings
  assert "presentations of every example, but" in warning
  assert "set data.last_batch='keep'" in warning
  results, log = run_tiny(
    tmp_path / "kept", **settings, data__last_batch="keep"
  )
  assert not log.warnings
  assert np.isfinite(results.scores(name).values).sum() > 0


# -- reliability -------------------------------------------------------------


def test_rank_correlation_against_scipy(rng):
  for _ in range(10):
    a, b = rng.integers(0, 6, (2, 30)).astype(float)
    want = scipy.stats.spearmanr(a, b).statistic
    assert rank_correlation(a, b) == pytest.approx(want, abs=1e-12)
    a[:3] = np.inf
    want = scipy.stats.spearmanr(np.where(np.isinf(a), 99, a), b).statistic
    assert rank_correlation(a, b) == pytest.approx(want, abs=1e-12)


def test_rank_correlation_by_hand():
  one = np.asarray([1.0, 2.0, 3.0])
  assert rank_correlation(one, np.asarray([1.0, 3.0, 2.0])) == pytest.approx(
    0.5
  )
  assert rank_correlation(one, np.asarray([9.0, 4.0, -np.inf])) == -1
  assert np.isnan(rank_correlation(one, np.ones(3)))
  assert np.isnan(rank_correlation(np.full(3, np.inf), one))


def test_reliability_by_hand():
  scores = np.asarray([[1.0, 2, 3], [1.0, 3, 2], [3.0, 2, 1]])
  assert reliability(scores[:1]) == []
  assert reliability(scores[:2]) == [
    dict(networks=1, splits=1, correlation=0.5, low=0.5, high=0.5)
  ]
  (row,) = reliability(scores)
  assert (row["networks"], row["splits"]) == (1, 3)
  found = [row[k] for k in ("correlation", "low", "high")]
  assert found == pytest.approx([-1 / 3, -1, 0.5])


def test_reliability_of_few_networks_takes_every_split(rng):
  scores = rng.normal(size=(5, 30))
  sizes = []
  for row in reliability(scores):
    r = row["networks"]
    sizes.append(r)
    found = [
      scipy.stats.spearmanr(
        scores[[*a]].mean(0), scores[[*b]].mean(0)
      ).statistic
      for a in itertools.combinations(range(5), r)
      for b in itertools.combinations(range(5), r)
      if not set(a) & set(b)
    ]  # each pair twice
    assert row["splits"] == len(found) // 2
    assert row["correlation"] == pytest.approx(np.mean(found))
    assert row["low"] == pytest.approx(min(found))
    assert row["high"] == pytest.approx(max(found))
  assert sizes == [1, 2]


def test_reliability_of_many_networks_is_sampled_and_grows(rng):
  truth = rng.normal(size=200)
  scores = truth + rng.normal(size=(10, 200))
  rows = reliability(scores)
  assert [row["networks"] for row in rows] == [1, 2, 4, 5]
  assert [row["splits"] for row in rows] == [20] * 4
  found = [row["correlation"] for row in rows]
  assert found == sorted(found) and found[0] == pytest.approx(0.5, abs=0.1)
  # Spearman-Brown: reliability 5 / (5 + 1) of means of five.
  assert found[-1] == pytest.approx(5 / 6, abs=0.05)
  assert all(row["low"] < row["correlation"] < row["high"] for row in rows)
  assert rows == reliability(scores)


@pytest.mark.parametrize("networks", [2, 3, 10])
def test_networks_that_agree_are_wholly_reliable(rng, networks):
  scores = np.tile(rng.normal(size=40), (networks, 1))
  scores[:, :5] = np.inf
  for row in reliability(scores):
    assert (row["low"], row["high"]) == pytest.approx((1, 1), abs=1e-12)


def test_reliability_takes_all_splits_where_there_are_no_more(rng, monkeypatch):
  class Bits:
    left = 2000

    def __init__(self, seed):
      self.bits = np.random.Generator(np.random.Philox(seed))

    def random_raw(self, count):
      self.left -= 1
      if not self.left:
        raise StopIteration
      return self.bits.integers(0, 2**63, count)

  monkeypatch.setattr(np.random, "PCG64", Bits)
  rows = reliability(rng.normal(size=(9, 12)), splits=37)
  assert rows[0]["splits"] == 36
