"""The smallest stable t_r: bisection by hand, and of a tiny study."""

import re
import types

import numpy as np
import pytest

from imp_jax.command.cli import BadInput
from imp_jax.landscape.stability import StableStep, smallest_stable_step
from launch import stability
from tests.tiny import run_tiny, tiny_config
from tests.tiny_landscape import connected

SEARCH = dict(low=0, high=4, tolerance=1, threshold=0.02)


def searched(instability, **search):
  """(what was found, the steps that were tried, in order)."""
  calls = []

  def counted(step):
    calls.append(step)
    return instability(step)

  return smallest_stable_step(counted, **(SEARCH | search)), calls


@pytest.mark.parametrize("true", [1, 2, 37, 63, 64, 99, 100])
@pytest.mark.parametrize("tolerance", [1, 3, 10, 200])
def test_a_monotone_function(true, tolerance):
  """Stable from `true` on: found from above, to within the tolerance."""
  fall = lambda step: 0.05 if step < true else 0.01
  found, calls = searched(fall, high=100, tolerance=tolerance)
  assert true <= found.step <= min(true + tolerance, 100)
  assert found.unstable < true
  assert found.step - found.unstable <= max(tolerance, 100)
  if tolerance < 100:
    assert found.step - found.unstable <= tolerance
  assert found.tried == {step: fall(step) for step in calls}
  assert len(calls) == len(set(calls))  # each is a training: once
  halvings = int(np.ceil(np.log2(max(100 / tolerance, 1))))
  assert len(calls) <= 2 + halvings + 1


def test_tolerance_1_is_exact_by_hand():
  found, calls = searched(lambda step: 1 / (1 + step), high=8, threshold=0.2)
  # 1/5 at 4 is not below 0.2.
  assert found == StableStep(5, 4, {s: 1 / (1 + s) for s in (0, 8, 4, 6, 5)})
  assert calls == [0, 8, 4, 6, 5]


def test_what_is_stable_at_once_asks_no_further():
  found, calls = searched(lambda _: 0.0, low=3, high=50)
  assert found == StableStep(3, None, {3: 0.0}) and calls == [3]


@pytest.mark.parametrize("value", [0.02, 0.5, float("nan")])
def test_what_is_never_stable_asks_the_ends_only(value):
  """At the threshold is not below it, and what has no number is not stable."""
  found, calls = searched(lambda _: value, high=50)
  assert (found.step, found.unstable) == (None, 50) and calls == [0, 50]


def test_a_thousand_steps_take_a_dozen_trainings():
  found, calls = searched(lambda step: float(step < 613) / 10, high=1000)
  assert (found.step, found.unstable) == (613, 612)
  assert len(calls) <= 2 + 10


BAD_SEARCH = [
  (dict(low=4), "low 4 and high 4"),
  (dict(low=3, high=2), "low 3 and high 2"),
  (dict(low=-1), "low -1 and high 4"),
  (dict(tolerance=0), "tolerance must be at least 1 step, got 0"),
  (dict(tolerance=-3), "tolerance must be at least 1 step, got -3"),
  (dict(threshold=0.0), r"threshold must be in \(0, 1\), got 0.0"),
  (dict(threshold=2.0), r"threshold must be in \(0, 1\), got 2.0"),
  (dict(threshold=float("nan")), r"threshold must be in \(0, 1\), got nan"),
]


@pytest.mark.parametrize("search,message", BAD_SEARCH)
def test_bad_searches_ask_nothing(search, message):
  calls = []
  with pytest.raises(ValueError, match=message):
    smallest_stable_step(calls.append, **(SEARCH | search))
  assert not calls


def study(**changes):
  settings = connected(
    prune__levels=2,
    connectivity__alphas=(0.5,),
    experiments=({"name": "all"}, {"name": "blind", "prune.levels": 0}),
  )
  return tiny_config(**(settings | changes))


def test_the_smallest_stable_step_of_a_tiny_study(tmp_path, capsys):
  """Its numbers are those of a study of every t_r, which has all it needs."""
  few = dict(
    optim__learning_rate=0.1,
    optim__steps="3step",
    data__test_examples=1000,
  )
  settings = connected(
    name="direct",
    connectivity__alphas=(0.5,),
    experiments=tuple(
      {"name": f"t{step}", "pretrain.steps": f"{step}step"} for step in range(3)
    ),
    **few,
  )
  rows = (
    run_tiny(tmp_path, **settings)[0]
    .read_table("barriers")
    .query(
      "split == 'test' and metric == 'error_rise_above_mean_average' and "
      "kind == 'children'"
    )
  )
  wanted = rows.groupby("experiment").value.mean()
  assert wanted["t0"] > wanted["t2"]  # by this seed: the search has to halve
  objects = set((tmp_path / "objects").iterdir())
  config = study(**few)
  before = config.to_dict()
  threshold = float(wanted["t0"] + wanted["t2"]) / 2
  search = SEARCH | dict(high=2, threshold=threshold)
  found = stability.find(config, str(tmp_path), "all", **search)
  assert config.to_dict() == before
  assert set((tmp_path / "objects").iterdir()) == objects  # nothing is new
  assert found.tried.keys() == {0, 1, 2}
  for step, instability in found.tried.items():
    assert instability == pytest.approx(wanted[f"t{step}"], abs=1e-12)
  assert found.step - found.unstable == 1
  assert wanted[f"t{found.step}"] < threshold <= wanted[f"t{found.unstable}"]
  assert len(capsys.readouterr().out.splitlines()) == len(found.tried)


