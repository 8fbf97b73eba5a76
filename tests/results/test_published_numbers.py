"""The numbers in the text of docs are those of the files of results/."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from benchmarks import harness
from imp_jax.results import accuracy
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
