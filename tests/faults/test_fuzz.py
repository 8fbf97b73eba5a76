"""Every artefact damaged in every way; configs and files of noise."""

import contextlib
import json
import random
import shutil
import warnings

import ml_collections
import numpy as np
import pandas as pd
import pytest

from imp_jax.command.cli import BAD_INPUT
from imp_jax.study import execute, prepare
from tests.tiny import (
  Log,
  copy_of,
  random_arrays,
  run_tiny,
  tiny_config,
  write_npz,
)
from tests.tiny_diet import diet

pytestmark = pytest.mark.long


def truncated(file, draw):
  data = file.read_bytes()
  file.write_bytes(data[: draw.randrange(len(data))])


def flipped(file, draw):
  data = bytearray(file.read_bytes())
  data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
  file.write_bytes(data)


def removed(file, _):
  file.unlink()


def swapped(file, draw):
  """With the file of that name of another artefact."""
  others = [f for f in file.parent.parent.glob(f"*/{file.name}") if f != file]
  other = draw.choice(sorted(others))
  mine, its = file.read_bytes(), other.read_bytes()
  file.write_bytes(its)
  other.write_bytes(mine)


def renamed(file, draw):
  """The whole artefact takes another's place."""
  folder = file.parent
  others = [f for f in folder.parent.iterdir() if f != folder]
  other = draw.choice(sorted(others))
  shutil.rmtree(other)
  folder.rename(other)


@pytest.mark.parametrize("how", [truncated, flipped, removed, swapped, renamed])
def test_no_damage_of_any_artefact_reaches_a_table(finished, tmp_path, how):
  draw = random.Random(how.__name__)
  workdir = copy_of(finished, tmp_path)
  names = sorted(
    str(f.relative_to(workdir)) for f in workdir.glob("objects/*/*")
  )
  for name in names:
    data = {f: f.read_bytes() for f in workdir.glob("objects/*/*")}
    how(workdir / name, draw)
    if {f: f.read_bytes() for f in workdir.glob("objects/*/*")} == data:
      continue  # two artefacts may hold the same bytes
    results, log = run_tiny(workdir)
    assert log.warnings or how is renamed, name
    pd.testing.assert_frame_equal(results.table, finished[1].table)
    assert (
      sorted(str(f.relative_to(workdir)) for f in workdir.glob("objects/*/*"))
      == names
    )
    shutil.rmtree(workdir / "damaged", ignore_errors=True)


@pytest.mark.parametrize("how", [truncated, flipped, removed])
def test_no_damage_of_a_studys_files_reaches_a_table(finished, tmp_path, how):
  for name in ("config.json", "index.json", "artefacts.json"):
    for seed in range(5):
      workdir = tmp_path / f"{name}{seed}"
      shutil.copytree(finished[0], workdir)
      file = workdir / "studies" / "mnist1d-smoke" / name
      how(file, random.Random(seed))
      results, log = run_tiny(workdir)
      assert not log.nodes and not log.evaluated
      pd.testing.assert_frame_equal(results.table, finished[1].table)


VALUES = (
  0, 1, -1, 2, 3, 10**9, 10**400, -(10**20), 0.0, 0.5, 1.0, -0.5, 1e-300,
  1e300, float("nan"), float("inf"), "", "all", "none", "easy", "el2n", "1step",
  "2ep", "-1step", "3", "ü", "\x00", "a/b", "../up", "x" * 5000, True, False,
  None, (), (0,), (1, 1), ("1step",), ("a", "b"), ({},), {}, {"a": 1}, [], [1],
  b"bytes", ({"name": "a"}, {"name": "a"}), ({"name": "a", "x.y": 1},),
)  # fmt: skip


def leaves(config, path=()):
  for key, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      yield from leaves(value, (*path, key))
    else:
      yield (*path, key)


def mutated(draw):
  """A config of which some fields are anything."""
  changes = diet() if draw.random() < 0.5 else {}
  config = tiny_config(**changes)
  fields = list(leaves(config))
  for path in draw.sample(fields, draw.choice([1, 1, 2, 3])):
    node = config
    for key in path[:-1]:
      node = node[key]
    value = draw.choice(VALUES)
    if draw.random() < 0.3:  # another field's value, of a type that may fit
      other = config
      for key in draw.choice(fields):
        other = other[key]
      value = other
    # Of an int that is no float ml_collections says so itself.
    with (
      contextlib.suppress(OverflowError),
      node.unlocked(),
      node.ignore_type(),
    ):
      node[path[-1]] = value
  return config


def ends_well(config, workdir):
  """Whether a config runs or is refused in one line; which of them."""
  try:
    plan = prepare(config, str(workdir))
  except BAD_INPUT as error:
    line = " ".join(str(error).split("\n"))
    assert str(error).count("\n") == 0, line
    assert len(line) > 10, line
    return "refused"
  small = sum(
    node.stage.cost([node]) * len(rs) for node, rs in plan.nodes.items()
  )
  if small > 300 or sum(map(len, plan.nodes.values())) > 150:
    return "let through"  # it would take minutes
  execute(plan, Log())
  return "ran"


@pytest.mark.parametrize("seed", range(500))
def test_any_config_runs_or_is_refused_in_one_line(tmp_path, monkeypatch, seed):
  monkeypatch.chdir(tmp_path)  # any text may be a path
  draw = random.Random(seed)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    assert ends_well(mutated(draw), tmp_path / "w")


def noisy(file, draw):
  """A file of which some bytes are anything."""
  data = bytearray(file.read_bytes())
  for _ in range(draw.choice([1, 1, 3, 20])):
    what, at = draw.randrange(4), draw.randrange(max(len(data), 1))
    if what == 0:
      data[at : at + 1] = bytes([draw.randrange(256)])
    elif what == 1:
      del data[at : at + draw.randrange(1, 200)]
    elif what == 2:
      data[at:at] = data[: draw.randrange(1, 100)]
    else:
      data[at : at + 8] = draw.randbytes(8)
  file.write_bytes(bytes(data))


@pytest.mark.parametrize("seed", range(200))
def test_any_file_is_read_or_refused_in_one_line(tmp_path, seed):
  draw = random.Random(seed)
  rng = np.random.default_rng(seed)
  arrays = random_arrays(rng, train=80, test=20, shape=(8, 8, 3), classes=4)
  data = tmp_path / "data.npz"
  write_npz(str(data), arrays)
  keep = tmp_path / "keep.npy"
  np.save(keep, np.arange(0, 80, 2))
  scores = tmp_path / "scores.npy"
  np.save(scores, rng.random(80).astype(np.float32))
  record = tmp_path / "scores.json"
  record.write_text(json.dumps({"score": "el2n", "larger_is_harder": True}))
  chosen = draw.choice([data, keep, scores, record])
  noisy(chosen, draw)
  subset = {"kind": "keep_list", "file": str(keep)}
  used = {}
  if chosen in (scores, record):
    subset = {"kind": "easy", "size": 40, "score": "file"}
    used["scores__file"] = str(scores)
  config = tiny_config(
    **used,
    data__source="npz",
    data__path=str(data),
    data__mean=(),
    data__std=(),
    data__crop_pad=0,
    model__name="lenet300100",
    model__width=0.05,
    replicates=2,
    prune__levels=1,
    claims__rewinding={"treatments": ()},
    experiments=(
      {"name": "a", "pretrain": {"steps": "1step", "subset": subset}},
    ),
  )
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    assert ends_well(config, tmp_path / "w")
