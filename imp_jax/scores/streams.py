"""Scores of one example from the stream of its logits during training.

Each is a rule of three pure functions for one example: `init` makes the carry,
`update` takes the logits of one more observation, `finish` returns the score,
or NaN if there were too few observations for one.
An observation is made either when the example is presented in training (its
augmented input, training mode) or when the whole training set is evaluated at
chosen steps; the score's record says which.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from imp_jax.scores.outputs import confidence, logit_margin

PyTree = Any

NEVER_LEARNED = ("inf", "max", "zero")


@dataclasses.dataclass(frozen=True)
class Forgetting:
  """Forgetting events: times the example went from correct to wrong.

  Between consecutive observations; a whole number in [0, observations).
  Larger is harder. Toneva et al. 2019 (arXiv 1812.05159), section 3. Averaged
  over networks, one network that never learned an example is enough for "inf".

  Attributes:
    never_learned: what an example scores that was never correct: "inf" (Paul
      et al. 2022), "max" (its number of observations; Toneva's code), or
      "zero" (it has no event; some later code).
  """

  never_learned: str

  def init(self, num_classes: int) -> PyTree:
    del num_classes
    return {
      "correct": jnp.bool_(False),
      "learned": jnp.bool_(False),
      "events": jnp.int32(0),
      "seen": jnp.int32(0),
    }

  def update(
    self, carry: PyTree, logits: Float[Array, " classes"], label: Int[Array, ""]
  ) -> PyTree:
    correct = jnp.argmax(logits) == label
    return {
      "correct": correct,
      "learned": carry["learned"] | correct,
      "events": carry["events"] + (carry["correct"] & ~correct),
      "seen": carry["seen"] + 1,
    }

  def finish(self, carry: PyTree) -> jax.Array:
    events = carry["events"].astype(jnp.float32)
    never = {
      "inf": jnp.inf,
      "max": carry["seen"].astype(jnp.float32),
      "zero": 0.0,
    }[self.never_learned]
    score = jnp.where(carry["learned"], events, never)
    return jnp.where(carry["seen"] > 0, score, jnp.nan)


@dataclasses.dataclass(frozen=True)
class AUM:
  """Area under the margin: the mean of z_y - max_{c != y} z_c.

  Any real number; larger is easier. Pleiss et al. 2020 (arXiv 2001.10528),
  equation 2, over the observations.
  """

  def init(self, num_classes: int) -> PyTree:
    del num_classes
    return {"sum": jnp.float32(0), "seen": jnp.int32(0)}

  def update(
    self, carry: PyTree, logits: Float[Array, " classes"], label: Int[Array, ""]
  ) -> PyTree:
    total = carry["sum"] + logit_margin(logits, label)
    return {"sum": total, "seen": carry["seen"] + 1}

  def finish(self, carry: PyTree) -> jax.Array:
    return carry["sum"] / carry["seen"]


@dataclasses.dataclass(frozen=True)
class TDDS:
  """Temporal dual-depth score, in [0, inf). Larger is harder.

  d_t = sum_c |p_{t+1,c} (log p_{t+1,c} - log p_{t,c})| between consecutive
  observations; v = ||d - mean(d)||_2 over the J - 1 values of d in each window
  of J observations, windows one observation apart; the score is the moving
  average a <- decay v + (1 - decay) a over the windows, from a = 0. Zhang et
  al. 2024 (arXiv 2311.13613) as their public code computes it, but for the
  1e-8 that it adds inside the logarithms. With decay 0.9 the last windows make
  almost the whole score.

  Attributes:
    window: J, at least 3 observations.
  """

  window: int
  decay: float = 0.9

  def init(self, num_classes: int) -> PyTree:
    return {
      "log_p": jnp.zeros(num_classes),
      "differences": jnp.zeros(self.window - 1),
      "average": jnp.float32(0),
      "seen": jnp.int32(0),
    }

  def update(
    self, carry: PyTree, logits: Float[Array, " classes"], label: Int[Array, ""]
  ) -> PyTree:
    del label
    log_p, seen = jax.nn.log_softmax(logits), carry["seen"]
    difference = jnp.abs(jnp.exp(log_p) * (log_p - carry["log_p"])).sum()
    # The first observation's difference is none; it is overwritten before
    # the first window is full.
    differences = _in_ring(carry["differences"], seen - 1, difference)
    spread = jnp.sqrt(((differences - differences.mean()) ** 2).sum())
    average = self.decay * spread + (1 - self.decay) * carry["average"]
    return {
      "log_p": log_p,
      "differences": differences,
      "average": jnp.where(seen + 1 >= self.window, average, 0.0),
      "seen": seen + 1,
    }

  def finish(self, carry: PyTree) -> jax.Array:
    return jnp.where(carry["seen"] >= self.window, carry["average"], jnp.nan)


@dataclasses.dataclass(frozen=True)
class DUAL:
  """Difficulty and uncertainty: the windows' mean of (1 - mean p_y) std p_y.

  Windows of J observations, one apart; std with ddof = 1. In [0, 1); larger is
  harder and less certain. Cho et al. 2025 (arXiv 2502.06905), equation 3;
  their code multiplies it by 10.

  Attributes:
    window: J, at least 2 observations.
  """

  window: int

  def init(self, num_classes: int) -> PyTree:
    del num_classes
    return {
      "p": jnp.zeros(self.window),
      "sum": jnp.float32(0),
      "seen": jnp.int32(0),
    }

  def update(
    self, carry: PyTree, logits: Float[Array, " classes"], label: Int[Array, ""]
  ) -> PyTree:
    seen = carry["seen"]
    p = _in_ring(carry["p"], seen, confidence(logits, label))
    score = (1 - p.mean()) * p.std(ddof=1)
    full = seen + 1 >= self.window
    return {
      "p": p,
      "sum": carry["sum"] + jnp.where(full, score, 0.0),
      "seen": seen + 1,
    }

  def finish(self, carry: PyTree) -> jax.Array:
    windows = carry["seen"] - self.window + 1
    return jnp.where(windows > 0, carry["sum"] / windows, jnp.nan)


Stream = Forgetting | AUM | TDDS | DUAL


@dataclasses.dataclass(frozen=True)
class Streams:
  """Several stream scores of many examples, watched together.

  Attributes:
    rules: (name, rule) pairs.
  """

  rules: tuple[tuple[str, Stream], ...]

  def init(self, num_examples: int, num_classes: int) -> PyTree:
    """Returns {name: carry}, the examples as every leaf's first axis."""
    carries = {name: rule.init(num_classes) for name, rule in self.rules}
    return jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf, (num_examples, *leaf.shape)), carries
    )

  def __call__(
    self,
    carries: PyTree,
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
  ) -> PyTree:
    """Returns the carries of a batch after one more observation of each."""
    return {
      name: jax.vmap(rule.update)(carries[name], logits, labels)
      for name, rule in self.rules
    }


def _in_ring(
  ring: jax.Array, position: jax.Array, value: jax.Array
) -> jax.Array:
  """The ring with `value` at `position` modulo its length."""
  return jnp.where(jnp.arange(len(ring)) == position % len(ring), value, ring)
