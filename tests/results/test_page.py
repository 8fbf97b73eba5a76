"""report.html: what it says and leaves out, and how a browser has it."""

import base64
import dataclasses
import html
import io
import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from imp_jax.core.index import Entry
from imp_jax.core.store import Store
from imp_jax.pruning.invariants import INVARIANTS
from imp_jax.results.load import load
from imp_jax.results.page.costs import (
  Made,
  invariants_table,
  sharing_line,
  spent_lines,
  stages_table,
)
from imp_jax.results.page.page import write_page
from imp_jax.results.report import charts_of, report
from tests.places import ROOT
from tests.tiny import copy_of, run_tiny

STUDY = "mnist1d-smoke"
CHROMIUM = shutil.which("chromium")
in_a_browser = pytest.mark.skipif(
  CHROMIUM is None, reason="there is no Chromium on this machine"
)
painted = pytest.mark.usefixtures("painted")


@pytest.fixture(scope="module")
def page(finished):
  return (finished[0] / "report.html").read_text()


def cells(page, title):
  """The rows of a table, by the title above it."""
  part = page.split(f"<h3>{title}</h3>", 1)[1].split("</table>")[0]
  rows = re.findall(r"<tr[^>]*>(.*?)</tr>", part, re.S)
  return [
    [html.unescape(c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
    for row in rows
  ]


def specs(page):
  """{name: specification} of the charts."""
  found = re.findall(
    r'<figure id="([^"]*)">.*?class="spec">(.*?)</script>', page, re.S
  )
  return {name.partition("/")[2]: json.loads(text) for name, text in found}


def test_it_says_what_the_tables_say(finished, page):
  workdir, results, _ = finished
  table = results.read_table("verdicts")
  rows = cells(page, "Claims")[1:]
  assert [row[1] for row in rows] == table["what"].tolist()
  first = table.iloc[0]
  assert rows[0][4] == f"{100 * first.estimate:+.2f}"
  assert rows[0][5].startswith(f"[{100 * first.low:+.2f}, ")
  assert first.verdict in rows[0][7]
  accuracy = results.table.query("metric == 'accuracy' and split == 'test'")
  experiments = cells(page, "Experiments")
  assert experiments[0][:2] == ["experiment", "level 0 (%)"]
  for name, shown, *_ in experiments[1:]:
    own = accuracy[accuracy["experiment"] == name]
    values = own[own["level"] == 0]["value"]
    if len(values):
      assert shown.startswith(f"{100 * values.mean():.2f} ")
      assert shown.endswith(f"(n={len(values)})")
  assert "pretrain.steps" in experiments[0]  # in which they differ
  assert "optim.learning_rate" not in experiments[0]  # in which they do not
  counted = {row[0]: int(row[1]) for row in cells(page, "What it took")[1:]}
  records = [
    json.loads(f.read_text()) for f in workdir.glob("objects/*/record.json")
  ]
  trained = [r for r in records if r["stage"] == "train"]
  assert counted["train"] == len(trained)
  (way,) = cells(page, "Versions and hardware")[1:]
  assert way[0].startswith("jax ") and int(way[1]) == len(records)


def test_it_is_one_file_that_asks_for_no_other(page):
  plain = re.sub(r"<script.*?</script>", "", page, flags=re.S)
  outside = re.findall(r'(?:src|href)="(?!#|data:|objects/)([^"]*)"', plain)
  assert not outside
  assert "@import" not in page and "url(" not in page.split("</style>")[0]
  assert page.count("vegaEmbed=") >= 1 and len(page) < 5 * 2**20


def test_every_point_links_to_artefacts_that_are_there(finished, page):
  workdir = finished[0]
  hrefs = re.findall(r'href="(objects/[^"]*)"', page)
  assert hrefs and all((workdir / href).exists() for href in hrefs)
  anchors = {html.unescape(a) for a in re.findall(r'<tr id="([^"]+)"', page)}
  links = {
    row["link"]
    for rows in specs(page)["accuracy"]["datasets"].values()
    for row in rows
    if row.get("link")
  }
  assert links
  for link in links:
    assert link.removeprefix("#").replace("%3A", ":") in anchors


def test_what_a_chart_shows_can_be_had_as_csv(finished, page):
  shown = charts_of(finished[1])[0]["accuracy"].table()
  data = re.search(
    r'download="[^"]*-accuracy\.csv" href="data:text/csv;base64,([^"]*)"', page
  )
  table = pd.read_csv(io.BytesIO(base64.b64decode(data[1])))
  assert table["name"].tolist() == shown["name"].tolist()
  assert table["y"].tolist() == pytest.approx(shown["y"].tolist(), nan_ok=True)


def test_without_javascript_all_is_there(page):
  assert page.count("<svg") >= len(specs(page)) >= 1
  for alt in re.findall(r'role="img" aria-label="([^"]*)"', page):
    assert "Shown are" in alt or "against" in alt


@painted
def test_names_with_html_in_them_are_text(tmp_path, finished):
  """No name can hold it, but files that others write can."""
  workdir = copy_of(finished, tmp_path)
  evil = "<script>alert(1)</script></article>&\"'"
  folder = workdir / "studies" / STUDY
  (folder / "failures.txt").write_text(evil)
  (folder / "command.txt").write_text(evil)
  assert not report(load(str(workdir), writable=True))
  page = (workdir / "report.html").read_text()
  assert "<script>alert" not in page and page.count("</article>") == 1
  assert page.count(html.escape(evil)[:20]) == 2


@painted
def test_what_is_damaged_or_missing_is_said(tmp_path, finished):
  workdir = copy_of(finished, tmp_path)
  results = load(str(workdir), writable=True)
  ids = [e.ids["train"] for e in results.tables.index if "train" in e.ids]
  shutil.rmtree(workdir / "objects" / ids[0])
  (workdir / "objects" / ids[1] / "record.json").write_text("{")
  with pytest.warns(UserWarning, match="what needs it is left out"):
    report(load(str(workdir), writable=True))
  page = (workdir / "report.html").read_text()
  said = re.search(
    r"([\d,]+) of ([\d,]+) artefacts are finished; this is", page
  )
  assert int(said[2].replace(",", "")) - int(said[1].replace(",", "")) == 2
  assert "accuracy" in specs(page)


@painted
def test_a_study_of_which_nothing_is_finished_has_a_page(tmp_path, finished):
  workdir = copy_of(finished, tmp_path)
  shutil.rmtree(workdir / "objects")
  report(load(str(workdir), writable=True))
  page = (workdir / "report.html").read_text()
  assert "0 of " in page and not specs(page)
  assert "list index" not in page


@pytest.mark.parametrize("absent", ["altair", "vl_convert", "jinja2"])
def test_what_is_not_installed_is_said_once_and_costs_no_table(
  tmp_path, finished, absent
):
  workdir = copy_of(finished, tmp_path)
  for file in workdir.glob("studies/*/*.csv"):
    file.unlink()
  code = (
    f"import sys; sys.modules[{absent!r}] = None\n"
    "from imp_jax.command.report import run\n"
    f"sys.argv = ['r', '--workdir={workdir}']\n"
    "run()"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  said = [line for line in done.stderr.splitlines() if absent in line]
  assert (len(said) == 1 and "is left out" in said[0]) or "are left" in said[0]
  assert (workdir / "studies" / STUDY / "results.csv").exists()


def test_a_page_has_all_studies_of_a_workdir(tmp_path, finished):
  workdir = copy_of(finished, tmp_path)
  run_tiny(workdir, name="other", replicates=1, written=True)
  page = (workdir / "report.html").read_text()
  assert re.findall(r'<article class="study" data-study="([^"]*)"', page) == [
    STUDY,
    "other",
  ]
  # A part of one that is not whole costs no other.
  (workdir / "studies" / "other" / "section.html").unlink()
  write_page(Store(str(workdir)))
  assert STUDY in (workdir / "report.html").read_text()


def made_of(stage, seconds, inputs=(), checked=(), **spent):
  zeros = dict.fromkeys(
    ("compile_seconds", "program_seconds", "examples", "flop"), 0.0
  )
  spent = zeros | spent
  return Made(stage, seconds, inputs=inputs, way="a", checked=checked, **spent)


def test_what_was_spent_by_hand():
  made = {
    "a": made_of(
      "train",
      6.0,
      checked=("finite", "faithful_rewind"),
      compile_seconds=1.0,
      program_seconds=4.0,
      examples=1500,
      flop=2e9,
    ),
    "b": made_of("prune", 4.0, program_seconds=3.0, checked=("exact_counts",)),
    "c": made_of("train", 0.0, checked=("finite",), flop=1e9, examples=500),
  }
  table = stages_table(made).set_index("stage")
  assert table.loc["train"].tolist() == [2, 6.0, 1.0, 4.0, 1.0, "2000", "3e+09"]
  assert table.loc["prune", "elsewhere (s)"] == 1.0
  first, second = spent_lines(made)
  assert first.startswith("of 10 s, JAX compiled for 10%, and 20% passed out")
  assert second.startswith("3e+09 FLOP of training, 2,000 examples presented")
  kept = dict(invariants_table(made).to_numpy().tolist())
  assert kept == {
    INVARIANTS["exact_counts"]: 1,
    INVARIANTS["faithful_rewind"]: 1,
    INVARIANTS["finite"]: 2,
  }
  # Records of before say none of it, and are told apart.
  old = dataclasses.replace(made_of("train", 90.0), counted=False)
  assert spent_lines({"a": old}) == []
  assert len(invariants_table({"a": old})) == 0
  (mixed, _) = spent_lines(made | {"d": old})
  assert mixed.startswith("of 10 s of the 3 artefacts whose records say more,")
  assert "and 20% passed outside" in mixed


def test_what_was_spent_is_what_was_done(finished, page):
  """By the settings, not by what counted it."""
  workdir = finished[0]
  rows = {row[0]: row for row in cells(page, "What it took")[1:]}
  records = [
    json.loads(f.read_text()) for f in workdir.glob("objects/*/record.json")
  ]
  trained = [r for r in records if r["stage"] == "train"]
  batches = [
    (r["settings"]["stop"] - r["settings"]["start"])
    * r["settings"]["stream"]["batch_size"]
    for r in trained
  ]
  assert int(rows["train"][6]) == sum(batches)
  seconds, compiling, programs, elsewhere = map(float, rows["train"][2:6])
  assert 0 < programs <= seconds and compiling <= seconds
  total = compiling + programs + elsewhere
  assert total == pytest.approx(seconds, abs=0.2)
  kept = {row[0]: int(row[1]) for row in cells(page, "Invariants")[1:]}
  assert kept[INVARIANTS["pruned_weights_are_0"]] == len(trained)
  assert kept[INVARIANTS["faithful_rewind"]] == sum(
    "weights" in r["inputs"] for r in trained
  )
  masks = [r for r in records if r["stage"] in ("prune", "random_mask")]
  assert kept[INVARIANTS["nested_masks"]] == len(masks)


def test_what_sharing_saved_by_hand():
  made = {
    "trunk": made_of("train", 10.0, ()),
    "a": made_of("train", 4.0, ("trunk",)),
    "b": made_of("evaluate", 6.0, ("trunk",)),
  }

  both = [
    Entry("x", "imp", 0, "", 0, {"train": "a", "masks": "gone"}),
    Entry("y", "imp", 0, "", 0, {"metrics": "b"}),
  ]
  assert sharing_line(made, both) == (
    "20 s of wall time in all; experiments on their own would have taken "
    "30 s: sharing saved 33%"
  )
  assert sharing_line(made, both[:1]).startswith("20 s of wall time in all")
  table = stages_table(made)[["stage", "artefacts", "seconds"]]
  assert table.to_numpy().tolist() == [["train", 2, 14.0], ["evaluate", 1, 6.0]]


TRIED = """<script>
report.drawAll().then(async () => {
  const figure = document.querySelector("figure");
  const points = () =>
    figure.querySelectorAll('[aria-roledescription="point"]').length;
  const found = { drawn: report.drawn, before: points() };
  const box = document.querySelector(".toggles input");
  box.click();
  await figure.view.runAsync();
  found.hidden = points();
  box.click();
  await figure.view.runAsync();
  found.again = points();
  const table = document.querySelector(".sortable");
  const first = () => table.tBodies[0].rows[0].textContent;
  found.unsorted = first();
  table.querySelector("th").click();
  found.sorted = first();
  const filter = document.querySelector(".filter");
  filter.value = "no-such-word";
  filter.dispatchEvent(new Event("input", { bubbles: true }));
  found.left = [...table.tBodies[0].rows].filter((r) => !r.hidden).length;
  found.svg = (await figure.view.toSVG()).length;
  const point = figure.querySelector('[aria-roledescription="point"]');
  found.said = point.getAttribute("aria-label");
  point.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  await new Promise((done) => setTimeout(done, 200));
  found.target = document.querySelectorAll("tr:target").length;
  found.opened = document.querySelectorAll("details[open]").length;
  found.wide = document.documentElement.scrollWidth - innerWidth;
  found.errors = report.errors;
  document.body.dataset.found = JSON.stringify(found);
});
</script></body>"""


def browse(file, *flags):
  """(DOM, what the console says) of a page in a browser without a window."""
  done = subprocess.run(
    [
      CHROMIUM,
      *("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
      *("--virtual-time-budget=20000", "--enable-logging=stderr"),
      *flags,
      file.as_uri(),
    ],
    capture_output=True,
    text=True,
    check=False,
    timeout=120,
  )
  said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
  return done.stdout, said


@in_a_browser
@pytest.mark.parametrize(
  "flags",
  [
    ["--window-size=1200,900"],
    ["--window-size=500,900"],
    ["--window-size=1200,900", "--blink-settings=preferredColorScheme=0"],
  ],
  ids=["wide", "narrow", "dark"],
)
def test_in_a_browser_it_draws_toggles_sorts_and_says_no_error(
  tmp_path, page, flags
):
  before, after = page.rsplit("</body>", 1)
  file = tmp_path / "report.html"
  file.write_text(before + TRIED + after)
  dom, said = browse(file, *flags)
  assert not said
  text = re.search(r'<body data-found="([^"]*)"', dom)
  found = json.loads(html.unescape(text[1]))
  assert found["errors"] == [] and found["drawn"] == len(specs(page))
  assert found["hidden"] < found["before"] == found["again"]
  assert found["sorted"] != found["unsorted"] and found["left"] == 0
  assert "replicates: 2" in found["said"] and found["svg"] > 1000
  assert (found["target"], found["opened"]) == (1, 1)  # of what a point links
  assert found["wide"] <= 0  # nothing is wider than the window
