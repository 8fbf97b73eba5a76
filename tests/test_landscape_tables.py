"""Tables and lines of the landscape, from barriers typed by hand."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.correlation import cluster_correlation
from imp_jax.report.landscape import (
  INSTABILITY_COLUMNS,
  LANDSCAPE_COLUMNS,
  connected_lines,
  instability_lines,
  instability_table,
  landscape_table,
  variant_paths,
)
from imp_jax.settings import ConnectedClaim
from imp_jax.statistics import mean_interval
from tests.tables import make_claims, make_experiments, make_results

COLUMNS = "study experiment replicate level kind pair split metric value"
EXPERIMENTS = [
  ("none", 0, "none", 0, {}),
  ("all-20", 20, "all", 4000, {}),
  ("all-100", 100, "all", 4000, {}),
  ("easy-20", 20, "easy", 500, {}),
]
CONNECTED = "connected_midpoint_0.1_average"
RISE = "error_rise_above_mean_average"


def make_barriers(values, **where):
  """Rows of barriers.csv: {(experiment, replicate, pair, metric): value}."""
  names = ["experiment", "replicate", "pair", "metric", "value"]
  table = pd.DataFrame([(*k, v) for k, v in values.items()], columns=names)
  place = {"study": "hand", "level": 0, "kind": "children", "split": "train"}
  return table.assign(**(place | where))[COLUMNS.split()]


def with_pretrained(results, accuracy):
  """Adds W_r's own test accuracy: {(experiment, replicate): fraction}."""
  rows = results.iloc[: len(accuracy)].copy()
  rows["experiment"], rows["replicate"] = zip(*accuracy, strict=True)
  rows["level"], rows["density"] = 0, 1.0
  rows["metric"], rows["value"] = "pretrained_accuracy", list(accuracy.values())
  rows["split"] = "test"
  other = rows.assign(split="train", value=0.0)
  return pd.concat([results, rows, other], ignore_index=True)


# Two pairs of children in replicate 0, one in replicate 1.
SHARES = make_barriers(
  {
    ("none", 0, "0-1", CONNECTED): 0.70,
    ("none", 0, "0-2", CONNECTED): 0.80,
    ("none", 0, "0-1", "loss_midpoint_average"): 0.50,
    ("none", 0, "0-2", "loss_midpoint_average"): 0.70,
    ("none", 1, "0-1", CONNECTED): 0.60,
    ("none", 1, "0-1", "loss_midpoint_average"): 0.90,
    ("all-20", 0, "0-1", CONNECTED): 0.95,
    ("all-20", 0, "0-1", "loss_midpoint_average"): 0.10,
    ("all-20", 1, "0-1", CONNECTED): np.nan,  # a failed child
    # Of another form and other statistics: nothing of it may be seen.
    ("none", 0, "0-1", "connected_rise_above_mean_0.1_recompute"): 0.2,
    ("none", 0, "0-1", "loss_rise_above_mean_recompute"): 3.0,
    ("none", 0, "0-1", "connected_midpoint_0.5_average"): 0.99,
  }
)
PLACES = {"split": "test"}, {"level": 2}, {"kind": "successive"}
ELSEWHERE = [SHARES.assign(value=-1.0, **place) for place in PLACES]
RESULTS = with_pretrained(
  make_results(
    {
      "none": [[0.95, 0.90, 0.80], [0.94, 0.89, np.nan]],
      "all-20": [[0.95, 0.92, 0.88], [0.94, 0.93, 0.87]],
      "all-100": [[0.95, 0.92, 0.88], [0.94, 0.93, 0.87]],
      "none:random_mask": [[np.nan, 0.1, 0.1], [np.nan, 0.1, 0.1]],
    }
  ),
  {("none", 0): 0.10, ("none", 1): 0.12, ("all-20", 1): 0.5},
)


def landscape_of(threshold=0.1, **options):
  return landscape_table(
    pd.concat([*ELSEWHERE, SHARES], ignore_index=True),
    RESULTS,
    make_experiments(EXPERIMENTS),
    threshold=threshold,
    **options,
  )


