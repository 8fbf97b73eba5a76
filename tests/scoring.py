"""NumPy references of scores, and small networks and data to score."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.masks import flat_leaves, nested_leaves
from imp_jax.models import Model
from imp_jax.models.layers import Dense
from imp_jax.scores import (
  SCORES,
  output_scores,
)

OUTPUTS = ("el2n", "loss", "margin", "confidence", "entropy")


def score(name, logits, label):
  value = SCORES[name].fn(jnp.asarray(logits, jnp.float32), jnp.int32(label))
  assert value.shape == () and value.dtype == jnp.float32
  return float(value)


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
  return jax.jit(rule.update)


def streamed(rule, logits, label):
  """One example's score; logits [observations, classes]."""
  carry, update = rule.init(logits.shape[1]), compiled_update(rule)
  for z in logits:
    carry = update(carry, jnp.asarray(z, jnp.float32), jnp.int32(label))
  return float(rule.finish(carry))


def some_logits(rng, length, classes=4):
  return (rng.normal(size=(length, classes)) * 2).astype(np.float32)


class Linear(nn.Module):
  """Softmax regression, to have closed forms."""

  classes: int

  @nn.compact
  def __call__(self, x, *, train, weights=None):
    del train, weights
    return Dense(self.classes, name="head")(x)


def linear_model(classes=4, length=6):
  return Model("linear", Linear(classes), (length,))


@functools.cache
def initialiser(model):
  """Draws a model's parameters and statistics; compiled once."""
  options = {"xla_backend_optimization_level": 0}  # it runs once
  return jax.jit(model.init, compiler_options=options)


def network(model, seed=0):
  """A network whose running statistics are not those of initialisation."""
  rng = np.random.default_rng(seed)
  params, stats = initialiser(model)(jax.random.key(seed))
  leaves = flat_leaves(stats)
  for path, leaf in leaves.items():
    # Means around 0: around 1 they shut nearly every ReLU of a deep network.
    low = -0.5 if path.endswith("mean") else 0.5
    drawn = rng.uniform(low, low + 1, leaf.shape)
    leaves[path] = jnp.asarray(drawn, jnp.float32)
  return params, nested_leaves(leaves)


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


def by_outputs(model, net, data, batch_size, batch_mode=False):
  fn = functools.partial(
    output_scores,
    model=model.normalising(MEAN, STD),
    names=OUTPUTS,
    batch_mode=batch_mode,
    batch_size=batch_size,
  )
  return np.stack(jax.jit(fn)(*net, *data))
