"""Verdicts on several seeds and in several ways, and as a table."""

import numpy as np
import pandas as pd
import pytest

from imp_jax.results.load import load
from imp_jax.results.verdicts import VERDICT_COLUMNS
from launch.seeds import run_all, told, variations
from launch.verdicts import markdown
from tests.places import ROOT
from tests.tiny import tiny_config


def test_each_seed_and_way_is_a_study_of_its_own():
  config = tiny_config()
  found = list(variations(config, (5, 6), ("map", "plain")))
  assert [columns for columns, _ in found] == [
    {"seed": 5, "way": "map"},
    {"seed": 6, "way": "map"},
    {"seed": 5, "way": "plain"},
    {"seed": 6, "way": "plain"},
  ]
  modes = [(c.execution.mode, c.execution.convolution) for _, c in found]
  assert modes == [("map", "auto")] * 2 + [("auto", "plain")] * 2
  assert [c.seed for _, c in found] == [5, 6, 5, 6]
  assert len({c.name for _, c in found}) == 2
  ((columns, own),) = variations(config, (), ())
  assert columns == {"seed": 0, "way": "default"} and own.seed == 0
  with pytest.raises(ValueError, match="unknown way 'quick'; known: threads"):
    list(variations(config, (), ("quick",)))


def test_a_table_of_verdicts_by_seed(tmp_path):
  config = tiny_config(
    experiments=({"name": "none"}, {"name": "b", "pretrain.steps": "1step"}),
    claims__rewinding={"treatments": ("b",), "baseline": "none", "level": 1},
    prune__levels=1,
  )
  out = tmp_path / "out" / "seeds.csv"
  table, failed = run_all(config, str(tmp_path), (3, 4), (), out)
  assert failed == 0 and table["seed"].tolist() == [3, 4]
  written = pd.read_csv(out)
  assert list(written.columns) == ["seed", "way", *VERDICT_COLUMNS]
  assert written["seed"].tolist() == [3, 4]
  assert (table["what"] == "b - none").all() and (table["seconds"] > 0).all()
  assert (table["verdict"] == "undecided").all()  # of two replicates
  for seed, row in zip((3, 4), table.to_dict("records"), strict=True):
    results = load(str(tmp_path / "default"), f"mnist1d-smoke-seed{seed}")
    rows = results.table.query(
      "metric == 'accuracy' and split == 'test' and level == 1"
    )
    means = rows.groupby("experiment")["value"].mean()
    assert row["estimate"] == pytest.approx(means["b"] - means["none"])
  again, _ = run_all(config, str(tmp_path), (4,), (), out)
  assert np.isnan(again["seconds"]).all()  # nothing was left to time
  assert again["estimate"].tolist() == table["estimate"].tolist()[1:]


@pytest.mark.parametrize(
  "changes,seeds,message",
  [
    (dict(claims__rewinding={"treatments": ()}), (1,), "declares no claim"),
    ({}, (1, 1), r"once each, got \(1, 1\)"),
  ],
)
def test_what_cannot_be_repeated_is_refused(tmp_path, changes, seeds, message):
  with pytest.raises(ValueError, match=message):
    run_all(
      tiny_config(**changes), str(tmp_path), seeds, (), tmp_path / "o.csv"
    )
  assert not (tmp_path / "o.csv").exists()


def test_how_often_it_held():
  table = pd.DataFrame(
    {
      "claim": 0,
      "what": "a - b",
      "estimate": [0.1, 0.2],
      "low": [0.05, -0.1],
      "high": [0.2, 0.5],
      "verdict": ["holds", "undecided"],
    }
  )
  assert told(table) == [
    "a - b: 1 of 2 hold; mean +0.1500 [-0.0250, +0.3500], lowest bound -0.1000"
  ]


def test_verdicts_as_markdown(tmp_path):
  rho, effect = (0.5, 0.25, 0.75, 0.95), (0.0342, 0.03, 0.0384, 0.975)
  end = (7, "holds", 61.4)
  rows = [
    ("s", 3, "rho of connected share, 9 variants", 4, 0.1668, *rho, None, *end),
    ("s", 0, "a - none", 4, 0.1668, *effect, 0.01, *end),
  ]
  pd.DataFrame(rows, columns=list(VERDICT_COLUMNS)).to_csv(
    tmp_path / "v.csv", index=False
  )
  assert markdown([str(tmp_path / "v.csv")]).splitlines()[2:] == [
    "| 0: rewinding matters | s, 17 % | a − none | +3.42 [+3.00, +3.84] "
    "(97.5 %) | 1 | 7 | **holds** | 61 |",
    "| 3: connected examples predict success | s, 17 % | rho of connected "
    "share, 9 variants | +0.50 [+0.25, +0.75] |  | 7 | **holds** | 61 |",
  ]


def test_readmes_table_is_what_the_files_say():
  files = sorted((ROOT / "results").glob("*/verdicts.csv"))
  assert len(files) >= 4
  table = markdown([str(file) for file in files])
  assert table in (ROOT / "README.md").read_text()
