"""Studies whose levels are trained on examples made from the data."""

import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves
from imp_jax.data.dataset import make_dataset
from imp_jax.engine.context import Stopped
from imp_jax.study import execute, prepare
from tests.tiny import Log, changed_config, run_tiny, tiny_config

FIELDS = dict(
  replicates=2,
  model__name="lenet300100",
  model__width=0.05,
  optim__steps="6step",
  optim__learning_rate=0.2,
  optim__milestones=(),
  eval__curve_steps=(),
  claims__rewinding={"treatments": ()},
  prune__levels=1,
  prune__fraction=0.5,
  prune__rule="exact",
  train__made__per_class=2,
  train__made__networks=3,
  train__made__matchings=2,
  train__made__network_steps=1,
  train__made__batch_size=3,
)
KINDS = ("gaussian", "gaussian_teacher", "class_means", "distilled")
EXPERIMENTS = (
  {"name": "plain", "pretrain.steps": "1step"},
  *(
    {"name": kind, "pretrain.steps": "1step", "train.made.kind": kind}
    for kind in KINDS
  ),
  {
    "name": "report",
    "pretrain.steps": "1step",
    "prune.masks_of": "distilled",
  },
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def study(workdir):
  results, log = run_tiny(workdir, **FIELDS, experiments=EXPERIMENTS)
  assert not results.has_failures and not log.warnings
  assert log.done == log.total
  plan = prepare(tiny_config(**FIELDS, experiments=EXPERIMENTS), str(workdir))
  return results, plan


def made(plan, kind, replicate):
  node = next(n for n in plan.nodes if n.label == f"{kind} examples ({kind})")
  return plan.store.load(node.object_id(plan.study.seed, replicate))


def test_levels_see_what_was_made_and_nothing_else(study):
  results, plan = study
  records = {
    (entry.experiment, entry.level): trained
    for entry, trained, *_ in results.tables.records
    if entry.replicate == 1
  }
  for kind in ("class_means", "distilled"):
    for level in (0, 1):
      assert records[kind, level]["examples"] == 20
      assert records[kind, level]["class_counts"] == [2] * 10
  assert (
    records["gaussian", 1]["class_counts"]
    == (records["plain", 1]["class_counts"])
  )
  assert records["report", 1]["examples"] == len(plan.dataset.train)
  for kind in KINDS:  # none is trained as on the data
    one, other = (
      flat_leaves(results.ticket(name, replicate=1, level=0).trained_params)
      for name in (kind, "plain")
    )
    assert max(abs(one[p] - other[p]).max() for p in one) > 1e-3
  # One W_r, and masks of the search.
  one, other = (
    flat_leaves(results.ticket(name, level=0).params)
    for name in ("plain", "report")
  )
  assert all((one[p] == other[p]).all() for p in one)
  one, other = (
    flat_leaves(results.ticket(name, level=1).masks)
    for name in ("distilled", "report")
  )
  assert all((one[p] == other[p]).all() for p in one)


def test_each_replicate_has_its_own(study):
  _, plan = study
  for kind in KINDS:
    one, other = (made(plan, kind, r).arrays for r in (0, 1))
    assert one["inputs"].shape == other["inputs"].shape
    assert abs(one["inputs"] - other["inputs"]).max() > 1e-3
  train = plan.dataset.train
  inputs, labels = np.asarray(train.inputs), np.asarray(train.labels)
  found = made(plan, "class_means", 0).arrays
  for c in range(10):  # parts of a class of n have n // 2 and the rest
    own = inputs[labels == c].astype(float)
    sizes = [-(-len(own) // 2), len(own) // 2]
    np.testing.assert_allclose(
      sizes @ found["inputs"][found["labels"] == c], own.sum(axis=0), atol=1e-4
    )
  record = made(plan, "distilled", 0).record
  assert len(record["distances"]) == 3 and min(record["distances"]) > 0


def test_the_teacher_is_the_network_that_saw_the_data(study):
  results, plan = study
  found = made(plan, "gaussian_teacher", 1).arrays
  ticket = results.ticket("plain", replicate=1, level=0)
  params = {
    path: np.asarray(leaf, np.float64)
    for path, leaf in flat_leaves(ticket.trained_params).items()
  }
  x = (found["inputs"] - plan.dataset.mean[0]) / plan.dataset.std[0]
  for layer in ("hidden1", "hidden2", "head"):
    x = x @ params[f"{layer}/kernel"] + params[f"{layer}/bias"]
    x = x if layer == "head" else np.maximum(x, 0)
  ordered = np.sort(x, axis=1)
  sure = (
    ordered[:, -1] - ordered[:, -2] > 1e-4
  )  # of which rounding says nothing
  assert sure.mean() > 0.9
  assert (x.argmax(axis=1) == found["labels"])[sure].all()


@pytest.mark.parametrize("mode", ["vmap", "map"])
def test_a_replicate_is_the_same_alone_and_in_company(study, mode, tmp_path):
  """Of made sets, and of what is trained on them."""
  results, _ = study
  own = {"execution__mode": mode} | FIELDS
  alone, _ = run_tiny(
    tmp_path,
    **(own | dict(replicates=1)),
    experiments=tuple(
      e for e in EXPERIMENTS if e["name"] in ("distilled", "class_means")
    ),
  )
  for name in ("distilled", "class_means"):
    one, other = (
      flat_leaves(r.ticket(name, replicate=0, level=1).trained_params)
      for r in (results, alone)
    )
    for path in one:
      np.testing.assert_allclose(one[path], other[path], rtol=1e-4, atol=1e-5)


def test_each_replicate_is_trained_on_its_own(tmp_path):
  """As if they were in a file; whole batches, so that no order is left."""
  own = FIELDS | dict(data__batch_size=32)
  experiment = dict(EXPERIMENTS[3])
  results, _ = run_tiny(tmp_path / "a", **own, experiments=(experiment,))
  plan = prepare(
    tiny_config(**own, experiments=(experiment,)), str(tmp_path / "a")
  )
  arrays = made(plan, "class_means", 1).arrays
  file = str(tmp_path / "ones.npz")
  np.savez(file, train_image=arrays["inputs"], train_label=arrays["labels"])
  there = {"name": "there", "pretrain.steps": "1step", "train.file": file}
  others, _ = run_tiny(tmp_path / "b", **own, experiments=(there,))
  for replicate in (0, 1):
    one, other = (
      flat_leaves(r.ticket(name, replicate=replicate, level=1).trained_params)
      for r, name in ((results, "class_means"), (others, "there"))
    )
    apart = max(abs(one[p] - other[p]).max() for p in one)
    assert apart < 1e-5 if replicate else apart > 1e-2
  node = next(n for n in plan.nodes if n.label == "class_means level 1")
  stored = plan.store.load(node.object_id(plan.study.seed, 1))
  assert "keep_index" not in (stored.arrays or {})  # positions of no data


class Asked(Log):
  """Is asked to end after so many steps."""

  def __init__(self, after):
    super().__init__()
    self.after = after

  def stop(self):
    return "SIGTERM" if self.done >= self.after else None


@pytest.mark.parametrize("seconds", [0.0, 600.0])
def test_distilling_goes_on_where_it_was_ended(seconds, tmp_path):
  """Both replicates make two steps in each of three networks."""
  own = FIELDS | dict(execution__checkpoint_seconds=seconds)
  experiment = {"name": "distilled", "train.made.kind": "distilled"}
  config = tiny_config(**own, experiments=(experiment,))
  execute(prepare(config, str(tmp_path / "whole")), whole := Log())
  with pytest.raises(Stopped):
    execute(prepare(config, str(tmp_path / "cut")), Asked(8))
  kept = [
    step.name
    for folder in (tmp_path / "cut" / "checkpoints").iterdir()
    for step in folder.iterdir()
  ]
  assert kept == ["000000002"] * 2
  execute(prepare(config, str(tmp_path / "cut")), log := Log())
  assert log.done == log.total == whole.total
  one, other = (
    made(prepare(config, str(tmp_path / name)), "distilled", 1)
    for name in ("whole", "cut")
  )
  assert one.record["distances"] == other.record["distances"]
  assert (one.arrays["inputs"] == other.arrays["inputs"]).all()


def test_a_control_sees_what_its_ticket_sees(tmp_path):
  """Gradual pruning has parts of its own: made examples, labels, scores."""
  seen = {
    "made": {"train.made.kind": "class_means"},
    "noisy": {"train.noise.fraction": 0.5},
    "easy": {
      "train.subset.kind": "easy",
      "train.subset.size": 30,
      "train.subset.score": "input_norm",
    },
  }
  results, _ = run_tiny(
    tmp_path,
    **FIELDS,
    controls__kinds=("gradual", "reinit"),
    controls__levels=(1,),
    controls__prunings=2,
    experiments=tuple(
      {"name": name, "pretrain.steps": "1step", **fields}
      for name, fields in seen.items()
    ),
  )
  assert not results.has_failures
  found = {
    (entry.experiment, entry.kind): (
      trained["class_counts"],
      trained["changed_labels"],
    )
    for entry, trained, *_ in results.tables.records
    if entry.level == 1 and entry.replicate == 1
  }
  assert found["made", "imp"] == ([2] * 10, 0)
  assert found["noisy", "imp"][1] > 10
  for name in seen:
    for kind in ("gradual", "reinit"):
      assert found[name, kind] == found[name, "imp"]


def test_what_has_no_use_makes_no_other_examples(tmp_path):
  """Options of distillation change nothing of a Gaussian twin."""
  plans = [
    prepare(
      tiny_config(
        **(FIELDS | changes), experiments=(EXPERIMENTS[i], EXPERIMENTS[0])
      ),
      str(tmp_path / "w"),
    )
    for i in (1, 2, 3)
    for changes in ({}, {"train__made__networks": 9})
  ]
  for one, other in zip(plans[::2], plans[1::2], strict=True):
    assert set(one.nodes) == set(other.nodes)


@pytest.mark.parametrize(
  "changes,message",
  [
    (
      {"train.made.kind": "distilled", "train.subset.kind": "random"},
      "goes with train.subset.kind='all' and no train.noise",
    ),
    (
      {"train.made.kind": "gaussian", "train.noise.fraction": 0.5},
      "goes with train.subset.kind='all' and no train.noise",
    ),
    (
      {"train.made.kind": "class_means", "train.made.per_class": 9},
      "needs train.made.per_class=9 training .*, but the rarest has [1-8]$",
    ),
    (
      {"train.made.kind": "gaussian", "prune.criterion": "snip"},
      "looks at the training data, all of them",
    ),
    (
      {"train.made.kind": "smooth"},
      "unknown train.made.kind .smooth.; known: .*gaussian",
    ),
    (
      {"train.made.kind": "distilled", "train.made.learning_rate": 0.0},
      "train.made.learning_rate must be > 0",
    ),
    (
      {"train.made.kind": "distilled", "train.file": "some.npz"},
      "train.file goes with no train.made",
    ),
  ],
)
def test_what_cannot_be_made_is_refused(changes, message, tmp_path):
  experiment = {"name": "a", "pretrain.steps": "1step", **changes}
  if "train.subset.kind" in changes:
    experiment["train.subset.size"] = 20
  config = tiny_config(**FIELDS, experiments=(experiment,))
  with pytest.raises(ValueError, match=message):
    prepare(config, str(tmp_path / "new"))
  assert not (tmp_path / "new").exists()


def test_images_are_no_signals(tmp_path):
  rng = np.random.default_rng(0)
  arrays = {
    split: (
      rng.integers(0, 255, (40, 8, 8, 3), dtype=np.uint8),
      np.arange(40) % 4,
    )
    for split in ("train", "test")
  }
  path = tmp_path / "images.npz"
  np.savez(
    path,
    **{
      f"{split}_{what}": array
      for split, pair in arrays.items()
      for what, array in zip(("image", "label"), pair, strict=True)
    },
  )
  config = changed_config(
    tiny_config(**FIELDS),
    dict(
      data__source="npz",
      data__path=str(path),
      data__test_examples=None,
      train__made__kind="class_means",
    ),
  )
  assert make_dataset("images", arrays).input_shape == (8, 8, 3)
  with pytest.raises(ValueError, match="makes signals; the data's inputs are"):
    prepare(config, str(tmp_path / "new"))


def test_examples_that_diverge_are_a_failure_that_says_so(tmp_path):
  results, _ = run_tiny(
    tmp_path,
    **(FIELDS | dict(train__made__learning_rate=1e30)),
    experiments=(EXPERIMENTS[4], EXPERIMENTS[0]),
  )
  assert results.has_failures
  assert set(results.tables.get("results")["experiment"]) == {"plain"}
  (file,) = tmp_path.rglob("failures.txt")
  assert "lower train.made.learning_rate" in file.read_text()
