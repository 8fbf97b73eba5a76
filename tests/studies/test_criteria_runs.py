"""Criteria in a study: exact densities after each, and what collapses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves, init_masks, nested_leaves
from imp_jax.pruning import CRITERIA, Network, leaf_groups
from imp_jax.pruning.criteria import Criterion
from imp_jax.results.summary import emptied_lines
from imp_jax.stages.selection import selected_masks
from imp_jax.study import prepare
from tests.tiny import run_tiny, tiny_config

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
      for c in ("grasp", "synflow", "ntk_sap", "snip")
    ),
    *(
      {"name": f"{c}-0", **at_init, "prune.criterion": c}
      for c in ("magnitude", "random")
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


@pytest.mark.parametrize("mode", ["threads", "vmap", "map"])
def test_synflow_where_float32_cannot_hold_the_flow(tmp_path, key, mode):
  """Weights 2^60 times as large, in three layers: the same shares exactly."""
  config = tiny_config(
    model__name="lenet300100", model__width=0.05, execution__mode=mode
  )
  plan = prepare(config, str(tmp_path))
  context = plan.context(lambda _: None)
  model = context.model(plan.study.experiments[0].trunk.model, "plain")
  paths = model.prunable(model.init(key)[0])
  groups = leaf_groups(paths, allocation="global", exclude=())

  def masks(scale):
    networks = []
    for k in jax.random.split(key):
      params, stats = model.init(k)
      flat = {
        # Without shifts, through which no flow would be scaled.
        path: scale * leaf if path in paths else jnp.zeros_like(leaf)
        for path, leaf in flat_leaves(params).items()
      }
      networks.append(Network(nested_leaves(flat), stats, k))
    return selected_masks(
      context,
      networks,
      [init_masks(network.params) for network in networks],
      [[(100,), (50,)]] * 2,
      model=model,
      criterion="synflow",
      groups=groups,
      rule="exact",
    )

  plain, large = masks(1.0), masks(2.0**60)
  chex.assert_trees_all_equal(plain, large)
  for found in large:
    gone = [int((~flat_leaves(found)[path]).sum()) for path in paths]
    assert sum(gone) == 150


def test_scores_that_are_no_numbers_are_refused_and_named(
  tmp_path, monkeypatch
):
  """As SynFlow's would in a network whose flow float64 cannot hold."""

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
