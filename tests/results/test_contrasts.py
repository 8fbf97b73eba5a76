"""Contrasts and barriers of matched pairs against tables made by hand."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.probes.barriers import BARRIER_COLUMNS
from imp_jax.results.claims import ClaimSettings, ContrastsClaim
from imp_jax.results.contrasts import (
  contrast_lines,
  contrasts_table,
  quantities,
)
from imp_jax.results.fields import FIELD_COLUMNS
from imp_jax.results.permutation import permutation_lines, permutation_table
from imp_jax.results.tickets import RESULT_COLUMNS


def test_contrasts_are_paired_differences_that_hold_together():
  rows = [
    ("s", name, r, 3, 0.2, "test", "accuracy", value, 8)
    for r in range(4)
    for name, value in (
      ("a", 0.9 + 0.1 * (r == 3)),
      ("a:reinit", 0.8 + 0.01 * r + 0.1 * (r == 3)),
      ("b", 0.9 + 0.1 * (r == 3)),
    )
  ]
  results = pd.DataFrame(rows, columns=list(RESULT_COLUMNS))
  claims = ClaimSettings(
    contrasts=ContrastsClaim((("a:reinit", "a"), ("b", "a")), (3, 4))
  )
  table = contrasts_table("s", quantities(results), claims)
  assert list(table["treatment"]) == ["a:reinit", "a:reinit", "b", "b"]
  first, none, second, _ = table.itertuples()
  assert (none.level, none.replicates, none.found) == (4, 0, "not told apart")
  assert contrast_lines(table)[1] == (
    "contrast at level 4: a:reinit less a has nothing to compare, over 0 "
    "replicates, not told apart"
  )
  # -0.10, -0.09, -0.08, -0.07: s / 2 = 0.00645; of four declared rows at 95 %
  # each has 98.75 %: t(3) = 5.3920.
  assert first.difference == pytest.approx(-0.085)
  assert first.confidence == pytest.approx(0.9875)
  assert first.low == pytest.approx(-0.085 - 5.3920 * 0.0064550, abs=1e-5)
  assert first.found == "worse"
  assert (second.difference, second.found) == (0, "as good")
  assert contrast_lines(table)[0] == (
    "contrast at level 3: a:reinit less a -8.5 [-12.0, -5.0] points over 4 "
    "replicates, worse"
  )


def test_contrasts_of_barriers_and_fields_by_hand():
  """A barrier is the mean over pairs of children, in the first way."""
  metric = "error_rise_above_mean_average"
  barriers = pd.DataFrame(
    [
      ("s", name, r, 2, "children", pair, split, m, value + 0.01 * (r == 3))
      for name, values in (("a", (0.5, 0.3)), ("b", (0.1, 0.1)))
      for pair, value in zip(("0-1", "0-2"), values, strict=True)
      for split, m in (
        ("test", metric),
        ("test", "error_rise_above_mean_recompute"),
        ("train", metric),
        ("test", "loss_midpoint_average"),
      )
      for r in range(4)
    ],
    columns=list(BARRIER_COLUMNS),
  )
  other = ~(barriers["metric"].eq(metric) & barriers["split"].eq("test"))
  barriers.loc[other, "value"] = 7 + np.arange(other.sum())
  fields = pd.DataFrame(
    [
      ("s", name, r, 2, 10, 0.5, 1.0, 1.0, 1.0, 1.0, kurtosis, np.nan)
      for name, kurtosis in (("a", 1.0), ("b", 1.5))
      for r in range(4)
    ],
    columns=list(FIELD_COLUMNS),
  )
  barriers.loc[barriers["metric"].str.contains("recompute"), "value"] = 9.0
  # Of a fifth replicate one pair is there alone.
  alone = barriers[other.eq(False) & barriers["pair"].eq("0-1")]
  alone = alone[alone["replicate"].eq(0)].assign(replicate=4, value=5.0)
  barriers = pd.concat([barriers, alone], ignore_index=True)
  results = pd.DataFrame(columns=list(RESULT_COLUMNS))
  claims = ClaimSettings(
    contrasts=ContrastsClaim(
      (("a", "b", "barrier"), ("a", "b", "kurtosis"), ("a", "b", "cavity")),
      (2,),
    )
  )
  ways = {"a": ("average", 2), "b": ("average", 2)}
  table = contrasts_table(
    "s", quantities(results, barriers, fields, ways), claims
  )
  first, second, none = table.itertuples()
  assert none.replicates == 0  # the cavity is nowhere defined
  assert first.difference == pytest.approx(0.3)
  assert (first.quantity, first.found) == ("barrier", "higher")
  assert first.confidence == pytest.approx(1 - 0.05 / 3)  # of all declared
  assert (second.difference, second.found) == (-0.5, "lower")
  # Where every replicate lacks a pair there is no barrier either.
  fewer = barriers[barriers["pair"] == "0-1"]
  values = quantities(results, fewer, fields, ways)
  assert contrasts_table("s", values, claims)["replicates"][0] == 0
  assert contrast_lines(table)[:2] == [
    "contrast at level 2, barrier: a less b +30.0 [+30.0, +30.0] points over 4 "
    "replicates, higher",
    "contrast at level 2, kurtosis: a less b -0.500 [-0.500, -0.500] over 4 "
    "replicates, lower",
  ]


def test_there_and_back_are_one_pair():
  """Eight replicates are four pairs: the intervals are over four."""
  plain = (0.5, 0.5, 0.6, 0.6, 0.7, 0.7, 0.8, 0.8)
  matched = (0.1, 0.3, 0.2, 0.2, 0.35, 0.25, 0.4, 0.4)
  metric = "error_rise_above_line_average"
  rows = [
    ("s", "a", r, 0, kind, "", split, metric, value + (split == "train"))
    for split in ("test", "train")
    for kind, values in (("replicates", plain), ("weights, own", matched))
    for r, value in enumerate(values)
  ]
  share = "connected_rise_above_line_0.1_average"  # it is no barrier
  rows += [
    ("s", "a", 0, 0, "children", "0-1", "test", metric, 9.0),
    *(("s", "a", r, 0, "weights, own", "", "test", share, 1) for r in range(8)),
    # Of one that has no path without a permutation; and of half a pair.
    *(
      ("s", "b", r, 0, "weights, own", "", "test", metric, 0.5)
      for r in (0, 1, 2)
    ),
  ]
  barriers = pd.DataFrame(rows, columns=list(BARRIER_COLUMNS))
  table = permutation_table("s", barriers, ClaimSettings(), 1)
  before, after, alone = table.itertuples()
  assert (alone.experiment, alone.pairs, alone.found) == ("b", 1, "")
  assert (before.matched, before.pairs) == ("replicates", 4)
  assert before.barrier == pytest.approx(0.65) and np.isnan(before.change)
  assert (after.pairs, after.batch_stats, after.quantity) == (
    4,
    "average",
    "error",
  )
  assert after.barrier == pytest.approx(0.275)
  # -0.3, -0.4, -0.4, -0.4: s / 2 = 0.025, t(3) = 3.18245.
  assert after.change == pytest.approx(-0.375)
  assert after.low == pytest.approx(-0.375 - 3.18245 * 0.025, abs=1e-5)
  assert after.found == "lower"
  line, other = permutation_lines(table)
  assert "1 pairs: error barrier nan %" in other
  assert line == (
    "pairs of replicates of a at level 0 (BatchNorm: average), 4 pairs: error "
    "barrier 65.0 %; matched by weights, own 27.5 % (lower)"
  )
  few = permutation_table(
    "s", barriers[barriers["replicate"] < 6], ClaimSettings(), 1
  )
  assert set(few["found"]) == {"", "not told apart"}
