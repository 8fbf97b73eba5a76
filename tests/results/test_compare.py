"""Studies beside each other: paired by replicate, and never bare means."""

import html
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from imp_jax.results.accuracy import accuracy_matrix
from imp_jax.results.compare import compared, settings_apart
from imp_jax.results.load import load
from imp_jax.results.report import comparison
from tests.places import ROOT
from tests.tiny import run_tiny


@pytest.fixture(scope="module")
def others(tmp_path_factory):
  """A study at another learning rate and one of another seed."""
  folder = tmp_path_factory.mktemp("others")
  run_tiny(folder / "rate", name="rate", optim__learning_rate=0.5)
  run_tiny(folder / "seed", name="seed", seed=7, replicates=1)
  return load(str(folder / "rate")), load(str(folder / "seed"))


def test_differences_are_paired_by_hand(finished, others):
  first, second = finished[1], others[0]
  table = compared(first, second)
  # Both have the same experiments, controls and levels.
  assert len(table) == len(first.table.groupby(["experiment", "level"]))
  assert (table["replicates"] == 2).all()
  name, level = table.iloc[0][["experiment", "level"]]
  one, other = (
    accuracy_matrix(study.table, name)[level].to_numpy()
    for study in (first, second)
  )
  row = table.iloc[0]
  assert (row["first"], row["second"]) == pytest.approx(
    (one.mean(), other.mean())
  )
  difference = other - one
  assert row["difference"] == pytest.approx(difference.mean())
  # While all remain, each is at 1 - 0.05 / m.
  widest = table[table["confidence"] == table["confidence"].max()].iloc[0]
  assert widest["confidence"] >= 1 - 0.05 / len(table)
  half = scipy.stats.t.ppf((1 + row["confidence"]) / 2, 1)
  half *= difference.std(ddof=1) / np.sqrt(2)
  np.testing.assert_allclose(
    [row["low"], row["high"]],
    [difference.mean() - half, difference.mean() + half],
    atol=1e-9,
  )


def test_a_study_beside_itself_differs_nowhere(finished):
  table = compared(finished[1], finished[1])
  assert (table[["difference", "low", "high"]] == 0).all(axis=None)
  assert not len(settings_apart([finished[1], finished[1]]))


def test_settings_in_which_they_differ_are_named(finished, others):
  table = settings_apart([finished[1], others[0]])
  assert set(table["setting"]) == {
    "optim.learning_rate",
    "pretrain.optim.learning_rate",
  }
  assert set(table["2"]) == {"0.5"}


def test_what_is_not_paired_is_not_compared(finished, others):
  with pytest.raises(ValueError, match="has seed 0 and seed 7: their replica"):
    compared(finished[1], others[1])


def test_workdirs_of_one_name_are_told_apart(finished, tmp_path):
  for place in ("a", "b"):
    shutil.copytree(finished[0], tmp_path / place / "w")
  flags = [f"--workdir={tmp_path}/a/w", f"--compare={tmp_path}/b/w"]
  out = f"--out={tmp_path}/page.html"
  for more, code in ((flags[1], 0), (f"--compare={tmp_path}/a/w", 2)):
    done = subprocess.run(
      [sys.executable, "-m", "launch.report", flags[0], more, out],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == code, done.stderr
  assert f"{tmp_path}/b/w:" in (tmp_path / "page.html").read_text()
  assert "names a study twice" in done.stderr


def test_the_page_has_the_differences_and_both_studies(finished, others):
  studies = {"a:x": finished[1], "b:y": others[0], "c:z": others[1]}
  page = html.unescape(comparison(studies))
  assert re.findall(r'data-study="([^"]*)"', page) == ["Comparison", *studies]
  assert "<h3>b:y − a:x</h3>" in page
  assert "c:z beside a:x: mnist1d-smoke has seed 0 and seed 7" in page
  rows = compared(finished[1], others[0])
  shown = f"[{100 * rows['low'][0]:+.2f}, {100 * rows['high'][0]:+.2f}]"
  assert shown in page
  # Artefacts lie where each study's are.
  root = others[0].tables.store.root
  links = re.findall(r'href="([^"]*/record\.json)"', page)
  assert any(link.startswith(f"{root}/objects/") for link in links)
