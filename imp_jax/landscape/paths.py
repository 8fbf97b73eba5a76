"""Straight paths between two networks: points on them, evaluated.

A network is {"params", "batch_stats"}. A path takes any two of one structure:
a permuted or a pruned network is just another tree.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from imp_jax.landscape.barriers import check_alphas
from imp_jax.landscape.structure import check_same_structure, lerp
from imp_jax.models import Model
from imp_jax.training.evaluation import evaluate, recomputed_batch_stats

PyTree = Any

BATCH_STATS = ("average", "recompute", "endpoint")


def path_point(
  a: PyTree, b: PyTree, alpha: float, *, batch_stats: str
) -> PyTree:
  """Returns the network (1 - alpha) a + alpha b.

  Its parameters are made by a program of their own and are evaluated by the
  one that evaluates any network, so that alpha 0 and 1 are the ends bit for
  bit.

  Args:
    a, b: networks, or several stacked on every leaf's first axis.
    alpha: the same for all of them.
    batch_stats: BatchNorm's statistics. "average": between the ends' like the
      parameters (the paper's); "endpoint": the nearer end's, a's at 1/2;
      "recompute": as "average", to be estimated anew by the caller.

  Raises:
    ValueError: the networks' structures differ; it names the leaf.
  """
  params = _lerp(a["params"], b["params"], np.float32(alpha))
  if batch_stats == "endpoint":
    stats = (a if alpha <= 0.5 else b)["batch_stats"]
  else:
    stats = _lerp(a["batch_stats"], b["batch_stats"], np.float32(alpha))
  return {"params": params, "batch_stats": stats}


def evaluate_path(
  a: PyTree,
  b: PyTree,
  alphas: Sequence[float],
  inputs: jax.Array | np.ndarray,
  labels: Int[Array, " examples"] | Int[np.ndarray, " examples"],
  *,
  model: Model,
  batch_size: int = 500,
  batch_stats: str = "average",
  recompute_inputs: jax.Array | np.ndarray | None = None,
  recompute_batch_size: int = 128,
  extrapolate: bool = False,
) -> dict[str, np.ndarray]:
  """Returns the loss and correctness of each example along a path.

  Args:
    a, b: the ends.
    alphas: increasing, with 0 and 1.
    inputs, labels: examples as in the data set, no augmentation.
    model: the network.
    batch_size: examples at a time.
    batch_stats: between the ends; see `path_point`. The ends keep their own.
    recompute_inputs: what "recompute" estimates the statistics on: training
      examples.
    recompute_batch_size: of these.
    extrapolate: allows alphas outside [0, 1]. There an averaged variance may be
      negative, and the loss NaN: recompute.

  Returns:
    "loss" f32[alphas, examples] in nats and "correct" bool[alphas, examples].

  Raises:
    ValueError: structures that differ, alphas that are no path, an unknown
      batch_stats, or "recompute" without a whole batch of examples for it.
  """
  check_alphas(alphas, extrapolate=extrapolate)
  check_same_structure(a, b)
  if batch_stats not in BATCH_STATS:
    raise ValueError(
      f"unknown batch_stats {batch_stats!r}; known: {', '.join(BATCH_STATS)}"
    )
  recompute = None
  if batch_stats == "recompute":
    if recompute_inputs is None or len(recompute_inputs) < recompute_batch_size:
      raise ValueError(
        f"batch_stats='recompute' needs at least {recompute_batch_size} "
        "recompute_inputs"
      )
    recompute = _recompute_program(model, recompute_batch_size)
  program = _evaluate_program(model, batch_size)
  points = []
  for alpha in alphas:
    point = path_point(a, b, alpha, batch_stats=batch_stats)
    if recompute and alpha not in (0, 1):
      point["batch_stats"] = recompute(
        point["params"], point["batch_stats"], recompute_inputs
      )
    metrics = program(point["params"], point["batch_stats"], inputs, labels)
    points.append(jax.device_get(metrics))
  return {name: np.stack([p[name] for p in points]) for name in points[0]}


_lerp = jax.jit(lerp)


@functools.lru_cache(maxsize=16)
def _evaluate_program(model: Model, batch_size: int) -> Callable[..., Any]:
  return jax.jit(
    functools.partial(evaluate, model=model, batch_size=batch_size)
  )


@functools.lru_cache(maxsize=16)
def _recompute_program(model: Model, batch_size: int) -> Callable[..., Any]:
  return jax.jit(
    functools.partial(
      recomputed_batch_stats,
      model=model,
      batch_size=batch_size,
    )
  )
