"""Adaptive pruning: the fraction that is taken is the largest that is borne."""

import jax
import numpy as np
import pandas as pd
import pytest

from imp_jax.core.index import Entry
from imp_jax.core.masks import flat_leaves, nested_leaves
from imp_jax.results.claims import ClaimSettings, CostClaim
from imp_jax.results.cost import COST_COLUMNS, cost_lines, cost_table
from imp_jax.results.tickets import RESULT_COLUMNS
from imp_jax.stages.prune import planned_total
from imp_jax.stages.prune_adaptive import largest_borne
from imp_jax.study import prepare
from tests.tiny import changed_config, run_tiny, tiny_config

FRACTIONS = (0.1, 0.3, 0.6)
FIELDS = dict(
  replicates=3,
  optim__steps="40step",
  optim__learning_rate=0.2,
  optim__milestones=(),
  eval__curve_steps=(),
  claims__rewinding={"treatments": ()},
  prune__adaptive=FRACTIONS,
  prune__tolerance=0.05,
  prune__rule="exact",
  prune__levels=3,
  experiments=({"name": "a", "pretrain.steps": "0step"},),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
  found, log = run_tiny(tmp_path_factory.mktemp("adaptive"), **FIELDS)
  assert not found.has_failures and not log.warnings
  return found


def wrong_without(ticket, masks, fraction, dataset):
  """Of a trained ticket less so many of its smallest survivors."""
  params = {
    k: np.array(v) for k, v in flat_leaves(ticket.trained_params).items()
  }
  paths = [p for p in masks if p.endswith("kernel")]
  left = np.concatenate([np.abs(params[p][masks[p]]) for p in paths])
  gone = -(-len(left) * round(100 * fraction) // 100)  # rounded up
  threshold = np.sort(left)[gone - 1] if gone else -1
  for p in paths:
    params[p] *= masks[p] & (np.abs(params[p]) > threshold)
  logits = ticket.apply(
    nested_leaves(params), ticket.trained_batch_stats, dataset.train.inputs
  )
  return int((np.argmax(logits, 1) != dataset.train.labels).sum())


def test_each_level_takes_the_largest_fraction_that_is_borne(results):
  """By the saved networks, from scratch."""
  dataset = results.dataset()
  taken = set()
  for replicate in range(3):
    for level in (1, 2, 3):
      before, after = (
        results.ticket("a", level=k, replicate=replicate)
        for k in (level - 1, level)
      )
      masks = {k: np.asarray(v) for k, v in flat_leaves(before.masks).items()}
      kept = {k: np.asarray(v) for k, v in flat_leaves(after.masks).items()}
      paths = [p for p in masks if p.endswith("kernel")]
      counts = [sum(int(m[p].sum()) for p in paths) for m in (masks, kept)]
      wrong, *each = (
        wrong_without(before, masks, f, dataset) for f in (0.0, *FRACTIONS)
      )
      # 5 % of 80 examples are 4.
      borne = [
        f for f, n in zip(FRACTIONS, each, strict=True) if n <= wrong + 4
      ]
      fraction = max(borne, default=FRACTIONS[0])
      assert counts[0] - counts[1] == -(
        -counts[0] * round(100 * fraction) // 100
      )
      taken.add(fraction)
  assert len(taken) > 1  # or nothing would have been chosen


def test_the_cost_is_told_beside_a_fixed_fraction_s(results):
  table = results.tables.get("cost")
  assert list(table) == list(COST_COLUMNS) and len(table) == 9
  for row in table.itertuples():
    assert row.fraction in FRACTIONS and row.trainings == row.level + 1
    assert row.fixed_trainings == pytest.approx(
      1 + np.log(row.density) / np.log(0.8)
    )
    borne = round(80 * (row.projected_error - row.error)) <= 4
    assert borne or row.fraction == FRACTIONS[0]
    assert (
      row.accuracy
      == results.ticket("a", level=row.level, replicate=row.replicate).metrics[
        "test"
      ]["accuracy"]
    )
  assert table["baseline_accuracy"].isna().all()  # none was declared
  (line,) = cost_lines(table, results.tables.claims)
  assert line.startswith("adaptive pruning of a took 4 trainings to ")
  assert "cost" in results.tables.names


def test_accuracy_is_compared_at_equal_density():
  """In a hand-made table: between levels on a line in ln d, beyond not."""
  rows = [
    ("s", e, r, k, d, "test", "accuracy", a, 8)
    for r, shift in enumerate((0.0, 0.01, 0.02, 0.03))
    for e, k, d, a in (
      ("fixed", 0, 1.0, 0.9 + shift),
      ("fixed", 1, 0.5, 0.8 + shift),
      ("fixed", 2, 0.25, 0.6 + shift),
      ("a", 0, 1.0, 0.9),
      ("a", 1, 0.5**1.5, 0.75),
      ("a", 2, 0.2, 0.5),
    )
  ]
  results = pd.DataFrame(rows, columns=list(RESULT_COLUMNS))
  record = {
    "fraction": 0.6,
    "fractions": [0.3, 0.6],
    "error": 0.1,
    "projected_errors": [0.1, 0.2],
  }
  adapted = [
    (Entry("a", "imp", k, "", r, {}), d, record)
    for r in range(4)
    for k, d in ((1, 0.5**1.5), (2, 0.2))
  ]
  claims = ClaimSettings(cost=CostClaim("fixed"))
  fixed = {"fixed": 0.5, "a": 0.3}
  table = cost_table("s", adapted, fixed, results, claims)
  one = table[table["level"] == 1]
  # The fixed half: 1 + 1.5 trainings; half way from 0.8 to 0.6.
  np.testing.assert_allclose(one["fixed_trainings"], 2.5)
  np.testing.assert_allclose(
    one["baseline_accuracy"], [0.7, 0.71, 0.72, 0.73], rtol=1e-12
  )
  assert table[table["level"] == 2]["baseline_accuracy"].isna().all()
  told = cost_lines(one, claims)
  assert told[0].startswith("adaptive pruning of a took 2 trainings to 35.4 %")
  # 3.5 points on average, and t(3) = 3.182 times 1.291 / 2.
  assert told[1] == (
    "its accuracy there less fixed's at the same density: +3.5 [+1.4, +5.6] "
    "points over 4 replicates, better"
  )


@pytest.mark.parametrize(
  "changes,message",
  [
    (dict(claims__cost__baseline="b"), "claims.cost.baseline.* 'b'"),
    (dict(claims__cost__baseline="a"), "prunes no fixed fraction"),
    (
      dict(claims__cost__baseline="a", prune__adaptive=()),
      "no experiment has prune.adaptive",
    ),
  ],
)
def test_a_baseline_without_a_fixed_fraction_is_refused(
  changes, message, tmp_path
):
  config = changed_config(tiny_config(**FIELDS), changes)
  with pytest.raises(ValueError, match=message):
    prepare(config, str(tmp_path / "new"))
  assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
  "wrong,most,chosen",
  [([1, 2, 3], 2, 1), ([1, 2, 3], 0, 0), ([1, 4, 2], 2, 2), ([1], 2, 0)],
)
def test_the_largest_that_is_borne(wrong, most, chosen):
  assert largest_borne(wrong, most) == chosen


@pytest.mark.parametrize(
  "changes,message",
  [
    (dict(prune__adaptive=(0.4, 0.2)), r"prune.adaptive must rise"),
    (dict(prune__adaptive=(0.4, 1.0)), r"prune.adaptive"),
    (
      dict(prune__densities=(0.5, 0.4, 0.3)),
      "it goes with no prune.densities",
    ),
    (dict(prune__source="rewound"), "with prune.source='trained'"),
    (dict(prune__tolerance=1.5), "prune.tolerance must be in"),
  ],
)
def test_adaptive_pruning_that_cannot_be_is_refused(changes, message, tmp_path):
  config = tiny_config(**(FIELDS | changes))
  with pytest.raises(ValueError, match=message):
    prepare(config, str(tmp_path / "new"))
  assert not (tmp_path / "new").exists()


def test_controls_of_adaptive_levels_have_their_counts(tmp_path):
  """Of each replicate its own."""
  config = FIELDS | dict(
    controls__kinds=("one_shot", "random_mask", "gradual"),
    controls__levels=(2,),
    replicates=2,
  )
  found, _ = run_tiny(tmp_path, **config)
  assert not found.has_failures
  for replicate in (0, 1):
    kept = [
      sum(
        int(np.asarray(m).sum())
        for p, m in flat_leaves(
          found.ticket("a", level=2, kind=k, replicate=replicate).masks
        ).items()
        if p.endswith("kernel")
      )
      for k in ("imp", "one_shot", "random_mask", "gradual")
    ]
    assert len(set(kept)) == 1
  assert jax.tree.leaves(found.ticket("a", level=2).masks)


def test_random_masks_by_erk_fit_whatever_is_taken(tmp_path):
  """Planned for the most that a level may take, they have its own count."""
  config = FIELDS | dict(
    controls__kinds=("random_erk", "random_smart"),
    controls__levels=(1, 2),
    replicates=1,
  )
  found, _ = run_tiny(tmp_path, **config)
  assert not found.has_failures
  densities = found.table.groupby(["experiment", "level"])["density"].first()
  for level in (1, 2):
    for kind in ("random_erk", "random_smart"):
      assert densities[f"a:{kind}", level] == densities["a", level]
  plan = prepare(tiny_config(**config), str(tmp_path))
  node = next(t.masks for t in plan.tickets if t.level == 3)
  ticket = found.ticket("a", level=0)
  shapes = {
    p: m.shape for p, m in flat_leaves(ticket.masks).items() if "kernel" in p
  }
  assert sum(int(np.prod(shape)) for shape in shapes.values()) == 380
  # Three times 60 %, rounded up: 228, 92 and 36 go.
  assert planned_total(node, shapes) == 24


def test_tolerance_of_no_adaptive_pruning_is_no_other_study(tmp_path):
  fixed = FIELDS | dict(prune__adaptive=(), prune__levels=1, replicates=1)
  run_tiny(tmp_path, **fixed)
  prepare(tiny_config(**dict(fixed, prune__tolerance=0.2)), str(tmp_path))
  prepare(
    tiny_config(**dict(fixed, prune__examples_per_class=2)), str(tmp_path)
  )
  with pytest.raises(ValueError, match="prune.fraction was"):
    prepare(tiny_config(**dict(fixed, prune__fraction=0.5)), str(tmp_path))


def test_layers_left_out_have_no_fixed_fraction_s_cost(tmp_path):
  own = dict(FIELDS, prune__exclude=("head",), prune__levels=1, replicates=1)
  found, _ = run_tiny(tmp_path, **own)
  table = found.tables.get("cost")
  assert len(table) == 1 and table["fixed_trainings"].isna().all()


@pytest.mark.parametrize("criterion", ["synflow", "grasp"])
def test_what_is_judged_is_what_is_taken(criterion, tmp_path):
  """Scored in rounds too: the error on record is that of the mask."""
  own = dict(
    FIELDS,
    prune__criterion=criterion,
    prune__rounds=4,
    prune__examples_per_class=2,
    replicates=1,
  )
  found, _ = run_tiny(tmp_path, **own)
  dataset = found.dataset()
  table = found.tables.get("cost")
  for level in (1, 2, 3):
    before, after = (found.ticket("a", level=k) for k in (level - 1, level))
    projected = jax.tree.map(
      lambda w, m: np.asarray(w) * np.asarray(m),
      before.trained_params,
      after.masks,
    )
    logits = before.apply(
      projected, before.trained_batch_stats, dataset.train.inputs
    )
    labels = np.asarray(dataset.train.labels)
    wrong = np.asarray(logits).argmax(1) != labels
    (row,) = table[table["level"] == level].itertuples()
    assert row.projected_error == pytest.approx(wrong.mean(), abs=1e-9)
