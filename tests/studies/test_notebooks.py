"""The notebooks of docs/, run cell by cell."""

import ast
import json

import jax
import numpy as np
import pytest

from tests.places import ROOT

NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))


def run(name):
  """The names that a notebook's cells leave, run in one process."""
  notebook = json.loads((ROOT / "docs" / name).read_text())
  names = {}
  for cell in notebook["cells"]:
    if cell["cell_type"] == "code":
      assert not cell["outputs"]  # they would not be anybody's results
      exec("".join(cell["source"]), names)
  return names


@pytest.mark.usefixtures("painted")
def test_reading_a_workdir(finished, monkeypatch):
  monkeypatch.setenv("IMP_JAX_WORKDIR", str(finished[0]))
  names = run("read_a_workdir.ipynb")
  assert names["results"].study == finished[1].study
  assert names["logits"].shape == (3, 10)
  wanted = finished[1].ticket(names["experiment"], level=1, replicate=0)
  for one, other in zip(
    jax.tree.leaves(names["ticket"].masks),
    jax.tree.leaves(wanted.masks),
    strict=True,
  ):
    np.testing.assert_array_equal(one, other)


def test_imp_by_hand_obeys_the_laws():
  names = run("imp_by_hand.ipynb")
  ends, masks, prunable = names["ends"], names["masks"], names["prunable"]
  assert len(ends) == names["LEVELS"] + 1
  totals = [names["whole"][a][b] for a, b in (p.split("/") for p in prunable)]
  total = sum(leaf[0].size for leaf in totals)
  kept = [
    sum(int(masks[a][b][r].sum()) for a, b in (p.split("/") for p in prunable))
    for r in range(names["REPLICATES"])
  ]
  assert len(set(kept)) == 1  # all replicates are pruned to one count
  assert kept[0] / total == pytest.approx(0.64**3, abs=0.01)
  # What the last level's ticket lacks is exactly 0 in what it trained to, and
  # stays pruned: masks are nested.
  for path in prunable:
    a, b = path.split("/")
    trained = np.asarray(ends[-1].params[a][b])
    assert not np.asarray(masks[a][b])[trained == 0].any()
  # Replicates differ, and one alone is the same as in company.
  assert len({float(x) for x in names["accuracy"][0]}) > 1
  assert names["barrier"] < 1 and len(names["error"]) == 5


def test_imp_by_hand_takes_about_60_lines():
  """But for its imports."""
  (file,) = (f for f in NOTEBOOKS if f.stem == "imp_by_hand")
  code = "".join(
    "".join(cell["source"]) + "\n"
    for cell in json.loads(file.read_text())["cells"]
    if cell["cell_type"] == "code"
  )
  imports = [
    node
    for node in ast.parse(code).body
    if isinstance(node, ast.Import | ast.ImportFrom)
  ]
  taken = {n for i in imports for n in range(i.lineno, i.end_lineno + 1)}
  lines = enumerate(code.splitlines(), 1)
  assert sum(bool(line.strip()) for n, line in lines if n not in taken) <= 66
