"""Verdicts: what the lines of claims say, from accuracies typed by hand."""

import numpy as np
import pytest

from imp_jax.results.accuracy import paired_differences
from imp_jax.results.claims import (
  EasyDataClaim,
  LittleDataClaim,
  RewindingClaim,
)
from imp_jax.results.verdicts import (
  VERDICT_COLUMNS,
  verdict_lines,
  verdicts_table,
)
from imp_jax.statistics.intervals import mean_interval
from tests.results.tables import make_claims, make_results

# Test accuracy at level 1 of four replicates; level 0 is 0.95 throughout.
# In points, less "all", which is 4, 5, 4, 5 above "none".
LEVEL_1 = {
  "none": [0.80, 0.80, 0.82, 0.82],
  "all": [0.84, 0.85, 0.86, 0.87],
  "as-all": [0.8352, 0.8521, 0.861, 0.8677],  # -0.48, 0.21, 0.1, -0.23
  "worse": [0.82, 0.82, 0.84, 0.84],  # -2, -3, -2, -3
  "unclear": [0.81, 0.87, 0.83, 0.89],  # -3, +2, -3, +2
  "better": [0.87, 0.87, 0.89, 0.90],  # +3, +2, +3, +3
  "as-better": [0.86, 0.88, 0.88, 0.91],
}


def results_of(**changes):
  return make_results(
    {
      name: [[0.95, value] for value in values]
      for name, values in (LEVEL_1 | changes).items()
    }
  )


def little(*comparisons, level=1, margin=0.011):
  return make_claims(little_data=LittleDataClaim(comparisons, level, margin))


def easy(*comparisons, level=1, margin=0.01):
  return make_claims(easy_data=EasyDataClaim(comparisons, level, margin))


def bounds(treatment, baseline, confidence=0.95):
  """The interval of a difference in points, as the lines print it."""
  differences = np.subtract(LEVEL_1[treatment], LEVEL_1[baseline])
  found = mean_interval(differences, confidence=confidence)
  return f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}]"


def test_differences_pair_the_replicates_that_both_have():
  results = results_of(none=[0.80, np.nan, 0.82, 0.82])
  found = paired_differences(results, "all", "none", 1)
  np.testing.assert_allclose(found, [0.04, 0.04, 0.05])
  assert len(paired_differences(results, "all", "none", 2)) == 0
  assert len(paired_differences(results, "all", "absent", 1)) == 0


def test_nothing_is_said_of_claims_not_declared():
  assert verdict_lines(results_of(), make_claims()) == []


def test_claim_1_says_the_difference_its_margin_and_the_verdict():
  (line,) = verdict_lines(results_of(), little(("as-all", "all")))
  assert line == (
    "claim 1, little data suffices, at level 1 (80.0 % of weights): "
    "as-all - all = -0.10 points, 95 % interval "
    f"{bounds('as-all', 'all')}, 4 replicates; margin 1.1 points: "
    "holds"
  )


@pytest.mark.parametrize(
  "treatment,verdict",
  [
    ("as-all", "holds"),
    ("better", "holds"),
    ("worse", "does not hold"),
    ("unclear", "undecided"),
    ("none", "does not hold"),
  ],
)
def test_claim_1_by_hand(treatment, verdict):
  (line,) = verdict_lines(results_of(), little((treatment, "all")))
  assert f"; margin 1.1 points: {verdict}" in line


def test_an_undecided_line_says_how_many_replicates_would_decide():
  """as-all - all: mean -0.1, s = 0.315 points; t / √n of 20 is 0.468.

  -0.1 - 0.468 · 0.315 = -0.247, and of 19 it is 0.482: -0.252.
  """
  claims = little(("as-all", "all"), margin=0.0025)
  (line,) = verdict_lines(results_of(), claims)
  assert line.endswith(
    "4 replicates; margin 0.25 points: undecided: 4 replicates; about 20 would "
    "decide"
  )
  claims = little(("as-all", "all"), margin=0.001)
  (line,) = verdict_lines(results_of(), claims)
  assert line.endswith(
    "undecided: 4 replicates; more than 1,000 would be needed"
  )


@pytest.mark.parametrize(
  "count,ending",
  [
    (1, "undecided: 1 replicate"),
    (2, "undecided: 2 replicates; about 4 would decide"),
    (3, "undecided: 3 replicates; about 4 would decide"),
    (4, "holds"),
  ],
)
def test_few_replicates_decide_nothing_however_large_the_effect(count, ending):
  few = {name: values[:count] for name, values in LEVEL_1.items()}
  claims = make_claims(
    rewinding=RewindingClaim(("better",), "none", 1),
    little_data=LittleDataClaim((("better", "all"),), 1, 0.011),
    easy_data=EasyDataClaim((("better", "worse", "none"),), 1, 0.01),
  )
  found = verdict_lines(results_of(**few), claims)
  assert [line.split(" points: ")[1] for line in found] == [ending] * 3


def test_claim_1_corrects_for_all_of_its_comparisons_against_the_margin():
  """Surely above -margin at 1 - 0.05 / 2, "as-all" frees the other's level.

  Against 0 it would not: its interval holds 0.
  """
  lines = verdict_lines(
    results_of(), little(("unclear", "all"), ("as-all", "all"))
  )
  assert "95 % interval" in lines[0] and "points: undecided: 4" in lines[0]
  assert f"97.5 % interval {bounds('as-all', 'all', 0.975)}" in lines[1]
  assert lines[1].endswith("holds")


