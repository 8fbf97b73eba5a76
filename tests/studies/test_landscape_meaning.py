"""What looking at the landscape adds to a study, and what it must not touch."""

import itertools

import numpy as np
import pandas as pd
import pytest

from imp_jax.core.identity import content_id
from imp_jax.probes.curvature import Curvature
from imp_jax.probes.paths import Path
from imp_jax.probes.planes import Plane
from imp_jax.stages.train import Train
from tests.tiny import copy_of, run_tiny
from tests.tiny_landscape import (
  STEPS,
  T_R,
  connected,
  looked_at,
  plan_of,
)

OWN = STEPS - T_R


def sorted_rows(table):
  keys = [c for c in table.columns if c != "value"]
  return table.sort_values(keys, ignore_index=True)


def test_running_again_computes_nothing(landscape):
  _, log = run_tiny(landscape[0], **looked_at())
  assert log.nodes == [] and log.total == 0 and not log.warnings


def test_a_third_child_computes_only_itself(landscape, tmp_path):
  before = {
    name: landscape[1].read_table(name) for name in ("barriers", "paths")
  }
  results, log = run_tiny(
    copy_of(landscape, tmp_path), **looked_at(connectivity__children=3)
  )
  assert [n for n in log.nodes if "children" not in n] == [
    "all level 0, child 2",
    "all level 1, child 2",
  ]
  paths = {
    n for job in log.nodes if "children" in job for n in job.split(", a")
  }
  assert {p.removeprefix("all").removeprefix("ll") for p in paths} == {
    f" level {level}, children {i} and 2"
    for level, i in itertools.product((0, 1), (0, 1))
  }
  assert log.total == log.done == 2 * 2 * OWN
  for name, old in before.items():
    new = results.read_table(name)
    kept = new[(new.kind != "children") | (new.pair == "0-1")]
    pd.testing.assert_frame_equal(sorted_rows(kept), sorted_rows(old))
    more = new[(new.kind == "children") & (new.pair != "0-1")]
    assert set(more.pair) == {"0-2", "1-2"}
    assert set(more.level) == set(more.replicate) == {0, 1}


def test_a_study_that_did_not_look_can_look_later(tmp_path):
  """Its tickets stay; what is added is one child and the paths."""
  blind = connected(connectivity__children=0)
  results, log = run_tiny(tmp_path, **blind)
  assert log.total == T_R + OWN
  assert not results.has_table("barriers")
  results, log = run_tiny(tmp_path, **connected())
  assert log.nodes == ["all level 0, child 1", "all level 0, children 0 and 1"]
  assert log.total == log.done == OWN
  assert results.has_table("barriers")


def test_other_thresholds_only_count_anew(landscape, tmp_path):
  results, log = run_tiny(
    copy_of(landscape, tmp_path),
    **looked_at(connectivity__thresholds=(0.02, 0.1)),
  )
  assert log.nodes == []
  table = results.read_table("barriers")
  own = results.path("all", replicate=1).examples[
    "train", "average", "midpoint"
  ]
  for threshold in (0.02, 0.1):
    found = table.query(
      f"metric == 'connected_midpoint_{threshold}_average' and replicate == 1 "
      "and split == 'train' and kind == 'children' and level == 0"
    )
    assert found.value.item() == pytest.approx(np.mean(own < threshold))


@pytest.mark.parametrize(
  "changes",
  [
    dict(connectivity__alphas=(0.5,)),
    dict(connectivity__splits=("train",)),
    dict(connectivity__batch_stats=("average",)),
    dict(connectivity__recompute_batches=1),
    dict(connectivity__differ="both"),
    dict(
      connectivity__differ="perturb",
      connectivity__perturb_norm=0.1,
      connectivity__perturb_step="2step",
    ),
    dict(curvature__examples=10),
    dict(curvature__probes=3),
    dict(planes__points=4),
    dict(planes__margin=0.1),
  ],
)
def test_one_name_does_not_look_in_two_ways(landscape, tmp_path, changes):
  workdir = copy_of(landscape, tmp_path)
  files = sorted(f for f in workdir.rglob("*") if f.is_file())
  before = {f: f.read_bytes() for f in files if f.suffix in (".json", ".csv")}
  group = next(iter(changes)).split("__")[0]
  message = f"already means something else.*experiments.all.{group}.* was "
  with pytest.raises(ValueError, match=message) as error:
    run_tiny(workdir, **looked_at(**changes))
  assert "\n" not in str(error.value)
  assert sorted(f for f in workdir.rglob("*") if f.is_file()) == files
  assert all(f.read_bytes() == content for f, content in before.items())


