"""Committed figures show what their tables say."""

import html
import pathlib
import re

import pytest

from imp_jax.results.charts.drawing import drawn
from launch.figures import charts_in
from tests.places import ROOT

pytestmark = pytest.mark.usefixtures("painted")

FOLDERS = sorted(p for p in (ROOT / "results").iterdir() if p.is_dir())


def said(svg):
  """What each mark says of its row, whatever fonts there are."""
  return sorted(map(html.unescape, re.findall(r'aria-label="([^"]*)"', svg)))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_a_figure_is_what_its_table_makes(folder):
  charts = charts_in(folder)
  for name, chart in charts.items():
    file = folder / f"{name}.svg"
    if file.exists():
      assert said(file.read_text()) == said(drawn(chart, "svg").decode()), name


def test_every_figure_in_the_readme_is_there():
  text = (ROOT / "README.md").read_text()
  files = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
  assert files and all((ROOT / file).is_file() for file in files)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match="no such folder"):
    charts_in(pathlib.Path(tmp_path / "x"))
  assert charts_in(tmp_path) == {}
