"""Studies: extension, sharing, resuming, failures, tickets."""

import json

import jax
import numpy as np
import pandas as pd
import pytest

import imp_jax
from imp_jax.core.masks import density, flat_leaves
from imp_jax.engine.trainer import split_metrics
from imp_jax.results.printed import accuracy_table
from imp_jax.study import prepare
from tests.tiny import copy_of, run_tiny, tiny_config

# What the smoke study computes: nodes ("none" has pre-training of 0 steps,
# 3 trainings and 2 maskings; "all-1" as many, and at level 2 a random mask
# with its training, and fresh weights with theirs).
SMOKE_NODES = 6 + 6 + 2 + 2


def test_it_computes_each_node_once_and_writes_the_tidy_files(finished):
  workdir, results, log = finished
  assert len(log.nodes) == SMOKE_NODES
  # 4 IMP levels... per replicate: none 3 x 3 steps; all-1: 1 + 3 x 2, and two
  # controls of 2 steps.
  assert log.total == log.done == 2 * (9 + 7 + 4)
  folder = workdir / "studies" / "mnist1d-smoke"
  assert {f.name for f in folder.iterdir()} == {
    "config.json",
    "artefacts.json",
    "index.json",
    "results.csv",
    "section.html",
    "experiments.csv",
    "layers.csv",
    "curves.csv",
    "geometry.csv",
    "matching.csv",
    "smallest_density.csv",
    "trial.csv",
    "verdicts.csv",
    "metrics.jsonl",
    "accuracy.png",
    "accuracy.svg",
    "smallest_density.png",
    "smallest_density.svg",
    "trial.png",
    "trial.svg",
  }
  table = results.table
  assert list(table.columns) == [
    "study",
    "experiment",
    "replicate",
    "level",
    "density",
    "split",
    "metric",
    "value",
    "step",
  ]
  assert set(table.experiment) == {
    "none",
    "all-1",
    "all-1:random_mask",
    "all-1:reinit",
  }
  rows = table[table.metric.isin(["accuracy", "loss"])]
  assert (rows.step == 3).all() and np.isfinite(rows.value).all()
  w_r = table[table.metric == "pretrained_accuracy"]
  assert set(zip(w_r.experiment, w_r.step, strict=True)) == {
    ("none", 0),
    ("all-1", 1),
  }
  curves = results.read_table("curves")
  assert set(curves.step) == {1, 2} and set(curves.split) == {"test"}
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  assert {"step", "level", "replicate"} <= set(json.loads(lines[0]))
  layers = results.read_table("layers")
  assert set(layers.layer) == {
    "conv1/kernel",
    "conv2/kernel",
    "conv3/kernel",
    "head/kernel",
  }
  experiments = results.read_table("experiments")
  assert experiments["pretrain.steps"].tolist() == [0, 1]
  matching = results.read_table("matching")
  assert matching["variant"].tolist() == ["all", "all"]
  assert matching["level"].tolist() == [1, 2]
  assert matching["steps_tried"].tolist() == ["0 1", "0 1"]
  assert matching["smallest_matching_step"].dtype == "Int64"


def test_every_record_says_how_it_was_made(finished):
  _, results, _ = finished
  record = results.ticket("all-1", level=1).record
  made = record["made_with"]
  assert made["execution"] == "threads" and made["jax"] == jax.__version__
  assert {"device", "matmul_precision", "convolution"} <= set(made)
  assert record["settings"]["stream"]["fingerprint"]
  assert record["stage"] == "train" and record["version"] == 1


def test_running_again_computes_nothing(finished):
  _, log = run_tiny(finished[0])
  assert log.nodes == [] and log.total == 0


def test_more_replicates_compute_only_themselves(finished, tmp_path):
  workdir = copy_of(finished, tmp_path)
  before = finished[1].table
  results, log = run_tiny(workdir, replicates=3)
  assert len(log.nodes) == SMOKE_NODES and log.total == 9 + 7 + 4
  old = results.table[results.table.replicate < 2].reset_index(drop=True)
  keys = ["experiment", "replicate", "level", "split", "metric"]
  pd.testing.assert_frame_equal(
    old.sort_values(keys, ignore_index=True),
    before.sort_values(keys, ignore_index=True),
  )


def test_more_levels_compute_only_themselves(finished, tmp_path):
  _, log = run_tiny(copy_of(finished, tmp_path), prune__levels=3)
  assert log.nodes == [
    "none masks of level 3",
    "none level 3",
    "all-1 masks of level 3",
    "all-1 level 3",
  ]


