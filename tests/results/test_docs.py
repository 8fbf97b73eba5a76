"""README and docs: short, whole, and asking for nothing from elsewhere."""

import ast
import importlib
import re
import subprocess
import sys

import pandas as pd
import pytest

from imp_jax.study.options import FIELDS
from tests.places import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))


def test_the_readme_is_short():
  assert len((ROOT / "README.md").read_text().splitlines()) <= 180


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  """The site, built without a network."""
  folder = tmp_path_factory.mktemp("site")
  done = subprocess.run(
    [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr  # dead links among others
  return folder


def test_the_site_has_every_page_and_asks_for_nothing_from_elsewhere(site):
  for page in PAGES:
    text = (site / page.with_suffix(".html").name).read_text()
    loaded = re.findall(r'<(?:script|img)[^>]*src="([^"]*)"', text)
    loaded += re.findall(r'<link[^>]*rel="stylesheet"[^>]*href="([^"]*)"', text)
    assert not [address for address in loaded if "//" in address]
    for address in loaded:
      assert (site / address.partition("?")[0]).is_file(), address


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=str)
def test_what_a_page_links_to_is_there(page):
  links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
  for link in links:
    if "://" not in link:
      assert (page.parent / link).exists(), link


def test_the_readmes_demo_is_what_its_files_say():
  """Its table, its claim and the differences that its text draws from it."""
  text = (ROOT / "README.md").read_text()
  folder = ROOT / "results" / "mnist1d"
  results = pd.read_csv(folder / "results.csv")
  accuracy = results.query("metric == 'accuracy' and split == 'test'")
  shown = accuracy.groupby(["experiment", "level"])["value"].agg(
    ["mean", "std"]
  )
  names = ["none", "all-100", "all-100:random_mask", "all-100:reinit"]
  for level, density in accuracy.groupby("level")["density"].mean().items():
    cells = [
      f"{100 * mean:.1f} ± {100 * std:.1f}"
      for name in names
      if (name, level) in shown.index
      for mean, std in [shown.loc[(name, level)]]
    ]
    row, *_ = re.findall(
      rf"^│ +{level} │ +{100 * density:.1f} % │.*$", text, re.M
    )
    assert re.findall(r"[\d.]+ ± [\d.]+", row) == cells
  claim = pd.read_csv(folder / "verdicts.csv").iloc[0]
  said = " ".join(text.split())
  assert f"= {100 * claim.estimate:+.2f} points, 95 % interval" in said
  assert f"[{100 * claim.low:+.2f}, {100 * claim.high:+.2f}]" in said
  assert f"is {100 * claim.estimate:.1f} points better" in said
  means = shown["mean"].unstack()[4]
  for control, points in (("random_mask", 40), ("reinit", 21)):
    worse = 100 * (means["all-100"] - means[f"all-100:{control}"])
    assert round(worse) == points
    assert f"(`{control}`)" in said
  assert "are 40 points worse" in said and "(`reinit`) 21" in said
  rises = pd.read_csv(folder / "instability.csv").set_index("rewind_step")
  assert f"rises by {100 * rises['mean'][0]:.0f} % of the examples" in said
  assert f"in one ({100 * rises['mean'][100]:.1f} %)" in said


def test_every_definition_is_a_function_that_is_there():
  text = (ROOT / "docs" / "method.md").read_text()
  rows = [row.strip("|\n") for row in text.splitlines() if row.startswith("| ")]
  functions = [re.findall(r"`([\w.]+)`", row.split("|")[-1]) for row in rows]
  functions = [f for found in functions for f in found]
  assert len(functions) > 35
  for function in functions:
    module, _, name = function.rpartition(".")
    assert getattr(importlib.import_module(f"imp_jax.{module}"), name).__doc__


def test_every_page_is_in_the_sites_contents():
  contents = (ROOT / "mkdocs.yml").read_text()
  assert all(f"- {page.name}" in contents for page in PAGES)


def test_each_config_line_of_the_table_of_peers_is_one():
  """Fields by their names, values in their ranges."""
  text = (ROOT / "docs" / "trial.md").read_text()
  table = text[text.index("## Beside other code") :]
  lines = re.findall(r"`([a-z_.]+)=([^`]+)`", table)
  assert len(lines) >= 20
  for field, value in lines:
    FIELDS[field].range(field, ast.literal_eval(value))
