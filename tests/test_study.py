"""Studies: extension, sharing, resuming, failures, tickets."""

import itertools
import json

import chex
import jax
import numpy as np
import pandas as pd
import pytest

import imp_jax
from imp_jax.masks import density, flat_leaves, kept_counts
from imp_jax.report.printed import accuracy_table
from imp_jax.store import Store
from imp_jax.study import execute, prepare
from tests.tiny import Log, run_tiny, tiny_config

# What the smoke study computes: nodes ("none" has pre-training of 0 steps,
# 3 trainings and 2 maskings; "all-1" as many, and at level 2 a random mask
# with its training, and fresh weights with theirs).
SMOKE_NODES = 6 + 6 + 2 + 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("finished")
  results, log = run_tiny(workdir)
  return workdir, results, log


def copy_of(finished, tmp_path):
  import shutil

  return shutil.copytree(finished[0], tmp_path / "copy")


def test_it_computes_each_node_once_and_writes_the_tidy_files(finished):
  workdir, results, log = finished
  assert len(log.nodes) == SMOKE_NODES
  # 4 IMP levels... per replicate: none 3 x 3 steps; all-1: 1 + 3 x 2, and two
  # controls of 2 steps.
  assert log.total == log.done == 2 * (9 + 7 + 4)
  folder = workdir / "studies" / "mnist1d-smoke"
  assert {f.name for f in folder.iterdir()} == {
    "config.json",
    "tickets.json",
    "results.csv",
    "experiments.csv",
    "layers.csv",
    "curves.csv",
    "matching.csv",
    "metrics.jsonl",
    "accuracy.png",
    "accuracy.svg",
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
  "changes,message",
  [
    (dict(optim__learning_rate=0.2), r"optim.learning_rate was 0.1, now 0.2"),
    (dict(seed=1), "seed was 0, now 1"),
    (dict(data__train_examples=120), "stream.fingerprint was"),
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
  with pytest.raises(ValueError, match="exact/cpu/fast.*add vmap/cpu/fast"):
    run_tiny(workdir, execution__mode="vmap", replicates=3)
  run_tiny(workdir, execution__mode="map", replicates=3)  # bit-identical
  _, log = run_tiny(
    workdir, execution__mode="vmap", execution__mix=True, replicates=4
  )
  assert len(log.nodes) == SMOKE_NODES


def test_the_number_of_classes_is_part_of_the_identity(tmp_path):
  from imp_jax.nodes import Pretrain
  from imp_jax.settings import ModelSettings

  fields = {f.name for f in ModelSettings.__dataclass_fields__.values()}
  assert "num_classes" in fields
  plan = prepare(tiny_config(), str(tmp_path))
  node = plan.tickets[0].pretrain
  assert isinstance(node.settings, Pretrain)
  assert node.settings.model.num_classes == 10


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


def test_tampered_metrics_are_found(finished, tmp_path):
  """The record, which holds the metrics, has a checksum of its own."""
  workdir = copy_of(finished, tmp_path)
  plan = prepare(tiny_config(), str(workdir))
  train = plan.tickets[0].train.object_id(0, 0)
  file = workdir / "objects" / train / "record.json"
  record = json.loads(file.read_text())
  record["metrics"]["test"]["accuracy"] = 0.999
  file.write_text(json.dumps(record))
  results, log = run_tiny(workdir)
  assert train in log.warnings[0]
  pd.testing.assert_frame_equal(results.table, finished[1].table)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"checksums": []}'])
def test_a_record_that_is_no_record_is_set_aside(tmp_path, content):
  from imp_jax.store import Artefact

  store = Store(str(tmp_path))
  store.save("x", Artefact({"a": 1}))
  assert store.is_finished("x")
  (tmp_path / "objects" / "x" / "record.json").write_text(content)
  assert not store.is_finished("x")
  assert "x set aside" in store.take_warnings()[0]


def test_two_writers_of_one_object_both_succeed(tmp_path):
  from imp_jax.store import Artefact

  store = Store(str(tmp_path))
  store.save("x", Artefact({"a": 1}))
  store.save("x", Artefact({"a": 1}))
  assert store.load("x").record["a"] == 1
  assert not list((tmp_path / "partial").iterdir())


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
  with pytest.raises(FileNotFoundError, match="it has: mnist1d-smoke, other"):
    imp_jax.load(str(workdir))


def test_chunks_of_replicates_and_steps_change_no_number(finished, tmp_path):
  results, log = run_tiny(
    tmp_path, execution__replicates_at_once=1, execution__chunk_steps=2
  )
  assert len(log.nodes) == 2 * SMOKE_NODES
  pd.testing.assert_frame_equal(results.table, finished[1].table)


def test_masks_nest_rewind_and_keep_the_rules_counts(finished):
  _, results, _ = finished
  for replicate in (0, 1):
    tickets = [
      results.ticket("all-1", level=k, replicate=replicate) for k in (0, 1, 2)
    ]
    prunable = [
      k for k in flat_leaves(tickets[0].masks) if k.endswith("kernel")
    ]
    alive = sum(kept_counts(tickets[0].masks, prunable).values())
    for parent, ticket in itertools.pairwise(tickets):
      alive -= -(-alive // 5) + 1  # q + 1 go, without ties
      assert sum(kept_counts(ticket.masks, prunable).values()) == alive
      for path, mask in flat_leaves(ticket.masks).items():
        assert not (mask & ~flat_leaves(parent.masks)[path]).any()
        start = np.asarray(flat_leaves(ticket.params)[path])
        w_r = np.asarray(flat_leaves(tickets[0].params)[path])
        assert start[mask].tobytes() == w_r[mask].tobytes()
        assert (start[~mask] == 0).all()
        trained = np.asarray(flat_leaves(ticket.trained_params)[path])
        assert (trained[~mask] == 0).all()


def test_controls_differ_from_imp_in_one_thing(finished):
  _, results, _ = finished
  imp = results.ticket("all-1", level=2)
  random = results.ticket("all-1", level=2, kind="random_mask")
  reinit = results.ticket("all-1", level=2, kind="reinit")
  prunable = [k for k in flat_leaves(imp.masks) if k.endswith("kernel")]
  assert kept_counts(random.masks, prunable) == kept_counts(imp.masks, prunable)
  assert any(
    (flat_leaves(random.masks)[k] != flat_leaves(imp.masks)[k]).any()
    for k in prunable
  )
  dense = flat_leaves(results.ticket("all-1", level=0).params)
  for k, mask in flat_leaves(random.masks).items():
    np.testing.assert_array_equal(
      flat_leaves(random.params)[k], np.where(mask, dense[k], 0)
    )
  chex.assert_trees_all_equal(reinit.masks, imp.masks)
  head = flat_leaves(reinit.params)["head/kernel"]
  mask = flat_leaves(imp.masks)["head/kernel"]
  assert (head[mask] != dense["head/kernel"][mask]).all()


def test_loaded_tickets_give_their_recorded_accuracy(finished):
  _, results, _ = finished
  ticket = results.ticket("none", level=2, replicate=1)
  plan = prepare(tiny_config(), str(finished[0]))
  split = plan.dataset.splits["test"]
  logits = ticket.apply(
    ticket.trained_params, ticket.trained_batch_stats, split.inputs
  )
  accuracy = float((np.argmax(logits, -1) == np.asarray(split.labels)).mean())
  assert accuracy == pytest.approx(ticket.metrics["test"]["accuracy"])
  with pytest.raises(KeyError, match="no ticket.*'none', 'imp'"):
    results.ticket("none", level=9)


def test_pretraining_and_level_0_are_one_uninterrupted_dense_run(tmp_path):
  """With no momentum to lose, rewinding at t_r and going on changes nothing.

  Schedule, data order and augmentation keys continue at t_r: level 0 of
  t_r = 2 ends where level 0 of t_r = 0 does, bit for bit.
  """
  results, _ = run_tiny(
    tmp_path,
    replicates=1,
    prune__levels=0,
    optim__momentum=0.0,
    claims__rewinding={"treatments": ()},
    experiments=({"name": "a"}, {"name": "b", "pretrain.steps": "2step"}),
  )
  a, b = results.ticket("a", level=0), results.ticket("b", level=0)
  chex.assert_trees_all_equal(a.trained_params, b.trained_params)
  chex.assert_trees_all_equal(a.trained_batch_stats, b.trained_batch_stats)


def test_rewound_momentum_makes_pretraining_seamless(tmp_path):
  """The same with momentum 0.9, if the optimiser state is rewound too."""
  results, _ = run_tiny(
    tmp_path,
    replicates=1,
    prune__levels=0,
    claims__rewinding={"treatments": ()},
    experiments=(
      {"name": "whole"},
      {
        "name": "rewound",
        "pretrain.steps": "2step",
        "ticket.optimizer": "rewound",
      },
      {"name": "fresh", "pretrain.steps": "2step"},
    ),
  )
  whole, rewound, fresh = (
    results.ticket(n, level=0).trained_params
    for n in ("whole", "rewound", "fresh")
  )
  chex.assert_trees_all_equal(whole, rewound)
  assert (whole["head"]["kernel"] != fresh["head"]["kernel"]).any()


def test_kinds_of_tickets_start_where_they_say(tmp_path):
  kinds = ("weight_rewind", "lr_rewind", "finetune")
  results, _ = run_tiny(
    tmp_path,
    replicates=1,
    prune__levels=2,
    ticket__finetune_steps="2step",
    claims__rewinding={"treatments": ()},
    experiments=tuple(
      {"name": k, "pretrain.steps": "1step", "ticket.kind": k} for k in kinds
    ),
  )
  for kind in kinds:
    before = results.ticket(kind, level=1)
    ticket = results.ticket(kind, level=2)
    source = {
      "weight_rewind": results.ticket(kind, level=0).params,
      "lr_rewind": before.trained_params,
      "finetune": before.trained_params,
    }[kind]
    for k, mask in flat_leaves(ticket.masks).items():
      np.testing.assert_array_equal(
        flat_leaves(ticket.params)[k],
        np.where(mask, flat_leaves(source)[k], 0),
      )
    settings = ticket.record["settings"]
    span = (settings["start"], settings["stop"])
    assert span == ((3, 5) if kind == "finetune" else (1, 3))


class Interrupted(Exception):
  """Stands for a kill."""


def test_resumed_equals_uninterrupted(tmp_path):
  changes = dict(
    replicates=2,
    prune__levels=1,
    claims__rewinding={"treatments": ()},
    optim__steps="12step",
    experiments=({"name": "a"},),
    execution__chunk_steps=2,
    execution__checkpoint_seconds=0.0,
    eval__curve_steps=("5step",),
  )
  whole, _ = run_tiny(tmp_path / "whole", **changes)

  class Killed(Log):
    def steps(self, count):
      super().steps(count)
      if self.done >= 16:  # after four chunks of 2 steps x 2 replicates
        raise Interrupted

  config = tiny_config(**changes)
  with pytest.raises(Interrupted):
    execute(prepare(config, str(tmp_path / "cut")), Killed())
  assert list((tmp_path / "cut" / "checkpoints").iterdir())
  resumed, log = run_tiny(tmp_path / "cut", **changes)
  assert not list((tmp_path / "cut" / "checkpoints").iterdir())
  assert log.nodes == ["a level 0", "a masks of level 1", "a level 1"]
  pd.testing.assert_frame_equal(resumed.table, whole.table)
  pd.testing.assert_frame_equal(
    resumed.read_table("curves"), whole.read_table("curves")
  )
  for level in (0, 1):
    one, two = (
      r.ticket("a", level=level, replicate=1) for r in (whole, resumed)
    )
    chex.assert_trees_all_equal(one.trained_params, two.trained_params)


def test_a_nan_ends_one_replicate_and_the_others_go_on(tmp_path, monkeypatch):
  """Replicate 1's first weight is made huge; replicate 0 must not notice."""
  from imp_jax import stages

  real = stages._run

  def sabotaged(context, node, stream, replicate, run, masks, state):
    if replicate == 1 and node.label == "a level 1":
      head = dict(state.params["head"])
      params = state.params | {"head": head | {"bias": head["bias"] * np.inf}}
      state = state.replace(params=params)
    return real(context, node, stream, replicate, run, masks, state)

  changes = dict(
    prune__levels=2,
    experiments=({"name": "a"},),
    claims__rewinding={"treatments": ()},
    execution__chunk_steps=2,
    eval__curve_steps=(),
  )
  clean, _ = run_tiny(tmp_path / "clean", **changes)
  monkeypatch.setattr(stages, "_run", sabotaged)
  monkeypatch.setattr(stages, "_unfaithful_start", lambda *_: None)
  results, log = run_tiny(tmp_path / "nan", **changes)
  assert log.done == log.total
  message = (
    "a level 1, replicate 1: loss or weights not finite between steps 0 and 2"
  )
  assert len(log.warnings) == 1 and log.warnings[0].startswith(message)
  folder = tmp_path / "nan" / "studies" / "mnist1d-smoke"
  assert message in (folder / "failures.txt").read_text()
  assert len(list((tmp_path / "nan" / "checkpoints").iterdir())) == 1
  table = results.table
  assert sorted(table[table.replicate == 1].level.unique()) == [0]
  pd.testing.assert_frame_equal(
    table[table.replicate == 0].reset_index(drop=True),
    clean.table[clean.table.replicate == 0].reset_index(drop=True),
  )
  monkeypatch.undo()
  _, log = run_tiny(tmp_path / "nan", **changes)
  # The kept state is the sabotaged one from before step 0: it fails again.
  assert log.nodes == ["a level 1"] and len(log.warnings) == 1


def test_a_start_that_is_not_w_r_stops_the_replicate(tmp_path, monkeypatch):
  from imp_jax import stages

  real = stages._run

  def sabotaged(context, node, stream, replicate, run, masks, state):
    if replicate == 1 and node.label == "a level 1":
      head = dict(state.params["head"])
      kernel = head["kernel"].at[0, 0].add(1.0)
      state = state.replace(
        params=state.params | {"head": head | {"kernel": kernel}}
      )
    return real(context, node, stream, replicate, run, masks, state)

  monkeypatch.setattr(stages, "_run", sabotaged)
  _, log = run_tiny(
    tmp_path,
    prune__levels=1,
    experiments=({"name": "a"},),
    claims__rewinding={"treatments": ()},
  )
  assert len(log.warnings) == 1
  assert "a level 1, replicate 1: head/kernel: 1 of" in log.warnings[0]


def test_a_damaged_artefact_is_named_set_aside_and_recomputed(
  finished, tmp_path
):
  workdir = copy_of(finished, tmp_path)
  plan = prepare(tiny_config(), str(workdir))
  damaged = plan.tickets[1].train.object_id(0, 1)
  tree = workdir / "objects" / damaged / "tree"
  file = max(
    (f for f in tree.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size
  )
  file.write_bytes(file.read_bytes()[:-1] + b"?")
  results, log = run_tiny(workdir)
  assert log.nodes == ["none level 1"]
  assert (
    damaged in log.warnings[0] and "set aside in damaged/" in log.warnings[0]
  )
  pd.testing.assert_frame_equal(results.table, finished[1].table)


@pytest.mark.parametrize("order", ["fixed", "replicate", "level"])
def test_data_order_varies_with_what_it_should(tmp_path, monkeypatch, order):
  from imp_jax import stages

  seen = {}
  real = stages._run

  def spy(context, node, stream, replicate, run, masks, state):
    made = real(context, node, stream, replicate, run, masks, state)
    seen[node.label, replicate] = made.order_words
    return made

  monkeypatch.setattr(stages, "_run", spy)
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


def test_step_0_is_saved_and_restored(tmp_path):
  """A restore of step 0 that silently gives nothing has spoilt results."""
  from imp_jax.store import Artefact

  store = Store(str(tmp_path))
  tree = {"params": {"w": np.arange(3.0)}, "batch_stats": {}}
  assert store.checkpoint("x").restore() is None
  store.checkpoint("x").save(0, Artefact({"history": []}, tree))
  step, found = store.checkpoint("x").restore()
  assert step == 0
  chex.assert_trees_all_equal(found.tree, tree)
