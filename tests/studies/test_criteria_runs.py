"""Criteria in a study: exact densities after each, and what collapses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves, nested_leaves
from imp_jax.pruning import CRITERIA
from imp_jax.pruning.criteria import Criterion
from imp_jax.results.summary import emptied_lines
from tests.tiny import run_tiny

FIELDS = dict(
  replicates=2,
  prune__rule="exact",
  prune__levels=2,
  prune__fraction=0.5,
  prune__examples_per_class=1,
  claims__rewinding={"treatments": ()},
)


def kept(results, name, level):
  masks = flat_leaves(results.ticket(name, level=level).masks)
  return {
    path: int(np.asarray(mask).sum())
    for path, mask in masks.items()
    if path.endswith("kernel")
  }


def test_each_criterion_leaves_exactly_the_wanted_weights(tmp_path):
  """At initialisation in rounds, and after training; ERK by layers."""
  at_init = {"pretrain.steps": "0step", "prune.source": "rewound"}
  trained = {"pretrain.steps": "1step"}
  experiments = (
    *(
      {"name": f"{c}-0", **at_init, "prune.criterion": c, "prune.rounds": 3}
      for c in ("grasp", "synflow", "ntk_sap", "snip", "magnitude", "random")
    ),
    {"name": "sanh", **trained, "prune.criterion": "sanh_movement"},
    {"name": "erk", **trained, "prune.allocation": "erk"},
  )
  network = dict(model__name="lenet300100", model__width=0.05)
  results, _ = run_tiny(tmp_path, **FIELDS, **network, experiments=experiments)
  assert not results.has_failures
  whole = sum(kept(results, "erk", 0).values())
  first = whole - -(-whole // 2)
  left = [whole, first, first - -(-first // 2)]
  masks = set()
  for e in experiments:
    for level in (0, 1, 2):
      counts = kept(results, e["name"], level)
      assert sum(counts.values()) == left[level], e["name"]
    masks.add(tuple(counts.values()))
  assert len(masks) > 4  # they do not choose alike


def test_a_criterion_that_collapses_a_layer_is_reported(tmp_path, monkeypatch):
  """Its weights score less than all others: they go first."""

  def scores(network, model):
    flat = {
      path: jnp.where(path == "conv2/kernel", 0.0, 1.0) + jnp.abs(leaf) / 1e3
      for path, leaf in flat_leaves(network.params).items()
    }
    return nested_leaves(flat)

  monkeypatch.setitem(CRITERIA, "collapsing", Criterion(scores))
  results, _ = run_tiny(
    tmp_path,
    **FIELDS,
    prune__criterion="collapsing",
    experiments=({"name": "a", "pretrain.steps": "0step"},),
  )
  assert kept(results, "a", 1)["conv2/kernel"] == 0
  lines = emptied_lines(results.tables.get("layers"))
  assert lines[0] == ("warning: a: layers emptied: conv2/kernel from level 1")
  # Nothing flows through it any more; the rest is trained all the same.
  assert np.isfinite(results.table["value"]).all()


def test_scores_that_overflow_are_refused_and_named(tmp_path, monkeypatch):
  """As SynFlow's would in a network whose flow float32 cannot hold."""

  def scores(network, model):
    return jax.tree.map(lambda w: w * jnp.inf, network.params)

  monkeypatch.setitem(CRITERIA, "endless", Criterion(scores))
  results, log = run_tiny(
    tmp_path,
    **FIELDS,
    prune__criterion="endless",
    experiments=({"name": "a", "pretrain.steps": "0step"},),
  )
  assert results.has_failures
  assert any("scores that are no numbers" in w for w in log.warnings)
  assert len(results.table.query("level == 0"))  # the dense network is kept


@pytest.mark.parametrize("criterion", ["grasp", "snip"])
def test_more_examples_than_there_are_are_refused(criterion, tmp_path):
  with pytest.raises(ValueError, match="the rarest class has"):
    run_tiny(
      tmp_path / "new",
      prune__criterion=criterion,
      prune__examples_per_class=1000,
    )
  assert not (tmp_path / "new").exists()
