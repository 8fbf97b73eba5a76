"""The stages that score the training examples."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.artefacts import Artefact, Failure
from imp_jax.core.code import code_hash
from imp_jax.core.graph import Edge, Item, Node, Outcome, Stage
from imp_jax.core.identity import content_id, unhashed
from imp_jax.core.keys import key_words
from imp_jax.data.batches import batch_plan, steps_per_epoch
from imp_jax.data.settings import NO_NOISE, NoiseSettings
from imp_jax.engine.context import Context
from imp_jax.engine.trainer import Run
from imp_jax.models.settings import ModelSettings, model_code
from imp_jax.scores import SCORES, input_norms, reliability
from imp_jax.scores.settings import ImportSettings
from imp_jax.stages.score_watch import ScoreWatch
from imp_jax.stages.train import (
  NoiseBetween,
  Train,
  make_trainer,
  start_run,
)


@dataclasses.dataclass(frozen=True)
class ScoreSettings:
  """One score, under one network.

  Attributes:
    name, formula: its name and the version of its formula.
    fingerprint: of the training examples.
    steps: scores made from outputs or gradients are averaged over these steps,
      those made from checkpoints take them together; streams: ().
    every, stop: streams are observed every so many steps up to `stop`; 0 =
      whenever an example is presented.
    window, never_learned: of the streams that have them, else 0 and "".
    batch_size: BatchNorm normalises by scored batches of this size; 0 = by its
      running statistics.
    training: up to `last_step`; None for a score that needs no network.
    constants: the normalisation's, where nothing else says them.
  """

  NAME: ClassVar[str] = "score"

  name: str
  formula: int
  fingerprint: str
  steps: tuple[int, ...] = ()
  every: int = 0
  stop: int = 0
  window: int = 0
  never_learned: str = ""
  batch_size: int = 0
  training: Train | None = None
  constants: tuple[float, ...] = ()

  @property
  def last_step(self) -> int:
    """Where its training may end."""
    return max((*self.steps, self.stop))

  @property
  def observations(self) -> int:
    """The fewest observations that the score is defined for."""
    return self.window or (2 if self.never_learned else 1)


@dataclasses.dataclass(frozen=True)
class BarrierScoreSettings:
  """The per-example barrier between children of W_r, as a score.

  The networks are the study's own replicates: pre-trained on all the data for
  `rewind_step` steps, then trained to the end, once for each child.

  Attributes:
    name, formula, fingerprint: as of the other scores.
    rewind_step: t_r of the parents.
    steps: T.
    children, noise: of each parent; see the probe `connectivity`.
    label_noise: that the parents' pre-training sees; barriers are of the data
      set's labels.
    batch_stats: BatchNorm's statistics at the midpoint.
    batch_size, never_learned: as of the other scores.
  """

  NAME: ClassVar[str] = "barrier_score"

  name: str
  formula: int
  fingerprint: str
  rewind_step: int
  steps: int
  children: int
  noise: NoiseBetween
  label_noise: NoiseSettings
  batch_stats: str
  batch_size: int = 0
  never_learned: str = ""


@dataclasses.dataclass(frozen=True)
class ScoringSettings:
  """A score averaged over `networks` networks; 1 for one from a file.

  Attributes:
    training: the whole of it, beyond what the score itself sees: scores of one
      training are taken in it together.
    noise: on the labels that the networks see.
    parents: the trunk whose children's barriers are the score, and how these
      children are joined.
  """

  score: ScoreSettings | BarrierScoreSettings | ImportSettings
  networks: int
  training: Train | None = None
  noise: NoiseSettings = NO_NOISE
  parents: Any = None


@dataclasses.dataclass(frozen=True)
class NetworkScore(Stage):
  """A score of every training example under one network.

  Its replicates are the networks. Edge: "labels" (that they see; without it
  the data's own). Scores of one training are computed in it together,
  whichever of them are wanted and missing.

  Attributes:
    score: what it is, with as much of the training as it sees.
    training: of the scoring networks, to its end, beyond what the score sees
      of it; None for a score that needs no network.
  """

  NAME = "network_score"

  score: ScoreSettings
  training: Train | None = unhashed(default=None)

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    """Trains each network once, and takes all nodes' scores of it."""
    if self.training is None:
      return {i: _score_artefact(_without_network(context, i)) for i in items}
    nodes = tuple(dict.fromkeys(item.node for item in items))
    networks = list(dict.fromkeys(item.replicate for item in items))
    labels = context.labels(items[0])
    watch = ScoreWatch(context, nodes, self.training, labels)
    what = ", ".join(score_of(node).name for node in nodes)
    noise = nodes[0].edge("labels")
    what += f" with {noise.node.label}" if noise else ""
    runs = [
      start_run(
        context,
        self.training,
        Item(nodes[0], r),
        name=f"scoring network {r} of {what}",
        presented=watch.init_presented(),
      )
      for r in networks
    ]
    trainer = make_trainer(context, self.training, labels=labels, watch=watch)
    trainer.train(runs, self.cost(nodes))
    metrics = trainer.test_metrics(runs)
    outcomes = {}
    for r, run, tested in zip(networks, runs, metrics, strict=True):
      for node in nodes:
        outcomes[Item(node, r)] = _scored(node, run, watch, tested)
    return outcomes

  def check(self, node: Node, context: Context, replicates: int) -> None:
    """Refuses a stream that would see some example too rarely.

    With the last partial batch dropped an epoch leaves examples out.

    Raises:
      ValueError: says how many, and what to change.
    """
    score = self.score
    is_stream = SCORES[score.name].made_from == "stream"
    if not is_stream or score.every or score.training is None:
      return
    stream, num_train = score.training.stream, len(context.dataset.train)
    per_epoch = steps_per_epoch(num_train, stream.batch_size, stream.last_batch)
    for r in range(replicates):
      purpose = f"{score.training.family}data_order"
      words = key_words(context.noise_key(purpose, stream.order, r, 0))
      presented = np.zeros(num_train, np.int64)  # times, by example
      few = num_train  # examples that are presented too rarely so far
      # An epoch at a time: a few of them settle it.
      for start in range(0, score.stop, per_epoch):
        plan = batch_plan(
          np.arange(num_train, dtype=np.int32),
          words,
          start=start,
          stop=min(start + per_epoch, score.stop),
          batch_size=stream.batch_size,
          last_batch=stream.last_batch,
        )
        presented += np.bincount(plan[plan >= 0], minlength=num_train)
        few = int((presented < score.observations).sum())
        if not few:
          break
      if few:
        raise ValueError(
          f"{score.name} needs {score.observations} presentations of every "
          f"example, but {few} have fewer in {score.stop} steps: set "
          "data.last_batch='keep', scores.observe='evaluation' or more "
          "scores.steps"
        )

  def cost(self, nodes: Sequence[Node]) -> int:
    """They share one training."""
    return max(score_of(node).last_step for node in nodes)

  def trains(self) -> tuple[ModelSettings, int] | None:
    return self.training.trains() if self.training else None

  def code(self) -> dict[str, str]:
    name = self.score.name
    score = {f"score {name}": code_hash(SCORES[name])}
    return score | (model_code(self.training.model) if self.training else {})

  def networks(self, nodes: Sequence[Node]) -> int:
    return 1 if self.training else len(nodes)

  def batch_key(self, node: Node) -> Hashable:
    return self.checkpoint_key(node)

  def checkpoint_key(self, node: Node) -> str:
    """Scores of one training share its checkpoints."""
    if self.training is None:
      return node.key
    edges = {edge.name: edge.identity for edge in node.edges}
    return content_id("scoring", self.training, edges)


@dataclasses.dataclass(frozen=True)
class MeanScore(Stage):
  """A score averaged over networks, and how reliable it is.

  Edges: "networks.0", "networks.1", ...: the score under each of them.

  Attributes:
    score: what they are all of.
  """

  NAME = "mean_score"

  score: ScoreSettings | BarrierScoreSettings

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    score, outcomes = self.score, {}
    for item in items:
      rows = np.stack(
        [
          context.load_arrays(item, edge.name)["scores"]
          for edge in item.node.edges
        ]
      ).astype(np.float64)
      record = {
        "score": score.name,
        "formula": score.formula,
        "larger_is_harder": SCORES[score.name].larger_is_harder,
        "networks": len(rows),
        "bn_mode": "batch" if score.batch_size else "eval",
        "definition": dataclasses.asdict(score),
        "fingerprint": context.dataset.fingerprint,
        "order": "canonical",
        "reliability": reliability(rows),
      }
      values = rows.mean(axis=0).astype(np.float32)
      outcomes[item] = Artefact(record, arrays={"scores": values})
    return outcomes


@dataclasses.dataclass(frozen=True)
class ImportedScore(Stage):
  """A score from a file. No edges."""

  NAME = "imported_score"

  score: ImportSettings

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    content = self.score.content
    record = {
      "score": self.score.name,
      "larger_is_harder": self.score.larger_is_harder,
      "fingerprint": context.dataset.fingerprint,
      "order": "canonical",
      "reliability": [],
      "imported": context.imports.records[content],
    }
    values = context.imports.arrays[content]
    return {i: Artefact(record, arrays={"scores": values}) for i in items}


def mean_score(
  network: Node, score: ScoreSettings | BarrierScoreSettings, networks: int
) -> Node:
  """Returns the node of a score averaged over a node's first replicates."""
  edges = tuple(Edge(f"networks.{r}", network, r) for r in range(networks))
  label = f"{score.name} over {networks} networks"
  return Node(MeanScore(score), edges, label)


def score_of(node: Node) -> ScoreSettings:
  """Returns what a node's `NetworkScore` is a score of."""
  stage = node.stage
  assert isinstance(stage, NetworkScore)
  return stage.score


def _scored(
  node: Node, run: Run, watch: ScoreWatch, metrics: Mapping[str, Any]
) -> Outcome:
  """One score of one network; a later divergence does not touch it."""
  score, step = score_of(node), int(run.state.step)
  if run.failure and score.last_step > step:
    return run.failure
  values = watch.finished(node, run)
  if not _are_scores(values, score):
    return Failure(f"{node.label}: {run.name} gives scores that are no numbers")
  return _score_artefact(values, {"metrics": {"test": metrics}, "step": step})


def _are_scores(values: np.ndarray, score: ScoreSettings) -> bool:
  """Whether all are finite; what was never learned may be infinitely hard."""
  infinite_too = score.never_learned == "inf"
  return bool((np.isfinite(values) | (infinite_too & (values == np.inf))).all())


def _without_network(context: Context, item: Item) -> np.ndarray:
  inputs = context.dataset.train.inputs
  if score_of(item.node).name == "input_norm":
    return np.asarray(
      input_norms(
        jnp.asarray(inputs), mean=context.dataset.mean, std=context.dataset.std
      )
    )
  key = context.key("score_random", item.replicate)
  return np.asarray(jax.random.uniform(key, (len(inputs),)))


def _score_artefact(
  values: np.ndarray, record: dict[str, Any] | None = None
) -> Artefact:
  return Artefact(record or {}, arrays={"scores": np.asarray(values)})
