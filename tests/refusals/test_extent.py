"""Extremes: refused by an estimate before any work, with the reason."""

import pytest

from configs import (
  cifar10_resnet20,
  data_diet_mnist1d,
  landscape_mnist1d,
  mask_data_mnist1d,
)
from imp_jax.study import extent, prepare
from tests.tiny import changed_config, random_dataset, tiny_config

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(monkeypatch, mnist):
  """The same machine wherever the tests run."""
  monkeypatch.setattr(extent, "free_bytes", lambda: 16 * GIB)
  monkeypatch.setattr(extent, "host_free_bytes", lambda: 16 * GIB)
  monkeypatch.setattr(extent, "_disk_bytes", lambda workdir: 500 * GIB)
  monkeypatch.setattr("imp_jax.study.run.load_study_data", lambda *_: mnist)


@pytest.mark.parametrize(
  "changes,message",
  [
    (
      # 8 trainings of 2 experiments: 2 x 3 levels and 2 controls.
      dict(replicates=10**9),
      r"replicates=1000000000 of 2 .* 8e\+09 trainings .* to list them takes "
      "7.45 TiB; this machine has 16 GiB",
    ),
    (
      dict(prune__levels=10**5),
      r"prune.levels of none is 100000, but of its \d+ weights none is left at "
      r"level \d\d: all later",
    ),
    (
      dict(model__width=1e6),
      r"width \(.*\) of 1e\+06 makes a conv1d of 2.56e\+15 weights; to train "
      r"one takes 3.73e\+04 TiB, and 16 GiB",
    ),
    (
      # Two experiments with children, or there would be nothing to resample.
      dict(
        claims__resamples=10**12,
        claims__connected={"level": 1},
        connectivity__children=2,
        connectivity__alphas=(0.5,),
      ),
      "claims.resamples=1000000000000 take 14.6 TiB; this machine has 16 GiB",
    ),
    (
      dict(data__train_examples=4 * 10**12),
      r"data.train_examples=4000000000000 .* signals take 1.46e\+03 TiB",
    ),
    (
      dict(data__test_examples=5 * 10**12),
      r"data.test_examples=5000000000000 signals take 1.46e\+03 TiB",
    ),
    (
      dict(optim__steps="2000000000step", optim__milestones=(), replicates=999),
      r"1.6e\+13 steps in all: at a million steps a second 185 days",
    ),
    (
      dict(replicates=2 * 10**6),
      r"1.6e\+07 trainings .* of artefacts; the disk of workdir .* 500 GiB",
    ),
    (
      dict(connectivity__children=1000, replicates=4000),
      r"4e\+09 paths, planes and curvatures: to list them takes 3.73 TiB",
    ),
    (
      dict(
        curvature__levels=(1,),
        curvature__lanczos_steps=10_000,
        curvature__examples=8,
        model__width=200.0,
      ),
      r"curvature.lanczos_steps=10000 of none takes 3.73 TiB, and 16 GiB",
    ),
    (
      dict(
        bound__levels=(1,),
        bound__lanczos_steps=10_000,
        bound__examples=8,
        model__width=200.0,
      ),
      r"bound.lanczos_steps=10000 of none takes 3.73 TiB",
    ),
    (
      dict(prune__adaptive=(0.2, 0.4), prune__bound=1.0, model__width=200.0),
      r"prune.bound, whose lanczos_steps=64 of none takes 24.5 GiB",
    ),
    (
      dict(scores__compute=("el2n",), scores__model__width=1e5),
      r"scores.model.width\) of 100000 makes a conv1d",
    ),
  ],
)
def test_extremes_are_refused_with_the_estimate(tmp_path, changes, message):
  config = changed_config(tiny_config(), changes, any_type=True)
  with pytest.raises(ValueError, match=message) as error:
    prepare(config, str(tmp_path / "new"))
  assert "\n" not in str(error.value)
  assert not (tmp_path / "new").exists()


def is_trajectory(node):
  """A training again for a plane, of which there is no estimate."""
  return bool(getattr(node.stage, "snapshots", ()))


