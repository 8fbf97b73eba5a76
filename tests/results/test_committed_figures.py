"""Committed figures show what their tables say."""

import html
import pathlib
import re

import numpy as np
import pytest

from imp_jax.results.charts.drawing import drawn
from launch.figures import charts_in
from tests.places import ROOT

pytestmark = pytest.mark.usefixtures("painted")

FOLDERS = sorted(p for p in (ROOT / "results").iterdir() if p.is_dir())


def said(svg):
  """What each mark says of its row, whatever fonts there are."""
  return sorted(map(html.unescape, re.findall(r'aria-label="([^"]*)"', svg)))


# Of images, which are not here: the numbers below them are compared.
IMAGES = ROOT / "results" / "scores_cifar10_quick" / "el2n_examples.svg"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_a_figure_is_what_its_table_makes(folder):
  charts = charts_in(folder)
  for file in folder.glob("*.svg"):
    if file != IMAGES:
      redrawn = drawn(charts[file.stem], "svg").decode()
      assert said(file.read_text()) == said(redrawn), file.stem
  assert not [*folder.glob("*.png"), *folder.glob("*.pdf")]


def test_numbers_below_images_are_scores_and_both_ends_are_shown():
  scores = np.load(IMAGES.parent / "el2n.npy")
  numbers = [
    text
    for text in re.findall(r"<text[^>]*>([^<]*)</text>", IMAGES.read_text())
    if re.fullmatch(r"[\d.e-]+", text) and "." in text
  ]
  assert len(numbers) == 10 * 16
  known = {f"{score:.3g}" for score in scores}
  assert set(numbers) <= known
  shown = sorted(map(float, numbers))
  ends = np.sort(scores)[[0, -1]]
  np.testing.assert_allclose([shown[0], shown[-1]], ends, rtol=5e-3)


def test_every_figure_in_the_readme_is_there():
  text = (ROOT / "README.md").read_text()
  files = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
  assert files and all((ROOT / file).is_file() for file in files)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match="no such folder"):
    charts_in(pathlib.Path(tmp_path / "x"))
  assert charts_in(tmp_path) == {}
