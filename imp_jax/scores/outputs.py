"""Scores of one example from its logits, at one moment of training."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def el2n(logits: Float[Array, " classes"], label: Int[Array, ""]) -> jax.Array:
  """Returns EL2N, ||softmax(logits) - onehot(label)||_2, in [0, sqrt(2)].

  Larger is harder. Paul et al. 2021 (arXiv 2107.07075), definition 3.
  """
  others = jnp.where(_is_other(logits, label), jax.nn.softmax(logits), 0)
  # 1 - p_y is their sum, without the cancellation.
  return jnp.sqrt((others**2).sum() + others.sum() ** 2)


def loss(logits: Float[Array, " classes"], label: Int[Array, ""]) -> jax.Array:
  """Returns the cross-entropy -log p_y, nats in [0, inf). Larger is harder."""
  ahead = jnp.where(_is_other(logits, label), logits - logits[label], -jnp.inf)
  # log(1 + sum of exp), accurate however small it is.
  return jax.nn.softplus(jax.nn.logsumexp(ahead))


def margin(
  logits: Float[Array, " classes"], label: Int[Array, ""]
) -> jax.Array:
  """Returns p_y - max_{c != y} p_c, in [-1, 1]. Larger is easier."""
  return _ahead(jax.nn.softmax(logits), label)


def logit_margin(
  logits: Float[Array, " classes"], label: Int[Array, ""]
) -> jax.Array:
  """Returns z_y - max_{c != y} z_c, any real number. Larger is easier.

  What AUM averages over training; Pleiss et al. 2020 (arXiv 2001.10528),
  section 3.
  """
  return _ahead(logits, label)


def confidence(
  logits: Float[Array, " classes"], label: Int[Array, ""]
) -> jax.Array:
  """Returns p_y, in [0, 1]. Larger is easier."""
  return jax.nn.softmax(logits)[label]


def entropy(
  logits: Float[Array, " classes"], label: Int[Array, ""]
) -> jax.Array:
  """Returns -sum_c p_c log p_c, nats in [0, log(classes)]. Larger is harder.

  The label does not enter.
  """
  del label
  log_p = jax.nn.log_softmax(logits)
  return -(jnp.exp(log_p) * log_p).sum()


def _ahead(values: jax.Array, label: jax.Array) -> jax.Array:
  """The label's value less the largest of the others'."""
  others = jnp.where(_is_other(values, label), values, -jnp.inf)
  return values[label] - others.max()


def _is_other(values: jax.Array, label: jax.Array) -> jax.Array:
  return jnp.arange(len(values)) != label
