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
from imp_jax.statistics.intervals import mean_interval
from tests.places import ROOT

RESULTS = ROOT / "results"


def numbers(study, name):
  return pd.read_csv(RESULTS / study / f"{name}.csv")


@pytest.fixture(scope="module")
def pages():
  """The text of each page, lines joined, with an ASCII minus."""
  found = {}
  for page in (ROOT / "docs").glob("*.md"):
    found[page.stem] = " ".join(page.read_text().split()).replace("−", "-")
  return found


def interval(row, *, scale=1.0, digits=2, sign=True):
  """ "+0.72 [+0.46, +0.89]" of estimate, low and high."""
  form = f"{'+' if sign else ''}.{digits}f"
  one, low, high = (format(scale * value, form) for value in row)
  return f"{one} [{low}, {high}]"


def difference(study, treatment, baseline, level=4):
  """A paired difference that no claim declared, in points."""
  found = accuracy.paired_differences(
    numbers(study, "results"), treatment, baseline, level
  )
  of_mean = mean_interval(found, confidence=0.95)
  return of_mean.mean, of_mean.low, of_mean.high


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


def test_matched_barriers_and_carried_masks(pages):
  page = pages["around"]
  table = numbers("around_permutations", "permutation")
  error = table[(table["quantity"] == "error") & (table["pairs"] == 6)]
  dense = error[(error["level"] == 0) & error["step"].isna()]
  for width, words in (
    (1, "{} to {} % at width 1"),
    (2, "{} to {} % at 2"),
    (4, "{} to {} % at 4"),
    (8, "{} to {} % at 8"),
  ):
    own = dense[dense["experiment"] == f"width-{width}"].set_index("matched")
    before, after = (
      f"{100 * own['barrier'][way]:.1f}"
      for way in ("replicates", "weights, own")
    )
    assert words.format(before, after) in page
  assert set(error[error["matched"] != "replicates"]["found"]) == {"lower"}
  assert set(table["quantity"]) == {"error", "loss"}
  wide = error[error["experiment"] == "width-4"]
  narrow = error[error["experiment"] == "width-1"]

  def at(rows, matched, level=0, step=None):
    here = rows[(rows["matched"] == matched) & (rows["level"] == level)]
    here = here[here["step"] == step] if step else here[here["step"].isna()]
    return f"{100 * here['barrier'].item():.1f}"

  own = "weights, dense"
  assert (
    f"leaves {at(wide, own, step='step 100')} % at step 100, "
    f"{at(wide, own, step='step 300')} % at step 300, {at(wide, own, 4)} % at "
    f"level 4 of {at(wide, 'replicates', 4)} %"
  ) in page
  assert (
    f"at width 1 {at(narrow, own, 4)} % of {at(narrow, 'replicates', 4)} % stay"
  ) in page
  assert f"{at(narrow, 'weights, joint', 4)} % at width 1" in page
  assert f"leaves {at(wide, 'weights, joint', 4)} % at width 4" in page
  matched = table[table["matched"] != "replicates"]
  loss = matched[matched["quantity"] == "loss"]
  apart = (loss["found"] == OPEN).sum()
  assert f"of the loss {apart} of {len(loss)} are not told apart" in page
  results = numbers("around_permutations", "results")
  own, carried, own_4, carried_4 = (
    f"{100 * accuracy.accuracy_matrix(results, name)[4].mean():.1f}"
    for width in (1, 4)
    for name in (f"width-{width}", f"width-{width}:permuted_mask")
  )
  assert (
    f"has {own} % at width 1, this one {carried} %; at width 4 they have "
    f"{own_4} and {carried_4} %"
  ) in page
  dense_apart = [at(rows, "activations, own") for rows in (narrow, wide)]
  assert f"matched are {' and '.join(dense_apart)} % apart" in page
  contrasts = numbers("around_permutations", "contrasts")
  assert len(contrasts) == 12 and (contrasts["replicates"] == 12).all()
  for row in contrasts.itertuples():
    told = interval((row.difference, row.low, row.high), scale=100, digits=1)
    assert f"| {told} |" in page or f"{told} points" in page, row
    better = row.treatment.startswith("width-4") or "reinit" not in row.baseline
    assert row.found == ("better" if better else "not told apart")


