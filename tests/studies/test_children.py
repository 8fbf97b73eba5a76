"""Children of tickets: how many trainings, alone and in company, failures."""

import dataclasses
import itertools
import shutil

import chex
import jax
import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves
from imp_jax.stages.train import NO_DIFFERENCE, Train
from tests.tiny import copy_of, run_tiny
from tests.tiny_landscape import (
  STEPS,
  T_R,
  children_of,
  connected,
  looked_at,
  plan_of,
)


def test_child_0_is_the_tickets_own_training(landscape):
  """No ticket is trained twice: neither for its children nor for paths."""
  workdir, results, log = landscape
  assert not log.warnings
  trained = [n for n in log.nodes if n.startswith("all level ")]
  trained = [n for n in trained if "children" not in n]
  assert sorted(trained) == [
    "all level 0",
    "all level 0, child 1",
    "all level 0, child 1, trajectory",
    "all level 0, trajectory",
    "all level 1",
    "all level 1, child 1",
    "all level 1, trajectory",
    "all level 2",
    "all level 2, trajectory",
  ]
  own = STEPS - T_R
  tickets, children, trajectories = 3 * own, 2 * own, 4 * own
  assert log.done == 2 * (T_R + tickets + children) + trajectories
  assert log.total == log.done
  for level, r in itertools.product((0, 1), (0, 1)):
    first, second = children_of(
      plan_of(workdir, **looked_at()), level=level, replicate=r
    )
    ticket = results.ticket("all", level=level, replicate=r)
    chex.assert_trees_all_equal(first.tree["params"], ticket.trained_params)
    assert first.record["inputs"] == second.record["inputs"]
    assert (first.record["stage"], second.record["stage"]) == ("train", "train")


def test_sparse_children_keep_their_tickets_mask(landscape):
  workdir, results, _ = landscape
  for r in (0, 1):
    ticket = results.ticket("all", level=1, replicate=r)
    masks = flat_leaves(ticket.masks)
    assert any((~m).any() for m in masks.values())
    child = children_of(plan_of(workdir, **looked_at()), level=1, replicate=r)[
      1
    ]
    weights = flat_leaves(child.tree["params"])
    for path, mask in masks.items():
      assert (weights[path][~mask] == 0).all()
    assert child.record["layers"] == ticket.record["layers"]
    assert child.record["density"] == ticket.record["density"] < 1
    # It was trained, from the ticket's weights: only then are they this far.
    start = flat_leaves(ticket.params)
    for path, mask in masks.items():
      if path.endswith("kernel"):
        apart = np.abs(weights[path] - start[path])[mask]
        assert apart.max() > 0.01


def test_children_and_replicates_together_are_as_alone(
  landscape, tmp_path, monkeypatch
):
  """Bit for bit: trainings of two replicates in company, and one by one."""
  workdir, bare = (copy_of(landscape, tmp_path / n) for n in ("w", "bare"))
  settings = looked_at(
    name="together",
    connectivity__children=3,
    connectivity__levels=(1,),
    connectivity__successive=False,
    connectivity__alphas=(0.5,),
    curvature__levels=(),
    planes__through=(),
  )
  run_tiny(workdir, **settings)
  alone = settings | dict(name="alone", execution__replicates_at_once=1)
  plan = plan_of(bare, **alone)
  for node in plan.nodes:  # child 1, which two replicates trained together
    if isinstance(node.stage, Train) and node.stage.child == 1:
      for r in (0, 1):
        shutil.rmtree(bare / "objects" / node.object_id(0, r))
  for children in (2, 3):
    one_more = alone | dict(connectivity__children=children)
    _, log = run_tiny(bare, **one_more)
    assert log.total == log.done == 2 * (STEPS - T_R)
  for r in (0, 1):
    one, two = (
      children_of(plan_of(w, **s), level=1, replicate=r)
      for w, s in ((workdir, settings), (bare, alone))
    )
    assert len(one) == len(two) == 3
    for a, b in zip(one, two, strict=True):
      chex.assert_trees_all_equal(a.tree, b.tree)
      assert a.record["travelled"] == b.record["travelled"]


def test_the_steps_of_children_trained_together_are_all_told(
  tmp_path, monkeypatch
):
  settings = connected(connectivity__children=3, connectivity__alphas=(0.5,))
  _, log = run_tiny(tmp_path, **settings)
  own = STEPS - T_R
  assert log.done == T_R + own + 2 * own
  assert log.total == log.done