def test_the_estimate_counts_what_the_plan_has(tmp_path):
  """Trainings and steps, node by node, of a study with a bit of everything."""
  config = changed_config(
    landscape_mnist1d.get_config("smoke"), dict(scores__compute=())
  )
  plan = prepare(config, str(tmp_path))
  found = extent.study_extent(
    plan.study, plan.dataset, extent._weights(plan.study, plan.dataset)
  )
  trained = {
    node: len(replicates)
    for node, replicates in plan.nodes.items()
    if node.stage.NAME == "network_score"
    or (
      node.stage.NAME == "train"
      and node.edge("weights")
      and not is_trajectory(node)
    )
  }
  planned = sum(trained.values())
  # The parents of a barrier score are an experiment's own, or its children.
  assert planned <= found.trainings <= 2 * planned
  steps = sum(
    node.stage.cost([node]) * len(replicates)
    for node, replicates in plan.nodes.items()
    if not is_trajectory(node)
  )
  assert steps <= found.steps
  looks = sum(
    len(replicates)
    for node, replicates in plan.nodes.items()
    if node.stage.NAME in ("path", "plane", "curvature")
  )
  assert looks <= 2 * found.looks and found.looks <= 2 * looks


def test_a_search_counts_where_it_is_no_experiment_of_the_run(tmp_path):
  """Two levels' masks take the trainings of levels 0 and 1 of the search."""
  config = changed_config(mask_data_mnist1d.get_config("smoke"), {})
  only = ("masks-init", "masks-slow")
  plan = prepare(config, str(tmp_path), only)
  found = extent.study_extent(
    plan.study, plan.dataset, extent._weights(plan.study, plan.dataset)
  )
  trained = [
    (node, len(replicates))
    for node, replicates in plan.nodes.items()
    if node.stage.NAME == "train"
  ]
  count = sum(n for node, n in trained if node.edge("weights"))
  assert count == 2 * (3 + 2 + 3 + 2) - 2 * 1  # one dense ticket is both's
  assert found.trainings == count + 2 * 1
  steps = sum(node.stage.cost([node]) * n for node, n in trained)
  assert steps <= found.steps <= 1.5 * steps


@pytest.mark.parametrize(
  "config", [data_diet_mnist1d.get_config(), landscape_mnist1d.get_config()]
)
def test_studies_that_people_run_are_let_through(tmp_path, config):
  config.replicates = 48
  config.data.train_examples = 80
  config.data.batch_size = 16
  for e in config.experiments:
    e.pop("pretrain.subset.size", None)
    e["pretrain.subset.kind"] = "all"
  config.scores.compute = ()
  config.curvature.examples = config.planes.examples = 80
  config.planes.through = ()
  config.connectivity.recompute_batches = 5
  prepare(config, str(tmp_path))


def test_the_papers_own_study_is_let_through(tmp_path, monkeypatch, rng):
  images = random_dataset(rng, train=200, shape=(32, 32, 3), classes=10)
  monkeypatch.setattr("imp_jax.study.run.load_study_data", lambda *_: images)
  prepare(cifar10_resnet20.get_config(), str(tmp_path))


def test_padding_beyond_memory_is_refused(tmp_path, monkeypatch, rng):
  images = random_dataset(rng, train=200, shape=(32, 32, 3), classes=10)
  monkeypatch.setattr("imp_jax.study.run.load_study_data", lambda *_: images)
  config = cifar10_resnet20.get_config()
  config.data.crop_pad = 100_000
  with pytest.raises(ValueError, match=r"data.crop_pad=100000 of .* 4.66 TiB"):
    prepare(config, str(tmp_path / "new"))
  config = cifar10_resnet20.get_config()
  config.model.name = "resnet600002"
  with pytest.raises(ValueError, match="at most 1202 layers.*got 600002"):
    prepare(config, str(tmp_path / "new"))


def test_excluded_layers_leave_enough_to_prune(tmp_path):
  """The rest gives up the fraction of all, and is used up some day."""
  config = tiny_config(prune__exclude=("conv2", "conv3"))
  config.prune.levels, config.controls.levels = 12, ()
  with pytest.raises(
    ValueError, match=r"leaves 160 of \d+ weights out, and .* by level \d of 12"
  ):
    prepare(config, str(tmp_path / "new"))
  config.prune.rule = "exact"  # of their own
  prepare(config, str(tmp_path))


def test_an_emptied_level_is_no_extreme(tmp_path):
  config = tiny_config(prune__fraction=0.999)
  config.prune.levels = 90
  prepare(config, str(tmp_path))


@pytest.mark.parametrize(
  "count,text",
  [
    (0, "0 bytes"),
    (1023, "1.02e+03 bytes"),
    (1024, "1 KiB"),
    (3 * 2**29, "1.5 GiB"),
    (2**60, "1.05e+06 TiB"),
  ],
)
def test_bytes_are_told_in_a_readable_unit(count, text):
  assert extent._size(count) == text