def test_what_comes_back_to_its_mode(pages):
  page = pages["around"]
  table = numbers("around_unmasking", "displacement")
  at = table.set_index(["experiment", "level", "moved"])
  for name, found, words in (
    ("rewind-100", "comes back", "t_r = 100: barriers of {} and {} %"),
    ("rewind-0", "does not", "t_r = 0: {} and {} %"),
  ):
    both = [at.loc[(name, 2, moved)] for moved in ("pruned", "displaced 1")]
    assert [row["found"] for row in both] == [found] * 2
    assert words.format(*(f"{100 * r['barrier']:.1f}" for r in both)) in page
  assert (at.xs("rewind-0")["found"] == "does not").all()
  assert (at.xs("displaced 4", level="moved")["found"] == "does not").all()
  assert at.loc[("rewind-100", 4, "pruned")]["found"] == OPEN
  steps = numbers("around_unmasking", "successive")
  (a, b), (_, d) = successive_counts(steps).to_numpy()[:, ::1].tolist()
  connected = successive_counts(steps)[True]
  matching = successive_counts(steps).loc[True].sum()
  assert (
    f"of {matching} steps that match at both ends {connected[True]} are "
    f"connected, of the other {len(steps) - matching} there are "
    f"{connected[False]}"
  ) in page
  assert a + b == matching and d
  sparse = successive_counts(steps[steps["level"] >= 3])
  assert sparse.loc[True].tolist() == [15, 0]
  assert (
    f"all 15 steps that match are connected, and so are "
    f"{sparse.loc[False, True]} of {sparse.loc[False].sum()} that do not"
  ) in page


def test_what_curvature_says_of_pruning(pages):
  page, table = pages["around"], numbers("around_pruning_bound", "bound")
  assert len(table) == 216 and (table["bound"] > table["borne"]).all()
  assert "In all 216 networks the bound is above" in page
  assert f"never falls below {100 * table['bound'].min():.1f} %" in page
  together = 1 - 0.05 / 3
  wide = table.pivot_table(
    index="replicate", columns=["experiment", "level"], values="bound"
  )

  def told(values, *, scale=100, digits=1):
    i = mean_interval(np.asarray(values), confidence=together)
    return interval((i.mean, i.low, i.high), scale=scale, digits=digits)

  late = wide["rewind-100"]
  fall = told(late[0] - late[5])
  assert f"falls by {fall.removeprefix('+')} points" in page
  assert f"is {told(late[2] - wide['rewind-0'][2])} points" in page
  rho = [
    own["bound"].corr(own["borne"], method="spearman")
    for _, own in table.groupby("replicate")
  ]
  assert f"ρ = {told(rho, scale=1, digits=2)}" in page
  means = table.groupby(["experiment", "level"])[["bound", "borne"]].mean()
  at = lambda name, level, what: f"{100 * means.loc[(name, level), what]:.1f}"
  of_late = [at("rewind-100", k, "bound") for k in (0, 5)]
  assert f"falls from {' to '.join(of_late)} % over five levels" in page
  assert (
    f"at level 2 it is {at('rewind-100', 2, 'bound')} %, and "
    f"{at('rewind-0', 2, 'bound')} % with t_r = 0"
  ) in page
  borne = [at("rewind-100", k, "borne") for k in (0, 5)]
  assert f"falls from {' to '.join(borne)} %" in page
  both = [at(f"rewind-{t}", 2, "borne") for t in (100, 0)]
  assert f"({' and '.join(both)} %)" in page
  within = [
    np.mean(
      [
        own["bound"].corr(own["borne"], method="spearman")
        for _, own in rows.groupby("replicate")
        if own["borne"].nunique() > 1
      ]
    )
    for _, rows in table.groupby("level")
  ]
  assert f"between {min(within):.2f} and {max(within):+.2f}" in page
  apart = (table["most"] - table["least"]).mean()
  assert f"differ by {100 * apart:.1f} points on average" in page


def test_what_signs_carry(pages):
  page, table = pages["around"], numbers("around_signs", "contrasts")
  assert len(table) == 16 and (table["replicates"] == 24).all()
  assert np.allclose(table["confidence"], 1 - 0.05 / 16)
  found = {}
  for treatment, baseline in dict.fromkeys(
    zip(table["treatment"], table["baseline"], strict=True)
  ):
    rows = table[
      (table["treatment"] == treatment) & (table["baseline"] == baseline)
    ].sort_values("level")
    told = [
      interval(row, scale=100, digits=1)
      for row in rows[["difference", "low", "high"]].to_numpy()
    ]
    assert f"| {' | '.join(told)} |" in page, treatment
    found[treatment, baseline] = list(rows["found"])
  assert found["lr", "imp"] == [OPEN, OPEN]
  assert found["random-lr", "random"] == ["worse", "worse"]
  assert found["imp:trained_signs", "imp:trained_weights"] == ["as good", OPEN]
  assert found["imp:sparse_signs", "imp:reinit"] == ["better", "better"]
  assert found["imp:sparse_signs_norm", "imp"] == ["worse", "worse"]
  kept = numbers("around_signs", "geometry")
  means = kept.groupby(["experiment", "between"])["value"].mean()
  at = lambda name, k: f"{100 * means[name, f'successive {k}-{k + 1}']:.1f}"
  assert (
    f"keeps {at('lr', 3)} % of the signs from level 3 to 4, weight rewinding "
    f"{at('imp', 3)} % (from level 0 to 1 {at('lr', 0)} and {at('imp', 0)} %), "
    f"and on random masks {at('random-lr', 3)} and {at('random', 3)} %"
  ) in page