def test_the_landscape_by_hand():
  """Pairs are averaged; what lacks children or an accuracy has no row."""
  found = landscape_of()
  expected = pd.DataFrame(
    [
      ("none", 0, 0, 1, 0.8, 0.75, 0.6, 0.10, 0.90),
      ("none", 0, 0, 2, 0.64, 0.75, 0.6, 0.10, 0.80),
      ("none", 0, 1, 1, 0.8, 0.60, 0.9, 0.12, 0.89),
      ("all-20", 20, 0, 1, 0.8, 0.95, 0.1, np.nan, 0.92),
      ("all-20", 20, 0, 2, 0.64, 0.95, 0.1, np.nan, 0.88),
    ],
    columns=["experiment", *LANDSCAPE_COLUMNS[3:]],
  )
  expected = expected.assign(study="hand", variant=["none"] * 3 + ["all"] * 2)
  expected = expected[list(LANDSCAPE_COLUMNS)]
  pd.testing.assert_frame_equal(found, expected, check_column_type=False)


def test_the_landscape_of_another_form_threshold_and_split():
  other = landscape_of(form="rise_above_mean", batch_stats="recompute")
  where = other[["experiment", "level"]].to_numpy().tolist()
  assert where == [["none", 1], ["none", 2]]
  assert set(other["connected"]) == {0.2} and set(other["mean_barrier"]) == {3}
  assert landscape_of(0.5)["connected"].tolist() == [0.99, 0.99]
  assert set(landscape_of(split="test")["connected"]) == {-1.0}


def test_a_threshold_that_was_not_measured_is_refused():
  with pytest.raises(
    ValueError, match=r"'connected_midpoint_0\.3_average', has .*_0\.1_average"
  ):
    landscape_of(0.3)


@pytest.mark.parametrize(
  "barriers", [SHARES.iloc[:0], SHARES.assign(kind="successive")]
)
def test_no_children_make_no_rows(barriers):
  experiments = make_experiments(EXPERIMENTS)
  table = landscape_table(barriers, RESULTS, experiments, threshold=0.1)
  assert table.columns.tolist() == list(LANDSCAPE_COLUMNS) and not len(table)
  unstable = instability_table(barriers, experiments)
  assert unstable.columns.tolist() == list(INSTABILITY_COLUMNS)
  assert not len(unstable) and instability_lines(unstable) == []
  claim = ConnectedClaim(0.1, 3, ())
  assert connected_lines(table, claim, make_claims(connected=claim)) == [
    "claim 3, connected examples predict success, at level 3: Spearman rho "
    "between the share of examples with midpoint barrier < 0.1 nats and sparse "
    "accuracy: no replicate has them: undecided"
  ]


def make_landscape(effect=1.0, variants=6, replicates=4, levels=(2, 3, 4)):
  """Shares that raise the accuracy by `effect` at level 3, not at others."""
  rng = np.random.default_rng(0)
  rows = []
  for v, r in np.ndindex(variants, replicates):
    share = 0.5 + 0.05 * v + 0.01 * rng.normal()
    before = 0.1 + 0.01 * rng.normal()
    for level in levels:
      accuracy = 0.8 + 0.01 * rng.normal()
      accuracy += effect * (share - 0.5) if level == 3 else 0.0
      density = {2: 0.41, 3: 0.262, 4: 0.168}[level]
      barrier = 1 - share + 0.02 * rng.normal()
      where = ("hand", f"e{v}", "all", v, r, level, density)
      rows.append((*where, share, barrier, before, accuracy))
  return pd.DataFrame(rows, columns=list(LANDSCAPE_COLUMNS))


def lines_of(landscape, *, level=3, experiments=(), **claims):
  claim = ConnectedClaim(0.1, level, experiments)
  return connected_lines(landscape, claim, make_claims(resamples=500, **claims))


def interval_of(rows, x="connected", **options):
  columns = (x, "accuracy", "experiment", "replicate")
  found = cluster_correlation(
    *(rows[c].to_numpy() for c in columns), resamples=500, **options
  )
  told = f"{100 * found.confidence:g} % interval"
  return f"= {found.mean:+.2f}, {told} [{found.low:+.2f}, {found.high:+.2f}]"


