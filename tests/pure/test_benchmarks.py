"""Benchmarks: ratios, exponents, and the file that results go to."""

import json
import time

import pytest

from benchmarks import throughput
from benchmarks.__main__ import matching
from benchmarks.harness import (
  Measured,
  Options,
  compared,
  exponent,
  in_turn,
  table,
  write,
)


def measured(case, **changes):
  fields = dict(
    case=case,
    unit="examples/s",
    ours=[4.0, 2.0, 3.0],
    reference=[2.0, 2.0, 2.0],
    reference_name="PyTorch",
    ratio=1.5,
    goal=1.0,
    limited_by="memory",
  )
  return Measured(**(fields | changes))


def test_runs_are_timed_in_turn_after_one_call_each():
  calls = []

  def run(name, seconds):
    def call():
      calls.append(name)
      time.sleep(seconds)
      return 10

    return call

  rates = in_turn({"a": run("a", 0.0), "b": run("b", 0.01)}, 3)
  assert "".join(calls) == "ab" + 3 * "ab"
  assert len(rates["a"]) == len(rates["b"]) == 3
  assert all(0 < rate <= 1000 for rate in rates["b"])


def test_the_ratio_is_the_median_of_the_rounds_ratios():
  rates = {"ours": [1.0, 8.0, 3.0], "theirs": [2.0, 2.0, 2.0]}
  found = compared("x", "steps/s", rates, goal=1.4, limited_by="memory")
  assert (found.ratio, found.met, found.reference_name) == (1.5, True, "theirs")
  row = found.to_json()
  assert row["ours"] == {"median": 3.0, "min": 1.0, "max": 8.0}
  assert row["details"] == {"ratio_min": 0.5, "ratio_max": 4.0}
  assert row["limited_by"] == ""  # the goal is met
  missed = compared("x", "steps/s", rates, goal=1.6, limited_by="memory")
  assert (missed.met, missed.to_json()["limited_by"]) == (False, "memory")


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power(power):
  sizes = [1, 2, 8, 32]
  assert exponent(sizes, [3 * s**power for s in sizes]) == pytest.approx(power)


def test_results_keep_other_cases_of_the_same_machine_only(tmp_path):
  machine, versions = {"cores": 2}, {"jax": "1"}
  write("cpu", machine, versions, [measured("a"), measured("b")], tmp_path)
  again = [measured("b", ratio=0.5), measured("c", ratio=None, goal=None)]
  file = write("cpu", machine, versions, again, tmp_path)
  content = json.loads(file.read_text())
  assert set(content) == {"machine", "versions", "cases"}
  assert [(r["case"], r["ratio"], r["met"]) for r in content["cases"]] == [
    ("a", 1.5, True),
    ("b", 0.5, False),
    ("c", None, None),
  ]
  assert set(content["cases"][0]) >= {
    *("case", "unit", "ours", "reference", "ratio", "goal", "met"),
    "limited_by",
  }
  write("cpu", machine, {"jax": "2"}, [measured("c")], tmp_path)
  content = json.loads(file.read_text())
  assert [row["case"] for row in content["cases"]] == ["c"]


def test_the_table_says_what_was_met():
  rows = [measured("a"), measured("b", ratio=0.5)]
  lines = table([m.to_json() for m in rows]).splitlines()
  assert len(lines) == 4
  assert lines[2] == (
    "| `a` | 3 examples/s | 2 (PyTorch) | 1.50 | 1.00 | yes |"
  )
  assert lines[3].endswith("| 0.50 | 1.00 | no |")


@pytest.mark.parametrize(
  "changes,name",
  [
    ({}, "x"),
    ({"dtype": "bfloat16"}, "x_bfloat16"),
    ({"model": "resnet8", "batch": 32}, "x_resnet8_batch32"),
  ],
)
def test_only_the_usual_network_goes_by_the_cases_name(changes, name):
  assert Options(**changes).named("x") == name


@pytest.mark.slow
def test_the_work_of_a_step_against_its_products():
  """Forward and both gradients; XLA leaves out products with the padding."""
  sizes = [  # outputs' side, window, channels in and out, of ResNet-8
    *[(32, 3, 3, 16)] + [(32, 3, 16, 16)] * 2,
    *[(16, 3, 16, 32), (16, 3, 32, 32), (16, 1, 16, 32)],
    *[(8, 3, 32, 64), (8, 3, 64, 64), (8, 1, 32, 64)],
  ]
  products = sum(s**2 * w**2 * i * o for s, w, i, o in sizes)
  first = 32**2 * 9 * 3 * 16  # nobody wants the images' gradient
  naive = 4 * 2 * (3 * products - first)
  work = throughput.work_of_a_step(Options(model="resnet8", batch=4))
  assert 0.9 * naive < work["flop"] < 1.1 * naive
  # At the least: every output written and read forward and backward.
  outputs = sum(s**2 * o for s, _, _, o in sizes)
  assert work["bytes"] > 4 * 4 * outputs * 4


@pytest.mark.parametrize(
  "asked,names,unknown",
  [
    ([], ["grand", "growth", "growth_width", "path"], []),
    (["growth"], ["growth", "growth_width"], []),
    (["path", "growth_width"], ["growth_width", "path"], []),
    (["grow", "path"], ["path"], ["grow"]),
    ([""], [], [""]),
  ],
)
def test_cases_by_name(asked, names, unknown):
  known = ["grand", "growth", "growth_width", "path"]
  assert matching(known, asked) == (names, unknown)
