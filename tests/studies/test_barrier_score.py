"""The per-example barrier as a score: whose it is, what it picks, its file."""

import itertools
import json

import numpy as np
import pytest

from imp_jax.data.score_files import load_scores
from imp_jax.landscape.barriers import midpoint
from imp_jax.landscape.paths import evaluate_path
from imp_jax.models import make_model
from imp_jax.probes.paths import ExampleBarriers
from imp_jax.stages.train import Train
from tests.tiny import run_tiny
from tests.tiny_landscape import (
  ALPHAS,
  STEPS,
  T_R,
  connected,
  plan_of,
)

NETWORKS, REPLICATES, CHILDREN = 2, 1, 3
EASY = {
  "pretrain.subset.kind": "easy",
  "pretrain.subset.size": 20,
  "pretrain.subset.score": "barrier",
}


def scored(**changes):
  """All the data, and the twenty examples of the lowest barrier."""
  settings = connected(
    replicates=REPLICATES,
    connectivity__children=CHILDREN,
    scores__networks=NETWORKS,
    scores__rewind_step=f"{T_R}step",
    experiments=({"name": "all"}, {"name": "easy"} | EASY),
  )
  return settings | changes


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("barrier")
  results, log = run_tiny(workdir, written=True, **scored())
  return workdir, results, log


def score_node(plan):
  (node,) = [n for n in plan.nodes if isinstance(n.stage, ExampleBarriers)]
  return node


def test_networks_are_shared_with_the_experiment_of_all_the_data(finished):
  """Two networks of the score; the one replicate of "all" is among them."""
  workdir, _, log = finished
  assert not log.warnings
  own = STEPS - T_R
  each = T_R + CHILDREN * own
  assert log.done == NETWORKS * each + REPLICATES * each  # "easy" has its own
  assert log.total == log.done
  plan = plan_of(workdir, **scored())
  dense = {
    n for n in plan.nodes if isinstance(n.stage, Train) and n.stage.start
  }
  assert len(dense) == 2 * CHILDREN
  ticket = next(t for t in plan.tickets if t.experiment == "all")
  paths = [edge.node for edge in score_node(plan).edges]
  assert len(paths) == 3
  assert paths[0].edge("a").node == ticket.train
  # The rest of what is looked at has the parents' children at its ends too.
  pairs = [v.node for v in plan.views if v.experiment == "all"]
  for path, pair in zip(paths, pairs, strict=True):
    for end in "ab":
      assert path.edge(end).node == pair.edge(end).node


def test_the_paths_of_the_study_are_whole_beside_the_score(finished):
  """The score looks at midpoints on training examples only; they do not."""
  _, results, _ = finished
  for name, pair, r in itertools.product(
    ("all", "easy"), ("0-1", "0-2", "1-2"), range(REPLICATES)
  ):
    curves = results.path(name, between=pair, replicate=r).curves
    assert set(curves) == {"train", "test"}
    for modes in curves.values():
      assert modes["average"]["alpha"] == [0, *ALPHAS, 1]
  assert set(results.read_table("instability").experiment) == {"all", "easy"}


def test_the_score_is_the_mean_over_pairs_and_networks(finished, mnist):
  workdir, results, _ = finished
  plan, rows = plan_of(workdir, **scored()), []
  model = make_model(
    "conv1d", num_classes=10, input_shape=(40,), width=0.25, conv="fast"
  )
  stored = []
  for path in (edge.node for edge in score_node(plan).edges):
    for r in range(NETWORKS):
      a, b = (
        plan.store.load(path.edge(end).node.object_id(0, r)).tree
        for end in "ab"
      )
      found = evaluate_path(
        a,
        b,
        (0, 0.5, 1),
        mnist.train.inputs,
        mnist.train.labels,
        model=model.normalising(mnist.mean, mnist.std),
      )
      rows.append(midpoint(found["loss"], (0, 0.5, 1)))
      arrays = plan.store.load(path.object_id(0, r)).arrays
      stored.append(arrays["train.average.midpoint"])
  assert len(rows) == 3 * NETWORKS
  values = results.scores("barrier").values
  np.testing.assert_allclose(values, np.mean(stored, axis=0), atol=1e-6)
  np.testing.assert_allclose(values, np.mean(rows, axis=0), atol=1e-5)
  assert np.std(values) > 0.01 and (values < 0).any()
  # What the study itself stored of its replicates is the same there.
  pairs = [
    results.path("all", between=p, replicate=r).examples[
      "train", "average", "midpoint"
    ]
    for p, r in itertools.product(("0-1", "0-2", "1-2"), range(REPLICATES))
  ]
  for found in pairs:
    assert any(np.array_equal(found, row) for row in stored)


