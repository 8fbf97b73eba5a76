"""Claim 3's table and lines, from landscapes typed by hand."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.results.claims import ConnectedClaim
from imp_jax.results.landscape import LANDSCAPE_COLUMNS
from imp_jax.results.predictors import (
  PREDICTOR_COLUMNS,
  PREDICTORS,
  connected_lines,
  connected_verdict_row,
  predictors_table,
  whole_claim,
)
from imp_jax.results.summary import landscape_lines
from imp_jax.results.tables import Tables
from imp_jax.statistics.correlation import cluster_correlation
from tests.results.tables import make_claims

RESAMPLES = 60  # enough to tell lines apart; bounds have tests of their own
NOTHING = pd.DataFrame(columns=list(PREDICTOR_COLUMNS))


def small(rows, level=3, replicates=1):
  """One replicate, or equal ones, of level 3.

  Args:
    rows: (experiment, diet, t_r, base, connected, mean_barrier,
      pretrained_accuracy, distance, accuracy).
    level: of all of them.
    replicates: how many.
  """
  names = "experiment diet rewind_step base connected mean_barrier"
  names += " pretrained_accuracy distance accuracy"
  table = pd.concat(
    [
      pd.DataFrame(rows, columns=names.split()).assign(replicate=r)
      for r in range(replicates)
    ]
  )
  table = table.assign(
    study="hand", variant=table["diet"], level=level, density=0.5
  )
  return table[list(LANDSCAPE_COLUMNS)]


# Two bases; "all" of base 0 is in the order of the share, "easy" against it.
BY_HAND = [
  ("none", "none", 0, 0, 0.1, 0.9, 0.1, 5.0, 0.70),
  ("all-1", "all", 1, 0, 0.2, 0.5, 0.3, 4.0, 0.80),
  ("all-2", "all", 2, 0, 0.3, 0.6, 0.2, 3.0, 0.90),
  ("easy-1", "easy", 1, 0, 0.5, 0.3, 0.4, 2.0, 0.69),
  ("easy-2", "easy", 2, 0, 0.4, 0.4, 0.5, 2.5, 0.68),
  ("hard-1", "hard", 1, 0, 0.6, 0.2, 0.6, 1.0, 0.50),
  ("wide", "none wide", 0, 1, 0.7, 0.1, 0.7, np.nan, 0.60),
]


def table_of(landscape, level=3, experiments=(), **claims):
  claims = make_claims(**({"resamples": RESAMPLES} | claims))
  return predictors_table(landscape, level, claims, experiments)


def rho_of(table, predictor="connected", scope="all", method="spearman", k=3):
  (rho,) = table.query(
    "predictor == @predictor and scope == @scope and method == @method"
    " and level == @k"
  )["rho"]
  return rho


def test_predictors_by_hand():
  table = table_of(small(BY_HAND, replicates=2))
  assert table.columns.tolist() == list(PREDICTOR_COLUMNS)
  assert set(table["study"]) == {"hand"} and set(table["level"]) == {3}
  # hard has two experiments with its t_r = 0, and none is no diet.
  assert table["scope"].unique().tolist() == [
    "all",
    "within all",
    "within easy",
  ]
  # Each scope: 4 x 2, and the share's by Pearson and partial ones.
  assert table.groupby("scope").size().tolist() == [10, 10, 10]
  # Ranks of the share 1 2 3; of the accuracies 1 2 3, and of easy's 3 2 1
  # with the share's 1 3 2.
  assert rho_of(table, scope="within all") == pytest.approx(1)
  assert rho_of(table, scope="within easy") == pytest.approx(-0.5)
  # Signs are as found: the barrier's ranks 3 1 2, the distance's 3 2 1.
  all_of = {"scope": "within all"}
  assert rho_of(table, "mean_barrier", **all_of) == pytest.approx(-0.5)
  assert rho_of(table, "distance", **all_of) == pytest.approx(-1)
  assert rho_of(table, "pretrained_accuracy", **all_of) == pytest.approx(0.5)
  # 1 2 3 5 4 6 7 against 5 6 7 4 3 1 2: 1 - 6 (16 + 16 + 16 + 1 + 1 + 25 + 25)
  # / (7 · 48).
  assert rho_of(table) == pytest.approx(1 - 600 / 336)
  # By Pearson: shares and accuracies are on a line.
  assert rho_of(table, method="pearson", **all_of) == pytest.approx(1)


def test_scopes_count_what_they_hold():
  table = table_of(small(BY_HAND, replicates=2))
  counts = ["variants", "replicates", "points"]
  found = {
    (row.predictor, row.scope, row.method): [getattr(row, c) for c in counts]
    for row in table.itertuples()
  }
  assert found["connected", "all", "spearman"] == [7, 2, 14]
  assert found["connected", "within easy", "spearman"] == [3, 2, 6]
  assert found["connected", "within easy", "means"] == [3, 2, 3]
  assert found["distance", "all", "spearman"] == [6, 2, 12]  # wide has none
  means = table.query("method == 'means'")
  assert means[["low", "high"]].isna().all(axis=None)
  others = table.query("method != 'means'")
  assert others[["low", "high"]].notna().all(axis=None)


def test_none_starts_the_diets_of_its_own_base_only():
  other = [
    ("wide-1", "all wide", 1, 1, 0.1, 0.9, 0.1, 1.0, 0.9),
    ("wide-2", "all wide", 2, 1, 0.2, 0.9, 0.1, 1.0, 0.8),
  ]
  table = table_of(small([*BY_HAND, *other]))
  assert table["scope"].unique().tolist()[3:] == ["within all wide"]
  # With wide's own t_r = 0: shares 3 1 2, accuracies 1 3 2.
  assert rho_of(table, scope="within all wide") == pytest.approx(-1)
  assert rho_of(table, scope="within all") == pytest.approx(1)


def test_means_are_over_replicates_and_equal_ones_tie():
  """A replicate's own level is noise to them."""
  # Means of a and b tie, in whatever order 0.1, 0.2 and 0.3 are added.
  shares = {
    "a": (0.1, 0.2, 0.3),
    "b": (0.3, 0.1, 0.2),
    "c": (0.5, 0.6, 0.7),
    "d": (0.8, 0.9, 0.7),
  }
  accuracies = {"a": 0.5, "b": 0.6, "c": 0.7, "d": 0.8}
  rows = pd.concat(
    [
      small(
        [
          (n, "all", 1, 0, s[r], 0, 0, 0, accuracies[n] + 0.2 * r)
          for n, s in shares.items()
        ]
      ).assign(replicate=r)
      for r in range(3)
    ]
  )
  # Ranks 1.5 1.5 3 4 against 1 2 3 4: 4.5 / sqrt(4.5 · 5).
  found = rho_of(table_of(rows), method="means")
  assert found == pytest.approx(4.5 / np.sqrt(22.5))
  assert rho_of(table_of(rows)) < 0.7


