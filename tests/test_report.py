"""The report: which files a study's records become."""

import json

import pandas as pd

from imp_jax.report.parts import Parts
from imp_jax.report.tables import Entry, write_report
from imp_jax.results import Results
from imp_jax.settings import EasyDataClaim
from imp_jax.store import Artefact, Store
from tests.tables import make_claims

TABLES = {
  "config.json",
  "tickets.json",
  "results.csv",
  "layers.csv",
  "curves.csv",
  "matching.csv",
  "experiments.csv",
  "metrics.jsonl",
}
SUBSETS = {
  "none": (0, {"kind": "none", "size": 0, "score": ""}),
  "random-100": (20, {"kind": "random", "size": 100, "score": ""}),
  "random-500": (20, {"kind": "random", "size": 500, "score": ""}),
  "easy-500": (20, {"kind": "easy", "size": 500, "score": "el2n"}),
}


def report_of(tmp_path, subsets, *, finished=True, claims=None):
  """The files of a study of these subsets: two replicates, levels 0 and 1."""
  store = Store(str(tmp_path))
  experiments, entries = {}, []
  for name, (steps, subset) in subsets.items():
    pretrain = {"steps": steps, "subset": subset}
    experiments[name] = {"model": {"name": "conv1d"}, "pretrain": pretrain}
    for replicate in (0, 1):
      for level in (0, 1):
        ids = [f"{name}-{kind}-{replicate}-{level}" for kind in "pt"]
        entries.append(
          Entry(name, "imp", level, replicate, steps, *ids, masks=None)
        )
        metrics = {"test": {"accuracy": 0.9 - 0.1 * level, "loss": 1.0}}
        record = {"metrics": metrics, "density": 0.8**level, "step": 9}
        for object_id in ids if finished else ():
          store.save(
            object_id, Artefact(record | {"layers": [], "history": []})
          )
  meaning = {"seed": 0, "experiments": experiments}
  store.write_text(store.study_dir("s") / "config.json", json.dumps(meaning))
  parts = Parts(store, "s")
  write_report(parts, entries, [], claims or make_claims())
  assert parts.failed == []
  return Results(store, "s"), {
    f.name for f in (tmp_path / "studies/s").iterdir()
  }


def figures(*names):
  return {f"{name}.{kind}" for name in names for kind in ("png", "svg")}


def test_a_study_of_subsets_has_figures_of_them(tmp_path):
  easy = EasyDataClaim((("easy-500", "random-500", "none"),), 1)
  claims = make_claims(easy_data=easy)
  results, files = report_of(tmp_path, SUBSETS, claims=claims)
  assert files == TABLES | figures("accuracy", "diet", "sizes")
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


def test_a_study_without_subsets_has_none(tmp_path):
  plain = {"none": (0, "all"), "all-20": (20, "all")}
  _, files = report_of(tmp_path, plain)
  assert files == TABLES | figures("accuracy")


def test_experiments_of_before_and_after_there_were_subsets(tmp_path):
  """One name, extended: the old rows lack the new columns."""
  mixed = {"all-20": (20, "all")} | SUBSETS
  results, files = report_of(tmp_path, mixed)
  assert figures("diet", "sizes") <= files
  assert "all" in set(results.read_table("matching")["variant"])


def test_a_study_with_nothing_finished_has_empty_tables(tmp_path):
  results, files = report_of(tmp_path, SUBSETS, finished=False)
  assert files == TABLES
  for name in ("results", "matching"):
    table = results.read_table(name)
    assert isinstance(table, pd.DataFrame) and table.empty