def test_claim_1_is_undecided_where_a_replicate_or_a_level_is_missing():
  nothing = [np.nan] * 4
  (line,) = verdict_lines(results_of(all=nothing), little(("as-all", "all")))
  assert line.endswith("no replicate has both as-all and all: undecided")
  (line,) = verdict_lines(results_of(), little(("better", "all"), level=7))
  assert line == (
    "claim 1, little data suffices, at level 7: no replicate has both better "
    "and all: undecided"
  )
  one = [0.9, np.nan, np.nan, np.nan]
  (line,) = verdict_lines(results_of(one=one), little(("one", "all")))
  assert "[-inf, +inf], 1 replicates; margin 1.1 points: undecided" in line


def test_claim_2_says_both_differences_and_corrects_for_both():
  (line,) = verdict_lines(results_of(), easy(("better", "as-all", "all")))
  over_random = bounds("better", "as-all", 0.975)
  over_all = bounds("better", "all", 0.975)
  assert line == (
    "claim 2, easy data needs fewer steps, at level 1 (80.0 % of weights): "
    f"better - as-all = +2.85 points, 97.5 % interval {over_random}, 4 "
    f"replicates; better - all = +2.75 points, 97.5 % interval {over_all}, 4 "
    "replicates; margin 1 points: holds"
  )


@pytest.mark.parametrize(
  "comparison,verdict",
  [
    (("better", "worse", "all"), "holds"),
    (("better", "as-better", "all"), "undecided"),
    (("better", "worse", "as-better"), "undecided"),
    (("as-all", "worse", "all"), "does not hold"),  # over all: 0.55 at most
    (("all", "worse", "better"), "does not hold"),
    (("worse", "better", "none"), "does not hold"),
  ],
)
def test_claim_2_by_hand(comparison, verdict):
  (line,) = verdict_lines(results_of(), easy(comparison))
  assert f"; margin 1 points: {verdict}" in line


def test_claim_2_fails_where_the_gain_is_surely_too_small():
  """+3, +2, +3, +3 over all is surely above 0, and surely below 5 points."""
  comparison = ("better", "worse", "all")
  for margin, verdict in (
    (0.01, "holds"),
    (0.035, "holds"),  # [1.95, 3.55] at 95 %: over worse steps down first
    (0.036, "does not hold"),
    (0.05, "does not hold"),
  ):
    (line,) = verdict_lines(results_of(), easy(comparison, margin=margin))
    assert line.endswith(f"; margin {100 * margin:g} points: {verdict}")


def test_claim_2_corrects_for_each_difference_once():
  """Two comparisons that share "better - all" make three differences."""
  lines = verdict_lines(
    results_of(), easy(("better", "worse", "all"), ("better", "none", "all"))
  )
  assert all(line.count("98.3333 % interval") == 2 for line in lines)


def test_claim_2_is_undecided_where_a_difference_is_missing():
  """The one that is there is not decided alone, and is corrected for both."""
  results = results_of(all=[np.nan] * 4)
  (line,) = verdict_lines(results, easy(("better", "worse", "all")))
  assert "better - worse = +5.25 points, 97.5 % interval" in line
  assert line.endswith("; no replicate has both better and all: undecided")


def test_claim_0_lines():
  claims = make_claims(
    rewinding=RewindingClaim(("better", "absent"), "none", 1)
  )
  better, absent = verdict_lines(results_of(), claims)
  assert better == (
    "claim 0, rewinding matters, at level 1 (80.0 % of weights): better - none "
    f"= +7.25 points, 97.5 % interval {bounds('better', 'none', 0.975)}, 4 "
    "replicates; margin 1 points: holds"
  )
  assert absent.endswith("no replicate has both absent and none: undecided")


def test_verdicts_as_a_table():
  claims = make_claims(
    rewinding=RewindingClaim(("all", "absent"), "none", 1),
    easy_data=EasyDataClaim((("better", "worse", "all"),), 1, 0.01),
    margin=0.02,
  )
  connected = dict(
    what="rho of connected share, 9 variants",
    level=1,
    density=0.8,
    estimate=0.5,
    low=0.2,
    high=0.7,
    confidence=0.95,
    margin=float("nan"),
    replicates=4,
    verdict="holds",
  )
  table = verdicts_table("s", results_of(), claims, connected, 12.5)
  assert tuple(table.columns) == VERDICT_COLUMNS
  assert table["claim"].tolist() == [0, 0, 2, 2, 3]
  assert table["what"].tolist() == [
    "all - none",
    "absent - none",
    "better - worse",
    "better - all",
    "rho of connected share, 9 variants",
  ]
  first, absent, *_, last = table.to_dict("records")
  differences = np.subtract(LEVEL_1["all"], LEVEL_1["none"])
  interval = mean_interval(differences, confidence=first["confidence"])
  np.testing.assert_allclose(
    (first["estimate"], first["low"]), (interval.mean, interval.low), rtol=1e-9
  )
  assert (first["margin"], first["verdict"]) == (0.02, "holds")
  assert (absent["replicates"], absent["verdict"]) == (0, "undecided")
  assert table["margin"].tolist()[2:4] == [0.01, 0.01]
  assert len(set(table["verdict"][2:4])) == 1
  assert (last["estimate"], last["replicates"]) == (0.5, 4)
  assert (table["seconds"] == 12.5).all() and (table["study"] == "s").all()
