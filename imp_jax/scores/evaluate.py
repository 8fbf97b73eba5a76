"""Scores of every training example under one network, in bounded memory."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from imp_jax.data.augment import normalise
from imp_jax.models import Model
from imp_jax.scores.registry import SCORES
from imp_jax.scores.streams import Streams
from imp_jax.training.evaluation import map_batches

PyTree = Any


def output_scores(
  params: PyTree,
  batch_stats: PyTree,
  inputs: jax.Array,
  labels: Int[Array, " examples"],
  *,
  model: Model,
  names: tuple[str, ...],
  batch_mode: bool = False,
  batch_size: int = 500,
) -> tuple[Float[Array, " examples"], ...]:
  """Returns one array per named score, in the examples' order.

  Args:
    params, batch_stats: one network.
    inputs, labels: the training split; no augmentation.
    model: the network.
    names: of scores made from outputs.
    batch_mode: BatchNorm normalises by the scored batch instead of by its
      running statistics. Then the scores depend on `batch_size` and on which
      examples share a batch; else `batch_size` moves them by rounding only.
    batch_size: examples at a time.
  """

  def batch_scores(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
    logits = _logits(model, params, batch_stats, x, batch_mode)
    return tuple(jax.vmap(SCORES[name].fn)(logits, y) for name in names)

  return map_batches(batch_scores, (inputs, labels), batch_size)


def observed_streams(
  params: PyTree,
  batch_stats: PyTree,
  carries: PyTree,
  inputs: jax.Array,
  labels: Int[Array, " examples"],
  *,
  model: Model,
  streams: Streams,
  batch_size: int,
) -> PyTree:
  """Returns the streams' carries after every example was evaluated once more.

  Arguments as of `output_scores`; evaluation mode.
  """

  def batch_carries(carries: PyTree, x: jax.Array, y: jax.Array) -> PyTree:
    logits = _logits(model, params, batch_stats, x, False)
    return streams(carries, logits, y)

  return map_batches(batch_carries, (carries, inputs, labels), batch_size)


def gradient_scores(
  params: PyTree,
  batch_stats: PyTree,
  inputs: jax.Array,
  labels: Int[Array, " examples"],
  *,
  model: Model,
  names: tuple[str, ...],
  batch_size: int,
) -> tuple[Float[Array, " examples"], ...]:
  """Returns one array per named score made from per-example gradients.

  Arguments as of `output_scores`; for "vog" params and batch_stats are stacked
  checkpoints, and its classes are not standardised yet.
  """

  def batch_scores(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
    x, inner = model.prepared(x), model.of_prepared()
    return tuple(
      SCORES[name].fn(params, batch_stats, x, y, model=inner) for name in names
    )

  return map_batches(batch_scores, (inputs, labels), batch_size)


def input_norms(
  inputs: jax.Array, *, mean: Sequence[float], std: Sequence[float]
) -> Float[Array, " examples"]:
  """Returns ||x||_2 of each normalised input, in [0, inf).

  A baseline that ranks like GraNd at initialisation (arXiv 2303.14753).
  """

  def batch_norms(x: jax.Array) -> jax.Array:
    flat = normalise(x, mean, std).reshape(len(x), -1)
    return jnp.sqrt((flat**2).sum(axis=1))

  return map_batches(batch_norms, (inputs,), 1000)


def _logits(
  model: Model,
  params: PyTree,
  batch_stats: PyTree,
  x: jax.Array,
  batch_mode: bool,
) -> jax.Array:
  if batch_mode:
    return model.apply_train(params, batch_stats, x, None)[0]
  return model.apply(params, batch_stats, x)
