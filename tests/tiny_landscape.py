"""A tiny study of paths between networks, and NumPy's own account of them."""

import numpy as np

from imp_jax.study import prepare
from tests.tiny import tiny_config

# The smoke configs' data and normalisation are MNIST-1D's; what follows holds
# for any.
ALPHAS = (0.25, 0.5, 0.75)
STEPS, T_R = 5, 1


def connected(**changes):
  """One experiment with two dense children, its numbers far from rounding."""
  settings = dict(
    name="landscape",
    claims__rewinding={"treatments": ()},
    optim__steps=f"{STEPS}step",
    optim__milestones=(),
    optim__learning_rate=1.0,  # so that a few steps lead apart
    pretrain__steps=f"{T_R}step",
    prune__levels=0,
    replicates=1,
    eval__splits=("train", "test"),
    eval__curve_steps=(),
    execution__chunk_steps=2,
    connectivity__children=2,
    connectivity__differ="order",
    connectivity__alphas=ALPHAS,
    experiments=({"name": "all"},),
  )
  return settings | changes


def plan_of(workdir, **changes):
  return prepare(tiny_config(**changes), str(workdir))


def children_of(plan, *, replicate=0, level=0, experiment="all"):
  """Stored artefacts of a ticket's children, child 0 first."""
  pairs = [
    v.node
    for v in plan.views
    if (v.experiment, v.kind, v.level) == (experiment, "children", level)
  ]
  nodes = [pairs[0].edge("a").node]
  nodes += [
    v.node.edge("b").node
    for v in plan.views
    if (v.experiment, v.kind, v.level) == (experiment, "children", level)
    and v.between.startswith("0-")
  ]
  seed = plan.study.seed
  return [plan.store.load(n.object_id(seed, replicate)) for n in nodes]


def blend(a, b, alpha):
  """(1 - alpha) a + alpha b of nested dicts, in float64."""
  if isinstance(a, dict):
    assert a.keys() == b.keys()
    return {key: blend(a[key], b[key], alpha) for key in a}
  a, b = (np.asarray(x, np.float64) for x in (a, b))
  return a + alpha * (b - a)


def cross_entropy(logits, label):
  """One example's, in nats."""
  top = max(logits)
  return top + np.log(sum(np.exp(z - top) for z in logits)) - logits[label]


def conv1d_logits(params, stats, x, record=None):
  """The 1-D convolutional network in float64.

  Args:
    params, stats: nested dicts.
    x: normalised signals [batch, length].
    record: None for evaluation mode; a dict is filled with each layer's batch
      mean and unbiased variance, and the batch is normalised by its own.
  """
  h = np.asarray(x, np.float64)[..., None]
  for i in (1, 2, 3):
    kernel = np.asarray(params[f"conv{i}"]["kernel"], np.float64)
    padded = np.pad(h, ((0, 0), (2, 2), (0, 0)))
    h = np.stack(
      [
        np.einsum("bki,kio->bo", padded[:, t : t + 5], kernel)
        for t in range(0, h.shape[1], 2)
      ],
      axis=1,
    )
    norm = {k: np.asarray(v, np.float64) for k, v in params[f"norm{i}"].items()}
    if record is None:
      mean, var = (
        np.asarray(stats[f"norm{i}"][k], np.float64) for k in ("mean", "var")
      )
    else:
      count = h.shape[0] * h.shape[1]
      mean, var = h.mean(axis=(0, 1)), h.var(axis=(0, 1))
      record[f"norm{i}"] = {"mean": mean, "var": var * count / (count - 1)}
    h = (h - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]
    h = np.maximum(h, 0)
  head = {k: np.asarray(v, np.float64) for k, v in params["head"].items()}
  return h.reshape(len(h), -1) @ head["kernel"] + head["bias"]


def recomputed(params, x, batch_size):
  """BatchNorm's statistics anew: means over whole batches, the rest unused."""
  records = []
  for start in range(0, len(x) - batch_size + 1, batch_size):
    record = {}
    conv1d_logits(params, None, x[start : start + batch_size], record)
    records.append(record)
  return {
    layer: {
      name: np.mean([r[layer][name] for r in records], axis=0)
      for name in ("mean", "var")
    }
    for layer in records[0]
  }


def losses_and_hits(params, stats, x, labels):
  """Each example's cross-entropy and whether its prediction is right."""
  logits = conv1d_logits(params, stats, x)
  found = [
    (cross_entropy(z, y), max(range(len(z)), key=z.__getitem__) == y)
    for z, y in zip(logits.tolist(), np.asarray(labels).tolist(), strict=True)
  ]
  return tuple(np.array(column) for column in zip(*found, strict=True))


def looked_at(**changes):
  """Two replicates, two levels, and everything there is to look at."""
  settings = connected(
    replicates=2,
    prune__levels=2,
    connectivity__levels=(0, 1),
    connectivity__successive=True,
    connectivity__batch_stats=("average", "recompute", "endpoint"),
    connectivity__recompute_batches=2,
    curvature__levels=(2,),
    curvature__matrices=("hessian",),
    curvature__examples=20,
    curvature__lanczos_steps=30,
    curvature__eigenvalues=2,
    curvature__probes=2,
    curvature__layers=True,
    planes__through=("children", "levels"),
    planes__levels=(0, 1, 2),
    planes__points=3,
    planes__margin=0.0,
    planes__examples=40,
    planes__snapshots=3,
    planes__recompute_batches=2,
  )
  return settings | changes
