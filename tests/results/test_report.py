"""The report: which files a study's records become."""

import dataclasses
import json

import pandas as pd
import pytest

from imp_jax.core.artefacts import Artefact
from imp_jax.core.index import Entry, save_index
from imp_jax.core.store import Store
from imp_jax.results.claims import EasyDataClaim
from imp_jax.results.load import Results, load
from imp_jax.results.report import report
from imp_jax.results.summary import emptied_lines
from imp_jax.results.tickets import RESULT_COLUMNS
from tests.results.tables import make_claims
from tests.tiny import random_dataset, run_tiny

painted = pytest.mark.usefixtures("painted")

WITHOUT_CLAIM = dict(claims__rewinding={"treatments": ()})
TABLES = {
  "config.json",
  "index.json",
  "section.html",
  "results.csv",
  "layers.csv",
  "curves.csv",
  "geometry.csv",
  "matching.csv",
  "smallest_density.csv",
  "experiments.csv",
  "metrics.jsonl",
}
SUBSETS = {
  "none": (0, {"kind": "none", "size": 0, "score": ""}),
  "random-100": (20, {"kind": "random", "size": 100, "score": ""}),
  "random-500": (20, {"kind": "random", "size": 500, "score": ""}),
  "easy-500": (20, {"kind": "easy", "size": 500, "score": "el2n"}),
}


BLIND = {"connectivity": {"children": 0, "levels": [0], "thresholds": []}}


def report_of(tmp_path, subsets, *, finished=True, claims=None, failed=None):
  """The files of a study of these subsets: two replicates, levels 0 and 1.

  Nothing may fail, unless there is a list for it.
  """
  store = Store(str(tmp_path))
  experiments, entries = {}, []
  for name, (steps, subset) in subsets.items():
    pretrain = {"steps": steps, "subset": subset}
    trunk = {"model": {"name": "conv1d"}, "pretrain": pretrain}
    experiments[name] = {"trunk": trunk, "probes": BLIND}
    for replicate in (0, 1):
      for level in (0, 1):
        parts = ("pretrain", "train", "metrics", "pretrained_metrics")
        ids = {p: f"{name}-{p}-{replicate}-{level}" for p in parts}
        entries.append(Entry(name, "imp", level, "", replicate, ids))
        metrics = {"test": {"accuracy": 0.9 - 0.1 * level, "loss": 1.0}}
        record = {
          "metrics": metrics,
          "density": 0.8**level,
          "step": 9,
          "layers": [],
          "history": [],
          "made_with": {"seconds_together": 1.0, "items_together": 2},
          "inputs": {},
        }
        for object_id in ids.values() if finished else ():
          store.save(object_id, Artefact(record))
  meaning = {
    "seed": 0,
    "experiments": experiments,
    "claims": dataclasses.asdict(claims or make_claims()),
  }
  store.write_text(store.study_dir("s") / "config.json", json.dumps(meaning))
  save_index(store, "s", entries)
  results = Results(store, "s")
  left_out = report(results)
  if failed is None:
    assert left_out == []
  else:
    failed += left_out
  return results, {f.name for f in (tmp_path / "studies/s").iterdir()}


def figures(*names):
  return {f"{name}.{kind}" for name in names for kind in ("png", "svg")}


@painted
def test_a_study_of_subsets_has_figures_of_them(tmp_path):
  easy = EasyDataClaim((("easy-500", "random-500", "none"),), 1, 0.01)
  claims = make_claims(easy_data=easy)
  results, files = report_of(tmp_path, SUBSETS, claims=claims)
  assert files == TABLES | {"verdicts.csv"} | figures(
    "accuracy", "smallest_density", "diet", "sizes"
  )
  assert "level 1" in (tmp_path / "studies/s/sizes.svg").read_text()
  matching = results.read_table("matching")
  assert matching["variant"].tolist() == [
    "random 100",
    "random 500",
    "easy 500",
  ]
  # -10 points in both replicates: an interval of width 0, below -1 point.
  assert matching["smallest_matching_step"].isna().all()
  assert matching["steps_tried"].tolist() == ["0 20"] * 3


@painted
def test_a_study_without_subsets_has_none(tmp_path):
  plain = {"none": (0, "all"), "all-20": (20, "all")}
  _, files = report_of(tmp_path, plain)
  assert files == TABLES | figures("accuracy", "smallest_density")


@painted
def test_experiments_of_before_and_after_there_were_subsets(tmp_path):
  """One name, extended: the old rows lack the new columns."""
  mixed = {"all-20": (20, "all")} | SUBSETS
  results, files = report_of(tmp_path, mixed)
  assert figures("diet", "sizes") <= files
  assert "all" in set(results.read_table("matching")["variant"])


@painted
def test_a_study_with_nothing_finished_has_empty_tables(tmp_path):
  results, files = report_of(tmp_path, SUBSETS, finished=False)
  assert files == TABLES
  for name in ("results", "matching"):
    table = results.read_table(name)
    assert isinstance(table, pd.DataFrame) and table.empty


