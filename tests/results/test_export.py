"""Finished experiments as small files: what they hold, and what is refused."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from configs import cifar10_resnet20
from imp_jax.results.export import export
from imp_jax.results.load import load
from imp_jax.study import execute, prepare
from tests.score_files import refusal
from tests.tiny import Log, tiny_config

EXPERIMENTS = (
  {"name": "none"},
  {"name": "all", "pretrain.steps": "1step"},
  {"name": "later", "pretrain.steps": "2step"},
)


def config_of(**changes):
  return tiny_config(
    experiments=EXPERIMENTS,
    claims__rewinding={
      "treatments": ("all",),
      "baseline": "none",
      "level": 2,
    },
    **changes,
  )


def run_only(workdir, *only, **changes):
  plan = prepare(config_of(**changes), str(workdir), only)
  return execute(plan, Log())


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
  """Two machines': one has none, the other all."""
  root = tmp_path_factory.mktemp("machines")
  for name in ("none", "all"):
    run_only(root / name, name)
  return root


@pytest.fixture
def out(workdirs, tmp_path):
  folder = tmp_path / "out"
  for name in ("none", "all"):
    assert export(load(str(workdirs / name)), str(folder)) == ([name], [])
  return folder


def test_experiments_of_two_workdirs_are_one_study(workdirs, out, tmp_path):
  """Their rows, and so the verdict, are those of a study that ran both."""
  both = run_only(tmp_path / "both", "none", "all")
  wanted = both.table.sort_values(list(both.table.columns[:7]))
  found = pd.read_csv(out / "results.csv").sort_values(
    list(both.table.columns[:7])
  )
  pd.testing.assert_frame_equal(
    found.reset_index(drop=True), wanted.reset_index(drop=True), atol=1e-6
  )
  verdicts = pd.read_csv(out / "verdicts.csv").drop(columns="seconds")
  wanted = both.read_table("verdicts").drop(columns="seconds")
  pd.testing.assert_frame_equal(verdicts, wanted, atol=1e-6)
  record = json.loads((out / "all" / "experiment.json").read_text())
  assert record["settings"] == both.tables.experiments["all"]
  assert record["seconds"] > 0 and record["devices"] == ["cpu"]


def test_the_masks_of_every_level_are_in_one_array(workdirs, out):
  results = load(str(workdirs / "all"))
  with np.load(out / "all" / "masks.npz") as arrays:
    pruned_at = dict(arrays)
  leaves = {name.split("/", 1)[1] for name in pruned_at}
  assert "conv1/kernel" in leaves and len(pruned_at) == 2 * len(leaves)
  for replicate in (0, 1):
    for level in (0, 1, 2):
      masks = results.ticket("all", level=level, replicate=replicate).masks
      for leaf in leaves:
        mask = masks
        for part in leaf.split("/"):
          mask = mask[part]
        found = pruned_at[f"replicate{replicate}/{leaf}"] > level
        np.testing.assert_array_equal(found, mask)
  assert any((a == 1).any() and (a == 255).any() for a in pruned_at.values())


def test_half_an_experiment_is_left_out(workdirs, out, tmp_path):
  workdir = tmp_path / "half"
  shutil.copytree(workdirs / "all", workdir)
  study = workdir / "studies" / "mnist1d-smoke"
  meaning = json.loads((study / "config.json").read_text())
  run_only(workdir, "later")
  entries = json.loads((study / "index.json").read_text())
  trained = [e for e in entries if e["experiment"] == "later"][-1]["ids"]
  shutil.rmtree(next(workdir.glob(f"objects/**/{trained['train']}")))
  before = (out / "results.csv").read_text()
  assert export(load(str(workdir)), str(out)) == (["all"], ["later"])
  assert (out / "results.csv").read_text() == before
  assert not (out / "later").exists()
  assert "later" not in meaning["experiments"]
  for name in ("train", "metrics"):  # nothing is left that is whole
    for entry in entries:
      for found in workdir.glob(f"objects/**/{entry['ids'][name]}"):
        shutil.rmtree(found)
  line = refusal(export, load(str(workdir)), str(out))
  assert "no experiment of study mnist1d-smoke is finished" in line


@pytest.mark.parametrize(
  "changes,message",
  [
    ({"seed": 5}, "holds a study whose seed is 0, not 5"),
    ({"replicates": 1}, "holds a study whose replicates is 2, not 1"),
    (
      {"optim__learning_rate": 0.05},
      "holds experiment 'all' whose optim is .* they cannot be compared",
    ),
    (
      {"prune__fraction": 0.5},
      "holds experiment 'none' with other settings: export to another folder",
    ),
  ],
)
def test_what_does_not_belong_there_is_refused(out, tmp_path, changes, message):
  before = {p: p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
  results = run_only(tmp_path / "other", "none", **changes)
  if "optim__learning_rate" in changes:  # beside the other experiment alone
    shutil.rmtree(out / "none")
    before = {p: b for p, b in before.items() if p.parent.name != "none"}
  with pytest.raises(ValueError, match=message):
    export(results, str(out))
  assert before == {
    p: p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()
  }


def test_only_what_is_asked_for_is_run_and_the_rest_is_added(tmp_path):
  line = refusal(prepare, config_of(), str(tmp_path), ("nome",))
  assert "unknown experiment 'nome'; known: none, all, later" in line
  assert not list(tmp_path.iterdir())
  first = run_only(tmp_path, "none")
  assert set(first.table["experiment"]) == {"none"}
  second = run_only(tmp_path, "all")
  assert set(second.table["experiment"]) == {"none", "all"}
  # The claims are the whole study's from the first call on.
  assert first.tables.claims == second.tables.claims


def test_the_pieces_for_a_gpu():
  config = cifar10_resnet20.get_config("gpu")
  names = [e["name"] for e in config.experiments]
  assert names == [
    *("none", "all-200", "all-400"),
    *("easy-3200", "random-3200", "hard-3200"),
  ]
  assert (config.optim.steps, config.prune.levels) == ("7800step", 12)
  assert config.replicates == 4 and config.name == "cifar10-resnet20-gpu"
  with pytest.raises(ValueError, match="two sizes: choose one"):
    cifar10_resnet20.get_config("gpu,quick")
