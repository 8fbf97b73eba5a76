"""The stages that score the training examples."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from imp_jax.data.batches import batch_plan, steps_per_epoch
from imp_jax.keys import key_words
from imp_jax.nodes import ImportedScores, Node, Scores, checkpoint_id
from imp_jax.runs import Failure, Trainer
from imp_jax.scores import SCORES, input_norms, reliability
from imp_jax.settings import ScoreSettings
from imp_jax.stages.context import Context, Outcome, noise_key
from imp_jax.stages.networks import init_state, make_run
from imp_jax.stages.score_watch import ScoreWatch
from imp_jax.store import Artefact

SCORING = "score_"  # the scoring networks' keys are no replicate's


def run_score(
  context: Context, nodes: Sequence[Node], networks: Sequence[int]
) -> dict[tuple[Node, int], Outcome]:
  """Computes scores of one recipe in one training of each network."""
  training = nodes[0].recipe
  if training is None:
    return {
      (node, r): _score_artefact(_without_network(context, node, r))
      for node in nodes
      for r in networks
    }
  model = context.model(training.model)
  labels = context.train_labels(training.noise)
  watch = ScoreWatch(context, tuple(nodes), labels)
  scores: list[ScoreSettings] = [node.settings.score for node in nodes]
  what = ", ".join(score.name for score in scores)
  what += f" with {training.noise.name}" if training.noise.name else ""
  runs = [
    make_run(
      context,
      f"scoring network {r} of {what}",
      training.stream,
      r,
      state=init_state(model, context.key("score_init", r)).replace(
        watched=watch.init_presented()
      ),
      checkpoint=checkpoint_id(nodes[0], context.seed, r),
      purpose=SCORING,
    )
    for r in networks
  ]
  trainer = Trainer(
    model=model,
    dataset=context.dataset,
    stream=training.stream,
    optim=training.optim,
    curve_steps=(),
    execution=context.execution,
    progress=context.progress,
    labels=labels,
    watch=watch,
  )
  trainer.train(runs, max(score.last_step for score in scores))
  metrics = trainer.test_metrics(runs)
  return {
    (node, r): _scored(node, run, watch, found)
    for r, run, found in zip(networks, runs, metrics, strict=True)
    for node in nodes
  }


def _scored(node, run, watch, metrics) -> Outcome:
  """One score of one network; a later divergence does not touch it."""
  score, step = node.settings.score, int(run.state.step)
  if run.failure and score.last_step > step:
    return run.failure
  values = watch.finished(node, run)
  if not _are_scores(values, score):
    return Failure(f"{node.label}: {run.name} gives scores that are no numbers")
  return _score_artefact(values, {"metrics": {"test": metrics}, "step": step})


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
    "order": "canonical",
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
    "order": "canonical",
    "reliability": [],
    "imported": context.imports.records[settings.score.content],
  }
  values = context.imports.arrays[settings.score.content]
  return {r: Artefact(record, arrays={"scores": values}) for r in replicates}


def check_presentations(
  node: Node, seed: int, networks: int, num_train: int
) -> None:
  """Refuses a stream that would see some example too rarely.

  With the last partial batch dropped an epoch leaves examples out.

  Raises:
    ValueError: says how many, and what to change.
  """
  score: ScoreSettings = node.settings.score
  is_stream = SCORES[score.name].made_from == "stream"
  if not is_stream or score.every or score.training is None:
    return
  stream = score.training.stream
  per_epoch = steps_per_epoch(num_train, stream.batch_size, stream.last_batch)
  for r in range(networks):
    words = key_words(
      noise_key(seed, f"{SCORING}data_order", stream.order, r, 0)
    )
    seen = np.zeros(num_train, np.int64)
    # An epoch at a time, since a few tell.
    for start in range(0, score.stop, per_epoch):
      plan = batch_plan(
        np.arange(num_train, dtype=np.int32),
        words,
        start=start,
        stop=min(start + per_epoch, score.stop),
        batch_size=stream.batch_size,
        last_batch=stream.last_batch,
      )
      seen += np.bincount(plan[plan >= 0], minlength=num_train)
      if (few := int((seen < score.observations).sum())) == 0:
        break
    else:
      raise ValueError(
        f"{score.name} needs {score.observations} presentations of every "
        f"example, but {few} have fewer in {score.stop} steps: set "
        "data.last_batch='keep', scores.observe='evaluation' or more "
        "scores.steps"
      )


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