def test_equal_children_are_a_named_failure(tmp_path, monkeypatch):
  """Whatever makes the noise the same; a level's, and not the other's."""
  from imp_jax.stages import train as training

  real = training.start_run

  def deaf(context, train, item, **options):
    train = dataclasses.replace(train, child=0, differ=NO_DIFFERENCE)
    return real(context, train, item, **options)

  monkeypatch.setattr(training, "start_run", deaf)
  results, log = run_tiny(tmp_path, **connected(replicates=2))
  wanted = [
    f"all level 0, children 0 and 1, replicate {r}: the two networks are "
    "equal: nothing differed between their trainings"
    for r in (0, 1)
  ]
  assert log.warnings == wanted
  failed = tmp_path / "studies" / "landscape" / "failures.txt"
  assert failed.read_text().splitlines() == wanted
  assert not results.has_table("barriers")
  assert set(results.table.replicate) == {0, 1}
  monkeypatch.undo()
  # The children are as they were: the failure stands until they are not.
  _, log = run_tiny(tmp_path, **connected(replicates=2))
  assert log.warnings == wanted and log.total == 0


def test_a_failed_child_ends_its_own_pairs_only(tmp_path, monkeypatch):
  from imp_jax.stages import train as training

  real = training.start_run

  def sabotaged(*args, name, **options):
    run = real(*args, name=name, **options)
    if name == "all level 0, child 1, replicate 0":
      head = dict(run.state.params["head"])
      head |= {"bias": head["bias"] * np.inf}
      run.state = run.state.replace(params=run.state.params | {"head": head})
    return run

  monkeypatch.setattr(training, "start_run", sabotaged)
  monkeypatch.setattr(training, "_unfaithful_start", lambda *_: None)
  results, log = run_tiny(
    tmp_path, **connected(replicates=2, connectivity__children=3)
  )
  (message,) = log.warnings
  assert message.startswith("all level 0, child 1, replicate 0: loss or weight")
  table = results.read_table("barriers")
  found = {r: set(rows.pair) for r, rows in table.groupby("replicate")}
  assert found == {0: {"0-2"}, 1: {"0-1", "0-2", "1-2"}}


def test_experiments_of_one_training_keep_their_own_paths(tmp_path):
  """Their tickets are shared, the settings of their paths are not."""
  settings = connected(
    prune__levels=1,
    connectivity__successive=True,
    experiments=(
      {"name": "one", "connectivity.alphas": (0.5,)},
      {
        "name": "two",
        "connectivity.alphas": (0.25, 0.75),
        "connectivity.splits": ("test",),
        "connectivity.batch_stats": ("endpoint",),
      },
    ),
  )
  results, log = run_tiny(tmp_path, **settings)
  assert log.total == T_R + 3 * (STEPS - T_R)
  for kind, level in (
    ("children", 0),
    ("successive", 0),
    ("from_dense", 1),
    ("from_dense_masked", 1),
  ):
    for name, alphas, splits, modes in (
      ("one", [0, 0.5, 1], {"train", "test"}, {"average"}),
      ("two", [0, 0.25, 0.75, 1], {"test"}, {"endpoint"}),
    ):
      found = results.path(name, kind=kind, level=level)
      assert found.record["settings"]["path"]["alphas"] == alphas
      assert set(found.curves) == splits
      for curves in found.curves.values():
        assert set(curves) == modes
        assert all(curve["alpha"] == alphas for curve in curves.values())


def test_children_of_one_parent_keep_their_own_perturbation(
  tmp_path, monkeypatch
):
  """Two scores, two norms: their networks have the same labels and parent."""
  easy = {
    "pretrain.subset.kind": "easy",
    "pretrain.subset.size": 20,
    "pretrain.subset.score": "barrier",
    "connectivity.differ": "perturb",
  }
  norms = {"small": 1e-3, "large": 0.5}
  settings = connected(
    optim__learning_rate=0.0,  # so that the distance remains
    connectivity__perturb_step=f"{T_R}step",
    scores__networks=1,
    scores__rewind_step=f"{T_R}step",
    experiments=tuple(
      {"name": name, "connectivity.perturb_norm": norm} | easy
      for name, norm in norms.items()
    ),
  )
  run_tiny(tmp_path, **settings)
  plan, found = plan_of(tmp_path, **settings), {}
  for node in plan.nodes:
    child = isinstance(node.stage, Train) and node.stage.child
    if child and node.label.startswith("barrier"):
      weights = [
        jax.tree.leaves(plan.store.load(i).tree["params"])
        for i in (
          node.object_id(0, 0),
          node.edge("weights").node.object_id(0, 0),
        )
      ]
      apart = [
        np.subtract(*two, dtype=float) for two in zip(*weights, strict=True)
      ]
      distance = np.sqrt(sum((leaf**2).sum() for leaf in apart))
      found[node.stage.differ.norm] = distance
  assert found.keys() == set(norms.values())
  for norm, distance in found.items():
    assert distance == pytest.approx(norm, rel=1e-3)
