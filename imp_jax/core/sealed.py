"""Files about a study: JSON, and a checksum of what it says."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from imp_jax.core.files import read_json
from imp_jax.core.store import Store


def write_sealed(
  store: Store, file: epath.Path, content: Mapping[str, Any]
) -> None:
  """Writes JSON-able values by name, and their checksum; a list by lines."""
  parts = {"checksum": _digest(content), **content}
  lines = [f"{json.dumps(name)}: {_text(part)}" for name, part in parts.items()]
  store.write_text(file, "{\n" + ",\n".join(lines) + "\n}\n")


def read_sealed(file: epath.Path) -> dict[str, Any]:
  """Returns what was written; a file of before checksums, as it is.

  Raises:
    OSError: it cannot be read.
    ValueError: it is not as it was written.
  """
  content = read_json(file, str(file))
  if isinstance(content, list):  # an index of before
    return {"entries": content}
  if not isinstance(content, dict):
    raise ValueError(f"{file} is damaged: it holds a {type(content).__name__}")
  if content.pop("checksum", None) not in (None, _digest(content)):
    raise ValueError(f"{file} is damaged: its checksum is another")
  return content


def _text(part: Any) -> str:
  if not isinstance(part, list):
    return json.dumps(part, indent=1)
  return "[\n" + ",\n".join(map(json.dumps, part)) + "\n]"


def _digest(content: Mapping[str, Any]) -> str:
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