def test_partial_is_given_the_own_accuracy():
  """Of the share that goes with accuracy just as W_r's own does, 0 is left."""
  rows = [
    (f"e{i}", "all", i + 1, 0, s, 0.1, before, 0.1, after)
    for i, (s, before, after) in enumerate(
      zip((1, 2, 3, 4, 5), (1, 3, 2, 5, 4), (2, 1, 3, 5, 4), strict=True)
    )
  ]
  table = table_of(small(rows))
  # rho of share and accuracy, of share and before, of accuracy and before.
  ra, sb, ab = 0.8, 0.8, 0.7
  expected = (ra - sb * ab) / np.sqrt((1 - sb**2) * (1 - ab**2))
  assert rho_of(table, method="partial") == pytest.approx(expected)
  assert "partial" not in set(table.query("predictor != 'connected'")["method"])


def test_levels_and_experiments_are_those_asked_for():
  landscape = pd.concat([small(BY_HAND, level=k) for k in (1, 2, 3, 4, 5)])
  table = table_of(landscape)
  assert table["level"].unique().tolist() == [2, 3, 4]
  assert table_of(landscape, 5)["level"].unique().tolist() == [4, 5]
  names = ("none", "all-1", "all-2")
  some = table_of(landscape, experiments=names)
  chosen = table_of(landscape.query("experiment in @names"))
  pd.testing.assert_frame_equal(some, chosen)
  assert set(some["scope"]) == {"all", "within all"}
  nothing = table_of(landscape, 9)
  assert nothing.columns.tolist() == list(PREDICTOR_COLUMNS)
  assert not len(nothing)


def test_what_was_not_measured_has_no_rows():
  table = table_of(small(BY_HAND).assign(distance=np.nan))
  assert table["predictor"].unique().tolist() == [
    n for n in PREDICTORS if n != "distance"
  ]
  flat = table_of(small(BY_HAND).assign(connected=1.0))
  assert np.isnan(rho_of(flat))


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
      diet = "easy" if v in (1, 2) else "all" if v else "none"
      where = ("hand", f"e{v}", diet, v, r, level, density)
      what = (share, barrier, before, accuracy, 9 - share**2 + 0.01 * r)
      rows.append((*where, *what, diet, 0))
  return pd.DataFrame(rows, columns=list(LANDSCAPE_COLUMNS))


