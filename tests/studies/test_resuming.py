"""What is lost when: kills, NaNs, damaged artefacts, two writers."""

import json

import chex
import numpy as np
import pandas as pd
import pytest

from imp_jax.core.store import Store
from imp_jax.study import execute, prepare
from tests.tiny import Log, copy_of, run_tiny, tiny_config


def test_tampered_metrics_are_found(finished, tmp_path):
  """The record, which holds the metrics, has a checksum of its own."""
  workdir = copy_of(finished, tmp_path)
  plan = prepare(tiny_config(), str(workdir))
  metrics = plan.tickets[0].metrics.object_id(0, 0)
  file = workdir / "objects" / metrics / "record.json"
  record = json.loads(file.read_text())
  record["metrics"]["test"]["accuracy"] = 0.999
  file.write_text(json.dumps(record))
  results, log = run_tiny(workdir)
  assert metrics in log.warnings[0]
  pd.testing.assert_frame_equal(results.table, finished[1].table)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"checksums": []}'])
def test_a_record_that_is_no_record_is_set_aside(tmp_path, content):
  from imp_jax.core.store import Artefact

  store = Store(str(tmp_path))
  store.save("x", Artefact({"a": 1}))
  assert store.is_finished("x")
  (tmp_path / "objects" / "x" / "record.json").write_text(content)
  fault = store.fault("x")
  assert fault == "damaged (record.json)"
  assert "x is damaged" in (store.set_aside("x", fault) or "")
  assert store.fault("x") == "missing"


def test_two_writers_of_one_object_both_succeed(tmp_path):
  from imp_jax.core.store import Artefact

  store = Store(str(tmp_path))
  store.save("x", Artefact({"a": 1}))
  store.save("x", Artefact({"a": 1}))
  assert store.load("x").record["a"] == 1
  assert not list((tmp_path / "partial").iterdir())


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
  from imp_jax.stages import train as training

  real = training.start_run

  def sabotaged(*args, name, **options):
    run = real(*args, name=name, **options)
    if name == "a level 1, replicate 1":
      params = run.state.params
      head = params["head"] | {"bias": params["head"]["bias"] * np.inf}
      run.state = run.state.replace(params=params | {"head": head})
    return run

  changes = dict(
    prune__levels=2,
    experiments=({"name": "a"},),
    claims__rewinding={"treatments": ()},
    execution__chunk_steps=2,
    eval__curve_steps=(),
  )
  clean, _ = run_tiny(tmp_path / "clean", **changes)
  monkeypatch.setattr(training, "start_run", sabotaged)
  monkeypatch.setattr(training, "_unfaithful_start", lambda *_: None)
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
  from imp_jax.stages import train as training

  real = training.start_run

  def sabotaged(*args, name, **options):
    run = real(*args, name=name, **options)
    if name == "a level 1, replicate 1":
      params = run.state.params
      kernel = params["head"]["kernel"].at[0, 0].add(1.0)
      head = params["head"] | {"kernel": kernel}
      run.state = run.state.replace(params=params | {"head": head})
    return run

  monkeypatch.setattr(training, "start_run", sabotaged)
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
  file = workdir / "objects" / damaged / "tree.msgpack"
  *data, last = file.read_bytes()
  file.write_bytes(bytes([*data, last ^ 1]))
  results, log = run_tiny(workdir)
  assert log.nodes == ["none level 1"]
  assert (
    damaged in log.warnings[0] and "set aside in damaged/" in log.warnings[0]
  )
  pd.testing.assert_frame_equal(results.table, finished[1].table)


def test_step_0_is_saved_and_restored(tmp_path):
  """A restore of step 0 that silently gives nothing has spoilt results."""
  from imp_jax.core.store import Artefact

  store = Store(str(tmp_path))
  tree = {"params": {"w": np.arange(3.0)}, "batch_stats": {}}
  assert store.checkpoint("x").restore() is None
  store.checkpoint("x").save(0, Artefact({"history": []}, tree))
  step, found = store.checkpoint("x").restore()
  assert step == 0
  chex.assert_trees_all_equal(found.tree, tree)
