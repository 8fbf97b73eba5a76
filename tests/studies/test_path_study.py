"""Paths in a study: their ends, numbers, levels, tables, and what they hold."""

import functools
import itertools
import weakref

import jax
import numpy as np
import pytest

from imp_jax.core.masks import apply_masks
from imp_jax.landscape.barriers import FORMS, PathFold, barriers
from imp_jax.landscape.paths import evaluate_path
from imp_jax.models import make_model
from imp_jax.training.evaluation import evaluate, recomputed_batch_stats
from tests.tiny import copy_of, run_tiny
from tests.tiny_landscape import (
  ALPHAS,
  children_of,
  looked_at,
  plan_of,
)

ENDS = (0.0, *ALPHAS, 1.0)
MODES = ("average", "recompute", "endpoint")
SPLITS = ("train", "test")


def network(ticket):
  return {
    "params": ticket.trained_params,
    "batch_stats": ticket.trained_batch_stats,
  }


def path_between(a, b, mnist, *, split="train", mode="average", alphas=ENDS):
  """By `evaluate_path`, the two networks alone."""
  part = mnist.splits[split]
  return evaluate_path(
    a,
    b,
    alphas,
    part.inputs,
    part.labels,
    model=make_model(
      "conv1d", num_classes=10, input_shape=(40,), width=0.25, conv="fast"
    ).normalising(mnist.mean, mnist.std),
    batch_stats=mode,
    recompute_inputs=mnist.train.inputs[:32],  # two batches of 16
    recompute_batch_size=16,
  )


def check_path(loaded, found, split, mode):
  """A stored path against one that was held whole."""
  curve = loaded.curves[split][mode]
  assert curve["alpha"] == list(ENDS)
  # One program and one set of numbers: what rounding there is, is of float32.
  np.testing.assert_allclose(curve["loss"], found["loss"].mean(1), atol=1e-6)
  np.testing.assert_allclose(
    curve["error"], 1 - found["correct"].mean(1), atol=1e-12
  )
  for form, values in barriers(found["loss"], ENDS).items():
    stored = loaded.examples[split, mode, form]
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored, values, atol=2e-6, err_msg=form)
  right = loaded.examples[split, mode, "right_throughout"]
  assert right.dtype == bool
  np.testing.assert_array_equal(right, found["correct"].all(axis=0))


def test_ends_are_the_networks_own_results_bit_for_bit(landscape):
  """Of every path whose ends results.csv has, in every mode and split."""
  _, results, _ = landscape
  table, seen = results.read_table("paths"), 0
  own = results.table.set_index(["replicate", "level", "split", "metric"]).value
  for (kind, pair), rows in table.groupby(["kind", "pair"]):
    ends = {0: int(pair.split("-")[0]), 1: int(pair.split("-")[1])}
    for row in rows[rows.alpha.isin([0, 1])].itertuples():
      level = ends[int(row.alpha)]
      if kind == "children":
        level = row.level
      if (kind, row.alpha) in (("children", 1), ("from_dense_masked", 0)):
        continue
      place = (row.replicate, level, row.split)
      if row.metric == "loss":
        assert row.value == own[(*place, "loss")]
      else:
        assert row.value == pytest.approx(
          1 - own[(*place, "accuracy")], abs=1e-12
        )
      seen += 1
  # Per replicate, mode, split and quantity: 2 children's starts, 2 ends each of
  # two successive and two from_dense paths, the ends of two masked ones.
  assert seen == 2 * 3 * 2 * 2 * (2 + 4 + 4 + 2)


def test_children_start_where_the_ticket_itself_was_evaluated(landscape):
  _, results, _ = landscape
  for level, replicate in itertools.product((0, 1), (0, 1)):
    loaded = results.path("all", level=level, replicate=replicate)
    ticket = results.ticket("all", level=level, replicate=replicate)
    for mode, split in itertools.product(MODES, SPLITS):
      curve, metrics = loaded.curves[split][mode], ticket.metrics[split]
      assert curve["loss"][0] == metrics["loss"]
      assert curve["error"][0] == pytest.approx(1 - metrics["accuracy"])


