"""What looks at scoring networks while they train."""

import functools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.nodes import Node
from imp_jax.replicates import stack_trees
from imp_jax.runs import Run, compiled, network_tree
from imp_jax.scores import (
  SCORES,
  Streams,
  gradient_scores,
  observed_streams,
  output_scores,
  standardised_by_class,
)
from imp_jax.settings import ScoreSettings
from imp_jax.stages.context import Context

PyTree = Any

# Examples of one backward pass, whose activations are all held.
_GRADIENT_BATCH = 128


class ScoreWatch:
  """Gathers what scores need while their networks train; see `runs.Watch`.

  A run's `watched` holds, by node: "sums" over the steps of a score made from
  outputs or gradients, "streams" observed by evaluation (the carries), those
  "presented" as they were at their last step, and "checkpoints".
  """

  moves = False

  def __init__(
    self, context: Context, nodes: tuple[Node, ...], labels: np.ndarray
  ):
    self._context, self._nodes = context, nodes
    self._labels = jnp.asarray(labels)
    training = nodes[0].recipe
    assert training is not None  # scores without one need no watch
    self.names = tuple(node.key for node in nodes)
    self._stream = training.stream
    self._model = context.model(training.model)
    on_sight = [n for n in nodes if _is_stream(n) and not _every(n)]
    self.presented = _streams(on_sight) if on_sight else None
    self.steps = tuple(sorted({s for node in nodes for s in _looks(node)}))

  def init_presented(self) -> PyTree:
    """Returns the carries of the streams that watch presentations."""
    if not self.presented:
      return {}
    classes = self._context.dataset.num_classes
    return self.presented.init(len(self._labels), classes)

  def __call__(self, step: int, runs: Sequence[Run]) -> None:
    due = [node for node in self._nodes if step in _looks(node)]
    groups = defaultdict(list)
    for node in due:
      score = node.settings.score
      kind = SCORES[score.name].made_from
      groups[kind, score.batch_size, score.every, score.stop].append(node)
    for (kind, batch_size, every, _), group in groups.items():
      if kind == "checkpoints":
        for run in runs:
          kept = run.watched.setdefault("checkpoints", {})
          kept[f"{step:09d}"] = network_tree(run.state)
      elif kind == "stream" and not every:
        for run in runs:
          for node in group:
            kept = run.watched.setdefault("presented", {})
            kept[node.key] = jax.device_get(run.state.watched[node.key])
      elif kind == "stream":
        self._observe(group, runs)
      else:
        self._add(group, kind, batch_size, runs)

  def finished(self, node: Node, run: Run) -> np.ndarray:
    """Returns float32[examples]: a node's score under a run's network."""
    score = node.settings.score
    kind = SCORES[score.name].made_from
    if kind == "stream":
      place = "streams" if score.every else "presented"
      carry = jax.tree.map(jnp.asarray, run.watched[place][node.key])
      return np.asarray(jax.vmap(_rule(node).finish)(carry))
    if kind == "checkpoints":
      kept = run.watched["checkpoints"]
      networks = stack_trees([kept[f"{s:09d}"] for s in score.steps])
      (values,) = self._gradient_scores(("vog",), stack_trees([networks]))
      return standardised_by_class(
        np.asarray(values[0]), np.asarray(self._labels)
      )
    return np.asarray(run.watched["sums"][node.key]) / len(score.steps)

  def _add(self, group, kind, batch_size, runs):
    """Adds scores of the present networks to the runs' sums."""
    names = tuple(node.settings.score.name for node in group)
    networks = _stacked(runs)
    if kind == "gradients":
      found = self._gradient_scores(names, networks)
    else:
      size = batch_size or self._context.execution.eval_batch_size
      found = _program(
        output_scores,
        self._context.execution,
        model=self._model,
        names=names,
        batch_mode=batch_size > 0,
        mean=self._stream.mean,
        std=self._stream.std,
        batch_size=size,
      )(networks["params"], networks["batch_stats"], *self._examples())
    for node, values in zip(group, jax.device_get(found), strict=True):
      for run, new in zip(runs, values, strict=True):
        sums = run.watched.setdefault("sums", {})
        sums[node.key] = sums.get(node.key, 0) + new

  def _observe(self, group, runs):
    """Lets streams observe one evaluation of every example."""
    streams = _streams(group)
    fresh = streams.init(len(self._labels), self._context.dataset.num_classes)
    kept = [run.watched.setdefault("streams", {}) for run in runs]
    carries = [
      {
        node.key: jax.tree.map(jnp.asarray, old[node.key])
        if node.key in old
        else fresh[node.key]
        for node in group
      }
      for old in kept
    ]
    networks = _stacked(runs)
    found = _program(
      observed_streams,
      self._context.execution,
      model=self._model,
      streams=streams,
      mean=self._stream.mean,
      std=self._stream.std,
      batch_size=self._context.execution.eval_batch_size,
    )(
      networks["params"],
      networks["batch_stats"],
      stack_trees(carries),
      *self._examples(),
    )
    for r, old in enumerate(kept):
      for name, carry in found.items():
        old[name] = jax.tree.map(lambda leaf, r=r: np.asarray(leaf[r]), carry)

  def _gradient_scores(self, names, networks):
    return _program(
      gradient_scores,
      self._context.execution,
      model=self._model,
      names=names,
      mean=self._stream.mean,
      std=self._stream.std,
      batch_size=min(_GRADIENT_BATCH, self._context.execution.eval_batch_size),
    )(networks["params"], networks["batch_stats"], *self._examples())

  def _examples(self):
    return self._context.dataset.train.inputs, self._labels


def _is_stream(node) -> bool:
  return SCORES[node.settings.score.name].made_from == "stream"


def _every(node) -> int:
  return node.settings.score.every


def _streams(nodes) -> Streams:
  return Streams(tuple((node.key, _rule(node)) for node in nodes))


def _rule(node):
  score: ScoreSettings = node.settings.score
  return SCORES[score.name].fn(score.window, score.never_learned)


def _looks(node) -> Sequence[int]:
  """The steps at which a score looks at its networks."""
  score: ScoreSettings = node.settings.score
  if not _is_stream(node):
    return score.steps
  if score.every:
    return range(score.every, score.stop + 1, score.every)
  return (score.stop,)


def _stacked(runs) -> dict[str, PyTree]:
  return {
    "params": stack_trees([run.state.params for run in runs]),
    "batch_stats": stack_trees([run.state.batch_stats for run in runs]),
  }


@functools.lru_cache(maxsize=64)
def _program(fn, execution, **static):
  """The compiled evaluation of stacked networks on shared examples."""
  return compiled(functools.partial(fn, **static), execution, shared=2)
