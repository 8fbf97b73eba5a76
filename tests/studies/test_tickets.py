"""Tickets: where they start, what they keep, and controls."""

import itertools

import chex
import jax
import numpy as np
import pytest

from imp_jax.core.artefacts import Failure
from imp_jax.core.masks import flat_leaves, init_masks, kept_counts
from imp_jax.pruning import Network
from imp_jax.stages.selection import checked_masks, selected_masks
from imp_jax.study import prepare
from tests.tiny import run_tiny, tiny_config


def test_masks_nest_rewind_and_keep_the_rules_counts(finished):
  _, results, _ = finished
  for replicate in (0, 1):
    tickets = [
      results.ticket("all-1", level=k, replicate=replicate) for k in (0, 1, 2)
    ]
    prunable = [
      k for k in flat_leaves(tickets[0].masks) if k.endswith("kernel")
    ]
    alive = sum(kept_counts(tickets[0].masks, prunable).values())
    for parent, ticket in itertools.pairwise(tickets):
      alive -= -(-alive // 5) + 1  # q + 1 go, without ties
      assert sum(kept_counts(ticket.masks, prunable).values()) == alive
      for path, mask in flat_leaves(ticket.masks).items():
        assert not (mask & ~flat_leaves(parent.masks)[path]).any()
        start = np.asarray(flat_leaves(ticket.params)[path])
        w_r = np.asarray(flat_leaves(tickets[0].params)[path])
        assert start[mask].tobytes() == w_r[mask].tobytes()
        assert (start[~mask] == 0).all()
        trained = np.asarray(flat_leaves(ticket.trained_params)[path])
        assert (trained[~mask] == 0).all()


def test_controls_differ_from_imp_in_one_thing(finished):
  _, results, _ = finished
  imp = results.ticket("all-1", level=2)
  random = results.ticket("all-1", level=2, kind="random_mask")
  reinit = results.ticket("all-1", level=2, kind="reinit")
  prunable = [k for k in flat_leaves(imp.masks) if k.endswith("kernel")]
  assert kept_counts(random.masks, prunable) == kept_counts(imp.masks, prunable)
  assert any(
    (flat_leaves(random.masks)[k] != flat_leaves(imp.masks)[k]).any()
    for k in prunable
  )
  dense = flat_leaves(results.ticket("all-1", level=0).params)
  for k, mask in flat_leaves(random.masks).items():
    np.testing.assert_array_equal(
      flat_leaves(random.params)[k], np.where(mask, dense[k], 0)
    )
  chex.assert_trees_all_equal(reinit.masks, imp.masks)
  head = flat_leaves(reinit.params)["head/kernel"]
  mask = flat_leaves(imp.masks)["head/kernel"]
  assert (head[mask] != dense["head/kernel"][mask]).all()


def test_loaded_tickets_give_their_recorded_accuracy(finished):
  _, results, _ = finished
  ticket = results.ticket("none", level=2, replicate=1)
  plan = prepare(tiny_config(), str(finished[0]))
  split = plan.dataset.splits["test"]
  logits = ticket.apply(
    ticket.trained_params, ticket.trained_batch_stats, split.inputs
  )
  accuracy = float((np.argmax(logits, -1) == np.asarray(split.labels)).mean())
  assert accuracy == pytest.approx(ticket.metrics["test"]["accuracy"])
  with pytest.raises(KeyError, match="no ticket.*'none', 'imp'"):
    results.ticket("none", level=9)


def test_pretraining_and_level_0_are_one_uninterrupted_dense_run(tmp_path):
  """With no momentum to lose, rewinding at t_r and going on changes nothing.

  Schedule, data order and augmentation keys continue at t_r: level 0 of
  t_r = 2 ends where level 0 of t_r = 0 does, bit for bit.
  """
  results, _ = run_tiny(
    tmp_path,
    replicates=1,
    prune__levels=0,
    optim__momentum=0.0,
    claims__rewinding={"treatments": ()},
    experiments=({"name": "a"}, {"name": "b", "pretrain.steps": "2step"}),
  )
  a, b = results.ticket("a", level=0), results.ticket("b", level=0)
  chex.assert_trees_all_equal(a.trained_params, b.trained_params)
  chex.assert_trees_all_equal(a.trained_batch_stats, b.trained_batch_stats)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_rewound_momentum_makes_pretraining_seamless(tmp_path, optimiser):
  """The same with momentum 0.9, if the optimiser state is rewound too."""
  results, _ = run_tiny(
    tmp_path,
    optim__name=optimiser,
    replicates=1,
    prune__levels=0,
    claims__rewinding={"treatments": ()},
    experiments=(
      {"name": "whole"},
      {
        "name": "rewound",
        "pretrain.steps": "2step",
        "ticket.optimizer": "rewound",
      },
      {"name": "fresh", "pretrain.steps": "2step"},
    ),
  )
  whole, rewound, fresh = (
    results.ticket(n, level=0).trained_params
    for n in ("whole", "rewound", "fresh")
  )
  chex.assert_trees_all_equal(whole, rewound)
  assert (whole["head"]["kernel"] != fresh["head"]["kernel"]).any()


def test_kinds_of_tickets_start_where_they_say(tmp_path):
  kinds = ("weight_rewind", "lr_rewind", "finetune")
  results, _ = run_tiny(
    tmp_path,
    replicates=1,
    prune__levels=2,
    ticket__finetune_steps="2step",
    claims__rewinding={"treatments": ()},
    experiments=tuple(
      {"name": k, "pretrain.steps": "1step", "ticket.kind": k} for k in kinds
    ),
  )
  for kind in kinds:
    before = results.ticket(kind, level=1)
    ticket = results.ticket(kind, level=2)
    source = {
      "weight_rewind": results.ticket(kind, level=0).params,
      "lr_rewind": before.trained_params,
      "finetune": before.trained_params,
    }[kind]
    for k, mask in flat_leaves(ticket.masks).items():
      np.testing.assert_array_equal(
        flat_leaves(ticket.params)[k],
        np.where(mask, flat_leaves(source)[k], 0),
      )
    settings = ticket.record["settings"]
    span = (settings["start"], settings["stop"])
    assert span == ((3, 5) if kind == "finetune" else (1, 3))


def test_layers_left_out_count_among_the_survivors(tmp_path):
  """The others give up a fifth of all, so the whole follows 0.8 ** level."""
  results, _ = run_tiny(
    tmp_path,
    replicates=1,
    claims__rewinding={"treatments": ()},
    experiments=({"name": "a", "prune.exclude": ("head", "conv1")},),
  )
  layers = results.read_table("layers").pivot(
    index="level", columns="layer", values="kept"
  )
  assert (
    layers["head/kernel"].nunique() == layers["conv1/kernel"].nunique() == 1
  )
  kept = layers.sum(axis=1).tolist()
  for before, after in itertools.pairwise(kept):
    assert after == before - (-(-before // 5) + 1)


def test_scores_that_are_no_numbers_choose_no_masks(tmp_path, key):
  """Of that replicate alone; of a weight that is gone they may be anything."""
  plan = prepare(tiny_config(), str(tmp_path))
  context = plan.context(lambda steps: None)
  model = context.model(plan.study.experiments[0].trunk.model)
  params, _ = jax.device_get(model.init(key))
  broken = jax.tree.map(np.copy, params)
  broken["head"]["kernel"][0, 0] = np.nan
  dense = jax.device_get(init_masks(params))
  without = jax.tree.map(np.copy, dense)
  without["head"]["kernel"][0, 0] = False
  prunable = model.prunable(params)
  options = dict(groups=(prunable,), rule="exact")
  found = selected_masks(
    context,
    [Network(p, {}, key) for p in (params, broken, broken)],
    [dense, dense, without],
    [[[5]], [[5]], [[4]]],
    model=model,
    criterion="magnitude",
    **options,
  )
  kept = [m and sum(kept_counts(m, prunable).values()) for m in found]
  total = sum(kept_counts(dense, prunable).values())
  assert kept == [total - 5, None, total - 5]
  outcome = checked_masks("r1", None, dense, prunable, drops=[5], **options)
  assert outcome == Failure(
    "r1: the criterion gives scores that are no numbers"
  )
