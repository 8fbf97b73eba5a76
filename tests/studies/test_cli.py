"""The command line: exit codes, one-line errors, every config's :smoke."""

import dataclasses
import importlib
import os
import subprocess
import sys

import numpy as np
import pytest

from imp_jax.command.studies import run_study
from imp_jax.study import prepare
from tests.painting import painting
from tests.places import ROOT
from tests.tiny import TEST_EXAMPLES, random_arrays, write_npz

CONFIGS = sorted(
  f.relative_to(ROOT / "configs").with_suffix("").as_posix()
  for folder in (ROOT / "configs", ROOT / "configs" / "around")
  for f in folder.glob("*.py")
  if "def get_config(" in f.read_text() and not f.stem.startswith("search_")
)


def launch(*args):
  return subprocess.run(
    [sys.executable, "-m", "launch.main", *args],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=300,
  )


def small_images(config, folder):
  """Small random images where a config wants a data set to be downloaded."""
  if config.endswith("mnist1d") or config.startswith("around/"):
    return {}
  arrays = random_arrays(np.random.default_rng(0), shape=(32, 32, 3))
  path = write_npz(folder / "images.npz", arrays)
  return {"data.source": "npz", "data.path": path}


# In a process of their own; the others in this one, with what it compiled.
LAUNCHED = ("mnist1d", "cifar10_resnet20")
# Every kind of figure is painted by one of these, and by what is launched.
PAINTED = ("data_diet_mnist1d", "landscape_mnist1d", "scores_cifar10")
# Of networks that compile in no time; the others' are ResNets.
DENSE = (
  "cifar10_small",
  "data_diet_cifar10",
  "forgetting_cifar10",
  "landscape_cifar10",
  "random_labels_cifar10",
  "scores_cifar10",
)
# What these declare is no claim of the paper's.
TRIALS = ("trial_mnist1d", "mask_data_mnist1d")
SAID = {
  "adaptive_mnist1d": "less fixed's at the same density",
  "around/bounded": "adaptive pruning of part took 2 trainings",
  "around/distilled": "contrast at level 1, barrier: distilled less all",
  "around/local_fields": "neighbouring inputs of taught's first layer",
  "around/permutations": "matched by weights, joint",
  "around/pruning_bound": "curvature allows to prune at once",
  "around/signs": "contrast at level 1: imp:sparse_signs",
  "around/unmasking": "W_r was moved",
}
# Smoke runs of these differ from another's in numbers: they are only resolved.
SAME = {
  "data_diet_cifar100": "data_diet_cifar10",
  "data_diet_cinic10": "data_diet_cifar10",
  "landscape_cinic10": "landscape_cifar10",
}


def smoke_settings(config, images):
  module = importlib.import_module(f"configs.{config.replace('/', '.')}")
  settings = module.get_config("smoke")
  # Such programs serve other processes too (imp_jax.command.cli.start).
  fast = {"execution.convolution": "fast"} if images else {}
  settings.update_from_flattened_dict(images | fast)
  if SAME.get(config, config) in DENSE:
    for network in (settings.model, settings.scores.model):
      network.update(name="lenet300100", width=0.1)
  if not images:  # the launched one has them all
    settings.data.test_examples = TEST_EXAMPLES
  return settings


@pytest.mark.parametrize("config", SAME)
def test_smoke_of_another_data_set_runs_the_same(tmp_path, config):
  """The same nodes, of networks of one kind, and claims."""
  images = small_images(config, tmp_path)
  one, other = (
    prepare(smoke_settings(c, images), str(tmp_path / c))
    for c in (config, SAME[config])
  )
  stages = [
    [(n.stage.NAME, n.label, len(rs)) for n, rs in plan.nodes.items()]
    for plan in (one, other)
  ]
  assert len(stages[0]) > 10 and stages[0] == stages[1]
  assert one.study.claims == other.study.claims
  a, b = (plan.study.experiments[0] for plan in (one, other))
  models = [dataclasses.replace(e.trunk.model, mean=(), std=()) for e in (a, b)]
  assert models[0] == models[1] and a.probes == b.probes