def lines_of(landscape, *, level=3, experiments=(), **claims):
  claim = ConnectedClaim(0.1, level, experiments)
  claims = make_claims(resamples=RESAMPLES, **claims)
  table = predictors_table(landscape, level, claims, experiments)
  return connected_lines(landscape, table, claim, claims)


def interval_of(rows, x="connected", **options):
  columns = (x, "accuracy", "experiment", "replicate")
  found = cluster_correlation(
    *(rows[c].to_numpy() for c in columns), resamples=RESAMPLES, **options
  )
  told = f"{100 * found.confidence:g} % interval"
  return f"= {found.mean:+.2f}, {told} [{found.low:+.2f}, {found.high:+.2f}]"


def means_of(rows):
  means = rows.groupby("experiment")[["connected", "accuracy"]].mean()
  rho = means.corr("spearman").iloc[0, 1]
  return f"; Spearman {rho:+.2f} between the variants' means"


def test_claim_3_says_the_correlation_its_interval_and_the_verdict():
  table = make_landscape()
  here, near, far = (table.query("level == @k") for k in (3, 2, 4))
  counts = "6 variants x 4 replicates (24 points)"
  at = "at level 3 (26.2 % of weights)"
  before = here["pretrained_accuracy"].to_numpy()
  everything = here.query("diet != 'easy'")
  easy = here.query("diet != 'all'")
  assert lines_of(table, confidence=0.9)[0] == (
    f"claim 3, connected examples predict success, {at}: Spearman rho between "
    "the share of examples with midpoint barrier < 0.1 nats and sparse "
    f"accuracy {interval_of(here, confidence=0.9)}, {counts}: holds"
  )
  share = "Spearman rho between that share and sparse accuracy"
  assert lines_of(table)[1:] == [
    f"claim 3, also {at}: Pearson r between that share and sparse accuracy "
    f"{interval_of(here, method='pearson')}, {counts}{means_of(here)}",
    f"claim 3, also within easy, {at}: {share} {interval_of(easy)}, "
    "3 variants x 4 replicates (12 points)",
    f"claim 3, also within all, {at}: {share} {interval_of(everything)}, "
    "4 variants x 4 replicates (16 points)",
    f"claim 3, also {at}: Spearman rho between W_r's own test accuracy and "
    "sparse accuracy "
    f"{interval_of(here, 'pretrained_accuracy')}, {counts}; partial rho of "
    f"that share given it {interval_of(here, given=before)}",
    f"claim 3, also {at}: Spearman rho between the mean midpoint barrier and "
    "sparse accuracy (expected to be negative) "
    f"{interval_of(here, 'mean_barrier')}, {counts}",
    f"claim 3, also {at}: Spearman rho between the L2 distance between W_r's "
    "dense children and sparse accuracy (expected to be negative) "
    f"{interval_of(here, 'distance')}, {counts}",
    f"claim 3, also at level 2 (41.0 % of weights): {share} "
    f"{interval_of(near)}, {counts}",
    f"claim 3, also at level 4 (16.8 % of weights): {share} "
    f"{interval_of(far)}, {counts}",
  ]


def test_a_diet_of_five_says_its_means():
  table = make_landscape(variants=7).query("diet != 'easy'")
  other = make_landscape(variants=9).query("experiment in ['e7', 'e8']")
  table = pd.concat([table, other.assign(diet="hard")])
  here = table.query("level == 3")
  own = means_of(here.query("diet != 'hard'"))
  (line,) = [x for x in lines_of(table) if "within all" in x]
  assert line.endswith(f"5 variants x 4 replicates (20 points){own}")


def test_one_diet_is_everything_and_said_once():
  lines = lines_of(make_landscape().query("diet != 'easy'"))
  assert len(lines) == 7 and not any("within" in line for line in lines)


@pytest.mark.parametrize(
  "effect,verdict",
  [(1.0, "holds"), (-1.0, "does not hold"), (0.0, "undecided")],
)
def test_claim_3_verdicts(effect, verdict):
  claim, claims = ConnectedClaim(0.1, 3, ()), make_claims(resamples=500)
  (line,) = connected_lines(make_landscape(effect), NOTHING, claim, claims)
  assert line.endswith(f"points): {verdict}")


def test_claim_3_is_of_the_declared_experiments():
  table = make_landscape(variants=8)
  some = tuple(f"e{v}" for v in range(6))
  chosen = table.query("experiment in @some")
  lines = lines_of(chosen)
  assert lines_of(table, experiments=some) == lines
  assert "6 variants x 4 replicates (24 points)" in lines[0]
  more = lines_of(table, experiments=(*some, "e9", "e10"))
  assert more[1:] == lines[1:]
  assert more[0] == lines[0].replace(
    "points): holds", "points), but none of e9, e10: undecided"
  )


