"""What a workdir holds and lacks: --plan, --status and --gc."""

import shutil
import time

import pandas as pd
import pytest

from imp_jax.command import studies
from imp_jax.command.cli import BadInput
from imp_jax.command.workdirs import (
  put_away_unneeded,
  show_plan,
  show_status,
)
from imp_jax.core.store import Store
from imp_jax.study import execute, prepare
from imp_jax.study import outlook as module
from imp_jax.study.listing import load_listing, unneeded
from imp_jax.study.outlook import outlook
from tests.faults.test_processes import stranger
from tests.tiny import Log, copy_of, run_tiny, tiny_config

# Two rewinding steps of one trunk: they share what comes before.
TWO = dict(
  replicates=2,
  prune__levels=1,
  optim__steps="12step",
  claims__rewinding={"treatments": ()},
  experiments=(
    {"name": "none", "pretrain": {"steps": "0step"}},
    {"name": "a", "pretrain": {"steps": "4step"}},
    {"name": "b", "pretrain": {"steps": "4step"}, "prune": {"fraction": 0.5}},
  ),
)


@pytest.fixture
def workdir(finished, tmp_path):
  return copy_of(finished, tmp_path)


@pytest.fixture
def quick(monkeypatch):
  """Any speed will do."""
  monkeypatch.setattr(module, "measured_rate", lambda *_: 7200.0)


def planned(workdir, **changes):
  return prepare(tiny_config(**changes), str(workdir))


def test_a_plan_says_what_a_run_then_does(tmp_path, quick):
  plan = planned(tmp_path, **TWO)
  before = outlook(plan, {})
  _, log = run_tiny(tmp_path, **TWO)
  assert sum(before.steps.values()) == before.whole == log.total
  assert before.hours == log.total / 7200 / 3600
  # Counted by hand: W_r of 4 steps and the dense training are a's and b's, so
  # that b alone would make 4 + 8 steps more, for each replicate.
  assert before.apart - before.whole == 2 * (4 + 8)
  assert before.whole == 2 * ((12 + 12) + (4 + 8 + 8) + 8)
  assert before.shared[("a", "b")] == 2 * 4  # with their evaluations
  after = outlook(planned(tmp_path, **TWO), {})
  assert not after.steps and after.flop == after.bytes == after.hours == 0
  made = len(list((tmp_path / "objects").iterdir()))
  for found, attribute in ((before, "to_do"), (after, "finished")):
    counted = sum(getattr(c, attribute) for c in found.stages.values())
    assert counted == made


def test_the_flop_of_a_step_are_those_of_its_products(tmp_path):
  """Conv1D of 40 numbers: 20, 10 and 5 places of 16 features, then 80 x 10."""
  plan = planned(tmp_path, model__width=1.0)
  kind = next(n.stage.trains() for n in plan.nodes if n.stage.trains())
  products = [20 * 5 * 16, 10 * 5 * 16 * 16, 5 * 5 * 16 * 16, 80 * 10]
  # Each forward, for the weights and, but for the first, for the inputs; a
  # multiplication and an addition.
  exact = 2 * kind[1] * (3 * sum(products) - products[0])
  found = module._flop(plan.context(lambda _: None), kind)
  assert exact < found < 1.15 * exact  # BatchNorm, ReLU and the optimiser


def test_a_measured_rate_is_a_rate(workdir):
  plan = planned(workdir)
  kind = next(n.stage.trains() for n in plan.nodes if n.stage.trains())
  rate = module.measured_rate(plan.context(lambda _: None), kind)
  assert 1 < rate < 1e6


def test_status_counts_what_is_there_and_who_is_at_what(
  finished, workdir, capsys
):
  rows = load_listing(Store(str(workdir)), "mnist1d-smoke")
  stages = [row.stage for row in rows]
  assert show_status(str(workdir)) == 0
  told = capsys.readouterr().out.splitlines()
  assert told[0] == "study mnist1d-smoke"
  counted = stages.count("train")
  assert f"  train: {counted} finished, 0 to do" in told
  gone = [row.object_id for row in rows if row.stage == "train"][-2:]
  for object_id in gone:
    shutil.rmtree(workdir / "objects" / object_id)
  (workdir / "claims").mkdir(exist_ok=True)
  (workdir / "claims" / f"{gone[0]}.0").write_text(stranger(workdir))
  (workdir / "claims" / f"{gone[1]}.0").write_text("dead-1-2-3")
  (workdir / "studies" / "mnist1d-smoke" / "failures.txt").write_text("why\n")
  assert show_status(str(workdir)) == 0
  told = capsys.readouterr().out.splitlines()
  assert (
    f"  train: {counted - 2} finished, 2 to do, 1 claimed by process 12" in told
  )
  assert told[-2:] == ["  failed: why", "at work: process 12 on h"]