def test_another_variant_computes_only_itself(finished, tmp_path):
  more = (
    *tiny_config().experiments,
    {"name": "all-2", "pretrain.steps": "2step"},
  )
  results, log = run_tiny(copy_of(finished, tmp_path), experiments=more)
  assert {label.split()[0] for label in log.nodes} == {"all-2"}
  assert "none" in set(results.table.experiment)


def test_other_test_data_retrain_nothing(finished, tmp_path):
  workdir = copy_of(finished, tmp_path)
  results, log = run_tiny(
    workdir, written=True, name="more", data__test_examples=500
  )
  assert log.nodes == [] and log.total == 0
  assert log.evaluated[:2] == ["none level 0", "none pre-training"]
  before, now = (
    t.query("split == 'test'") for t in (finished[1].table, results.table)
  )
  keys = ["experiment", "replicate", "level", "metric"]
  joined = before.merge(now, on=keys, suffixes=("_before", "_now"))
  assert len(joined) == len(before) == len(now)
  accuracy = joined[joined["metric"].str.contains("accuracy")]
  np.testing.assert_allclose(accuracy["value_now"] * 500 % 1, 0, atol=1e-9)
  assert (joined["value_before"] != joined["value_now"]).any()
  ticket = results.ticket("all-1", level=1, replicate=1)
  assert ticket.metrics["test"]["count"] == 500
  # Curves were drawn on the way, on other test data: they are not mixed in.
  assert len(finished[1].read_table("curves"))
  assert not len(results.read_table("curves"))
  assert any("curves.csv of study more lacks 16" in w for w in log.warnings)
  settings = results.read_table("experiments")
  assert settings["eval.test_examples"].tolist() == [500, 500]


def test_more_splits_retrain_nothing(tmp_path):
  changes = dict(experiments=({"name": "a"},), replicates=1)
  changes["claims__rewinding"] = {"treatments": ()}
  run_tiny(tmp_path, eval__splits=("test",), **changes)
  results, log = run_tiny(
    tmp_path, name="both", eval__splits=("test", "train"), **changes
  )
  assert log.nodes == [] and set(results.table["split"]) == {"test", "train"}


def test_another_metric_of_a_finished_study_retrains_nothing(tmp_path):
  changes = dict(experiments=({"name": "a"},), replicates=1)
  changes["claims__rewinding"] = {"treatments": ()}
  run_tiny(tmp_path, **changes)
  metric = "worst_class_accuracy"
  results, log = run_tiny(
    tmp_path, name="more", eval__metrics=(metric,), **changes
  )
  assert log.nodes == [] and log.total == 0 and log.evaluated
  rows = results.table.query("metric == @metric and split == 'test'")
  assert rows["level"].tolist() == [0, 1, 2]
  data = prepare(tiny_config(**changes), str(tmp_path)).dataset.splits["test"]
  labels = np.asarray(data.labels)
  for level, value in zip(rows["level"], rows["value"], strict=True):
    ticket = results.ticket("a", level=level)
    logits = ticket.apply(
      ticket.trained_params, ticket.trained_batch_stats, data.inputs
    )
    right = np.argmax(np.asarray(logits), -1) == labels
    shares = [right[labels == c].mean() for c in set(labels.tolist())]
    assert value == pytest.approx(min(shares), abs=1e-9)
  with pytest.raises(ValueError, match="eval.metrics was "):
    run_tiny(tmp_path, eval__metrics=(metric,), **changes)


def test_a_network_whose_loss_is_not_finite_has_no_metrics(
  tmp_path, monkeypatch
):
  import imp_jax.stages.evaluate as evaluating

  seen = []

  def infinite_first(losses, correct):
    seen.append(losses)
    found = split_metrics(losses, correct)
    return found | {"loss": np.inf} if len(seen) == 1 else found

  monkeypatch.setattr(evaluating, "split_metrics", infinite_first)
  results, log = run_tiny(
    tmp_path,
    experiments=({"name": "a"},),
    claims__rewinding={"treatments": ()},
    eval__splits=("test",),
    prune__levels=1,
  )
  told = "a level 0, evaluation, replicate 0: the loss on split 'test' is not"
  assert any(told in warning for warning in log.warnings)
  rows = results.table.query("metric == 'accuracy'")
  found = set(zip(rows["level"], rows["replicate"], strict=True))
  assert found == {(0, 1), (1, 0), (1, 1)}


