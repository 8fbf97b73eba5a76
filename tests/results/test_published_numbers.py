"""The numbers in the text of docs are those of the files of results/."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from benchmarks import harness
from imp_jax.core.identity import restored
from imp_jax.results import accuracy
from imp_jax.results.claims import ClaimSettings
from imp_jax.results.cost import accuracy_at, cost_lines
from imp_jax.results.successive import successive_counts
from imp_jax.results.trial import OPEN, trial_table
from tests.places import ROOT
from tests.results.published import (
  RESULTS,
  difference,
  interval,
  numbers,
  page,
)


@pytest.fixture(scope="module")
def pages():
  """The text of each page of docs/."""
  return {path.stem: page(path.stem) for path in (ROOT / "docs").glob("*.md")}


@pytest.mark.parametrize(
  "study", ["data_diet_mnist1d", "data_diet_mnist1d_labels"]
)
def test_the_claims_of_the_diet_on_signals(pages, study):
  rows = numbers(study, "verdicts")
  assert len(rows) == 4
  for row in rows[["estimate", "low", "high"]].to_numpy():
    assert interval(row, scale=100) in pages["results-mnist1d"]


@pytest.mark.parametrize(
  ("page", "study", "pair", "told", "sign", "level"),
  [
    # Easy signals are worse than hard ones, by:
    (
      "results-mnist1d",
      "data_diet_mnist1d",
      ("hard-20", "easy-20"),
      "hard ones, by {}",
      False,
      4,
    ),
    (
      "results-mnist1d",
      "data_diet_mnist1d_labels",
      ("hard-50", "none"),
      "no pre-training ({})",
      True,
      4,
    ),
    (
      "results-mnist1d",
      "data_diet_mnist1d_labels",
      ("easy-50", "hard-50"),
      "easy - hard is {}",
      True,
      4,
    ),
    (
      "results-images",
      "cifar10_small_labels",
      ("easy-100", "hard-100"),
      "easy - hard is {}",
      True,
      None,
    ),
    (
      "results-images",
      "cifar10_small",
      ("easy-50", "hard-50"),
      "easy - hard is {}",
      True,
      None,
    ),
  ],
)
def test_differences_that_no_claim_declared(
  pages, page, study, pair, told, sign, level
):
  if level is None:
    level = int(numbers(study, "verdicts")["level"].iloc[0])
  row = difference(study, *pair, level)
  said = interval(row, scale=100, digits=1, sign=sign)
  text = pages[page].replace(" points [", " [")
  assert told.format(said) in text


def test_one_replicate_makes_a_wide_spread(pages):
  results = accuracy.test_accuracy(numbers("data_diet_mnist1d", "results"))
  own = results.query("experiment == 'all-50' and level == 4")["value"]
  said = f"one replicate of {len(own)}, at {100 * own.min():.1f} %"
  assert said in pages["results-mnist1d"]
  rest = own.drop(own.idxmin())
  assert rest.std() < own.std() / 1.5


def test_the_reliability_of_scores(pages):
  text = pages["results-mnist1d"]
  half = {}
  for study in (
    "data_diet_mnist1d",
    "data_diet_mnist1d_labels",
    "landscape_mnist1d",
  ):
    rows = numbers(study, "reliability")
    for score, own in rows.groupby("score"):
      most = own.loc[own["networks"].idxmax()]
      half[study, score] = f"{most['correlation']:.2f}"
  clean = half["data_diet_mnist1d", "el2n"]
  assert f"ρ = {clean} between two halves" in text
  (noisy,) = (h for (s, _), h in half.items() if s.endswith("_labels"))
  assert f"with noisy labels {noisy}" in text
  barrier = half["landscape_mnist1d", "barrier"]
  el2n = half["landscape_mnist1d", "el2n"]
  assert f"agree to {barrier}, EL2N's to {el2n}" in text
  rows = numbers("scores_cifar10_quick", "reliability")
  for score, own in rows.groupby("score"):
    one, two = own.sort_values("networks")["correlation"]
    (row,) = re.findall(
      rf"\| `{score}`[^|]*\| ([^|]*) \| ([^|]*) \|", pages["results-images"]
    )
    assert row == (f"{one:.3f}", f"{two:.3f}")


def test_instability_falls_as_it_is_told(pages):
  rows = numbers("landscape_mnist1d", "instability").set_index("experiment")
  text = pages["results-mnist1d"]
  at = {name: 100 * mean for name, mean in rows["mean"].items()}
  assert (
    f"is {at['none']:.0f} % at t_r = 0, {at['all-2']:.0f} % at 2, "
    f"{at['all-5']:.0f} % at 5, {at['all-10']:.0f} % at 10, "
    f"{at['all-20']:.0f} % at 20, {at['all-50']:.1f} % at 50 and "
    f"{at['all-100']:.1f} % at 100"
  ) in text
  assert (
    f"leave it at {at['all-50-slow']:.0f} and {at['all-50-noisy']:.0f} %"
  ) in text


def rho(rows, predictor, scope="all", level=4, method="spearman"):
  (row,) = rows.query(
    "predictor == @predictor and scope == @scope and level == @level and "
    "method == @method"
  )[["rho", "low", "high"]].to_numpy()
  return f"{row[0]:+.2f}" if np.isnan(row[1]) else interval(row)


def test_claim_3_and_what_else_predicts(pages):
  rows, text = (
    numbers("landscape_mnist1d", "predictors"),
    pages["results-mnist1d"],
  )
  told = [
    f"| {rho(rows, 'connected')} | **holds** |",
    f"W_r's own test accuracy | {rho(rows, 'connected', method='partial')} |",
    f"| {rho(rows, 'connected', 'within all')}; "
    f"{rho(rows, 'connected', 'within all', method='means')} |",
    "; ".join(
      rho(rows, "connected", f"within {kind}")
      for kind in ("random", "easy", "hard")
    ),
    f"{rho(rows, 'connected', level=3)}; {rho(rows, 'connected', level=5)}",
    f"instead of the share: W_r's own test accuracy | "
    f"{rho(rows, 'pretrained_accuracy')} |",
    f"{rho(rows, 'mean_barrier')}; {rho(rows, 'distance')}",
    "between the variants' means is "
    + rho(rows, "mean_barrier", method="means"),
  ]
  for words in told:
    assert words in text


def test_images_beside_the_paper(pages):
  rows = numbers("side_by_side", "side_by_side")
  gains = rows.query("what == 'all - none'").set_index("where")["estimate"]
  paper = 100 * gains["the paper"]
  images = 100 * gains[[w for w in gains.index if w.startswith("cifar10")]]
  signals = 100 * gains[[w for w in gains.index if "diet" in w]]
  assert (
    f"rewinding gains {paper:.1f} points in the paper, {images.min():.1f} to "
    f"{images.max():.1f} on small images, {signals.min():.1f} to "
    f"{signals.max():.1f} on signals"
  ) in pages["results-images"]
  dense = accuracy.test_accuracy(numbers("cifar10_small", "results")).query(
    "level == 0"
  )
  assert (
    f"dense network ({100 * dense['value'].mean():.0f} %)"
    in pages["results-images"]
  )


def test_how_often_intervals_err(pages):
  """The table of verdicts.md: bounds on the side where more of them err."""
  rows = numbers("coverage", "mean").query("error == 'high below'")
  for distribution, name in (
    ("normal", "normal"),
    ("t, 5 degrees of freedom", "Student's t with 5 degrees of freedom"),
    (
      "gamma, shape 16",
      "skewness 0.5, on the side away from the longer tail",
    ),
    ("gamma, shape 4", "skewness 1"),
    ("gamma, shape 1", "skewness 2"),
  ):
    own = rows[rows["distribution"] == distribution].sort_values("replicates")
    told = " | ".join(f"{100 * share:.1f}" for share in own["share"])
    assert f"| {name} | {told} |" in pages["verdicts"]
  false = numbers("coverage", "claims").query(
    "claim == 0 and truth == 'no effect' and verdict == 'holds'"
  )["share"]
  said = f"in {100 * false.min():.1f} to {100 * false.max():.1f} % of studies"
  assert said in pages["verdicts"]


def test_the_demo_on_other_seeds_and_in_every_way(pages):
  text = pages["verdicts"]
  seeds = numbers("mnist1d_seeds", "seeds")
  holds = (seeds["verdict"] == "holds").sum()
  low = 100 * seeds["low"]
  assert f"{holds} of {len(seeds)} hold, the lower bound is" in text
  assert f"{low.mean():+.1f} points on average and {low.min():+.1f} at" in text
  ways = numbers("mnist1d_seeds", "ways").set_index("way")
  for names in (["threads", "unroll", "map"], ["vmap"], ["plain"]):
    own = ways.loc[names]
    told = {
      interval(row, scale=100)
      for row in own[["estimate", "low", "high"]].to_numpy()
    }
    (one,) = told
    shown = ", ".join(f"`{name}`" for name in names)
    seconds = ", ".join(f"{s:.0f}" for s in own["seconds"])
    assert f"| {shown} | {one} | {seconds} |" in text
  assert set(ways["verdict"]) == {"holds"} and len(ways) == 5


def test_claim_3_errs_and_finds_as_it_is_told(pages):
  rows = numbers("coverage", "correlation").query("variants >= 6")
  of_rule = rows.query("verdict == 'holds'")
  nothing = 100 * of_rule.query("correlation == 0")["share"]
  assert nothing.min() >= 0.5 and nothing.max() <= 5.55
  assert "in 1 to 5.5 % of those of 6 variants and more" in pages["verdicts"]
  assert f"{nothing.max():.1f}" == "5.5" and f"{nothing.min():.0f}" == "1"
  plain = "variants == 18 and replicates == 8"
  shares = of_rule.query(plain).groupby("correlation")["share"].max() * 100
  assert f"is found in {shares[0.7]:.0f} % of studies" in pages["verdicts"]
  assert f"with 0.9 in {shares[0.9]:.0f} %" in pages["verdicts"]


def test_the_table_of_speed():
  """As the harness writes it, of the file that a run of it left."""
  file = ROOT / "benchmarks" / "results" / "cpu.json"
  text = (ROOT / "docs" / "replicates.md").read_text()
  assert harness.table(json.loads(file.read_text())["cases"]) in text


def in_trial(study, name, level=4):
  """ "-23.4 [-28.2, -18.6]": a row of a trial, in points."""
  rows = numbers(study, "trial")
  (row,) = rows[(rows["name"] == name) & (rows["level"] == level)][
    ["difference", "low", "high"]
  ].to_numpy()
  return interval(row, scale=100, digits=1)


def test_a_trial_s_table_is_made_of_its_results():
  for study in ("trial_mnist1d", "mask_data_mnist1d"):
    meaning = json.loads((RESULTS / study / "config.json").read_text())
    claims = restored(ClaimSettings, meaning["claims"])
    made = trial_table(
      study.replace("_", "-"), numbers(study, "results"), claims
    )
    committed = numbers(study, "trial")
    pd.testing.assert_frame_equal(made, committed, check_exact=False)


def test_what_the_controls_refute(pages):
  told = {
    "imp:reinit": "Under fresh weights it loses {}",
    "imp:other_mask": "another replicate's mask {}",
    "imp:random_mask": "at random places loses {}",
    "imp:init_signs": "initialisation's signs it loses {}",
    "imp:init_magnitudes": "initialisation's magnitudes {}",
    "imp:random_signs": "random signs lose {}",
    "snip-at-init": "SNIP loses {}",
    "synflow-at-init": "SynFlow {}",
    "no-rewinding": "IMP that rewinds to 0 loses {}",
    "synflow-at-init:random_mask": "layers are worse by {}",
    "imp:one_shot": "after level 0 loses {}",
    "imp:displaced": "that could be told, {}",
  }
  rows = numbers("trial_mnist1d", "trial").query("level == 4")
  found = rows.set_index("name")["found"]
  for name, words in told.items():
    assert words.format(in_trial("trial_mnist1d", name)) in pages["trial"], name
    assert found[name] == ("worse" if name != "imp:displaced" else OPEN)
  at_11 = in_trial("trial_mnist1d", "imp:one_shot", 5)
  assert f"at 11 % of the weights {at_11}" in pages["trial"]
  for name in ("snip-at-init:reinit", "synflow-at-init:reinit"):
    assert found[name] == OPEN
  assert f"for all {len(rows)} rows together" in pages["trial"]
  accuracies = accuracy.accuracy_matrix(
    numbers("trial_mnist1d", "results"), "imp"
  ).mean()
  assert (
    f"(the ticket has {100 * accuracies[4]:.1f} %, the dense network "
    f"{100 * accuracies[0]:.1f} %)"
  ) in pages["trial"]


def test_what_adaptive_pruning_costs(pages):
  meaning = json.loads((RESULTS / "adaptive_mnist1d/config.json").read_text())
  claims = restored(ClaimSettings, meaning["claims"])
  table = numbers("adaptive_mnist1d", "cost")
  results = numbers("adaptive_mnist1d", "results")
  for row in table.itertuples():
    where = (row.experiment, row.replicate, row.level)
    own = accuracy.accuracy_matrix(results, row.experiment)
    assert row.accuracy == own[row.level][row.replicate], where
    assert row.baseline_accuracy == pytest.approx(
      accuracy_at(results, "fixed", row.replicate, row.density)
    )
  strict, apart_strict, loose, apart_loose = cost_lines(table, claims)
  assert "strict took 6 trainings to 21.9 %" in strict and "7.8," in strict
  assert "loose took 4 trainings to 21.5 %" in loose and "7.9," in loose
  for line, found in (
    (apart_strict, "as good"),
    (apart_loose, "not told apart"),
  ):
    told = line.split("density: ")[1].split(" points")[0]
    assert f"{told} points: {found}" in pages["trial"]
    assert line.endswith(f"over 12 replicates, {found}")
  taken = table[table["level"] > 2]["fraction"]
  assert (taken == 0.2).mean() > 0.9


def test_which_data_the_mask_may_see(pages):
  for name, words in {
    "easy": "400 easy examples (a tenth)",
    "random": "400 random ones",
    "hard": "400 hard ones",
    "noisy": "40 % of the labels noise",
    "slow": "a quarter of the learning rate, W_r's too",
    "init": "rewound to t_r = 0",
  }.items():
    row = [
      in_trial("mask_data_mnist1d", f"{kind}-{name}")
      for kind in ("masks", "search")
    ]
    assert f"| {words} | {row[0]} | {row[1]} |" in pages["trial"]
  lost = in_trial("mask_data_mnist1d", "random-masks")
  assert f"random masks lose {lost}" in pages["trial"]
  apart = difference("mask_data_mnist1d", "masks-easy", "masks-hard")
  told = interval(apart, scale=100, digits=1)
  assert f"better than those of hard ones by {told}" in pages["trial"]
  matrix = accuracy.accuracy_matrix(
    numbers("mask_data_mnist1d", "results"), "imp"
  )
  assert f"the ticket has {100 * matrix[4].mean():.1f} %" in pages["trial"]


def test_successive_levels_match_where_they_are_connected(pages):
  rows = numbers("landscape_mnist1d", "successive")
  averaged, anew = (
    rows[rows["batch_stats"] == mode] for mode in ("average", "recompute")
  )
  (a, b), (c, d) = successive_counts(averaged).to_numpy().tolist()
  assert (
    f"{a + b} of {len(averaged)} steps match at both ends, and {a} of these "
    f"are connected; of the other {c + d} none is"
  ) in pages["trial"]
  assert c == 0 and successive_counts(anew).to_numpy()[1, 0] == 1
  connected = averaged[averaged["connected"]]
  assert set(connected["experiment"]) == {"all-100"} and len(connected) == a
  left = averaged[averaged["matching"] & ~averaged["connected"]]
  assert set(left["experiment"]) == {"none"} and len(left) == b
  assert [f"{100 * x:.0f}" for x in left["density"].unique()] == ["64", "41"]