@painted
def test_a_figure_or_table_that_fails_costs_no_other(tmp_path, monkeypatch):
  """It is named with the reason, and the rest is written."""

  def fail(*_):
    raise RuntimeError("no\nsuch font")

  monkeypatch.setattr("imp_jax.results.charts.accuracy.accuracy_chart", fail)
  monkeypatch.setattr("imp_jax.results.tables.layers_table", fail)
  failed = []
  _, files = report_of(tmp_path, SUBSETS, failed=failed)
  assert files == (TABLES - {"layers.csv"}) | figures(
    "diet", "sizes", "smallest_density"
  )
  assert failed == [
    f"{name} of study s is left out of its report: no such font"
    for name in ("layers.csv", "accuracy.png")
  ]


def test_metrics_keep_their_digits(tmp_path, monkeypatch):
  """As JSON has them, not to ten decimals."""
  rows = [(*"abcdefg", 1.234567890123e-9, 3)]
  table = pd.DataFrame(rows, columns=list(RESULT_COLUMNS))
  monkeypatch.setattr("imp_jax.results.tables.history_table", lambda *_: table)
  report_of(tmp_path, SUBSETS)
  (line,) = (tmp_path / "studies/s/metrics.jsonl").read_text().splitlines()
  assert json.loads(line)["value"] == 1.234567890123e-9


def test_a_run_goes_on_when_its_report_cannot_be_made(tmp_path, monkeypatch):
  """Not even reading what is there costs it; the next run makes it good."""

  def fail(*_):
    raise RuntimeError("full of holes")

  with monkeypatch.context() as patch:
    patch.setattr("imp_jax.results.tables.results_table", fail)
    _, log = run_tiny(tmp_path, written=True, **WITHOUT_CLAIM)
  assert log.done == log.total > 0
  (line,) = log.warnings  # what is made from it is not named again
  assert line.startswith("results.csv of study mnist1d-smoke is left out")
  assert "full of holes" in line
  again, log = run_tiny(tmp_path, written=True, **WITHOUT_CLAIM)
  assert log.total == 0 and log.warnings == []
  assert len(again.table)


@painted
@pytest.mark.parametrize("landscape", [False, True])
def test_an_emptied_level_is_reported_as_empty(tmp_path, landscape):
  """A legal result: its overlaps are undefined, and no figure fails of it."""
  looks = dict(
    connectivity__children=2,
    connectivity__differ="order",
    connectivity__alphas=(0.5,),
    connectivity__splits=("test",),
    connectivity__successive=True,
    connectivity__levels=(2,),
    curvature__levels=(2,),
    curvature__matrices=("hessian",),
    curvature__examples=8,
    curvature__lanczos_steps=2,
    curvature__probes=2,
    curvature__eigenvalues=1,
  )
  results, log = run_tiny(
    tmp_path,
    written=True,
    prune__fraction=0.999,
    **(looks if landscape else {}),
  )
  assert log.warnings == []
  layers = results.read_table("layers")
  assert (layers.query("level >= 1")["kept"] == 0).all()
  assert (results.table.query("level >= 1")["density"] == 0).all()
  overlaps = results.read_table("geometry").query("between == 'replicates'")
  assert set(overlaps["quantity"]) == {"mask_overlap", "expected_overlap"}
  assert overlaps["value"].isna().all() and len(overlaps) >= 8
  told = emptied_lines(layers)
  assert told[:2] == [
    f"warning: {name}: empty, no weight is left: replicate 0 from level 1, "
    "replicate 1 from level 1"
    for name in ("none", "all-1")
  ]
  assert not any("channels" in line for line in told)
  assert not any(
    results.ticket("none", level=2).masks["head"]["kernel"].ravel()
  )


@painted
def test_images_that_cannot_be_drawn_are_left_out(tmp_path, monkeypatch, rng):
  """Two channels: every score and table is there, no picture of examples."""
  images = random_dataset(rng, train=80, shape=(16, 16, 2))
  monkeypatch.setattr("imp_jax.study.run.load_study_data", lambda *_: images)
  results, log = run_tiny(
    tmp_path,
    written=True,
    model__name="resnet8",
    experiments=(),
    scores__compute=("input_norm", "random"),
    **WITHOUT_CLAIM,
  )
  assert len(log.warnings) == 2
  for name, line in zip(("input_norm", "random"), log.warnings, strict=True):
    assert line.startswith(f"scores/{name}_examples.png of study mnist1d-smoke")
    assert "1 or 3" in line and "(80, 16, 16, 2)" in line
  folder = tmp_path / "studies" / results.study
  assert (folder / "scores" / "random.npy").exists()
  assert (folder / "histograms.png").exists()
  assert not list(folder.glob("scores/*.png"))


def test_stray_files_beside_studies_are_none(tmp_path):
  store = Store(str(tmp_path))
  with pytest.raises(FileNotFoundError, match="has no study; it has: none"):
    load(str(tmp_path))
  store.write_text(store.study_dir("one") / "config.json", "{}")
  (tmp_path / "studies" / ".DS_Store").write_text("")
  (tmp_path / "studies" / "notes").mkdir()
  assert load(str(tmp_path)).study == "one"
  with pytest.raises(FileNotFoundError, match="no study notes; it has: one"):
    load(str(tmp_path), "notes")