def test_claim_3_says_the_correlation_its_interval_and_the_verdict():
  table = make_landscape()
  here, near = (table.query("level == @k") for k in (3, 2))
  counts = "6 variants x 4 replicates (24 points)"
  at = "at level 3 (26.2 % of weights)"
  before = here["pretrained_accuracy"].to_numpy()
  assert lines_of(table, confidence=0.9)[0] == (
    f"claim 3, connected examples predict success, {at}: Spearman rho between "
    "the share of examples with midpoint barrier < 0.1 nats and sparse "
    f"accuracy {interval_of(here, confidence=0.9)}, {counts}: holds"
  )
  assert lines_of(table)[1:] == [
    f"claim 3, also {at}: Pearson r between that share and sparse accuracy "
    f"{interval_of(here, method='pearson')}, {counts}",
    f"claim 3, also {at}: partial Spearman rho between that share and sparse "
    "accuracy given W_r's own test accuracy "
    f"{interval_of(here, given=before)}, {counts}",
    f"claim 3, also {at}: Spearman rho between the mean midpoint barrier and "
    "sparse accuracy (the opposite sign is expected) "
    f"{interval_of(here, 'mean_barrier')}, {counts}",
    "claim 3, also at level 2 (41.0 % of weights): Spearman rho between that "
    f"share and sparse accuracy {interval_of(near)}, {counts}",
    "claim 3, also at level 4 (16.8 % of weights): Spearman rho between that "
    "share and sparse accuracy "
    f"{interval_of(table.query('level == 4'))}, {counts}",
  ]


@pytest.mark.parametrize(
  "effect,verdict",
  [(1.0, "holds"), (-1.0, "does not hold"), (0.0, "undecided")],
)
def test_claim_3_verdicts(effect, verdict):
  assert lines_of(make_landscape(effect))[0].endswith(f"points): {verdict}")


def test_claim_3_is_of_the_declared_experiments():
  table = make_landscape(variants=8)
  some = tuple(f"e{v}" for v in range(6))
  chosen = table.query("experiment in @some")
  assert lines_of(table, experiments=some) == lines_of(chosen)
  assert "6 variants x 4 replicates (24 points)" in lines_of(chosen)[0]
  line = lines_of(table, experiments=(*some, "e9", "e10"))[0]
  assert line == lines_of(chosen)[0].replace(
    "points): holds", "points), but none of e9, e10: undecided"
  )
  assert lines_of(table, experiments=some[:5])[0].endswith("): undecided")


def test_claim_3_says_what_is_missing():
  table = make_landscape(levels=(2, 3))
  assert len(lines_of(table)) == 5  # no level 4
  nothing, beside = lines_of(table, level=1)
  assert "at level 1: Spearman" in nothing
  assert nothing.endswith("sparse accuracy: no replicate has them: undecided")
  assert beside.startswith("claim 3, also at level 2 (41.0 % of weights)")
  unknown = lines_of(table.assign(pretrained_accuracy=np.nan))[2]
  assert unknown.endswith("own test accuracy: no replicate has them")
  holes = table.copy()
  holes.loc[:6, "pretrained_accuracy"] = np.nan
  assert "(21 points)" in lines_of(holes)[2]
  assert "(24 points)" in lines_of(holes)[1]
  flat = lines_of(table.assign(connected=1.0))[0]
  assert "sparse accuracy is undefined, 6 variants" in flat
  assert flat.endswith("(24 points): undecided")
  lone = lines_of(table.query("replicate == 0"))[0]
  assert "[-inf, +inf], 6 variants x 1 replicates (6 points)" in lone
  assert lone.endswith("undecided")


def rises(values, pairs=("0-1", "0-2")):
  """Rows of the error's rise: {experiment: [replicates][pairs]}."""
  return make_barriers(
    {
      (name, r, pair, RISE): value
      for name, replicates in values.items()
      for r, row in enumerate(replicates)
      for pair, value in zip(pairs, row, strict=True)
    },
    split="test",
  )


RISES = rises(
  {
    "none": [(0.08, 0.10), (0.07, 0.09), (0.10, 0.10)],
    "all-20": [(0.02, 0.022), (0.021, 0.021), (0.021, 0.021)],
    "all-100": [(0.001, 0.001), (0.0, 0.002), (0.002, 0.0)],
    "easy-20": [(0.0, 0.0398), (np.nan, np.nan), (0.0199, 0.0199)],
  }
)


