"""Options: declared once, as fields of the dataclasses that use them.

From a declaration come the config that studies start from, the check of a
value, what `--describe` prints, and the identity.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from imp_jax.core.identity import filled
from imp_jax.core.ranges import Range, unset_or

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Option:
  """What is declared of an option.

  Attributes:
    range: what it may hold.
    meaning: in words, with its unit.
    where: it changes no number, it only says where to look, or how much of it:
      a study may be extended in it, and it is part of no identity.
    looks: where one of these is set, a study looks at all.
    needs: an option beside it without which it means nothing.
  """

  range: Range
  meaning: str
  where: bool = False
  looks: bool = False
  needs: str = ""


def option(
  default: Any,
  range: Range,
  meaning: str,
  *,
  where: bool = False,
  looks: bool = False,
  needs: str = "",
) -> Any:
  """Returns the dataclass field of an option.

  Args:
    default: as a config has it; None = unset.
    range, meaning, where, looks, needs: as of `Option`; looks implies where.
  """
  declared = Option(range, meaning, where or looks, looks, needs)
  return dataclasses.field(
    default=default,
    metadata={
      "option": declared,
      "hashed": not declared.where,
      "default": range.normal(default),
    },
  )


def options_of(settings: type) -> dict[str, Option]:
  """Returns the options that a dataclass declares, by field."""
  return {
    field.name: field.metadata["option"]
    for field in dataclasses.fields(settings)
    if "option" in field.metadata
  }


def default_values(settings: type) -> dict[str, Any]:
  """Returns the defaults of a dataclass's options, as a config has them."""
  return {
    field.name: field.default
    for field in dataclasses.fields(settings)
    if "option" in field.metadata
  }


def unset_options(settings: type) -> dict[str, Option]:
  """Returns a dataclass's options, each of which may be unset."""
  return {
    name: dataclasses.replace(declared, range=unset_or(declared.range))
    for name, declared in options_of(settings).items()
  }


def read(settings: type[T], values: Any, **filled: Any) -> T:
  """Returns settings from a config's group of values, checked already.

  Args:
    settings: a dataclass.
    values: by field, of its options at least; as a config has them.
    **filled: fields whose value is another than the config's, and those that
      are no options.
  """
  normalised = {
    name: declared.range.normal(values[name])
    for name, declared in options_of(settings).items()
    if name not in filled
  }
  return settings(**normalised, **filled)


def off(settings: type[T], **filled: Any) -> T:
  """Returns settings that look at nothing: every option at its default."""
  return read(settings, default_values(settings), **filled)


def looks(settings: type, values: Any) -> bool:
  """Returns whether settings look at anything.

  Args:
    settings: a dataclass; one without an option that `looks` always does.
    values: an instance of it, or what JSON made of one.
  """
  names = [n for n, o in options_of(settings).items() if o.looks]
  return not names or any(_value(values, name) for name in names)


def extends(settings: type, was: Any, now: Any) -> bool:
  """Returns whether settings differ only in where, and how much, they look.

  Args:
    settings: a dataclass.
    was, now: what JSON made of two instances of it.
  """
  if not looks(settings, was) or not looks(settings, now):
    return True
  declared = options_of(settings)
  was, now = filled(settings, was), filled(settings, now)
  for name in was.keys() | now.keys():
    known = declared.get(name)
    if known and known.where:
      continue
    if known and known.needs and not (was[known.needs] and now[known.needs]):
      continue
    if was.get(name) != now.get(name):
      return False
  return True


def merged(settings: type, was: Any, now: Any) -> Any:
  """Returns the settings of a study after a run that may have looked at less.

  Args:
    settings: a dataclass.
    was, now: what JSON made of two instances of it, the second an extension.
  """
  if not looks(settings, now):
    return was
  if not looks(settings, was):
    return now
  kept, was = {}, filled(settings, was)
  for name, declared in options_of(settings).items():
    if declared.needs and was[declared.needs] and not now[declared.needs]:
      kept |= {declared.needs: was[declared.needs], name: was[name]}
  return {**now, **kept}


def _value(values: Any, name: str) -> Any:
  if isinstance(values, Mapping):
    return values.get(name)
  return getattr(values, name)
