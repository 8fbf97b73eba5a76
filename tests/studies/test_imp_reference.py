"""The whole IMP loop against a NumPy reference written from the paper.

A two-hidden-layer network in float64, with its own forward and backward
passes, momentum, pruning rule and rewinding. It shares with the product only
the initial weights, the data and the order of batches.
"""

import jax
import numpy as np
import pytest

from imp_jax.core.keys import key_words, named_key
from imp_jax.core.masks import flat_leaves
from imp_jax.data.batches import batch_plan
from imp_jax.data.subsets import keep_indices
from imp_jax.models.settings import model_of
from imp_jax.study import execute, prepare
from tests.tiny import Log, tiny_config

STEPS, REWIND, LEVELS = 12, 3, 3
LR, MOMENTUM, DECAY, MILESTONE = 0.05, 0.9, 1e-2, 8
LAYERS = ("hidden1", "hidden2", "head")


def softmax(z):
  e = np.exp(z - z.max(1, keepdims=True))
  return e / e.sum(1, keepdims=True)


def gradients(w, x, y):
  """Of the mean cross-entropy; w = {"layer/kernel", "layer/bias"}."""
  activations = [x]
  for name in LAYERS:
    z = activations[-1] @ w[f"{name}/kernel"] + w[f"{name}/bias"]
    activations.append(np.maximum(z, 0) if name != "head" else z)
  delta = softmax(activations[-1])
  delta[np.arange(len(y)), y] -= 1
  delta /= len(y)
  grads = {}
  for i, name in reversed(list(enumerate(LAYERS))):
    grads[f"{name}/kernel"] = activations[i].T @ delta
    grads[f"{name}/bias"] = delta.sum(0)
    delta = (delta @ w[f"{name}/kernel"].T) * (activations[i] > 0)
  return grads


def train(w, masks, x, y, plan, start, stop, moved=None):
  """SGD with momentum from zero; milestones by absolute step.

  Adds -w dL/dw of each step to what is moved.
  """
  w = {k: v * masks.get(k, 1) for k, v in w.items()}
  velocity = {k: np.zeros_like(v) for k, v in w.items()}
  for step in range(start, stop):
    batch = plan[step]
    rate = LR * (0.1 if step >= MILESTONE else 1)
    for k, g in gradients(w, x[batch], y[batch]).items():
      if moved and k in moved:
        moved[k] -= w[k] * g
      velocity[k] = MOMENTUM * velocity[k] + g + DECAY * w[k]
      w[k] = (w[k] - rate * velocity[k]) * masks.get(k, 1)
  return w


def prune(weights, masks):
  """By magnitude, or whatever is in the weights' place."""
  return prune_by({k: np.abs(v) for k, v in weights.items()}, masks)