def test_instability_by_hand():
  experiments = make_experiments(EXPERIMENTS)
  elsewhere = [
    RISES.assign(value=0.5, split="train"),
    RISES.assign(value=0.6, level=1),
    RISES.assign(value=0.7, kind="from_dense"),
    RISES.assign(value=0.7, metric="error_midpoint_average"),
    RISES.assign(value=0.7, metric="error_rise_above_mean_recompute"),
  ]
  whole = pd.concat([RISES, *elsewhere])
  found = instability_table(whole, experiments)
  assert found["experiment"].tolist() == [name for name, *_ in EXPERIMENTS]
  assert found["variant"].tolist() == ["none", "all", "all", "easy 500"]
  assert found["rewind_step"].tolist() == [0, 20, 100, 20]
  assert found["mean"].tolist() == pytest.approx([0.09, 0.021, 0.001, 0.0199])
  assert found["replicates"].tolist() == [3, 3, 3, 2]
  assert found["stable"].tolist() == [False, False, True, True]
  assert set(found["study"]) == {"hand"}
  interval = mean_interval(np.array([0.09, 0.08, 0.10]))  # means over pairs
  assert found.loc[0, "low"] == pytest.approx(interval.low)
  assert found.loc[0, "high"] == pytest.approx(interval.high)
  strict = instability_table(RISES, experiments, threshold=0.0199)
  assert strict["stable"].tolist() == [False, False, True, False]
  train = instability_table(whole, experiments, split="train")
  sparse = instability_table(whole, experiments, level=1)
  assert (set(train["mean"]), set(sparse["mean"])) == ({0.5}, {0.6})


def test_instability_lines_by_hand():
  table = instability_table(RISES, make_experiments(EXPERIMENTS))
  start = "(largest rise of test error above the mean of the ends): 9.0 % at "
  assert instability_lines(table) == [
    f"instability of all {start}t_r = 0, 2.1 % at 20, 0.1 % at 100; stable "
    "(< 2 %) from t_r = 100 on",
    f"instability of easy 500 {start}t_r = 0, 2.0 % at 20; stable (< 2 %) "
    "from t_r = 20 on",
  ]
  two = instability_lines(table, threshold=0.015)
  assert two[0].endswith("; stable (< 1.5 %) from t_r = 100 on")
  assert two[1].endswith("not stable (< 1.5 %) at t_r = 20, the largest tried")


@pytest.mark.parametrize(
  "means,end",
  [
    ((0.01, 0.01, 0.01), "stable (< 2 %) from t_r = 0 on"),
    ((0.01, 0.03, 0.01), "stable (< 2 %) from t_r = 100 on"),
    ((0.03, 0.01, 0.0199), "stable (< 2 %) from t_r = 20 on"),
    ((0.03, 0.01, 0.02), "not stable (< 2 %) at t_r = 100, the largest tried"),
  ],
)
def test_stable_is_what_stays_stable(means, end):
  names = ("none", "all-20", "all-100")
  barriers = rises({n: [(m, m)] for n, m in zip(names, means, strict=True)})
  (line,) = instability_lines(
    instability_table(barriers, make_experiments(EXPERIMENTS[::-1]))
  )
  assert line.endswith(f"; {end}")


def test_none_starts_every_variant_of_its_own_base():
  wide = {"model.name": "wide"}
  experiments = [
    *EXPERIMENTS,
    ("wide-none", 0, "none", 0, wide),
    ("wide-20", 20, "all", 4000, wide),
    ("lone-none", 0, "none", 0, {"model.name": "lone"}),
  ]
  table = instability_table(
    rises({name: [(0.1, 0.1)] * 2 for name, *_ in experiments}),
    make_experiments(experiments),
  )
  paths = variant_paths(table).values()
  assert [rows["experiment"].tolist() for rows in paths] == [
    ["lone-none"],
    ["none", "all-20", "all-100"],
    ["none", "easy-20"],
    ["wide-none", "wide-20"],
  ]
  assert "10.0 % at t_r = 0; not stable" in instability_lines(table)[0]
