"""Benchmarks: ratios, exponents, and the file that results go to."""

import json
import sys
import time

import numpy as np
import pytest
import scipy.stats

from benchmarks import __main__ as benchmarks_main
from benchmarks import correctness, gpu, throughput
from benchmarks.__main__ import cases, matching
from benchmarks.harness import (
  Measured,
  Options,
  compared,
  exponent,
  in_turn,
  partial,
  table,
  write,
)
from imp_jax.data.dataset import make_dataset


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


@pytest.mark.long
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


PART = """
import pathlib, subprocess, sys, time
what, out = sys.argv[1], pathlib.Path(sys.argv[2].removeprefix("--out="))
if what == "slow":  # with a process of its own, which is to end with it
  code = "import time, sys; time.sleep(2); open(sys.argv[1], 'w')"
  subprocess.Popen([sys.executable, "-c", code, str(out / "late")])
(out / what).write_text("found")
time.sleep(30 if what == "slow" else 0)
sys.exit(3 if what == "broken" else 0)
"""


def test_a_limit_costs_the_part_that_it_cuts_off_alone(tmp_path, monkeypatch):
  monkeypatch.setattr(gpu, "LEAST", 0.3)
  monkeypatch.setattr(gpu, "ENDING", 0.1)
  names = ("fine", "broken", "slow", "never")
  started = time.monotonic()
  code = gpu.run_parts(
    [gpu.Part(name, (name,)) for name in names],
    1.5,
    tmp_path / "out",
    program=(sys.executable, "-c", PART),
  )
  assert code == 1 and time.monotonic() - started < 10
  rows = json.loads((tmp_path / "out" / "gpu.json").read_text())
  assert [(row["part"], row["state"]) for row in rows] == [
    ("fine", "finished"),
    ("broken", "failed"),
    ("slow", "cut off"),
    ("never", "left out"),
  ]
  written = {p.name for p in (tmp_path / "out").iterdir()}
  assert written == {"gpu.json", "fine", "broken", "slow"}
  time.sleep(1.5)
  assert not (tmp_path / "out" / "late").exists()


@pytest.mark.parametrize("quick", [True, False])
def test_a_gpu_is_asked_first_whether_it_is_right(quick):
  names = [part.arguments[0] for part in gpu.parts(quick=quick)]
  first = names.index("throughput")
  assert set(names[:first]) == {"correctness"} and first == (1 if quick else 2)
  assert set(names) <= set(cases())


def test_what_a_long_case_found_so_far_is_a_whole_file(tmp_path):
  out = tmp_path / "out"
  options = Options(out=out)
  options.keep("throughput", {"a": {1: 2.5}})
  options.keep("throughput", {"a": {1: 2.5, 4: "no memory"}})
  found = json.loads(partial(out, "throughput").read_text())
  assert found == {"a": {"1": 2.5, "4": "no memory"}}
  assert len(list(out.iterdir())) == 1
  write("cpu", {}, {}, [measured("other")], out)
  assert partial(out, "throughput").exists()
  write("cpu", {}, {}, [measured("throughput")], out)
  assert [p.name for p in out.iterdir()] == ["cpu.json"]
  before = sorted(tmp_path.rglob("*"))
  Options(out=None).keep("throughput", {"a": 1})
  assert sorted(tmp_path.rglob("*")) == before


def test_the_correctness_cases_images_never_change():
  """Their reference is of them; one class's images look alike."""
  made = correctness.images()
  assert made["train_image"].shape == (2560, 16, 16, 3)
  assert made["train_image"].dtype == np.uint8
  splits = {
    s: (made[f"{s}_image"], made[f"{s}_label"]) for s in ("train", "test")
  }
  known = json.loads(correctness.REFERENCE.read_text())
  assert make_dataset("x", splits).fingerprint == known["fingerprint"]
  x = made["train_image"].astype(float)
  means = np.stack([x[made["train_label"] == c].mean(0) for c in range(10)])
  nearest = ((x[:100, None] - means) ** 2).sum((2, 3, 4)).argmin(1)
  np.testing.assert_array_equal(nearest, made["train_label"][:100])


KNOWN = {"a": {"mean": 0.5, "std": 0.1}, "b": {"mean": 2.0, "std": 0.4}}


def against(monkeypatch, found, fingerprint="f"):
  monkeypatch.setattr(correctness, "_study", lambda dtype: ("f", found))
  return correctness._against(
    {"fingerprint": fingerprint, "means": KNOWN}, "float32"
  )


def test_correctness_is_a_share_of_the_cpus_own_spread(monkeypatch):
  found = {"a": [0.5, 0.6, 0.5, 0.6], "b": [3.0] * 4}
  shares = against(monkeypatch, found)
  # Of two comparisons at 1 % together, by a table of Student's t.
  quantile = scipy.stats.t(23).ppf(1 - 0.0025)
  error = (1 / 4 + 1 / 24) ** 0.5
  assert shares["a"] == pytest.approx(0.05 / (quantile * 0.1 * error))
  assert shares["b"] == pytest.approx(1.0 / (quantile * 0.4 * error))
  assert shares["a"] < 1 < shares["b"]
  with pytest.raises(ValueError, match="is of data g, these are f"):
    against(monkeypatch, found, "g")


def test_of_devices_that_are_right_one_in_a_hundred_misses():
  rng = np.random.default_rng(0)
  tries, comparisons = 20_000, 12
  shape = (tries, comparisons)
  reference = rng.normal(size=(*shape, correctness.REPLICATES))
  tried = rng.normal(size=(*shape, correctness.TRIED))
  off = abs(tried.mean(-1) - reference.mean(-1))
  bound = correctness.may_be_off(1.0, comparisons)
  missed = (off > bound * reference.std(-1, ddof=1)).any(axis=1).mean()
  assert 0.007 < missed < 0.012


@pytest.mark.parametrize(
  "found",
  [
    {"a": [0.5] * 4},
    {"a": [0.5] * 4, "b": [2.0] * 3},
    {"a": [0.5] * 4, "b": [2.0, 2.0, 2.0, float("nan")]},
  ],
)
@pytest.mark.parametrize("rounding", [0.1, float("nan")])
def test_what_is_no_number_is_not_correct(
  monkeypatch, tmp_path, found, rounding
):
  """A replicate that failed has no row; NaN is larger than nothing."""
  monkeypatch.setattr(correctness, "_study", lambda dtype: ("f", found))
  monkeypatch.setattr(
    correctness, "_rounding", lambda _: {"losses": 0.1, "one step": rounding}
  )
  file = tmp_path / "reference.json"
  file.write_text(json.dumps({"fingerprint": "f", "means": KNOWN}))
  monkeypatch.setattr(correctness, "REFERENCE", file)
  measured = correctness.correctness_case(Options())
  assert measured.ratio == 0 and not measured.met
  assert measured.limited_by in ("b", "one step")


@pytest.mark.parametrize("ratio,code", [(0.5, 1), (2.0, 0)])
def test_to_be_wrong_is_a_failure_and_to_be_slow_is_none(
  monkeypatch, tmp_path, ratio, code
):
  def case(name, ratio):
    return lambda options: measured(name, ratio=ratio)

  known = {
    "correctness": case("correctness", ratio),
    "path": case("path", 0.5),
  }
  monkeypatch.setattr(benchmarks_main, "cases", lambda: known)
  monkeypatch.setattr("sys.argv", ["benchmarks", f"--out={tmp_path}"])
  assert benchmarks_main.main() == code
