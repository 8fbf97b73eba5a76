"""Identities: hashes of those settings that are not at their defaults."""

import dataclasses
import hashlib
import json
import math
import typing
from typing import Any


def unhashed(**options: Any) -> Any:
  """Returns a dataclass field that is part of no identity.

  Args:
    **options: of `dataclasses.field`.
  """
  return dataclasses.field(metadata={"hashed": False}, **options)


def identity(value: Any) -> Any:
  """Returns the JSON-able form in which a value is hashed.

  Of a dataclass: its `NAME`, and each field that is not at the default that
  the class declares, so that a new field with a default changes no identity.
  Fields without a default are always there. Numbers are compared by value: 2
  and 2.0 are one.

  Args:
    value: None, a bool, number or text, a tuple or list, a dict with text as
      its keys, or a dataclass with a `NAME`, nested.

  Raises:
    TypeError: it is, or holds, something else.
    ValueError: a number is not finite.
  """
  if value is None or isinstance(value, (bool, str, int)):
    return value
  if isinstance(value, float):
    if not math.isfinite(value):
      raise ValueError(f"only finite numbers can be hashed, got {value}")
    return int(value) if value.is_integer() else value
  if isinstance(value, (tuple, list)):
    return [identity(entry) for entry in value]
  if isinstance(value, dict):
    return {str(key): identity(entry) for key, entry in value.items()}
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return {"is": type(value).NAME} | {  # pyright: ignore
      field.name: identity(getattr(value, field.name))
      for field in hashed_fields(value)
      if not _is_default(value, field)
    }
  raise TypeError(f"{type(value).__name__} {value!r} cannot be hashed")


def hashed_fields(settings: Any) -> tuple[dataclasses.Field, ...]:
  """Returns the fields of a dataclass that are part of its identity."""
  return tuple(
    f for f in dataclasses.fields(settings) if f.metadata.get("hashed", True)
  )


def default_of(field: dataclasses.Field) -> Any:
  """Returns a field's default; `dataclasses.MISSING` if it has none.

  Of an option the normalised one: a duration's in steps.
  """
  if "default" in field.metadata:
    return field.metadata["default"]
  if field.default_factory is not dataclasses.MISSING:
    return field.default_factory()
  return field.default


def content_id(*parts: Any) -> str:
  """Returns a hash of parts in their `identity` form: 32 hexadecimal digits."""
  text = json.dumps(identity(parts), sort_keys=True, separators=(",", ":"))
  return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_default(settings: Any, field: dataclasses.Field) -> bool:
  default = default_of(field)
  if default is dataclasses.MISSING:
    return False
  return identity(getattr(settings, field.name)) == identity(default)


def restored(kind: Any, value: Any) -> Any:
  """Returns settings from their `dataclasses.asdict` as JSON gives it back.

  Args:
    kind: a dataclass whose fields are plain values, tuples of them, or such
      dataclasses, each of them optional.
    value: what JSON gave back.

  Raises:
    TypeError: it lacks a field, or has another.
  """
  if value is None:
    return None
  if dataclasses.is_dataclass(kind):
    hints = typing.get_type_hints(kind)
    return kind(**{k: restored(hints[k], v) for k, v in value.items()})  # pyright: ignore
  if isinstance(value, list):
    return tuple(restored(None, entry) for entry in value)
  inner = [k for k in typing.get_args(kind) if dataclasses.is_dataclass(k)]
  return restored(inner[0], value) if inner else value


def filled(kind: Any, value: Any) -> Any:
  """Returns settings with the defaults of fields that are younger than they.

  Args:
    kind: a dataclass, maybe optional; of one of several nothing is filled in.
    value: their `dataclasses.asdict` as JSON gives it back.
  """
  kinds = [k for k in (kind, *typing.get_args(kind)) if isinstance(k, type)]
  settings = [k for k in kinds if dataclasses.is_dataclass(k)]
  if len(settings) != 1 or not isinstance(value, dict):
    return value
  hints, found = typing.get_type_hints(settings[0]), {}
  for field in dataclasses.fields(settings[0]):
    default = default_of(field)
    if field.name in value:
      found[field.name] = filled(hints[field.name], value[field.name])
    elif default is not dataclasses.MISSING:
      text = json.dumps(default, default=dataclasses.asdict)
      found[field.name] = json.loads(text)
  return value | found