def prune_by(scores, masks):
  """q = ceil(n / 5); survivors strictly above the q-th smallest stay."""
  kernels = [k for k in scores if k.endswith("kernel")]
  survivors = np.sort(
    np.concatenate([scores[k][masks[k] > 0] for k in kernels])
  )
  threshold = survivors[-(-len(survivors) // 5)]
  return {k: masks[k] * (scores[k] > threshold) for k in kernels}


def drawn_weights(root, study, data, replicate):
  """The product's initial weights, in float64."""
  model = model_of(study.experiments[0].trunk.model, data.input_shape, "plain")
  params, _ = jax.jit(model.init)(named_key(root, "init", replicate))
  return {k: np.asarray(v, np.float64) for k, v in flat_leaves(params).items()}


def normalised_examples(data):
  x = (np.asarray(data.train.inputs, np.float64) - data.mean[0]) / data.std[0]
  return x, np.asarray(data.train.labels)


def test_the_whole_loop_matches(tmp_path):
  config = tiny_config(
    name="reference",
    seed=3,
    model__name="lenet300100",
    model__width=0.05,
    prune__levels=LEVELS,
    eval__curve_steps=(),
    experiments=({"name": "imp", "pretrain.steps": f"{REWIND}step"},),
  )
  config.optim.update(
    steps=f"{STEPS}step",
    learning_rate=LR,
    momentum=MOMENTUM,
    weight_decay=DECAY,
    milestones=(f"{MILESTONE}step",),
  )
  config.claims.rewinding.treatments = ()
  config.execution.chunk_steps = 5  # a run is cut where nothing else happens
  plan = prepare(config, str(tmp_path))
  results = execute(plan, Log())

  data = plan.dataset
  x, y = normalised_examples(data)
  root = jax.random.key(3)
  for r in range(2):
    w = drawn_weights(root, plan.study, data, r)
    words = key_words(named_key(root, "data_order", r))
    batches = batch_plan(
      np.arange(len(y)),
      words,
      start=0,
      stop=STEPS,
      batch_size=16,
      last_batch="drop",
    )
    ones = {k: np.ones_like(v) for k, v in w.items() if k.endswith("kernel")}
    rewound = train(w, ones, x, y, batches, 0, REWIND)
    masks = ones
    for level in range(LEVELS + 1):
      final = train(rewound, masks, x, y, batches, REWIND, STEPS)
      ticket = results.ticket("imp", level=level, replicate=r)
      got_masks = flat_leaves(ticket.masks)
      for k, mask in masks.items():
        np.testing.assert_array_equal(got_masks[k], mask > 0)
      for k, v in flat_leaves(ticket.params).items():
        np.testing.assert_allclose(
          v, rewound[k] * masks.get(k, 1), rtol=1e-5, atol=1e-6
        )
      # float32 against float64 over 12 steps.
      for k, v in flat_leaves(ticket.trained_params).items():
        np.testing.assert_allclose(v, final[k], rtol=1e-4, atol=1e-5)
      masks = prune(final, masks)


@pytest.mark.parametrize("rewind,source", [(0, "rewound"), (REWIND, "trained")])
def test_masks_from_gradients_match(tmp_path, rewind, source):
  """SNIP in rounds, at initialisation or on trained weights: |w dL/dw|."""
  config = tiny_config(
    name="snip",
    seed=3,
    model__name="lenet300100",
    model__width=0.05,
    prune__levels=LEVELS,
    prune__criterion="snip",
    prune__source=source,
    optim__steps=f"{STEPS}step",
    prune__examples_per_class=3,
    claims__rewinding={"treatments": ()},
    experiments=({"name": "snip", "pretrain.steps": f"{rewind}step"},),
  )
  plan = prepare(config, str(tmp_path))
  results = execute(plan, Log())
  data, root = plan.dataset, jax.random.key(3)
  x, y = normalised_examples(data)
  for r in range(2):
    drawn = drawn_weights(root, plan.study, data, r)
    masks = {k: np.ones_like(v) for k, v in drawn.items() if "kernel" in k}
    for level in range(1, LEVELS + 1):
      w = drawn
      if source == "trained":
        before = results.ticket("snip", level=level - 1, replicate=r)
        w = {
          k: np.asarray(v, np.float64)
          for k, v in flat_leaves(before.trained_params).items()
        }
      w = {k: v * masks.get(k, 1) for k, v in w.items()}
      seen = keep_indices(
        "random",
        y,
        size=30,
        num_classes=10,
        balanced=True,
        tie_words=(),
        draw_words=key_words(named_key(root, "prune_examples", r, level)),
      )
      assert np.bincount(y[seen]).tolist() == [3] * 10
      grads = gradients(w, x[seen], y[seen])
      masks = prune({k: w[k] * g for k, g in grads.items()}, masks)
      ticket = results.ticket("snip", level=level, replicate=r)
      for k, mask in masks.items():
        np.testing.assert_array_equal(flat_leaves(ticket.masks)[k], mask > 0)


def test_masks_from_what_training_moved_match(tmp_path):
  """Sanh's movement: -w g summed over each level's steps, decay left out."""
  config = tiny_config(
    name="moved",
    seed=3,
    model__name="lenet300100",
    model__width=0.05,
    prune__levels=LEVELS,
    prune__criterion="sanh_movement",
    eval__curve_steps=(),
    claims__rewinding={"treatments": ()},
    experiments=({"name": "imp", "pretrain.steps": f"{REWIND}step"},),
  )
  config.optim.update(
    steps=f"{STEPS}step",
    learning_rate=LR,
    momentum=MOMENTUM,
    weight_decay=DECAY,
    milestones=(f"{MILESTONE}step",),
  )
  config.execution.chunk_steps = 5
  plan = prepare(config, str(tmp_path))
  results = execute(plan, Log())
  x, y = normalised_examples(plan.dataset)
  root = jax.random.key(3)
  for r in range(2):
    w = drawn_weights(root, plan.study, plan.dataset, r)
    words = key_words(named_key(root, "data_order", r))
    batches = batch_plan(
      np.arange(len(y)),
      words,
      start=0,
      stop=STEPS,
      batch_size=16,
      last_batch="drop",
    )
    masks = {k: np.ones_like(v) for k, v in w.items() if k.endswith("kernel")}
    rewound = train(w, masks, x, y, batches, 0, REWIND)
    for level in range(1, LEVELS + 1):
      moved = {k: np.zeros_like(v) for k, v in masks.items()}
      train(rewound, masks, x, y, batches, REWIND, STEPS, moved)
      ticket = results.ticket("imp", level=level, replicate=r)
      masks = prune_by(moved, masks)
      for k, mask in masks.items():
        np.testing.assert_array_equal(flat_leaves(ticket.masks)[k], mask > 0)


@pytest.mark.parametrize(
  ("criterion", "score"),
  [
    ("magnitude_increase", lambda w, drawn: np.abs(w) - np.abs(drawn)),
    ("movement", lambda w, drawn: np.abs(w - drawn)),
  ],
)
def test_masks_from_the_initialisation_match(tmp_path, criterion, score):
  """Criteria of what training did to a weight: w and w_0, whatever t_r is."""
  config = tiny_config(
    name="moved",
    seed=3,
    model__name="lenet300100",
    model__width=0.05,
    prune__levels=LEVELS,
    prune__criterion=criterion,
    optim__steps=f"{STEPS}step",
    claims__rewinding={"treatments": ()},
    experiments=({"name": "moved", "pretrain.steps": f"{REWIND}step"},),
  )
  plan = prepare(config, str(tmp_path))
  results = execute(plan, Log())
  root = jax.random.key(3)
  for r in range(2):
    drawn = drawn_weights(root, plan.study, plan.dataset, r)
    masks = {k: np.ones_like(v) for k, v in drawn.items() if "kernel" in k}
    for level in range(1, LEVELS + 1):
      before = results.ticket("moved", level=level - 1, replicate=r)
      trained = flat_leaves(before.trained_params)
      # In float32, as the scores that are compared with each other.
      scores = {
        k: score(np.asarray(trained[k]), np.float32(drawn[k])) for k in masks
      }
      masks = prune_by(scores, masks)
      ticket = results.ticket("moved", level=level, replicate=r)
      for k, mask in masks.items():
        np.testing.assert_array_equal(flat_leaves(ticket.masks)[k], mask > 0)
