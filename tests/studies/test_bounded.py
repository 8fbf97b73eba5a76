"""Pruning as much as curvature allows, from the saved networks and spectra."""

import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves
from imp_jax.landscape.bound import bounded_fraction
from imp_jax.pruning.settings import idle
from imp_jax.study import prepare
from tests.tiny import changed_config, run_tiny, tiny_config

FRACTIONS = tuple(round(0.02 * i, 2) for i in range(1, 48))
FIELDS = dict(
  replicates=2,
  optim__steps="20step",
  optim__learning_rate=0.2,
  optim__milestones=(),
  eval__curve_steps=(),
  claims__rewinding={"treatments": ()},
  prune__adaptive=FRACTIONS,
  prune__rule="exact",
  prune__levels=2,
  experiments=(
    {"name": "whole", "pretrain.steps": "2step", "prune.bound": 1.0},
    {"name": "half", "pretrain.steps": "2step", "prune.bound": 0.5},
    {
      "name": "none",
      "pretrain.steps": "2step",
      "prune.bound": 0.01,
      "prune.adaptive": (0.3, 0.6),
    },
  ),
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return tmp_path_factory.mktemp("bounded")


@pytest.fixture(scope="module")
def study(workdir):
  results, log = run_tiny(workdir, **FIELDS)
  assert not results.has_failures and not log.warnings
  return results, prepare(tiny_config(**FIELDS), str(workdir))


def test_each_level_takes_what_its_share_of_the_bound_allows(study):
  results, plan = study
  nodes, taken = {n.label: n for n in plan.nodes}, set()
  for name, share in (("whole", 1.0), ("half", 0.5)):
    for level in (1, 2):
      before = results.ticket(name, level=level - 1, replicate=1)
      masks = flat_leaves(before.masks)
      params = flat_leaves(before.trained_params)
      paths = [p for p in masks if p.endswith("kernel")]
      left = np.concatenate([abs(params[p][masks[p]]) for p in paths])
      node = nodes[f"{name} masks of level {level}"]
      spectrum = node.edge("spectrum").node
      curved = plan.store.load(spectrum.object_id(plan.study.seed, 1))
      found = plan.store.load(node.object_id(plan.study.seed, 1)).record
      allowed = bounded_fraction(
        left,
        curved.arrays["hessian:all:ritz"],
        curved.arrays["hessian:all:weights"],
        dimension=curved.record["curvature"]["hessian"]["all"]["dimension"],
        epsilon=0.05,
      )
      assert found["allowed"] == pytest.approx(allowed)
      wanted = max(f for f in FRACTIONS if f <= share * allowed)
      assert found["fraction"] == wanted
      after = flat_leaves(results.ticket(name, level=level, replicate=1).masks)
      gone = len(left) - sum(int(after[p].sum()) for p in paths)
      assert gone == -(-len(left) * round(100 * wanted) // 100)  # rounded up
      taken.add(wanted)
  assert len(taken) > 2  # or nothing would have been chosen


def test_the_smallest_goes_where_nothing_is_allowed(study):
  results, _ = study
  table = results.tables.get("cost")
  assert set(table[table["experiment"] == "none"]["fraction"]) == {0.3}
  assert table["projected_error"].isna().all()  # no error is looked at
  assert (table["trainings"] == table["level"] + 1).all()


def test_controls_have_as_many_weights(tmp_path):
  """One-shot and gradual pruning take what the levels have taken."""
  results, _ = run_tiny(
    tmp_path,
    **(FIELDS | dict(experiments=FIELDS["experiments"][:1])),
    controls__kinds=("one_shot", "gradual"),
    controls__levels=(2,),
    controls__prunings=2,
  )
  assert not results.has_failures
  kept = {
    kind: sum(
      int(mask.sum())
      for mask in flat_leaves(
        results.ticket("whole", level=2, kind=kind).masks
      ).values()
    )
    for kind in ("imp", "one_shot", "gradual")
  }
  assert len(set(kept.values())) == 1


@pytest.mark.parametrize(
  "changes,message",
  [
    (dict(prune__adaptive=()), "chooses among prune.adaptive, which is empty"),
    (dict(prune__criterion="random"), "bound on how many of the smallest"),
    (dict(prune__allocation="per_layer"), "bound on how many of the smallest"),
    (dict(prune__exclude=("head",)), "bound on how many of the smallest"),
    (dict(prune__densities=(0.5, 0.2)), "prune.densities"),
  ],
)
def test_what_the_bound_says_nothing_of_is_refused(changes, message, tmp_path):
  own = FIELDS | dict(
    experiments=({"name": "a", "pretrain.steps": "2step", "prune.bound": 1.0},)
  )
  config = changed_config(tiny_config(**own), changes)
  with pytest.raises(ValueError, match=message):
    prepare(config, str(tmp_path / "new"))
  assert not (tmp_path / "new").exists()


def test_what_has_no_say_makes_no_other_masks(tmp_path):
  """The tolerance of errors, under a bound; epsilon, without one."""
  keys = [
    set(prepare(tiny_config(**(FIELDS | changes)), str(tmp_path)).nodes)
    for changes in ({}, {"prune__tolerance": 0.3})
  ]
  assert keys[0] == keys[1]
  plain = ({"name": "a", "pretrain.steps": "2step"},)
  keys = [
    set(
      prepare(
        tiny_config(**(FIELDS | {"experiments": plain} | changes)),
        str(tmp_path),
      ).nodes
    )
    for changes in ({}, {"prune__epsilon": 0.3})
  ]
  assert keys[0] == keys[1]


def test_what_takes_masks_may_see_other_data_than_its_search(tmp_path):
  """The options of pruning are the search's."""
  search, report = (
    {"name": "search", "pretrain.steps": "2step", "prune.bound": 1.0},
    {
      "name": "report",
      "pretrain.steps": "2step",
      "prune.masks_of": "search",
      "train.noise.fraction": 0.5,
    },
  )
  results, _ = run_tiny(
    tmp_path, **(FIELDS | dict(experiments=(search, report)))
  )
  assert not results.has_failures
  one, other = (
    flat_leaves(results.ticket(name, level=2).masks)
    for name in ("search", "report")
  )
  assert all((one[p] == other[p]).all() for p in one)


def test_an_older_study_s_own_criterion_is_no_crash():
  settings = {"adaptive": (), "criterion": "mine"}
  assert "examples_per_class" not in idle(settings)
  assert idle(settings)["bound"] == 0
