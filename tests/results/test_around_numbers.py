"""The numbers of docs/around.md are those of the files of results/."""

import json

import numpy as np

from imp_jax.core.identity import restored
from imp_jax.results import accuracy
from imp_jax.results.claims import ClaimSettings
from imp_jax.results.cost import cost_lines
from imp_jax.results.successive import successive_counts
from imp_jax.results.trial import OPEN
from imp_jax.statistics.intervals import mean_interval
from tests.results.published import (
  RESULTS,
  difference,
  interval,
  numbers,
  page,
)


def test_matched_barriers_and_carried_masks():
  text = page("around")
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
    assert words.format(before, after) in text
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
  ) in text
  assert (
    f"at width 1 {at(narrow, own, 4)} % of {at(narrow, 'replicates', 4)} % stay"
  ) in text
  assert f"{at(narrow, 'weights, joint', 4)} % at width 1" in text
  assert f"leaves {at(wide, 'weights, joint', 4)} % at width 4" in text
  matched = table[table["matched"] != "replicates"]
  loss = matched[matched["quantity"] == "loss"]
  apart = (loss["found"] == OPEN).sum()
  assert f"of the loss {apart} of {len(loss)} are not told apart" in text
  results = numbers("around_permutations", "results")
  own, carried, own_4, carried_4 = (
    f"{100 * accuracy.accuracy_matrix(results, name)[4].mean():.1f}"
    for width in (1, 4)
    for name in (f"width-{width}", f"width-{width}:permuted_mask")
  )
  assert (
    f"has {own} % at width 1, this one {carried} %; at width 4 they have "
    f"{own_4} and {carried_4} %"
  ) in text
  dense_apart = [at(rows, "activations, own") for rows in (narrow, wide)]
  assert f"matched are {' and '.join(dense_apart)} % apart" in text
  contrasts = numbers("around_permutations", "contrasts")
  assert len(contrasts) == 12 and (contrasts["replicates"] == 12).all()
  for row in contrasts.itertuples():
    told = interval((row.difference, row.low, row.high), scale=100, digits=1)
    assert f"| {told} |" in text or f"{told} points" in text, row
    better = row.treatment.startswith("width-4") or "reinit" not in row.baseline
    assert row.found == ("better" if better else "not told apart")


def test_what_comes_back_to_its_mode():
  text = page("around")
  table = numbers("around_unmasking", "displacement")
  at = table.set_index(["experiment", "level", "moved"])
  for name, found, words in (
    ("rewind-100", "comes back", "t_r = 100: barriers of {} and {} %"),
    ("rewind-0", "does not", "t_r = 0: {} and {} %"),
  ):
    both = [at.loc[(name, 2, moved)] for moved in ("pruned", "displaced 1")]
    assert [row["found"] for row in both] == [found] * 2
    assert words.format(*(f"{100 * r['barrier']:.1f}" for r in both)) in text
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
  ) in text
  assert a + b == matching and d
  sparse = successive_counts(steps[steps["level"] >= 3])
  assert sparse.loc[True].tolist() == [15, 0]
  assert (
    f"all 15 steps that match are connected, and so are "
    f"{sparse.loc[False, True]} of {sparse.loc[False].sum()} that do not"
  ) in text


def test_what_curvature_says_of_pruning():
  text, table = page("around"), numbers("around_pruning_bound", "bound")
  assert len(table) == 216 and (table["bound"] > table["borne"]).all()
  assert "In all 216 networks the bound is above" in text
  assert f"never falls below {100 * table['bound'].min():.1f} %" in text
  together = 1 - 0.05 / 3
  wide = table.pivot_table(
    index="replicate", columns=["experiment", "level"], values="bound"
  )

  def told(values, *, scale=100, digits=1):
    i = mean_interval(np.asarray(values), confidence=together)
    return interval((i.mean, i.low, i.high), scale=scale, digits=digits)

  late = wide["rewind-100"]
  fall = told(late[0] - late[5])
  assert f"falls by {fall.removeprefix('+')} points" in text
  assert f"is {told(late[2] - wide['rewind-0'][2])} points" in text
  rho = [
    own["bound"].corr(own["borne"], method="spearman")
    for _, own in table.groupby("replicate")
  ]
  assert f"ρ = {told(rho, scale=1, digits=2)}" in text
  means = table.groupby(["experiment", "level"])[["bound", "borne"]].mean()
  at = lambda name, level, what: f"{100 * means.loc[(name, level), what]:.1f}"
  of_late = [at("rewind-100", k, "bound") for k in (0, 5)]
  assert f"falls from {' to '.join(of_late)} % over five levels" in text
  assert (
    f"at level 2 it is {at('rewind-100', 2, 'bound')} %, and "
    f"{at('rewind-0', 2, 'bound')} % with t_r = 0"
  ) in text
  borne = [at("rewind-100", k, "borne") for k in (0, 5)]
  assert f"falls from {' to '.join(borne)} %" in text
  both = [at(f"rewind-{t}", 2, "borne") for t in (100, 0)]
  assert f"({' and '.join(both)} %)" in text
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
  assert f"between {min(within):.2f} and {max(within):+.2f}" in text
  apart = (table["most"] - table["least"]).mean()
  assert f"differ by {100 * apart:.1f} points on average" in text