@pytest.mark.parametrize("level,replicate", [(0, 1), (1, 0)])
def test_streamed_equals_unstreamed(landscape, mnist, level, replicate):
  workdir, results, _ = landscape
  plan = plan_of(workdir, **looked_at())
  a, b = (
    {k: child.tree[k] for k in ("params", "batch_stats")}
    for child in children_of(plan, level=level, replicate=replicate)
  )
  loaded = results.path("all", level=level, replicate=replicate)
  sizes = {"train": 80, "test": 20}
  for mode, split in itertools.product(MODES, SPLITS):
    found = path_between(a, b, mnist, split=split, mode=mode)
    assert found["loss"].shape == (len(ENDS), sizes[split])
    check_path(loaded, found, split, mode)
    # Streamed by hand: the same bits as all at once.
    points = [{k: v[i] for k, v in found.items()} for i in range(len(ENDS))]
    fold = PathFold(points[0], points[-1])
    for alpha, point in zip(ENDS, points, strict=True):
      fold.add(alpha, point)
    for form, values in barriers(found["loss"], ENDS).items():
      np.testing.assert_array_equal(fold.barriers()[form], values)


def test_paths_between_levels_are_of_the_tickets_networks(landscape, mnist):
  _, results, _ = landscape
  for replicate in (0, 1):
    tickets = [
      results.ticket("all", level=k, replicate=replicate) for k in (0, 1, 2)
    ]
    ends = [network(t) for t in tickets]
    for kind, level, lower, upper in (
      ("successive", 0, 0, 1),
      ("successive", 1, 1, 2),
      ("from_dense", 1, 0, 1),
      ("from_dense", 2, 0, 2),
      ("from_dense_masked", 1, 0, 1),
      ("from_dense_masked", 2, 0, 2),
    ):
      a = ends[lower]
      if kind == "from_dense_masked":
        params = apply_masks(a["params"], tickets[level].masks)
        a = a | {"params": jax.device_get(params)}
      loaded = results.path(
        "all",
        kind=kind,
        level=level,
        between=f"{lower}-{upper}",
        replicate=replicate,
      )
      for mode in MODES:
        found = path_between(a, ends[upper], mnist, mode=mode)
        check_path(loaded, found, "train", mode)
      weights = [
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(t["params"])])
        for t in (a, ends[upper])
      ]
      apart = np.linalg.norm(np.subtract(*weights, dtype=np.float64))
      assert loaded.apart["distance"] == pytest.approx(apart, rel=1e-6)


def test_masking_the_dense_end_moves_it(landscape):
  """Else the two kinds of path from the dense network could be one."""
  results = landscape[1]
  plain, masked = (
    results.path("all", kind=kind, level=2, between="0-2")
    for kind in ("from_dense", "from_dense_masked")
  )
  one, other = (p.curves["train"]["average"]["loss"] for p in (plain, masked))
  assert one[-1] == other[-1] and abs(one[0] - other[0]) > 1e-3
  assert plain.apart["distance"] > masked.apart["distance"]


def test_the_tables_are_made_of_the_stored_paths(landscape):
  _, results, _ = landscape
  table = results.read_table("barriers").set_index(
    ["kind", "pair", "level", "replicate", "split", "metric"]
  )
  assert table.index.is_unique
  assert set(table.experiment) == {"all"} and set(table.study) == {"landscape"}
  kinds = {(k, p, lv) for k, p, lv, *_ in table.index}
  assert kinds == {
    ("children", "0-1", 0),
    ("children", "0-1", 1),
    ("successive", "0-1", 0),
    ("successive", "1-2", 1),
    ("from_dense", "0-1", 1),
    ("from_dense", "0-2", 2),
    ("from_dense_masked", "0-1", 1),
    ("from_dense_masked", "0-2", 2),
  }
  value = table.value
  for (kind, pair, level), replicate in itertools.product(kinds, (0, 1)):
    loaded = results.path(
      "all", kind=kind, level=level, between=pair, replicate=replicate
    )
    for split, mode in itertools.product(SPLITS, MODES):
      at = (kind, pair, level, replicate, split)
      curve = loaded.curves[split][mode]
      for quantity in ("loss", "error"):
        for form, wanted in barriers(np.array(curve[quantity]), ENDS).items():
          found = value[(*at, f"{quantity}_{form}_{mode}")]
          assert found == pytest.approx(wanted, abs=1e-12)
      for form in FORMS:
        own = loaded.examples[split, mode, form]
        share = value[(*at, f"connected_{form}_0.1_{mode}")]
        assert share == pytest.approx(np.mean([b < 0.1 for b in own]))
        of_means = value[(*at, f"loss_{form}_{mode}")]
        if form == "midpoint":
          assert own.mean() == pytest.approx(of_means, abs=1e-6)
        else:
          assert own.mean() >= of_means - 1e-6
      right = loaded.examples[split, mode, "right_throughout"].mean()
      assert value[(*at, f"right_throughout_{mode}")] == pytest.approx(right)


