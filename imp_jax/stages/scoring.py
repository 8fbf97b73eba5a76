"""The stages that score the training examples."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from imp_jax.data.batches import batch_plan
from imp_jax.nodes import ImportedScores, Node, Scores, checkpoint_id
from imp_jax.runs import Failure, Trainer
from imp_jax.scores import SCORES, input_norms, reliability
from imp_jax.settings import ScoreSettings
from imp_jax.stages.context import Context, Outcome
from imp_jax.stages.networks import init_state, make_run
from imp_jax.stages.score_watch import ScoreWatch
from imp_jax.store import Artefact


def run_score(
  context: Context, nodes: Sequence[Node], networks: Sequence[int]
) -> dict[tuple[Node, int], Outcome]:
  """Computes scores of equal training in one training of each network."""
  scores: list[ScoreSettings] = [node.settings.score for node in nodes]
  training = scores[0].training
  if training is None:
    return {
      (node, r): _score_artefact(_without_network(context, node, r))
      for node in nodes
      for r in networks
    }
  model = context.model(training.model)
  labels = context.train_labels(training.noise)
  watch = ScoreWatch(context, tuple(nodes), labels)
  runs = [
    make_run(
      context,
      f"scoring network {r}",
      training.stream,
      r,
      state=init_state(model, context.key("score_init", r)).replace(
        watched=watch.init_presented()
      ),
      checkpoint=checkpoint_id(nodes, context.seed, r),
      purpose="score_",
    )
    for r in networks
  ]
  outcomes: dict[tuple[Node, int], Outcome] = {}
  for r, run in zip(networks, list(runs), strict=True):
    unseen = _too_rarely_seen(scores, run)
    if unseen:
      failure = Failure(f"{run.name}: {unseen}")
      outcomes |= {(node, r): failure for node in nodes}
      runs.remove(run)
  networks = [r for r in networks if (nodes[0], r) not in outcomes]
  if not runs:
    return outcomes
  trainer = Trainer(
    model=model,
    dataset=context.dataset,
    stream=training.stream,
    optim=training.optim,
    splits=("test",),
    curve_steps=(),
    execution=context.execution,
    progress=context.progress,
    labels=labels,
    watch=watch,
  )
  trainer.train(runs, max(score.last_step for score in scores))
  metrics = trainer.final_metrics(runs)
  for r, run, found in zip(networks, runs, metrics, strict=True):
    for node in nodes:
      if run.failure:
        outcomes[node, r] = run.failure
        continue
      values = watch.finished(node, run)
      outcomes[node, r] = (
        Failure(f"{node.label}: {run.name} gives scores that are no numbers")
        if not _are_scores(values, node.settings.score)
        else _score_artefact(
          values, {"metrics": found, "step": int(run.state.step)}
        )
      )
  return outcomes


def run_scores(context, node, replicates):
  """Averages a score over its networks, and tells how reliable it is."""
  settings: Scores = node.settings
  (source,) = {source for _, source, _ in node.sources(0)}
  score: ScoreSettings = source.settings.score
  rows = np.stack(
    [
      context.store.load(n.object_id(context.seed, r)).arrays["scores"]
      for _, n, r in node.sources(0)
    ]
  ).astype(np.float64)
  record = {
    "score": score.name,
    "formula": score.formula,
    "larger_is_harder": SCORES[score.name].larger_is_harder,
    "networks": settings.networks,
    "bn_mode": "batch" if score.batch_size else "eval",
    "definition": dataclasses.asdict(score),
    "fingerprint": context.dataset.fingerprint,
    "reliability": reliability(rows),
  }
  values = rows.mean(axis=0).astype(np.float32)
  return {r: Artefact(record, arrays={"scores": values}) for r in replicates}


def run_imported(context, node, replicates):
  """Keeps scores that came from a file."""
  settings: ImportedScores = node.settings
  record = {
    "score": settings.score.name,
    "larger_is_harder": settings.score.larger_is_harder,
    "fingerprint": context.dataset.fingerprint,
    "reliability": [],
    "imported": context.imports.records[settings.score.content],
  }
  values = context.imports.arrays[settings.score.content]
  return {r: Artefact(record, arrays={"scores": values}) for r in replicates}


def _too_rarely_seen(scores, run) -> str | None:
  """Why a stream would lack observations: epochs may leave examples out."""
  for score in scores:
    if SCORES[score.name].made_from != "stream" or score.every:
      continue
    stream = score.training.stream
    plan = batch_plan(
      run.keep_index,
      run.order_words,
      start=0,
      stop=score.stop,
      batch_size=stream.batch_size,
      last_batch=stream.last_batch,
    )
    seen = np.bincount(plan[plan >= 0], minlength=len(run.keep_index))
    few = int((seen < score.observations).sum())
    if few:
      return (
        f"{score.name} needs {score.observations} presentations of every "
        f"example, but {few} have fewer in {score.stop} steps: set "
        "data.last_batch='keep', scores.observe='evaluation' or more "
        "scores.steps"
      )
  return None


def _are_scores(values, score) -> bool:
  """Whether all are finite; what was never learned may be infinitely hard."""
  infinite_too = score.never_learned == "inf"
  return bool((np.isfinite(values) | (infinite_too & (values == np.inf))).all())


def _without_network(context, node, network) -> np.ndarray:
  inputs = context.dataset.train.inputs
  if node.settings.score.name == "input_norm":
    return np.asarray(
      input_norms(inputs, mean=context.dataset.mean, std=context.dataset.std)
    )
  key = context.key("score_random", network)
  return np.asarray(jax.random.uniform(key, (len(inputs),)))


def _score_artefact(values, record=None) -> Artefact:
  return Artefact(record or {}, arrays={"scores": np.asarray(values)})
