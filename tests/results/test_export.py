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
from launch.side_by_side import settings_of
from tests.score_files import refusal
from tests.tiny import Log, tiny_config

EXPERIMENTS = (
  {"name": "none"},
  {"name": "all", "pretrain.steps": "1step"},
  {"name": "later", "pretrain.steps": "2step"},
)
# Of claims 0 and 3, with children and a control.
LOOKS = dict(
  claims__rewinding={"treatments": ("all",), "baseline": "none", "level": 2},
  claims__connected={"level": 2, "threshold": 0.1},
  connectivity__children=2,
  connectivity__alphas=(0.5,),
  controls__kinds=("reinit",),
  controls__levels=(1,),
)


def config_of(**changes):
  return tiny_config(**({"experiments": EXPERIMENTS} | LOOKS | changes))


def run_only(workdir, *only, **changes):
  plan = prepare(config_of(**changes), str(workdir), only)
  return execute(plan, Log())


def files_of(folder):
  return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


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
  for name, others in (("none", ["all", "later"]), ("all", ["none", "later"])):
    found = export(load(str(workdirs / name)), str(folder))
    assert found == ([name], others, 1)
  return folder


def test_experiments_of_two_workdirs_are_one_study(workdirs, out, tmp_path):
  """Rows and verdicts, claim 3's too, are those of a study that ran both."""
  both = run_only(tmp_path / "both", "none", "all")
  keys = list(both.table.columns[:7])
  wanted = both.table.sort_values(keys).reset_index(drop=True)
  found = pd.read_csv(out / "results.csv").sort_values(keys)
  pd.testing.assert_frame_equal(found.reset_index(drop=True), wanted, atol=1e-6)
  assert "all:reinit" in set(found["experiment"])
  verdicts = pd.read_csv(out / "verdicts.csv")
  assert verdicts["claim"].tolist() == [0, 3]
  assert verdicts["seconds"].isna().all()
  pd.testing.assert_frame_equal(
    verdicts.drop(columns="seconds"),
    both.read_table("verdicts").drop(columns="seconds"),
    atol=1e-6,
    check_dtype=False,
  )
  record = json.loads((out / "all" / "experiment.json").read_text())
  assert record["replicates"] == 2 and record["seconds"] > 0
  assert [way["device"] for way in record["ways"]] == ["cpu"]
  meaning = json.loads((out / "config.json").read_text())
  assert meaning["experiments"] == both.tables.experiments
  assert not {"path", "cache_dir"} & meaning["data"].keys()


def test_what_was_exported_can_be_put_beside_the_paper(out):
  settings, verdicts = settings_of(str(out))
  table = pd.read_csv(out / "results.csv").query(
    "level == 2 and metric == 'accuracy' and split == 'test'"
  )
  means = table.groupby("experiment")["value"].mean()
  (setting,) = [s for s in settings if s.rewind_step == 1]
  assert setting.differences["all", "none"].mean == pytest.approx(
    means["all"] - means["none"]
  )
  assert len(verdicts) == 1


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
  run_only(workdir, "later")
  study = workdir / "studies" / "mnist1d-smoke"
  entries = json.loads((study / "index.json").read_text())["entries"]
  last = [e for e in entries if e["experiment"] == "later"][-1]["ids"]
  shutil.rmtree(next(workdir.glob(f"objects/**/{next(iter(last.values()))}")))
  before = files_of(out)
  found = export(load(str(workdir)), str(out))
  assert found == (["all"], ["none", "later"], 1)
  assert files_of(out) == before
  for entry in entries:  # nothing is left that is whole
    for object_id in entry["ids"].values():
      for file in workdir.glob(f"objects/**/{object_id}"):
        shutil.rmtree(file)
  line = refusal(export, load(str(workdir)), str(out))
  assert "no experiment of study mnist1d-smoke is finished" in line


def test_a_damaged_mask_is_one_line_and_costs_nothing(workdirs, out, tmp_path):
  workdir = tmp_path / "damaged"
  shutil.copytree(workdirs / "all", workdir)
  study = workdir / "studies" / "mnist1d-smoke"
  entries = json.loads((study / "index.json").read_text())["entries"]
  mask = next(e["ids"]["masks"] for e in entries if "masks" in e["ids"])
  for file in next(workdir.glob(f"objects/**/{mask}")).iterdir():
    if file.name != "record.json":
      file.write_bytes(b"?")
  before = files_of(out)
  assert mask in refusal(export, load(str(workdir)), str(out))
  assert files_of(out) == before


