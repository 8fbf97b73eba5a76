"""Scores of one example from its logits, at one moment of training."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def el2n(logits: Float[Array, " classes"], label: Int[Array, ""]) -> jax.Array:
  """Returns EL2N, ||softmax(logits) - onehot(label)||_2, in [0, sqrt(2)].

  Larger is harder. Paul et al. 2021 (arXiv 2107.07075), definition 3.
  """
  error = jax.nn.softmax(logits) - jax.nn.one_hot(label, len(logits))
  return jnp.sqrt((error**2).sum())


def loss(logits: Float[Array, " classes"], label: Int[Array, ""]) -> jax.Array:
  """Returns the cross-entropy -log p_y, nats in [0, inf). Larger is harder."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, label)


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


def _ahead(values, label):
  """The label's value less the largest of the others'."""
  others = jnp.where(jnp.arange(len(values)) == label, -jnp.inf, values)
  return values[label] - others.max()