def test_temporary_memory_does_not_grow_with_the_examples(conv1d):
  """Batches are taken one by one: ten times the examples, the same space."""
  network = jax.eval_shape(conv1d.init, jax.random.key(0))
  options = dict(model=conv1d, batch_size=20)
  for fn, kinds in (
    (evaluate, ((40,), ())),
    (recomputed_batch_stats, ((40,),)),
  ):
    few, many = (
      jax.jit(functools.partial(fn, **options))
      .lower(
        *network,
        *(
          jax.ShapeDtypeStruct((n, *k), "float32" if k else "int32")
          for k in kinds
        ),
      )
      .compile()
      .memory_analysis()
      .temp_size_in_bytes
      for n in (80, 800)
    )
    # A loss in float32 of each is the result; what it takes is of a batch.
    assert few > 0 and many - few < 800 * 4, (fn.__name__, few, many)


def test_what_is_held_does_not_grow_with_the_alphas(
  landscape, tmp_path, monkeypatch
):
  """Of each evaluation's arrays, no more are alive with nine alphas."""
  from imp_jax.probes import paths

  real, most = paths.evaluate_networks, {}
  workdir = copy_of(landscape, tmp_path)
  for name, alphas in (
    ("three", (0.25, 0.5, 0.75)),
    ("nine", tuple(np.linspace(0.1, 0.9, 9).tolist())),
  ):
    alive, calls = weakref.WeakValueDictionary(), itertools.count()
    most[name] = []

    def watched(*args, **options):
      found = {k: np.array(v) for k, v in real(*args, **options).items()}
      alive[next(calls)] = found["loss"]
      most[name].append(len(alive))
      return found

    monkeypatch.setattr(paths, "evaluate_networks", watched)
    settings = looked_at(
      name=name,
      connectivity__alphas=alphas,
      connectivity__batch_stats=("average",),
      curvature__levels=(),
      planes__through=(),
    )
    _, log = run_tiny(workdir, **settings)
    assert log.total == 0
  assert len(most["nine"]) > 2 * len(most["three"])
  # Of both splits: two ends, a point and the one before it.
  assert max(most["nine"]) == max(most["three"]) <= 8


def test_a_path_that_leaves_the_numbers_is_a_named_failure(landscape, tmp_path):
  """An extrapolated variance is negative; recomputed, it is fine."""
  workdir = copy_of(landscape, tmp_path)
  settings = looked_at(
    connectivity__levels=(0,),
    connectivity__successive=False,
    connectivity__alphas=(-40.0, 0.5),
    connectivity__extrapolate=True,
    connectivity__batch_stats=("average",),
    curvature__levels=(),
    planes__through=(),
    replicates=1,
    name="far",
  )
  results, log = run_tiny(workdir, **settings)
  assert log.warnings == [
    "all level 0, children 0 and 1, replicate 0: the train loss at alpha -40 "
    "is not finite with BatchNorm's statistics by 'average'"
  ]
  failed = workdir / "studies" / "far" / "failures.txt"
  assert log.warnings[0] in failed.read_text()
  assert not results.has_table("barriers")
  settings |= dict(name="near", connectivity__batch_stats=("recompute",))
  results, log = run_tiny(workdir, **settings)
  assert not log.warnings
  curve = results.path("all").curves["train"]["recompute"]
  assert curve["alpha"] == [-40, 0, 0.5, 1] and np.isfinite(curve["loss"]).all()
