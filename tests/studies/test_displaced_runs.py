"""W_r moved or pruned: what is trained then, and what curvature allows."""

import jax
import numpy as np
import pandas as pd
import pytest

from imp_jax.core.masks import flat_leaves, nested_leaves
from imp_jax.probes.barriers import BARRIER_COLUMNS
from imp_jax.probes.bound import FRACTIONS, borne
from imp_jax.results.claims import ClaimSettings
from imp_jax.results.displacement import displacement_lines, displacement_table
from imp_jax.study import prepare
from tests.tiny import changed_config, run_tiny, tiny_config

FIELDS = dict(
  replicates=2,
  optim__steps="8step",
  optim__learning_rate=0.2,
  optim__milestones=(),
  eval__curve_steps=(),
  claims__rewinding={"treatments": ()},
  prune__levels=2,
  prune__fraction=0.5,
  prune__rule="exact",
  displacement__scales=(0.5, 2.0),
  displacement__levels=(1, 2),
  displacement__alphas=(0.5,),
  displacement__splits=("test",),
  displacement__batch_stats=("average",),
  bound__levels=(0, 2),
  bound__examples=20,
  bound__lanczos_steps=10,
  bound__probes=3,
  experiments=({"name": "a", "pretrain.steps": "2step"},),
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return tmp_path_factory.mktemp("displaced")


@pytest.fixture(scope="module")
def study(workdir):
  results, log = run_tiny(workdir, **FIELDS)
  assert not results.has_failures and not log.warnings
  return results, prepare(tiny_config(**FIELDS), str(workdir))


def kernels(tree):
  return {
    path: np.asarray(leaf, np.float64)
    for path, leaf in flat_leaves(tree).items()
    if path.endswith("kernel")
  }


def test_w_r_moves_as_far_as_it_says_and_where_it_may(study):
  results, plan = study
  nodes = {n.label: n for n in plan.nodes}
  w_r = kernels(results.ticket("a", level=0).params)
  for level in (1, 2):
    coarse, fine = (
      flat_leaves(results.ticket("a", level=k).masks)
      for k in (level - 1, level)
    )
    gone = [w_r[p][coarse[p] & ~fine[p]] for p in w_r]
    length = np.linalg.norm(np.concatenate(gone))
    ways = {}
    for scale in (0.5, 2.0):
      node = nodes[f"a W_r displaced {scale:g}, of level {level}"]
      made = plan.store.load(node.object_id(plan.study.seed, 0)).tree
      moves = {p: w - w_r[p] for p, w in kernels(made["params"]).items()}
      assert not any(moves[p][~coarse[p]].any() for p in moves)
      ways[scale] = np.concatenate([moves[p].ravel() for p in moves])
      assert np.linalg.norm(ways[scale]) == pytest.approx(
        scale * length, rel=1e-4
      )
    # Both in the same direction.
    np.testing.assert_allclose(ways[2.0], 4 * ways[0.5], atol=1e-5)


def test_the_path_begins_where_the_level_before_has_come_to(study):
  _, plan = study
  nodes = {n.label: n for n in plan.nodes}
  for level in (1, 2):
    for kind in ("pruned", "displaced 0.5", "displaced 2"):
      path = nodes[f"a level {level - 1} and {kind}, of level {level}"]
      one, two = (path.edge(end).node for end in "ab")
      assert one == nodes[f"a level {level - 1}"]
      if kind == "pruned":
        assert two == nodes[f"a level {level}"]
        continue
      # But for where it starts from it is the level's own training.
      assert two.stage == one.stage
      assert two.edge("masks") == one.edge("masks")
      assert two.edge("weights").node.label == (
        f"a W_r {kind}, of level {level}"
      )


def test_both_ways_are_in_the_table(study):
  results, _ = study
  table = results.tables.get("displacement")
  assert len(table) == 6 and set(table["moved"]) == {
    "pruned",
    "displaced 0.5",
    "displaced 2",
  }
  assert set(table["found"]) == {"not told apart"}  # of two replicates


def test_what_comes_back_by_hand():
  metric = "error_rise_above_mean_average"
  values = {
    "pruned": (0.001, 0.002, 0.003, 0.002),
    "displaced 1": (0.5, 0.6, 0.5, 0.6),
    "displaced 2": (0.0, 0.1, 0.0, 0.1),
  }
  rows = [
    ("s", "a", r, 2, kind, "", split, metric, value)
    for split in ("test", "train")
    for kind, own in values.items()
    for r, value in enumerate(own)
  ] + [("s", "a", 0, 2, "successive", "1-2", "test", metric, 0.9)]
  barriers = pd.DataFrame(rows, columns=list(BARRIER_COLUMNS))
  table = displacement_table("s", barriers, ClaimSettings(), 3)
  assert list(table["found"]) == ["comes back", "does not", "not told apart"]
  first = table.iloc[0]
  # 0.002, s / 2 = 0.000408; of three rows each has 98.33 %: t(3) = 4.8566.
  assert first["barrier"] == pytest.approx(0.002)
  assert first["high"] == pytest.approx(0.002 + 4.8566 * 0.00040825, abs=1e-6)
  (line,) = displacement_lines(table)
  assert line.endswith(
    "(BatchNorm: average): pruned 0.2 % (comes back); displaced 1 55.0 % (does "
    "not); displaced 2 5.0 % (not told apart)"
  )


def test_what_a_network_bears_is_what_its_pruned_copies_say(study):
  """From the saved networks: fractions of the surviving weights."""
  results, plan = study
  data = results.dataset().splits["train"]
  table = results.tables.get("bound")
  assert len(table) == 4
  nodes = {n.label: n for n in plan.nodes}
  for level in (0, 2):
    node = nodes[f"a pruning bound at level {level}"]
    record = plan.store.load(node.object_id(plan.study.seed, 1)).record
    ticket = results.ticket("a", level=level, replicate=1)
    flat = {
      p: np.asarray(w) for p, w in flat_leaves(ticket.trained_params).items()
    }
    masks = flat_leaves(ticket.masks)
    paths = [p for p in flat if p.endswith("kernel")]
    left = np.sort(np.concatenate([np.abs(flat[p][masks[p]]) for p in paths]))
    errors = []
    for fraction in (0.0, *FRACTIONS):
      count = int(fraction * len(left))
      least = left[count - 1] if count else -1.0
      pruned = {
        p: np.where(np.abs(w) > least, w, 0) if p in paths else w
        for p, w in flat.items()
      }
      logits = ticket.apply(
        nested_leaves(pruned), ticket.trained_batch_stats, data.inputs
      )
      errors.append(float((np.argmax(logits, 1) != data.labels).mean()))
    np.testing.assert_allclose(
      [record["error"], *record["errors"]], errors, atol=1 / 80 + 1e-9
    )
    (row,) = table.query("level == @level and replicate == 1").itertuples()
    assert row.borne == borne(record["errors"], record["error"] + 0.02)
    assert row.least <= row.bound <= row.most
    # Of what survives, and of nothing else.
    curved = plan.store.load(
      nodes[f"spectrum of a level {level}"].object_id(plan.study.seed, 1)
    )
    used = sum(int(np.asarray(m).sum()) for m in jax.tree.leaves(ticket.masks))
    assert curved.record["curvature"]["hessian"]["all"]["dimension"] == used


@pytest.mark.parametrize(
  "changes,message",
  [
    (dict(displacement__levels=()), "displacement.levels is empty"),
    (dict(displacement__levels=(3,)), r"displacement.levels must be .* 1..2"),
    (dict(displacement__scales=(0.0,)), "displacement.scales"),
    (
      dict(ticket__kind="lr_rewind"),
      "it goes with ticket.kind='weight_rewind'",
    ),
    (dict(data__order="level"), "it goes with no data.order='level'"),
    (dict(bound__levels=(3,)), r"bound.levels must be .* 0..2, got 3"),
    (dict(bound__epsilon=0.0), "bound.epsilon must be > 0"),
    (dict(bound__tolerance=1.0), "bound.tolerance must be in"),
    (dict(bound__examples=100), r"bound.examples must be .* 1..80, got 100"),
  ],
)
def test_what_cannot_be_looked_at_is_refused(changes, message, tmp_path):
  config = changed_config(tiny_config(**FIELDS), changes)
  with pytest.raises(ValueError, match=message) as error:
    prepare(config, str(tmp_path / "new"))
  assert "\n" not in str(error.value)
  assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("study")
def test_other_levels_extend_a_study_and_another_epsilon_does_not(workdir):
  more = dict(FIELDS, displacement__levels=(2,), bound__levels=(0, 1, 2))
  prepare(tiny_config(**more), str(workdir))
  for changes in (dict(bound__epsilon=0.1), dict(displacement__alphas=(0.4,))):
    with pytest.raises(ValueError, match="already means something else"):
      prepare(tiny_config(**dict(FIELDS, **changes)), str(workdir))


def test_an_emptied_network_bears_all_and_has_no_bound(tmp_path):
  """Of few weights a twentieth is none."""
  own = FIELDS | dict(
    prune__fraction=0.99,
    prune__levels=3,
    bound__levels=(2, 3),
    displacement__scales=(),
    model__name="lenet300100",
    model__width=0.02,
  )
  with pytest.warns(UserWarning, match="none is left from level"):
    results, _ = run_tiny(tmp_path, **own)
  assert not results.has_failures
  table = results.tables.get("bound")
  empty = table[table["level"] == 3]
  assert len(empty) == 2 and (empty["bound"] == 0).all()
  assert (empty["borne"] == 0.95).all()
