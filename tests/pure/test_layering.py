"""The direction of dependencies: launch -> study -> stages -> pure rooms."""

import ast

import pytest

from tests.places import ROOT

PACKAGE = sorted((ROOT / "imp_jax").rglob("*.py"))

# Rooms from the ground up; each may import those before it and itself.
ORDER = [
  {"core"},
  {"data", "statistics"},
  {"models", "pruning"},
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