def test_what_signs_carry():
  text, table = page("around"), numbers("around_signs", "contrasts")
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
    assert f"| {' | '.join(told)} |" in text, treatment
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
  ) in text


def contrasts_of(study, rows, *, scale, digits):
  """Each row of a table in the text is its contrast at both levels."""
  table = numbers(study, "contrasts")
  assert len(table) == 12 and (table["replicates"] == 12).all()
  assert np.allclose(table["confidence"], 1 - 0.05 / 12)
  found = {}
  for (treatment, baseline, quantity), own in table.groupby(
    ["treatment", "baseline", "quantity"], sort=False
  ):
    whole = 100 if quantity in ("accuracy", "barrier") else scale
    places = 1 if whole == 100 else digits
    told = [
      interval(row, scale=whole, digits=places)
      for row in own.sort_values("level")[
        ["difference", "low", "high"]
      ].to_numpy()
    ]
    assert f"| {' | '.join(told)} |" in rows, (treatment, baseline, quantity)
    found[treatment, baseline, quantity] = list(
      own.sort_values("level")["found"]
    )
  return found


def test_what_units_look_at():
  text, table = page("around"), numbers("around_local_fields", "fields")
  found = contrasts_of("around_local_fields", text, scale=1, digits=3)
  assert found == {
    ("imp", "random", "adjacency_2"): ["higher", "higher"],
    ("imp", "taught", "adjacency_2"): ["higher", "higher"],
    ("imp", "gaussian", "adjacency_2"): [OPEN, "lower"],
    ("imp", "random", "kurtosis"): ["lower", "higher"],
    ("imp", "random", "cavity"): ["higher", "higher"],
    ("imp", "random", "accuracy"): ["worse", "better"],
  }
  # One weight that gives its unit more than that would be rounding.
  assert table["cavity"].abs().max() < 0.5
  means = table.groupby(["experiment", "level"]).mean(numeric_only=True)
  at = lambda name, what: f"{means.loc[(name, 6), what]:.2f}"
  assert (
    f"kept {at('imp', 'adjacency_2')} times as often as by chance at 7 %; with "
    f"random masks {at('random', 'adjacency_2')}, on signals of one Gaussian "
    f"{at('taught', 'adjacency_2')}, of one for each class "
    f"{at('gaussian', 'adjacency_2')}"
  ) in text
  assert (
    f"at 7 % it is {at('imp', 'neighbours')}, with random masks "
    f"{at('random', 'neighbours')}, `taught` {at('taught', 'neighbours')}, "
    f"`gaussian` {at('gaussian', 'neighbours')}"
  ) in text
  cavity = lambda name: " and ".join(
    f"{means.loc[(name, k), 'cavity']:+.3f}" for k in (4, 6)
  )
  assert (
    f"`cavity` is {cavity('imp')} with IMP, {cavity('random')} with random"
  ) in text
  assert (
    f"from {means.loc[('imp', 0), 'kurtosis']:.2f} dense to "
    f"{at('imp', 'kurtosis')} at 7 %, with random masks to "
    f"{at('random', 'kurtosis')}"
  ) in text
  assert (
    f"({at('imp', 'participation')} and {at('random', 'participation')} at 7 %)"
  ) in text
  own = table.set_index(["experiment", "level", "replicate"])["neighbours"]
  told = {
    (other, level): interval(
      (
        (
          of := mean_interval(
            np.asarray(own["imp", level] - own[other, level]),
            confidence=1 - 0.05 / 4,
          )
        ).mean,
        of.low,
        of.high,
      ),
      digits=3,
    )
    for other in ("random", "taught")
    for level in (6, 4)
  }
  assert (
    f"less random masks' it is {told['random', 6]} there and "
    f"{told['random', 4]} at 17 %, less `taught` {told['taught', 6]} and "
    f"{told['taught', 4]}"
  ) in text
  accuracies = numbers("around_local_fields", "results")
  of = 100 * accuracies.groupby(["experiment", "level"])["value"].mean()
  made = of.loc[["gaussian", "taught"]]
  assert f"have {made.min():.0f} to {made.max():.0f} % on real test" in text
  assert (
    f"the dense network has {of['imp', 0]:.1f} %, random masks "
    f"{of['random', 4]:.1f} % at 17 % of the weights, more than IMP at any "
    f"level ({of['imp'].max():.1f} % at most). From 7 % on IMP's masks are the "
    f"better ones ({of['imp', 6]:.1f} against {of['random', 6]:.1f} %)"
  ) in text