@pytest.mark.parametrize("config", [c for c in CONFIGS if c not in SAME])
def test_smoke_of_every_config(tmp_path, config, capsys):
  given = f"configs/{config}.py:smoke"
  images = small_images(config, tmp_path)
  if config in LAUNCHED:
    workdir = os.path.relpath(tmp_path / "w", ROOT)  # as people type it
    flags = [f"--config.{field}={value}" for field, value in images.items()]
    if images:  # of its kind the one that compiles first
      flags.append("--config.model.name=resnet8")
    done = launch(f"--config={given}", f"--workdir={workdir}", *flags)
    code, out, err = done.returncode, done.stdout, done.stderr
  else:
    settings = smoke_settings(config, images)
    with painting(config in PAINTED):
      code = run_study(settings, str(tmp_path / "w"))
    out, err = capsys.readouterr()
  assert (tmp_path / "w" / "studies").is_dir()
  assert code == 0, err
  if config.startswith("scores"):
    assert "rank correlation of el2n over disjoint networks" in out
  else:
    assert "test accuracy (%), mean ± std over" in out
    landscape = config.startswith("landscape")
    claim = "claim 3, connected" if landscape else "claim 0, rewinding"
    if config in TRIALS:
      claim = "against imp's ticket at level 2"
    claim = SAID.get(config, claim)
    assert claim in out
  assert "results and figures: " in out
  assert err == ""  # quiet when not a terminal


@pytest.mark.parametrize(
  "flags,message",
  [
    (["--config.optim.learnin_rate=1"], "learning_rate"),
    (["--config.replicates=many"], "many"),
    (["--config.replicates=0"], "replicates must be at least 1, got 0"),
    (["--config.data.test_examples=9"], "must be at least 10, got 9"),
    (["--config.data.test_examples=2.5"], "2.5"),
    (
      [
        "--config.data.test_examples=50",
        "--config.data.source=npz",
        "--config.data.path=x.npz",
      ],
      "'npz' brings its own test set",
    ),
    (["--workdir=/proc/no/such"], "workdir /proc/no/such is not writable"),
    (["--config=configs/nothing.py"], "nothing.py"),
    (["--config=configs/mnist1d.py:large"], "unknown config variant 'large'"),
    (["extra"], "unknown arguments: extra"),
    (["--config=configs/cifar10_resnet20.py:composer,openlth"], "choose one"),
  ],
)
def test_bad_input_exits_2_with_one_line(tmp_path, zygote, flags, message):
  done = zygote.launch(
    "launch.main",
    "--config=configs/mnist1d.py:smoke",
    f"--workdir={tmp_path}/w",
    *flags,
  )
  assert done.returncode == 2
  lines = done.stderr.strip().splitlines()
  assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
  assert message in lines[0]
  assert done.stdout == "" and not (tmp_path / "w").exists()


def test_a_failed_replicate_exits_1_and_names_itself(tmp_path, zygote):
  done = zygote.launch(
    "launch.main",
    "--config=configs/mnist1d.py:smoke",
    f"--workdir={tmp_path}/w",
    "--config.optim.learning_rate=1e30",
    "--config.eval.curve_steps=()",
  )
  assert done.returncode == 1, done.stderr
  assert (
    "none level 0, replicate 0: loss or weights not finite between steps 0 "
    "and 3; last good state kept at step 0" in done.stderr
  )
  assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
  "given", ["{'seed': 1}", "None", "3", "[]", "ConfigDict({'prune': 3})"]
)
def test_config_files_that_return_no_config_exit_2(tmp_path, zygote, given):
  file = tmp_path / "c.py"
  file.write_text(
    "from ml_collections import ConfigDict\n"
    f"def get_config():\n  return {given}\n"
  )
  done = zygote.launch(
    "launch.main", f"--config={file}", f"--workdir={tmp_path}/w"
  )
  assert done.returncode == 2 and done.stdout == ""
  *_, line = done.stderr.strip().splitlines()  # absl has a word on None
  assert line.startswith("error: ") and ("onfig" in line), line
  assert not (tmp_path / "w").exists()