def test_claim_3_says_what_is_missing():
  table = make_landscape(levels=(2, 3))
  assert len(lines_of(table)) == 8  # no level 4
  nothing, beside = lines_of(table, level=1)
  assert "at level 1: Spearman" in nothing
  assert nothing.endswith("sparse accuracy: no replicate has them: undecided")
  assert beside.startswith("claim 3, also at level 2 (41.0 % of weights)")
  unknown = lines_of(table.assign(pretrained_accuracy=np.nan, distance=np.nan))
  assert len(unknown) == 6 and "own test accuracy" not in "".join(unknown)
  holes = table.copy()
  holes.loc[:6, "pretrained_accuracy"] = np.nan
  assert "(21 points); partial" in lines_of(holes)[4]
  assert "(24 points)" in lines_of(holes)[1]
  flat = lines_of(table.assign(connected=1.0))
  assert "sparse accuracy is undefined, 6 variants" in flat[0]
  assert flat[0].endswith("(24 points): undecided")
  assert flat[1].endswith("is undefined, 6 variants x 4 replicates (24 points)")
  lone = lines_of(table.query("replicate == 0"))[0]
  assert "[-inf, +inf], 6 variants x 1 replicates (6 points)" in lone
  assert lone.endswith(
    "undecided: fewer than 6 variants of 4 replicates never decide"
  )
  few = lines_of(table, experiments=("e0", "e1", "e2"))[0]
  assert few.endswith(
    "undecided: fewer than 6 variants of 4 replicates never decide"
  )


def test_claim_3_stands_without_predictors_or_landscape():
  """Its own line needs no table but the landscape."""
  claim, claims = ConnectedClaim(0.1, 3, ()), make_claims(resamples=RESAMPLES)
  table = make_landscape()
  assert connected_lines(table, NOTHING, claim, claims) == lines_of(table)[:1]
  empty = pd.DataFrame(columns=list(LANDSCAPE_COLUMNS))
  assert connected_lines(empty, NOTHING, claim, claims) == [
    "claim 3, connected examples predict success, at level 3: Spearman rho "
    "between the share of examples with midpoint barrier < 0.1 nats and sparse "
    "accuracy: no replicate has them: undecided"
  ]


class SomeTables(Tables):
  """Some of a study's tables; asking for others fails."""

  def __init__(self, claims, **tables):
    self.claims, self._tables = claims, tables

  names = property(lambda self: list(self._tables))
  connected_claim = property(lambda self: self.claims.connected)

  def get(self, name):
    return self._tables[name]


def test_the_printed_lines_are_of_the_studys_tables():
  claims = make_claims(
    connected=ConnectedClaim(0.1, 3, ()), resamples=RESAMPLES
  )
  table = make_landscape()
  predictors = predictors_table(table, 3, claims)
  expected = lines_of(table)
  both = SomeTables(claims, landscape=table, predictors=predictors)
  assert landscape_lines(both) == expected
  # A table that could not be made costs its lines only.
  assert landscape_lines(SomeTables(claims, landscape=table)) == expected[:1]


def test_a_claim_of_all_is_of_every_experiment_with_children():
  def experiment(children, levels):
    joined = {"children": children, "levels": levels}
    return {"probes": {"connectivity": joined}}

  experiments = {
    "a": experiment(2, [0]),
    "b": experiment(0, [0]),
    "c": experiment(2, [4, 10]),
  }
  everyone = ConnectedClaim(0.1, 3, ())
  assert whole_claim(everyone, experiments).experiments == ("a",)
  named = ConnectedClaim(0.1, 3, ("b", "c"))
  assert whole_claim(named, experiments) == named


def test_variants_of_few_replicates_do_not_count_for_a_verdict():
  table = make_landscape(variants=8)
  claims = make_claims(resamples=RESAMPLES)
  claim = ConnectedClaim(0.1, 3, tuple(f"e{v}" for v in range(8)))
  row = connected_verdict_row(table, claim, claims)
  assert (row["verdict"], row["replicates"]) == ("holds", 4)
  assert row["estimate"] > row["low"] > 0 and row["level"] == 3
  lost = table.query("experiment != 'e7'")
  assert connected_verdict_row(lost, claim, claims)["verdict"] == "undecided"
  few = table.query("replicate == 0 or experiment <= 'e4'")
  assert connected_verdict_row(few, claim, claims)["verdict"] == "undecided"
  nothing = connected_verdict_row(table.iloc[:0], claim, claims)
  assert (nothing["replicates"], nothing["verdict"]) == (0, "undecided")
