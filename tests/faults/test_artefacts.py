"""Artefacts and tables that are damaged, swapped or out of reach."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import imp_jax
from imp_jax.core.artefacts import Artefact
from imp_jax.core.store import Store, StoreError
from imp_jax.study import prepare
from tests.tiny import copy_of, run_tiny, seal, tiny_config

STUDY = "studies/mnist1d-smoke"


@pytest.fixture
def workdir(finished, tmp_path):
  return copy_of(finished, tmp_path)


def trained(workdir, replicate=0):
  """The folder of the artefact of a level-1 ticket's training."""
  ticket = prepare(tiny_config(), str(workdir)).tickets[1]
  return workdir / "objects" / ticket.train.object_id(0, replicate)


def snapshot(folder):
  return {
    str(p.relative_to(folder)): p.read_bytes()
    for p in folder.rglob("*")
    if p.is_file()
  }


def sealed(file, **changes):
  seal(file, json.loads(file.read_text()) | changes)


def exchange(one, other):
  aside = one.with_name("aside")
  one.rename(aside)
  other.rename(one)
  aside.rename(other)


def rename(one, other):
  shutil.rmtree(other)
  one.rename(other)


def reseal(one, other):
  """Another replicate's, made to look like this one."""
  shutil.rmtree(other)
  shutil.copytree(one, other)
  sealed(other / "record.json", id=other.name)


@pytest.mark.parametrize("how", [exchange, rename, reseal])
def test_another_artefact_in_its_place_is_damage(finished, workdir, how):
  one, other = trained(workdir, 0), trained(workdir, 1)
  before = snapshot(other)
  how(one, other)
  results, log = run_tiny(workdir)
  told = [w for w in log.warnings if other.name in w]
  assert len(told) == 1 and "damaged (another's: " in told[0]
  assert log.nodes == ["none level 1"]
  pd.testing.assert_frame_equal(results.table, finished[1].table)
  after = snapshot(other)
  assert after["tree.msgpack"] == before["tree.msgpack"]


@pytest.mark.parametrize(
  "changes",
  [
    {"stage": "score"},
    {"inputs": {}},
    {"seed": 1},
    {"replicate": 7},
    {"version": 99},
    {"id": "0123"},
  ],
)
def test_each_part_of_its_identity_counts(workdir, changes):
  folder = trained(workdir)
  sealed(folder / "record.json", **changes)
  _, log = run_tiny(workdir)
  (name,) = changes
  assert (
    f"artefact {folder.name} is damaged (another's: {name})"
    in (log.warnings[0])
  )


def test_one_of_an_earlier_version_is_no_damage(workdir):
  """Its record does not say its identity."""
  for file in workdir.glob("objects/*/record.json"):
    record = json.loads(file.read_text())
    del record["id"]
    seal(file, record)
  _, log = run_tiny(workdir)
  assert not log.nodes and not log.evaluated and not log.warnings


def test_a_checkpoint_of_another_item_or_step_is_set_aside(tmp_path):
  store = Store(str(tmp_path))
  tree = {"params": {"w": np.arange(3.0)}}
  for name in "ab":
    store.checkpoint(name).save(5, Artefact({"of": name}, tree))
  folder = tmp_path / "checkpoints"
  shutil.rmtree(folder / "b" / "000000005")
  (folder / "a" / "000000005").rename(folder / "b" / "000000005")
  assert store.checkpoint("b").restore() is None
  store.checkpoint("a").save(5, Artefact({"of": "a"}, tree))
  (folder / "a" / "000000005").rename(folder / "a" / "000000009")
  assert store.checkpoint("a").restore() is None
  assert len(list((tmp_path / "damaged").iterdir())) == 2


def unreadable(file):
  """Reading a folder fails as permission or the network does, for root too."""
  file.rename(file.with_suffix(".x"))
  file.mkdir()