def test_experiments_that_differ_in_pruning_share_what_precedes_it(tmp_path):
  _, log = run_tiny(
    tmp_path,
    replicates=1,
    claims__rewinding={"treatments": ()},
    experiments=(
      {"name": "global"},
      {"name": "layers", "prune": {"allocation": "per_layer"}},
    ),
  )
  shared = [label for label in log.nodes if label.startswith("layers")]
  # Pre-training and level 0 were "global"'s already.
  assert shared == [
    "layers masks of level 1",
    "layers level 1",
    "layers masks of level 2",
    "layers level 2",
  ]


@pytest.mark.parametrize(
  "forgotten,changes,message",
  [
    (
      ("trunk", "prune", "source"),
      dict(prune__source="rewound"),
      "was trained",
    ),
    (("trunk", "optim", "nesterov"), dict(optim__nesterov=True), "was False"),
    (
      ("trunk", "pretrain", "optim", "nesterov"),
      dict(pretrain__optim__nesterov=True),
      "was False",
    ),
    (
      ("eval", "metrics"),
      dict(eval__metrics=("worst_class_accuracy",)),
      r"was \[\]",
    ),
  ],
)
def test_a_name_older_than_an_option_still_means_its_default(
  finished, tmp_path, forgotten, changes, message
):
  """config.json of before there was the option."""
  workdir = copy_of(finished, tmp_path)
  (file,) = (workdir / "studies").glob("*/config.json")
  meaning = json.loads(file.read_text())
  del meaning["checksum"]
  for experiment in meaning["experiments"].values():
    group = experiment
    for name in forgotten[:-1]:
      group = group[name]
    del group[forgotten[-1]]
  file.write_text(json.dumps(meaning))
  prepare(tiny_config(), str(workdir))
  with pytest.raises(ValueError, match=f"{forgotten[-1]} {message}"):
    prepare(tiny_config(**changes), str(workdir))


@pytest.mark.parametrize(
  "changes,message",
  [
    (dict(optim__learning_rate=0.2), r"optim.learning_rate was 0.1, now 0.2"),
    (dict(seed=1), "seed was 0, now 1"),
    (dict(data__train_examples=120), "stream.fingerprint was"),
    (
      dict(data__test_examples=50),
      "eval.test_examples was 20, now 50",
    ),
    (dict(claims__margin=0.5), "claims.margin was 0.01, now 0.5"),
    (
      dict(claims__rewinding={"treatments": ()}),
      "claims.rewinding was .*, now None",
    ),
    (
      dict(prune__rule="exact", prune__densities=(0.3, 0.2)),
      r"prune.densities was \[\], now \[0.3, 0.2\]|prune.fraction|prune.rule",
    ),
  ],
)
def test_one_name_with_two_meanings_is_refused(finished, changes, message):
  with pytest.raises(ValueError, match=message):
    run_tiny(finished[0], **changes)


def test_a_claim_cannot_be_added_after_its_results_were_seen(tmp_path):
  plain = dict(claims__rewinding={"treatments": ()}, replicates=1)
  run_tiny(tmp_path, **plain)
  with pytest.raises(ValueError, match="claims.rewinding was None, now"):
    run_tiny(tmp_path, replicates=1)


def test_execution_modes_mix_only_when_asked(finished, tmp_path):
  workdir = copy_of(finished, tmp_path)
  run_tiny(workdir, execution__mode="vmap")  # all is there: nothing to mix
  with pytest.raises(ValueError, match="exact/cpu.*add vmap/cpu/fast"):
    run_tiny(workdir, execution__mode="vmap", replicates=3)
  with pytest.raises(ValueError, match="add map/cpu/fast"):
    run_tiny(workdir, execution__mode="map", replicates=3)
  run_tiny(workdir, execution__mode="unroll", replicates=3)  # bit-identical
  _, log = run_tiny(
    workdir, execution__mode="vmap", execution__mix=True, replicates=4
  )
  assert len(log.nodes) == SMOKE_NODES


def test_the_number_of_classes_is_part_of_the_identity(tmp_path):
  from imp_jax.models.settings import ModelSettings

  fields = {f.name for f in ModelSettings.__dataclass_fields__.values()}
  assert "num_classes" in fields
  plan = prepare(tiny_config(), str(tmp_path))
  node = plan.tickets[0].pretrain
  assert node.stage.model.num_classes == 10


def test_names_that_look_like_numbers_stay_names(tmp_path):
  results, _ = run_tiny(
    tmp_path,
    replicates=1,
    prune__levels=0,
    claims__rewinding={"treatments": ()},
    experiments=({"name": "1"}, {"name": "null", "optim.momentum": 0.0}),
  )
  assert set(results.table.experiment) == {"1", "null"}
  accuracy_table(results.table)
  assert results.ticket("1", level=0).metrics["test"]["count"] == 20


