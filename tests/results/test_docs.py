"""README and docs: short, whole, and asking for nothing from elsewhere."""

import re
import subprocess
import sys

import pytest

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


def test_every_page_is_in_the_sites_contents():
  contents = (ROOT / "mkdocs.yml").read_text()
  assert all(f"- {page.name}" in contents for page in PAGES)