@pytest.mark.parametrize("name", ["record.json", "tree.msgpack"])
def test_what_cannot_be_read_is_no_damage(workdir, name):
  file = trained(workdir) / name
  unreadable(file)
  before = snapshot(workdir)
  with pytest.raises(OSError, match=f"{file} cannot be read: Is a directory"):
    run_tiny(workdir)
  after = snapshot(workdir)
  assert {k: v for k, v in after.items() if not k.startswith("studies")} == {
    k: v for k, v in before.items() if not k.startswith("studies")
  }
  file.rmdir()
  file.with_suffix(".x").rename(file)
  _, log = run_tiny(workdir)
  assert not log.nodes and not log.warnings


def test_a_reader_changes_nothing_and_says_what_is_damaged(workdir):
  file = trained(workdir) / "record.json"
  file.write_text(file.read_text().replace('"seed": 0', '"seed": 1', 1))
  before = snapshot(workdir)
  results = imp_jax.load(str(workdir))
  with pytest.warns(UserWarning, match=r"is damaged \(record.json\)"):
    assert len(results.table)
  with pytest.raises(StoreError, match=r"is damaged \(record.json\)"):
    results.ticket("none", level=1)
  assert snapshot(workdir) == before


@pytest.mark.parametrize(
  "name", ["config.json", "index.json", "artefacts.json"]
)
@pytest.mark.parametrize("content", ["", "half", "3", "{}", "bit"])
def test_a_damaged_index_is_named_set_aside_and_rebuilt(
  finished, workdir, name, content
):
  file = workdir / STUDY / name
  whole = file.read_bytes()
  damaged = {
    "half": whole[: len(whole) // 2].decode(),
    # A digit that is another digit: still JSON, and of the right form.
    "bit": whole.decode().replace(": 0", ": 1", 1),
  }.get(content, content)
  file.write_text(damaged)
  results, log = run_tiny(workdir)
  assert f"{file} is damaged; set aside" in log.warnings[0]
  assert not log.nodes and not log.evaluated
  assert file.read_bytes() == whole
  (aside,) = (workdir / "damaged").iterdir()
  assert aside.read_text() == damaged
  pd.testing.assert_frame_equal(results.table, finished[1].table)


def test_what_was_written_is_read_back_before_it_is_sealed(
  tmp_path, monkeypatch
):
  """A disk that loses a bit in writing must not be told that all is well."""
  from imp_jax.core import artefacts as module

  store = Store(str(tmp_path))
  real = module._save_tree

  def lossy(path, tree):
    real(path, {"w": tree["w"] * np.float32(2)})

  tree = {"w": np.arange(3, dtype=np.float32)}
  monkeypatch.setattr(module, "_save_tree", lossy)
  with pytest.raises(OSError, match="reads back as another tree"):
    store.checkpoint("x").save(1, Artefact({}, tree))
  assert store.checkpoint("x").restore() is None
  assert not list((tmp_path / "partial").iterdir())


@pytest.mark.parametrize("name", ["a[1]", "a*?b", "a\\b", "~a b"])
def test_a_workdir_of_an_odd_name_works_like_any(finished, tmp_path, name):
  workdir = tmp_path / name
  shutil.copytree(finished[0], workdir)
  shutil.rmtree(trained(workdir))
  _, log = run_tiny(workdir, written=True)
  assert log.nodes and not log.warnings
  table = imp_jax.load(str(workdir)).table
  pd.testing.assert_frame_equal(table, finished[1].table)
  assert [folder.name for folder in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("scheme", ["http", "az", "hdfs", "file"])
def test_a_scheme_that_is_not_supported_makes_nothing(
  tmp_path, monkeypatch, scheme
):
  monkeypatch.chdir(tmp_path)
  workdir = f"{scheme}://host/w"
  for use in (
    lambda: prepare(tiny_config(), workdir),
    lambda: imp_jax.load(workdir),
  ):
    with pytest.raises(ValueError, match=f"{scheme}:// is not supported; give"):
      use()
  assert not list(tmp_path.iterdir())
