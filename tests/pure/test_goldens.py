"""Flax networks against PyTorch's: logits, loss, gradients, running statistics.

The goldens come from `goldens/make_goldens.py`, an implementation of its own.
They are float64 results, so a deviation is the rounding of our float32 alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves, nested_leaves
from imp_jax.models import make_model
from imp_jax.training.step import metric_sums
from tests.goldens import weights
from tests.kinds import TRAINED
from tests.places import GOLDENS

pytestmark = pytest.mark.slow

WIDTHS = {"resnet20": 1, "vgg16": 0.125}
BATCH, CLASSES = (4, 32, 32, 3), 10

# Relative deviations, three times the largest measured on a CPU (beside them).
LOGITS_TOLERANCE = 1e-5  # 3.3e-6, of the largest logit; vgg16 in training
LOSS_TOLERANCE = 1e-6  # 2.7e-7
STATS_TOLERANCE = 1e-6  # 2.9e-7, of the largest entry of a leaf
GRADS_TOLERANCE = 2e-5  # 6.6e-6, of the norm of a leaf or its entries


def _golden(tree):
  """Returns the tree with every leaf replaced by the one both sides draw."""
  return nested_leaves(
    {
      path: jnp.asarray(weights.golden_leaf(path, leaf.shape))
      for path, leaf in flat_leaves(tree).items()
    }
  )


def _compute(name: str, conv: str, padding: int = 0) -> dict:
  """Returns what the goldens hold, of our model.

  Args:
    name: of the model.
    conv: kind of convolution.
    padding: examples of nonsense added to the batch, with weight 0.
  """
  model = make_model(
    name,
    num_classes=CLASSES,
    input_shape=BATCH[1:],
    width=WIDTHS[name],
    conv=conv,
  )
  params, stats = map(_golden, jax.eval_shape(model.init, jax.random.key(0)))
  inputs, labels = weights.golden_batch(BATCH, CLASSES)
  mask = None
  if padding:
    nonsense = np.full((padding, *BATCH[1:]), 7, np.float32)
    inputs = np.concatenate([inputs, nonsense])
    labels = np.concatenate([labels, np.zeros(padding, np.int32)])
    mask = (jnp.arange(len(inputs)) < BATCH[0]).astype(jnp.float32)

  @jax.jit
  def run(params, stats, inputs, labels, mask):
    def loss_fn(params):
      logits, new = model.apply_train(params, stats, inputs, mask)
      sums = metric_sums(logits, labels, mask)
      return sums["loss"] / sums["count"], (logits, new)

    (loss, (logits, new)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      params
    )
    return {
      "eval_logits": model.apply(params, stats, inputs)[: BATCH[0]],
      "train_logits": logits[: BATCH[0]],
      "loss": loss,
      "grads": flat_leaves(grads),
      "stats": flat_leaves(new),
    }

  # An accelerator may multiply in less than float32 unless told otherwise.
  with jax.default_matmul_precision("highest"):
    return jax.device_get(
      run(params, stats, jnp.asarray(inputs), jnp.asarray(labels), mask)
    )


@pytest.fixture(
  scope="module",
  params=[
    (name, conv, padding)
    for name in WIDTHS
    for conv, padding in (("plain", 2), *((kind, 0) for kind in TRAINED))
  ],
  ids=lambda p: f"{p[0]}-{p[1]}" + ("-padded" if p[2] else ""),
)
def case(request):
  """Returns (ours, goldens) of one model and one way to run it."""
  name, conv, padding = request.param
  with np.load(GOLDENS / "models.npz") as file:
    goldens = {
      key.removeprefix(f"{name}/"): file[key]
      for key in file.files
      if key.startswith(f"{name}/")
    }
  return _compute(name, conv, padding), goldens


def _split(goldens: dict, kind: str, values: np.ndarray, sizes) -> dict:
  """Returns {path: its part of concatenated values}."""
  parts = np.split(values, np.cumsum(sizes)[:-1])
  return dict(zip(goldens[f"{kind}_paths"].tolist(), parts, strict=True))


def _deviation(ours, golden) -> float:
  return float(np.max(np.abs(ours - golden)) / np.max(np.abs(golden)))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_logits(case, mode):
  ours, goldens = case
  golden = goldens[f"{mode}_logits"]
  assert ours[f"{mode}_logits"].shape == golden.shape
  assert _deviation(ours[f"{mode}_logits"], golden) < LOGITS_TOLERANCE


def test_loss(case):
  ours, goldens = case
  assert _deviation(ours["loss"], goldens["loss"]) < LOSS_TOLERANCE


def test_leaves_are_the_same(case):
  ours, goldens = case
  for ours_kind, kind in (("grads", "grad"), ("stats", "stats")):
    sizes = {path: leaf.size for path, leaf in ours[ours_kind].items()}
    golden_sizes = goldens[f"{kind}_sizes"].tolist()
    golden_paths = goldens[f"{kind}_paths"].tolist()
    assert sizes == dict(zip(golden_paths, golden_sizes, strict=True))


def test_gradients(case):
  ours, goldens = case
  entries = {
    path: weights.golden_entries(path, leaf)
    for path, leaf in ours["grads"].items()
  }
  golden_entries = _split(
    goldens,
    "grad",
    goldens["grad_entries"],
    [e.size for e in entries.values()],
  )
  norms = dict(
    zip(goldens["grad_paths"].tolist(), goldens["grad_norms"], strict=True)
  )
  deviations = {}
  for path, leaf in ours["grads"].items():
    norm = float(np.linalg.norm(leaf.astype(np.float64)))
    difference = np.linalg.norm(entries[path] - golden_entries[path])
    deviations[path] = max(
      abs(norm / norms[path] - 1),
      # Of a large leaf only some entries are known, against their own norm.
      difference / np.linalg.norm(golden_entries[path]),
    )
  worst = max(deviations, key=lambda path: deviations[path])
  assert deviations[worst] < GRADS_TOLERANCE, worst


def test_running_statistics(case):
  ours, goldens = case
  golden = _split(goldens, "stats", goldens["stats"], goldens["stats_sizes"])
  deviations = {
    path: _deviation(leaf, golden[path]) for path, leaf in ours["stats"].items()
  }
  worst = max(deviations, key=lambda path: deviations[path])
  assert deviations[worst] < STATS_TOLERANCE, worst


def test_the_file_stays_small():
  assert (GOLDENS / "models.npz").stat().st_size <= 200_000
