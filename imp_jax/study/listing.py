"""What studies of a workdir need, how far they are, and what none needs.

studies/<name>/artefacts.json   every artefact that the study needs
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from imp_jax.core.buckets import entries, exists, move, tree_bytes
from imp_jax.core.graph import Item
from imp_jax.core.index import study_names
from imp_jax.core.sealed import read_sealed, write_sealed
from imp_jax.core.store import Store, StoreError

FILE = "artefacts.json"


@dataclasses.dataclass(frozen=True)
class Listed:
  """An artefact that a study needs.

  Attributes:
    object_id: its identity.
    stage: that makes it.
    replicate: from 0.
    label: of its node, for people.
  """

  object_id: str
  stage: str
  replicate: int
  label: str


@dataclasses.dataclass
class Count:
  """How far one stage of a study is.

  Attributes:
    finished, to_do: artefacts.
    claimed: of those to do, how many each process is at, by its name.
  """

  finished: int = 0
  to_do: int = 0
  claimed: dict[str, int] = dataclasses.field(default_factory=dict)


def listed(items: Iterable[Item], seed: int) -> list[Listed]:
  """Returns the items of a study of a seed as they are listed."""
  return [
    Listed(node.object_id(seed, r), node.stage.NAME, r, node.label)
    for node, r in items
  ]


def load_listing(store: Store, study: str) -> list[Listed]:
  """Returns what a study needs, of all runs so far.

  Raises:
    OSError: it cannot be read.
    ValueError: it is damaged.
  """
  file = store.study_dir(study) / FILE
  if not exists(file):
    return []
  try:
    return [Listed(**row) for row in read_sealed(file)["artefacts"]]
  except (KeyError, TypeError) as error:
    raise ValueError(f"{file} is damaged ({error})") from error


def save_listing(store: Store, study: str, rows: Iterable[Listed]) -> None:
  """Writes what a study needs, one line for each artefact."""
  content = {"artefacts": [dataclasses.asdict(row) for row in rows]}
  write_sealed(store, store.study_dir(study) / FILE, content)


def counts(
  store: Store, rows: Iterable[Listed], held: Mapping[str, str]
) -> dict[str, Count]:
  """Returns how far each stage is; damage is not looked for.

  Args:
    store: of the workdir.
    rows: what is needed.
    held: which artefacts processes are at, and which processes.
  """
  found: dict[str, Count] = {}
  for row in rows:
    count = found.setdefault(row.stage, Count())
    if store.has(row.object_id):
      count.finished += 1
      continue
    count.to_do += 1
    if owner := held.get(row.object_id):
      count.claimed[owner] = count.claimed.get(owner, 0) + 1
  return found


def unneeded(store: Store) -> dict[str, int]:
  """Returns what no study of a workdir needs, and its bytes.

  Artefacts, as "objects/ID"; what an artefact is made of is needed as it is.

  Raises:
    OSError, ValueError: a study does not say what it needs.
  """
  names = study_names(store)
  without = [n for n in names if not exists(store.study_dir(n) / FILE)]
  if without:
    raise ValueError(
      f"what studies {', '.join(without)} need is not listed: they are of an "
      "earlier version; run their commands again, which trains nothing anew"
    )
  needed: set[str] = set()
  ahead = [row.object_id for n in names for row in load_listing(store, n)]
  while ahead:
    object_id = ahead.pop()
    if object_id not in needed:
      needed.add(object_id)
      try:
        inputs: Mapping[str, Any] = store.load_record(object_id)["inputs"]
      except (StoreError, KeyError):
        continue
      ahead += inputs.values()
  return {
    f"objects/{folder.name}": tree_bytes(folder)
    for folder in entries(store.root / "objects")
    if folder.name not in needed
  }


def put_away(store: Store, names: Iterable[str]) -> epath.Path:
  """Moves what no study needs to a folder of the workdir, to be deleted.

  Args:
    store: of the workdir.
    names: as of `unneeded`.

  Returns:
    The folder.
  """
  target = store.root / "unneeded"
  for name in names:
    move(store.root / name, target / name)
  return target
