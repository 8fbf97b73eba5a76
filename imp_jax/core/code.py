"""What a function computes, as a hash of its source.

Identities name settings: "prune.criterion = mine". What stands behind the name
is in the code, and whoever edits it means another number by the same name.
"""

import ast
import dataclasses
import functools
import hashlib
import inspect
import textwrap
from typing import Any


@functools.lru_cache(maxsize=256)
def code_hash(thing: Any) -> str:
  """Returns a short hash of the source of a function or class; "" without any.

  Comments, docstrings and layout do not count, nor what it calls.

  Args:
    thing: a function, class or partial; or a dataclass of such, whose other
      fields count by their repr.
  """
  return hashlib.sha256(_source(thing).encode()).hexdigest()[:12]


def _source(thing: Any) -> str:
  if isinstance(thing, functools.partial):
    return _source(thing.func) + repr((thing.args, thing.keywords))
  if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
    fields = [getattr(thing, f.name) for f in dataclasses.fields(thing)]
    return " ".join(_source(f) if callable(f) else repr(f) for f in fields)
  try:
    text = textwrap.dedent(inspect.getsource(thing))
  except (OSError, TypeError):  # built in, or typed at a prompt
    return ""
  try:
    tree = ast.parse(text)
  except SyntaxError:  # a lambda's line may be a part of a statement
    return text
  for node in ast.walk(tree):
    body = getattr(node, "body", None)
    if not isinstance(node, ast.FunctionDef | ast.ClassDef) or not body:
      continue
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
      del node.body[0]
  return ast.dump(tree)