@pytest.mark.parametrize(
  "changes,message",
  [
    ({"seed": 5}, "means something else: seed is 0 there, 5 here"),
    ({"replicates": 1}, "different numbers of replicates: .*none 1"),
    (
      {"optim__learning_rate": 0.05},
      r"experiments.\w+.trunk.optim.learning_rate is 0.\d+ there, 0.05 here",
    ),
    (
      {"prune__fraction": 0.5},
      r"experiments.\w+.trunk.prune.fraction is 0.\d+ there, 0.5 here",
    ),
    (
      {"data__test_examples": 33},
      r"experiments.\w+.eval.splits is .*fingerprint",
    ),
    ({"claims__margin": 0.02}, r"claims.margin is 0.01 there, 0.02 here"),
  ],
)
def test_what_does_not_belong_there_is_refused(out, tmp_path, changes, message):
  """Also beside experiments of other names alone."""
  shutil.rmtree(out / "none")
  before = files_of(out)
  results = run_only(tmp_path / "other", "none", **changes)
  with pytest.raises(ValueError, match=message):
    export(results, str(out))
  assert files_of(out) == before


def test_an_older_meaning_lacks_what_is_at_its_default(workdirs, out):
  """A field that is younger than what was exported means its default."""
  file = out / "config.json"
  meaning = json.loads(file.read_text())
  for settings in meaning["experiments"].values():
    assert settings["trunk"]["prune"].pop("rule") == "threshold"
  file.write_text(json.dumps(meaning))
  export(load(str(workdirs / "all")), str(out))


def test_only_what_is_asked_for_is_run_and_the_rest_is_added(tmp_path):
  line = refusal(prepare, config_of(), str(tmp_path), ("nome",))
  assert "unknown experiment 'nome'; known: none, all, later" in line
  assert not list(tmp_path.iterdir())
  first = run_only(tmp_path, "none")
  parents = first.table["experiment"].str.partition(":")[0]
  assert set(parents) == {"none"}
  # All of it is what the study means from the first call on.
  assert set(first.tables.experiments) == {"none", "all", "later"}
  verdicts = first.read_table("verdicts")
  assert set(verdicts["verdict"]) == {"undecided"}
  for changes, field in (
    ({"optim__learning_rate": 0.05}, "optim.learning_rate"),
    ({"optim__steps": "4step"}, "steps"),
    ({"data__generator_seed": 7}, "stream.fingerprint"),
  ):
    with pytest.raises(ValueError, match=f"means something else.*{field}"):
      prepare(config_of(**changes), str(tmp_path), ("all",))
  second = run_only(tmp_path, "all")
  parents = second.table["experiment"].str.partition(":")[0]
  assert set(parents) == {"none", "all"}
  assert first.tables.claims == second.tables.claims


def test_what_failed_of_one_part_is_told_after_another(tmp_path):
  broken = (
    {"name": "bad", "optim.learning_rate": 1e30},
    {"name": "bad-too", "optim.learning_rate": 1e30},
    {"name": "fine"},
  )
  settings = dict(
    experiments=broken,
    claims__rewinding={"treatments": ()},
    claims__connected={"level": 0},
    connectivity__children=0,
    controls__kinds=(),
    controls__levels=(),
  )
  results = run_only(tmp_path, "bad", **settings)
  file = tmp_path / "studies/mnist1d-smoke/failures.txt"
  first = file.read_text()
  assert "bad level 0, replicate 1: loss or weights not finite" in first
  results = run_only(tmp_path, "fine", **settings)
  assert results.has_failures and file.read_text() == first
  run_only(tmp_path, "bad-too", **settings)
  both = file.read_text()
  assert set(first.splitlines()) <= set(both.splitlines())
  assert both.count("bad-too level 0, replicate 1: loss") == 1
  run_only(tmp_path, "bad", **settings)
  assert sorted(file.read_text().splitlines()) == sorted(both.splitlines())


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