def test_bfloat16_and_float16_run_and_are_recorded(tmp_path):
  results, _ = run_tiny(
    tmp_path,
    replicates=1,
    prune__levels=0,
    claims__rewinding={"treatments": ()},
    experiments=(
      {"name": "bf16", "model.dtype": "bfloat16"},
      {"name": "fp16", "model.dtype": "float16", "optim.loss_scale": 1024.0},
      {"name": "fp32"},
    ),
  )
  kernels = {}
  for name in ("bf16", "fp16", "fp32"):
    ticket = results.ticket(name, level=0)
    kernels[name] = ticket.trained_params["head"]["kernel"]
    assert kernels[name].dtype == np.float32
  assert (kernels["bf16"] != kernels["fp32"]).any()
  # 8 and 11 bits of mantissa, over three steps from one start.
  np.testing.assert_allclose(kernels["fp16"], kernels["fp32"], atol=0.02)
  np.testing.assert_allclose(kernels["bf16"], kernels["fp32"], atol=0.1)


def test_a_second_study_in_one_workdir_shares_objects(finished, tmp_path):
  workdir = copy_of(finished, tmp_path)
  _, log = run_tiny(workdir, name="other")
  assert log.nodes == []
  assert imp_jax.load(str(workdir), "other").table.study.unique() == ["other"]
  with pytest.raises(FileNotFoundError, match=": mnist1d-smoke, other"):
    imp_jax.load(str(workdir))


def test_chunks_of_replicates_and_steps_change_no_number(finished, tmp_path):
  results, log = run_tiny(
    tmp_path, execution__replicates_at_once=1, execution__chunk_steps=2
  )
  assert len(log.nodes) == 2 * SMOKE_NODES
  pd.testing.assert_frame_equal(results.table, finished[1].table)


@pytest.mark.parametrize("order", ["fixed", "replicate", "level"])
def test_data_order_varies_with_what_it_should(tmp_path, monkeypatch, order):
  from imp_jax.stages import train as training

  seen = {}
  real = training.start_run

  def spy(*args, name, **options):
    made = real(*args, name=name, **options)
    seen[name] = made.order_words
    return made

  monkeypatch.setattr(training, "start_run", spy)
  run_tiny(
    tmp_path,
    data__order=order,
    prune__levels=1,
    experiments=({"name": "a", "pretrain.steps": "1step"},),
    claims__rewinding={"treatments": ()},
  )
  assert len(seen) == 6  # three runs of two replicates
  assert (
    len(set(seen.values())) == {"fixed": 1, "replicate": 2, "level": 6}[order]
  )


def test_densities_can_be_given_and_extended(tmp_path):
  one = dict(
    experiments=({"name": "a"},),
    claims__rewinding={"treatments": ()},
    prune__rule="exact",
    replicates=1,
  )
  results, _ = run_tiny(
    tmp_path, prune__densities=(0.5, 0.25), prune__levels=2, **one
  )
  total = results.read_table("layers").query("level == 0").total.sum()
  for level, wanted in ((1, 0.5), (2, 0.25)):
    ticket = results.ticket("a", level=level)
    prunable = [k for k in flat_leaves(ticket.masks) if k.endswith("kernel")]
    assert density(ticket.masks, prunable) == int(total * wanted + 0.5) / total
  _, log = run_tiny(
    tmp_path, prune__densities=(0.5, 0.25, 0.1), prune__levels=3, **one
  )
  assert log.nodes == ["a masks of level 3", "a level 3"]


def test_class_sorted_and_shuffled_npz_give_one_run(tmp_path, rng):
  from tests.tiny import random_arrays

  arrays = random_arrays(rng, shape=(8, 8, 3))
  x, y = arrays["train"]
  tables = []
  for name, order in (
    ("sorted", np.argsort(y, kind="stable")),
    ("shuffled", rng.permutation(24)),
  ):
    path = tmp_path / f"{name}.npz"
    np.savez(
      path,
      train_image=x[order],
      train_label=y[order],
      test_image=arrays["test"][0],
      test_label=arrays["test"][1],
    )
    results, _ = run_tiny(
      tmp_path / name,
      data__source="npz",
      data__path=str(path),
      model__name="lenet300100",
      model__width=0.05,
      replicates=1,
    )
    tables.append(results.table)
  pd.testing.assert_frame_equal(*tables)
