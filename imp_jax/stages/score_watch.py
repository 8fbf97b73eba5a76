"""What looks at scoring networks while they train."""

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.graph import Node
from imp_jax.engine.context import Context
from imp_jax.engine.execution import ExecutionSettings
from imp_jax.engine.replicates import stack_trees
from imp_jax.engine.trainer import Run, compiled, network_tree
from imp_jax.scores import (
  SCORES,
  Streams,
  gradient_scores,
  observed_streams,
  output_scores,
  standardised_by_class,
)

PyTree = Any

# Examples of one backward pass, whose activations are all held.
_GRADIENT_BATCH = 128


class ScoreWatch:
  """Gathers what scores need while their networks train; see `trainer.Watch`.

  A run's `watched` holds, by node: "sums" over the steps of a score made from
  outputs or gradients, "streams" observed by evaluation (the carries), those
  "presented" as they were at their last step, and "checkpoints".
  """

  moves = False

  def __init__(
    self,
    context: Context,
    nodes: tuple[Node, ...],
    training: Any,
    labels: np.ndarray,
  ):
    self._context, self._nodes = context, nodes
    self._labels = jnp.asarray(labels)
    self.names = tuple(node.key for node in nodes)
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
      score = _score(node)
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
    score = _score(node)
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

  def _add(
    self,
    group: Sequence[Node],
    kind: str,
    batch_size: int,
    runs: Sequence[Run],
  ) -> None:
    """Adds scores of the present networks to the runs' sums."""
    names = tuple(_score(node).name for node in group)
    networks = _stacked(runs)
    if kind == "gradients":
      scores = self._gradient_scores(names, networks)
    else:
      size = batch_size or self._context.execution.eval_batch_size
      scores = _program(
        output_scores,
        self._context.execution,
        model=self._model,
        names=names,
        batch_mode=batch_size > 0,
        batch_size=size,
      )(networks["params"], networks["batch_stats"], *self._examples())
    for node, values in zip(group, jax.device_get(scores), strict=True):
      for run, new in zip(runs, values, strict=True):
        sums = run.watched.setdefault("sums", {})
        sums[node.key] = sums.get(node.key, 0) + new

  def _observe(self, group: Sequence[Node], runs: Sequence[Run]) -> None:
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
    observed = _program(
      observed_streams,
      self._context.execution,
      model=self._model,
      streams=streams,
      batch_size=self._context.execution.eval_batch_size,
    )(
      networks["params"],
      networks["batch_stats"],
      stack_trees(carries),
      *self._examples(),
    )
    for r, old in enumerate(kept):
      for name, carry in observed.items():
        old[name] = jax.tree.map(lambda leaf, r=r: np.asarray(leaf[r]), carry)

  def _gradient_scores(self, names: tuple[str, ...], networks: PyTree) -> Any:
    return _program(
      gradient_scores,
      self._context.execution,
      model=self._model,
      names=names,
      batch_size=min(_GRADIENT_BATCH, self._context.execution.eval_batch_size),
    )(networks["params"], networks["batch_stats"], *self._examples())

  def _examples(self) -> tuple[Any, jax.Array]:
    return self._context.dataset.train.inputs, self._labels


def _score(node: Node) -> Any:
  stage: Any = node.stage
  return stage.score


def _is_stream(node: Node) -> bool:
  return SCORES[_score(node).name].made_from == "stream"


def _every(node: Node) -> int:
  return _score(node).every


def _streams(nodes: Sequence[Node]) -> Streams:
  return Streams(tuple((node.key, _rule(node)) for node in nodes))


def _rule(node: Node) -> Any:
  score = _score(node)
  return SCORES[score.name].fn(score.window, score.never_learned)


def _looks(node: Node) -> Sequence[int]:
  """The steps at which a score looks at its networks."""
  score = _score(node)
  if not _is_stream(node):
    return score.steps
  if score.every:
    return range(score.every, score.stop + 1, score.every)
  return (score.stop,)


def _stacked(runs: Sequence[Run]) -> dict[str, PyTree]:
  return {
    "params": stack_trees([run.state.params for run in runs]),
    "batch_stats": stack_trees([run.state.batch_stats for run in runs]),
  }


@functools.lru_cache(maxsize=64)
def _program(
  fn: Callable[..., PyTree], execution: ExecutionSettings, **static: Any
) -> Callable[..., PyTree]:
  """The compiled evaluation of stacked networks on shared examples."""
  return compiled(functools.partial(fn, **static), execution, shared=2)
