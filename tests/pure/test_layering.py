"""The direction of dependencies: launch -> study -> stages -> pure rooms."""

import ast

import pytest

from tests.places import ROOT

PACKAGE = sorted((ROOT / "imp_jax").rglob("*.py"))

# Rooms from the ground up; each may import those before it and itself.
ORDER = [
  {"core"},
  {"data", "statistics"},
  {"models"},
  {"pruning"},
  {"training"},
  {"scores", "landscape"},
  {"engine"},
  {"stages"},
  {"probes"},
  {"results"},
  {"study"},
  {"command"},
]
PURE = {"models", "pruning", "training", "scores", "statistics", "landscape"}
HEAVY = ("tensorflow_datasets", "mnist1d", "ml_collections", "matfree")
IMPURE = {
  "absl",
  "ml_collections",
  "os",
  "pathlib",
  "logging",
  "etils",
  "orbax",
}


def imports(file):
  """(module, names) of every import in a file, function bodies included."""
  for node in ast.walk(ast.parse(file.read_text())):
    if isinstance(node, ast.Import):
      yield from ((alias.name, []) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield node.module or "", [alias.name for alias in node.names]


def room_of(file):
  parts = file.relative_to(ROOT / "imp_jax").with_suffix("").parts
  return parts[0]


def level_of(room):
  return next(i for i, rooms in enumerate(ORDER) if room in rooms)


@pytest.mark.parametrize(
  "file", PACKAGE, ids=lambda f: str(f.relative_to(ROOT))
)
def test_imports_point_downwards(file):
  room = room_of(file)
  if room == "__init__":
    return
  for module, names in imports(file):
    top, *rest = module.split(".")
    assert top not in ("launch", "configs", "tests"), f"{file} imports {module}"
    if top == "imp_jax":
      targets = [rest[0]] if rest else names
      for target in targets:
        assert target == room or level_of(target) < level_of(room), (
          f"{room} must not import {target}"
        )
    if room in PURE:
      assert top not in IMPURE, f"{file.name} is pure but imports {module}"
    if module.startswith("flax.linen") or "linen" in names:
      assert room == "models", f"only models may import flax.linen, not {room}"


def test_every_room_has_its_place():
  rooms = {room_of(f) for f in PACKAGE} - {"__init__"}
  assert rooms == set().union(*ORDER)


def test_pure_parts_of_data_and_report_stay_pure():
  for name in ("batches", "augment", "dataset"):
    tops = {
      m.split(".")[0] for m, _ in imports(ROOT / f"imp_jax/data/{name}.py")
    }
    assert not tops & IMPURE


def test_no_pickle_anywhere():
  for file in PACKAGE:
    assert not any(m.split(".")[0] == "pickle" for m, _ in imports(file))
    assert "allow_pickle=True" not in file.read_text()


def test_tfds_and_mnist1d_are_imported_only_where_used():
  """A run needs only what it uses: heavy imports stay inside functions."""
  for file in PACKAGE:
    if file.name == "cinic10.py":
      continue
    for node in ast.parse(file.read_text()).body:
      if isinstance(node, (ast.Import, ast.ImportFrom)):
        assert not any(heavy in ast.unparse(node) for heavy in HEAVY), file


TYPES = "results.charts.chart import"  # which imports nothing that draws


def test_one_module_alone_draws():
  """And nothing imports charts but where it makes some: inside a function."""
  charts = ROOT / "imp_jax/results/charts"
  for file in PACKAGE:
    own = file.is_relative_to(charts)
    for module, _ in imports(file):
      drawing = module.startswith(("altair", "vl_convert", "matplotlib"))
      assert file == charts / "drawing.py" or not drawing, file
      assert not own or not module.endswith("charts.drawing"), file
    if own:
      continue
    for node in ast.parse(file.read_text()).body:
      if isinstance(node, (ast.Import, ast.ImportFrom)):
        imported = ast.unparse(node)
        assert "results.charts" not in imported or TYPES in imported, file


def module_of(file):
  parts = file.relative_to(ROOT).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_two_modules_import_each_other():
  """No circle, whether at the top of a file or inside a function.

  Of a folder's `__init__`, which gathers names, only its own arrows count.
  """
  files = {module_of(file): file for file in PACKAGE}
  arrows = {
    module: {
      target
      for name, names in imports(file)
      for target in (name, *(f"{name}.{n}" for n in names))
      if target in files and not module.startswith(f"{target}.")
    }
    for module, file in files.items()
    if module != "imp_jax"
  }
  left = dict(arrows)
  while free := [m for m, targets in left.items() if not targets & left.keys()]:
    for module in free:
      del left[module]
  assert not left, f"these import each other: {sorted(left)}"


def test_nobody_outside_asks_what_kind_a_stage_is():
  """Neither by its class nor by its name: a stage is whole in its own file."""
  kinds = set()
  for folder in ("stages", "probes"):
    for file in (ROOT / "imp_jax" / folder).glob("*.py"):
      for node in ast.parse(file.read_text()).body:
        bases = [ast.unparse(b) for b in getattr(node, "bases", ())]
        if isinstance(node, ast.ClassDef) and "Stage" in bases:
          kinds.add(node.name)
  assert {"Train", "Path", "Evaluate"} <= kinds
  for file in PACKAGE:
    if room_of(file) in ("stages", "probes"):
      continue
    for node in ast.walk(ast.parse(file.read_text())):
      if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
        asked = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        assert not asked & kinds, f"{file} asks for {asked & kinds}"
      if isinstance(node, ast.Compare):
        assert ".NAME" not in ast.unparse(node), file
