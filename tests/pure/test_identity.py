"""Identity: what of settings is hashed, and what may grow."""

import dataclasses
import importlib
import json
import math
import pkgutil
from typing import Any, ClassVar

import pytest

import imp_jax.probes
import imp_jax.stages
from imp_jax.core.graph import Stage
from imp_jax.core.identity import (
  content_id,
  default_of,
  hashed_fields,
  identity,
  unhashed,
)
from tests.places import GOLDENS

GOLDEN = GOLDENS / "identity_defaults.json"


@dataclasses.dataclass(frozen=True)
class Group:
  NAME: ClassVar[str] = "group"
  rate: float = 0.5
  steps: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Other:
  NAME: ClassVar[str] = "other"
  rate: float = 0.5


@dataclasses.dataclass(frozen=True)
class Settings:
  NAME: ClassVar[str] = "settings"
  size: int
  group: Any = Group()
  name: str = ""
  note: str = unhashed(default="")


def test_only_what_is_not_at_its_default_is_hashed():
  assert identity(Settings(3)) == {"is": "settings", "size": 3}
  assert identity(Settings(3, Group(0.25, (1, 2)), "a", note="b")) == {
    "is": "settings",
    "size": 3,
    "group": {"is": "group", "rate": 0.25, "steps": [1, 2]},
    "name": "a",
  }


def test_numbers_are_compared_by_value():
  assert identity(Group(1)) == identity(Group(1.0))
  assert identity((1.0, True, None)) == [1, True, None]
  assert content_id(Group(0.5)) == content_id(Group(1 / 2))
  assert content_id(Group(0.1 + 0.2)) != content_id(Group(0.3))


def test_alternatives_are_told_apart_by_name():
  """Two kinds of group with equal values are not the same."""
  assert content_id(Settings(3, Other())) != content_id(Settings(3))
  assert content_id(Group(0.1)) != content_id(Other(0.1))


def test_a_new_field_with_a_default_changes_no_identity():
  grown = dataclasses.make_dataclass(
    "Grown",
    [("size", int), ("new", int, 7)],
    namespace={"NAME": "settings"},
    frozen=True,
  )
  assert content_id(grown(3)) == content_id(Settings(3))
  assert content_id(grown(3, 8)) != content_id(Settings(3))


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_is_no_number_is_refused(value):
  with pytest.raises(ValueError, match="finite numbers"):
    identity(Group(value))


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x"])
def test_what_has_no_canonical_form_is_refused(value):
  with pytest.raises(TypeError, match="cannot be hashed"):
    identity(Settings(value))


def stages():
  """Every stage of the package, by name."""
  for package in (imp_jax.stages, imp_jax.probes):
    for module in pkgutil.walk_packages(
      package.__path__, f"{package.__name__}."
    ):
      importlib.import_module(module.name)
  found = {}
  for stage in Stage.__subclasses__():
    if stage.__module__.startswith("imp_jax."):
      assert stage.NAME not in found, "two stages of one name"
      found[stage.NAME] = stage
  return found


def described(settings):
  """A class's hashed fields: what is their default, or that they have none."""
  return {
    field.name: "required"
    if default_of(field) is dataclasses.MISSING
    else {"default": identity(default_of(field))}
    for field in hashed_fields(settings)
  }


def groups_of(settings, found=None):
  """The dataclasses that a class's fields may hold, by name, described."""
  found = {} if found is None else found
  hints = importlib.import_module("typing").get_type_hints(settings)
  for field in hashed_fields(settings):
    for group in _dataclasses(hints[field.name]):
      if group.NAME not in found:
        found[group.NAME] = described(group)
        groups_of(group, found)
  return found


def _dataclasses(hint):
  if dataclasses.is_dataclass(hint):
    yield hint
  for inner in getattr(hint, "__args__", ()):
    yield from _dataclasses(inner)


def test_a_default_changes_only_with_a_version():
  """What is left out of a hash must mean the same for ever.

  A new field may come with a default. A default that changes, in a stage or in
  a group of settings that it holds, gives the same hash to another thing: raise
  the VERSION of every stage that holds it, and write this file anew (IMP_JAX_
  GOLDEN=1 in the environment does).
  """
  now = {
    name: {
      "version": stage.VERSION,
      "fields": described(stage),
      "groups": groups_of(stage),
    }
    for name, stage in sorted(stages().items())
  }
  write = importlib.import_module("os").environ.get("IMP_JAX_GOLDEN")
  golden = json.loads(GOLDEN.read_text())
  for name in now.keys() & golden.keys():
    was = golden[name]
    if now[name]["version"] > was["version"]:
      continue
    sides = [(was["fields"], now[name]["fields"])]
    sides += [
      (fields, now[name]["groups"].get(group, {}))
      for group, fields in was["groups"].items()
    ]
    for before, after in sides:
      for field, default in before.items():
        assert after.get(field) == default, f"{name}: {field}"
      for field in after.keys() - before.keys():
        assert after[field] != "required", f"{name}: {field} is new"
  if write:
    GOLDEN.write_text(json.dumps(now, indent=1) + "\n")
  # What is new is written down, so that its default is watched from now on.
  assert write or golden == now, "write it anew: IMP_JAX_GOLDEN=1 and this test"