def test_what_masks_may_be_distilled():
  text = page("around")
  found = contrasts_of("around_distilled", text, scale=1, digits=3)
  assert found == {
    ("distilled", "random", "accuracy"): ["better", "better"],
    ("distilled", "real", "accuracy"): [OPEN, OPEN],
    ("distilled", "means", "accuracy"): ["better", "better"],
    ("distilled", "all", "accuracy"): ["worse", "worse"],
    ("distilled", "all", "barrier"): [OPEN, OPEN],
    ("distilled", "random", "barrier"): ["lower", OPEN],
  }
  accuracies = numbers("around_distilled", "results")
  of = 100 * accuracies.groupby(["experiment", "level"])["value"].mean()
  assert (
    f"at 17 % {of['distilled', 4]:.1f} %, of real examples "
    f"{of['real', 4]:.1f}, of means {of['means', 4]:.1f}, of all data "
    f"{of['all', 4]:.1f}, random {of['random', 4]:.1f}"
  ) in text
  assert (
    f"alone have {of['search-distilled', 0]:.1f} % (distilled), "
    f"{of['search-real', 0]:.1f} % (real) and {of['search-means', 0]:.1f} %"
  ) in text
  whose = ("around_distilled", "rewound", "all")
  gains = {
    k: interval(difference(*whose, k), scale=100, digits=1).lstrip("+")
    for k in (4, 5)
  }
  assert (
    f"all the data has {of['rewound', 4]:.1f} and {of['rewound', 5]:.1f} %, "
    f"{gains[4]} and {gains[5]} points more than without"
  ) in text
  rows = numbers("around_distilled", "barriers")
  both = lambda name: f"{barrier[name, 4]:.1f} and {barrier[name, 5]:.1f}"
  barrier = 100 * rows.groupby(["experiment", "level"])["value"].mean()
  assert (
    f"barriers of children {barrier['distilled', 4]:.1f}, of real examples "
    f"{barrier['real', 4]:.1f}, of all data "
    f"{barrier['all', 4]:.1f}, random {barrier['random', 4]:.1f}, dense "
    f"{barrier['all', 0]:.1f} %"
  ) in text
  assert barrier.min() > 2  # none is stable
  assert (
    f"fall under every mask, from {barrier['all', 0]:.1f} % dense to "
    f"{both('distilled')} % (distilled), {both('real')} (real), "
    f"{both('means')} (means), {both('all')} (all), {both('random')} (random)"
  ) in text


def test_what_the_bound_saves():
  text, table = page("around"), numbers("around_bounded", "cost")
  meaning = json.loads((RESULTS / "around_bounded/config.json").read_text())
  lines = cost_lines(table, restored(ClaimSettings, meaning["claims"]))
  for (name, trainings, density, fixed), told, compared in zip(
    (("whole", 4, 11.5, 10.8), ("part", 5, 19.2, 8.5), ("error", 4, 22.8, 7.7)),
    lines[::2],
    lines[1::2],
    strict=True,
  ):
    assert told == (
      f"adaptive pruning of {name} took {trainings} trainings to {density} % "
      f"of the weights, the fixed fraction {fixed}, mean over 24 replicates"
    )
    assert compared.endswith("points over 24 replicates, worse")
    assert compared.split("density: ")[1].split(" points")[0] in text
  assert "4 trainings in place of 10.8 to 11.5 % of the weights" in text
  assert "5 in place of 8.5" in text and "4 in place of 7.7" in text
  taken = 100 * table.groupby(["experiment", "level"])["fraction"].mean()
  for name, words in (("whole", "allows is {}"), ("error", "levels take {}")):
    one, two, three = (f"{taken[name, k]:.0f}" for k in (1, 2, 3))
    assert words.format(f"{one}, {two} and {three} %") in text