def test_what_no_study_needs_is_put_away_and_no_more(finished, workdir, capsys):
  other = tiny_config(name="other", replicates=1, seed=5)
  execute(prepare(other, str(workdir)), Log())
  store = Store(str(workdir))
  assert not unneeded(store)
  own = {row.object_id for row in load_listing(store, "other")}
  shutil.rmtree(workdir / "studies" / "other")
  objects = workdir / "objects"
  before = {f.name for f in objects.iterdir()}
  assert put_away_unneeded(str(workdir), dry_run=True) == 0
  told = capsys.readouterr().out
  assert {f.name for f in objects.iterdir()} == before
  assert all(f"objects/{name}" in told for name in own)
  assert put_away_unneeded(str(workdir), dry_run=False) == 0
  assert f"{len(own)} artefacts" in capsys.readouterr().out.splitlines()[-1]
  assert {f.name for f in objects.iterdir()} == before - own
  kept = {f.name for f in (workdir / "unneeded" / "objects").iterdir()}
  assert kept == own
  again, log = run_tiny(workdir)
  assert not log.nodes and not log.evaluated
  pd.testing.assert_frame_equal(again.table, finished[1].table)


def test_of_studies_that_do_not_say_what_they_need_nothing_is_put_away(workdir):
  (workdir / "studies" / "mnist1d-smoke" / "artefacts.json").unlink()
  with pytest.raises(BadInput):
    put_away_unneeded(str(workdir), dry_run=True)


def test_nothing_is_put_away_while_a_process_is_at_work(workdir, capsys):
  stranger(workdir)
  with pytest.raises(BadInput) as refused:
    put_away_unneeded(str(workdir), dry_run=False)
  assert refused.value.code == 2
  assert "process 12 on h is at work" in capsys.readouterr().err
  assert not (workdir / "unneeded").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"artefacts": [{"x": 1}]}'])
def test_a_damaged_listing_is_made_anew_by_a_run(workdir, content):
  file = workdir / "studies" / "mnist1d-smoke" / "artefacts.json"
  whole = file.read_text()
  file.write_text(content)
  with pytest.raises(BadInput):
    show_status(str(workdir))
  run_tiny(workdir)
  assert file.read_text() == whole


def test_a_workdir_that_is_not_there_is_refused_and_not_made(tmp_path, capsys):
  gone = tmp_path / "gone"
  for call in (
    lambda: show_status(str(gone)),
    lambda: put_away_unneeded(str(gone), dry_run=True),
  ):
    with pytest.raises(BadInput) as refused:
      call()
    assert refused.value.code == 2
    told = capsys.readouterr().err
    assert told == f"error: there is no workdir {gone}\n"
  assert not gone.exists()


def test_a_plan_of_a_new_workdir_says_that_it_is_new(tmp_path, quick, capsys):
  gone = tmp_path / "gone"
  assert show_plan(tiny_config(), str(gone)) == 0
  told = capsys.readouterr().out.splitlines()
  assert told[0] == f"there is no workdir {gone} yet: all is to do"
  assert not gone.exists()


def test_a_plan_runs_nothing(tmp_path, quick, capsys):
  assert show_plan(tiny_config(), str(tmp_path)) == 0
  told = capsys.readouterr().out.splitlines()
  assert told[0].startswith("train: 0 finished, ")
  assert "replicate-steps of conv1d, batch" in told[-2]
  assert "MiB of artefacts" in told[-1]
  files = [f for f in tmp_path.rglob("*") if f.is_file()]
  assert not files


def test_tables_are_written_while_a_run_goes_on(workdir, monkeypatch):
  monkeypatch.setattr(studies, "TABLES_SECONDS", 0.05)
  file = workdir / "studies" / "mnist1d-smoke" / "results.csv"
  whole = file.read_text()
  file.unlink()
  with studies._reports_meanwhile(planned(workdir)):
    deadline = time.monotonic() + 30
    while not file.exists() and time.monotonic() < deadline:
      time.sleep(0.02)
    assert file.read_text() == whole