def test_easy_examples_are_those_of_the_lowest_barrier(finished):
  _, results, _ = finished
  values = results.scores("barrier").values
  for r in range(REPLICATES):
    kept = results.keep_index("easy", replicate=r)
    assert len(kept) == 20
    assert set(kept) == set(np.argsort(values, kind="stable")[:20])


def test_it_is_exported_with_what_it_is(finished, mnist):
  workdir, results, _ = finished
  file = workdir / "studies" / results.study / "scores" / "barrier.npy"
  record = json.loads(file.with_suffix(".json").read_text())
  assert record["score"] == "barrier" and record["larger_is_harder"] is True
  assert record["networks"] == NETWORKS and record["bn_mode"] == "eval"
  wanted = {
    "rewind_step": T_R,
    "steps": STEPS,
    "children": CHILDREN,
    "noise": {"differ": "order", "step": 0, "norm": 0.0},
    "batch_stats": "average",
  }
  assert wanted.items() <= record["definition"].items()
  assert record["fingerprint"] == mnist.fingerprint
  values, _ = load_scores(str(file), mnist)
  np.testing.assert_array_equal(values, results.scores("barrier").values)
  reliability = results.read_table("reliability")
  assert set(reliability.score) == {"barrier"}
  assert set(reliability.networks) == {1}  # two groups of one


def test_it_can_be_wanted_for_itself(finished, tmp_path):
  """With fewer children or another t_r it is another score."""
  import shutil

  workdir = shutil.copytree(finished[0], tmp_path / "w")
  alone = dict(name="alone", scores__compute=("barrier",), experiments=())
  results, log = run_tiny(workdir, **scored(**alone))
  assert log.total == 0 and not log.nodes
  np.testing.assert_array_equal(
    results.scores("barrier").values, finished[1].scores("barrier").values
  )
  results, log = run_tiny(
    workdir, **scored(**alone | dict(name="two", connectivity__children=2))
  )
  assert log.total == 0  # its pairs are among those of three
  two = results.scores("barrier").values
  assert not np.allclose(two, finished[1].scores("barrier").values)
  _, log = run_tiny(
    workdir,
    **scored(
      **alone
      | dict(name="none", scores__rewind_step="0step", scores__networks=1)
    ),
  )
  assert log.total == log.done == CHILDREN * STEPS


@pytest.mark.parametrize(
  "changes,message",
  [
    (
      dict(connectivity__children=0),
      "score 'barrier' needs connectivity.children >= 2, got 0",
    ),
    (dict(connectivity__children=1), "connectivity.children must be 0 or at"),
    (
      dict(scores__rewind_step=f"{STEPS}step"),
      f"scores.rewind_step must be before the run's {STEPS} steps, got {STEPS}",
    ),
    (dict(scores__rewind_step="soon"), "scores.rewind_step must be a duration"),
    (
      dict(
        connectivity__differ="perturb",
        connectivity__perturb_norm=0.1,
        connectivity__perturb_step=f"{T_R}step",
        scores__rewind_step="2step",
      ),
      "connectivity.perturb_step must be in the training of level 0, 2 <= step",
    ),
  ],
)
def test_what_gives_no_barrier_is_refused(tmp_path, changes, message):
  workdir = tmp_path / "new"
  with pytest.raises(ValueError, match=message):
    plan_of(workdir, **scored(**changes))
  assert not workdir.exists()


def test_its_parents_are_pre_trained_as_the_experiment_says(tmp_path):
  """With its own optimiser and label noise, as the networks of "all" are."""
  easy = {"pretrain.optim.learning_rate": 0.01, "pretrain.noise.fraction": 0.5}
  settings = scored(
    experiments=({"name": "all"} | easy, {"name": "easy"} | EASY | easy)
  )
  plan = plan_of(tmp_path, **settings)
  (pretrain,) = {t.pretrain.key for t in plan.tickets if t.experiment == "all"}
  (name,) = plan.scores
  assert name == "barrier-noise50"
  networks = score_node(plan).edge("pair.0").node
  trained = networks.edge("a").node
  assert trained.edge("weights").node.key == pretrain
  unseen = scored(
    pretrain__noise__scoring=False,
    experiments=({"name": "easy"} | EASY | easy,),
  )
  assert list(plan_of(tmp_path, **unseen).scores) == ["barrier"]
