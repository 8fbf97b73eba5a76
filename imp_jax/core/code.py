"""What a function computes, as a hash of its source.

Identities name settings: "prune.criterion = mine". What stands behind the name
is in the code, and whoever edits it means another number by the same name.
"""

import ast
import dataclasses
import functools
import hashlib
import inspect
import re
import textwrap
from typing import Any

# Packages whose functions go by their names; what is recorded of a run has
# their versions.
_LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "optax", "builtins")
# Every thing that was hashed, by its id, and its hash: they live as long.
_known: dict[int, tuple[Any, str]] = {}


def code_hash(thing: Any) -> str:
  """Returns a short hash of the source of a function or class.

  Comments, docstrings and layout do not count, nor what it calls. It is the
  same in every process, and in every version of Python.

  Args:
    thing: a function, class or partial; an object that is called, or a
      dataclass of such, whose fields count where they are not at their default.
  """
  if id(thing) not in _known:
    text = _source(thing)
    _known[id(thing)] = thing, hashlib.sha256(text.encode()).hexdigest()[:12]
  return _known[id(thing)][1]


def _source(thing: Any) -> str:
  if isinstance(thing, functools.partial):
    given = (thing.args, sorted(thing.keywords.items()))
    return f"partial {_source(thing.func)} {_value(given)}"
  if inspect.isroutine(thing) or inspect.isclass(thing) or _named(thing):
    return _of_its_own(thing)
  # An object: what it is called with is its class's, if it is called at all.
  called = _source(type(thing)) if callable(thing) else ""
  return f"{called} {_fields(thing)}"


def _named(thing: Any) -> bool:
  """Whether it is a function in disguise, as JAX's compiled ones are."""
  return callable(thing) and hasattr(thing, "__qualname__")


def _of_its_own(thing: Any) -> str:
  name = f"{thing.__module__}.{thing.__qualname__}"
  if str(thing.__module__).partition(".")[0] in _LIBRARIES:
    return name
  try:
    text = textwrap.dedent(inspect.getsource(thing))
  except (OSError, TypeError):  # typed at a prompt, or compiled
    return name
  try:
    tree = ast.parse(text)
  except SyntaxError:  # a lambda's line may be a part of a statement
    return text
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.body:
      first = node.body[0]
      if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        del node.body[0]
  return _dumped(tree)


def _dumped(node: Any) -> str:
  """A syntax tree as text, without what versions of Python write otherwise."""
  if isinstance(node, ast.AST):
    fields = [(name, value) for name, value in ast.iter_fields(node)]
    told = [f"{n}={_dumped(v)}" for n, v in fields if v not in (None, [])]
    return f"{type(node).__name__}({', '.join(told)})"
  if isinstance(node, list):
    return f"[{', '.join(map(_dumped, node))}]"
  return repr(node)


def _fields(thing: Any) -> str:
  if not dataclasses.is_dataclass(thing):
    return _value(getattr(thing, "__dict__", {}))
  told = []
  for field in dataclasses.fields(thing):
    value = getattr(thing, field.name)
    if value is not field.default:
      told.append(f"{field.name}={_value(value)}")
  return " ".join(told)


def _value(value: Any) -> str:
  if isinstance(value, dict):
    return _value(sorted(value.items(), key=repr))
  if isinstance(value, tuple | list):
    return f"({', '.join(map(_value, value))})"
  if callable(value):
    return _source(value)
  return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