REFUSED = [
  (study(), "al", {}, "no experiment 'al'; the study has: all, blind"),
  (
    study(connectivity__children=0),
    "all",
    {},
    "experiment 'all' has no children: set connectivity.children",
  ),
  *((study(), "all", s, m) for s, m in BAD_SEARCH[:2]),
  (study(), "all", {"low": -1}, "low|pretrain.steps"),
  (study(), "all", {"tolerance": 0}, "tolerance must be at least 1 step, got"),
  (study(), "all", {"threshold": 2.0}, "threshold must be in"),
  (study(), "all", {"high": 5}, "but the run has 5 steps"),
  # Instability is of test error, with statistics averaged.
  (study(connectivity__splits=("train",)), "all", {}, "connectivity.splits"),
  (
    study(connectivity__batch_stats=("endpoint",)),
    "all",
    {},
    "connectivity.batch_stats",
  ),
  (
    study(
      connectivity__differ="perturb",
      connectivity__perturb_norm=0.1,
      connectivity__perturb_step="2step",
    ),
    "all",
    {},
    "connectivity.perturb_step must be .*4 <= step < 5, got 2",
  ),
]


def with_flags(monkeypatch, config, workdir, experiment, **search):
  """Sets what the command line would."""
  values = dict(config=config, workdir=workdir, experiment=experiment)
  for name, value in (values | SEARCH | search).items():
    flag = types.SimpleNamespace(value=value)
    monkeypatch.setattr(stability, f"_{name.upper()}", flag)


@pytest.mark.parametrize(
  "config,experiment,search,message",
  REFUSED,
  ids=[f"{i}" for i in range(len(REFUSED))],
)
def test_bad_input_is_one_line_before_anything_is_written(
  tmp_path, monkeypatch, capsys, config, experiment, search, message
):
  workdir = tmp_path / "new"
  with_flags(monkeypatch, config, str(workdir), experiment, **search)
  with pytest.raises(BadInput) as error:
    stability.main(["stability"])
  assert error.value.code == 2
  out, err = capsys.readouterr()
  (line,) = err.strip().splitlines()
  assert line.startswith("error: ") and out == ""
  assert re.search(message, line), line
  assert not list(workdir.rglob("*"))


def test_failed_runs_are_told_as_such(tmp_path, monkeypatch, capsys):
  config = study(optim__learning_rate=1e30)
  with_flags(monkeypatch, config, str(tmp_path / "w"), "all")
  assert stability.main(["stability"]) == 1
  line = capsys.readouterr().err.strip().splitlines()[-1]
  assert line == "error: t_r = 0 has no instability: its runs failed"


def test_the_command_line_exits_2_with_one_line(tmp_path, zygote):
  done = zygote.launch(
    "launch.stability",
    "--config=configs/landscape_mnist1d.py:smoke",
    f"--workdir={tmp_path}/w",
    "--experiment=everything",
    "--high=2",
  )
  assert done.returncode == 2
  (line,) = done.stderr.strip().splitlines()
  assert line.startswith("error: no experiment 'everything'; the study has: ")
  assert done.stdout == "" and not (tmp_path / "w").exists()


def test_what_is_told_by_hand():
  """One line: the step, its instability, the bar, and what lies below."""
  for found, wanted in (
    (StableStep(5, 4, {5: 0.0123, 4: 0.03}), ("5", "1.23 %", "3.00 %", "4")),
    (StableStep(7, None, {7: 0.01}), ("7", "1.00 %")),
    (StableStep(0, None, {0: 0.01}), ("0", "1.00 %")),
    (StableStep(None, 90, {0: 0.5, 90: 0.04}), ("90", "4.00 %", "not")),
  ):
    line = stability.told("random-20", found, 0.025)
    assert "\n" not in line
    for part in (*wanted, "random-20", "2.5 %"):
      assert part in line, (part, line)
    # A search that began stable tells of no unstable step.
    assert ("not" in line) == (found.unstable is not None)


def test_names_of_a_search_stay_within_the_limit():
  for stem in ("a" * 100, "é" * 50):
    name = stability.name_at(stem, 1234)
    assert name.endswith("-at-1234") and len(name.encode()) <= 100
  assert stability.name_at("all-20", 5) == "all-20-at-5"