def test_another_name_shares_the_networks(landscape):
  """Only the paths are missing where their points are others."""
  settings = looked_at(name="other", connectivity__alphas=(0.5,))
  plan = plan_of(landscape[0], **settings)
  for node, replicates in plan.nodes.items():
    for r in replicates:
      finished = plan.store.is_finished(node.object_id(0, r))
      assert finished != isinstance(node.stage, Path)


def test_not_looking_for_once_forgets_nothing(landscape, tmp_path):
  """Neither what was seen, nor the one way in which the name looks."""
  workdir = copy_of(landscape, tmp_path)
  before = landscape[1].read_table("barriers")
  off = looked_at(
    connectivity__children=0,
    connectivity__successive=False,
    curvature__levels=(),
    planes__through=(),
  )
  results, log = run_tiny(workdir, **off)
  assert log.total == 0
  after = results.read_table("barriers")
  pd.testing.assert_frame_equal(sorted_rows(after), sorted_rows(before))
  with pytest.raises(ValueError, match="already means something else"):
    run_tiny(workdir, **looked_at(connectivity__alphas=(0.3, 0.5)))


def test_levels_alone_forget_no_childrens_noise(landscape, tmp_path):
  """Children of two kinds of noise would stand in one table."""
  workdir = copy_of(landscape, tmp_path)
  fewer = dict(curvature__levels=(), planes__through=(), replicates=1)
  run_tiny(workdir, **looked_at(connectivity__children=0, **fewer))
  with pytest.raises(ValueError, match="already means something else"):
    run_tiny(workdir, **looked_at(connectivity__differ="both", **fewer))
  _, log = run_tiny(workdir, **looked_at(**fewer))
  assert log.nodes == []


def is_looking(node):
  if isinstance(node.stage, Train):
    return bool(node.stage.child or node.stage.snapshots)
  return isinstance(node.stage, Path | Curvature | Plane)


def test_looking_enters_no_identity_of_a_ticket(tmp_path):
  """Connectivity, curvature and planes leave tickets and masks as they are."""
  plans = [
    plan_of(
      tmp_path / "w",
      **looked_at(**changes),
    )
    for changes in (
      {},
      dict(connectivity__children=0, planes__through=("levels",)),
      dict(connectivity__differ="both", connectivity__alphas=(0.1, 0.5)),
      dict(
        connectivity__children=0,
        connectivity__successive=False,
        curvature__levels=(),
        planes__through=(),
      ),
    )
  ]
  keys = [{n.key for n in plan.nodes if not is_looking(n)} for plan in plans]
  assert keys[0] == keys[1] == keys[2] == keys[3]
  assert {n.key for n in plans[3].nodes} == keys[3]  # nothing else is left
  assert len(plans[0].nodes) > len(keys[0])


def test_tickets_are_the_same_objects_as_before_there_were_landscapes(tmp_path):
  """What may be looked at around a ticket is no part of its identity.

  It is right to change this number only together with a stage's VERSION; last
  when identities became explicit names and what is not at its default.
  """
  x = np.arange(34 * 8 * 8 * 3) * 37 % 251
  x = x.reshape(34, 8, 8, 3).astype(np.uint8)
  y = np.arange(34) % 3
  path = tmp_path / "images.npz"
  np.savez(
    path,
    train_image=x[:24],
    train_label=y[:24],
    test_image=x[24:],
    test_label=y[24:],
  )
  plan = plan_of(
    tmp_path / "w",
    data__source="npz",
    data__path=str(path),
    model__name="lenet300100",
    model__width=0.05,
  )
  assert len(plan.tickets) == 8
  ids = [
    [n.object_id(0, 1) for n in (t.pretrain, t.train, t.masks) if n]
    for t in plan.tickets
  ]
  assert content_id(ids) == "ab2f5947dd3b01402aaedbef6dc9da3c"
