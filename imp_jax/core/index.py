"""The index of a study: its artefacts, and where they are stored."""

import dataclasses
from collections.abc import Iterable, Mapping

from imp_jax.core.buckets import entries, exists
from imp_jax.core.sealed import read_sealed, write_sealed
from imp_jax.core.store import Store

SCORE, LABELS = "score", "labels"  # kinds of what is the whole study's


@dataclasses.dataclass(frozen=True)
class Entry:
  """What was made of one replicate, e.g. a ticket: a row of index.json.

  Attributes:
    experiment: its name; "" of what is the whole study's.
    kind: of a ticket "imp" or its control; of a path how its ends are related;
      "curvature", "plane", "score", "labels".
    level: of the ticket, from 0.
    between: of a path or plane what it goes through; of scores and labels their
      name; else "".
    replicate: from 0.
    ids: identities of its artefacts, by the role they have.
  """

  experiment: str
  kind: str
  level: int
  between: str
  replicate: int
  ids: Mapping[str, str]

  @property
  def key(self) -> tuple:
    """All but `ids`: equal for artefacts of the same thing, however made."""
    place = (self.experiment, self.kind, self.level, self.between)
    return (*place, self.replicate)

  @property
  def row_name(self) -> str:
    """The experiment's name in tables; a control's is "name:control"."""
    if self.kind == "imp":
      return self.experiment
    return f"{self.experiment}:{self.kind}"


def study_names(store: Store) -> list[str]:
  """Returns the studies of a workdir."""
  folders = entries(store.root / "studies")
  # Other files may lie there: .DS_Store, somebody's notes.
  return [p.name for p in folders if exists(p / "config.json")]


def load_index(store: Store, study: str) -> list[Entry]:
  """Returns where a study's artefacts are stored, of all runs so far.

  Raises:
    OSError: the index cannot be read.
    ValueError: it is damaged, or none of this version's.
  """
  file = store.study_dir(study) / "index.json"
  if not exists(file):
    return []
  try:
    return [Entry(**row) for row in read_sealed(file)["entries"]]
  except (KeyError, TypeError) as error:  # of another version's
    raise ValueError(
      f"the index of study {study!r} in {store.study_dir(study)} is none of "
      f"this version's ({error})"
    ) from error


def save_index(store: Store, study: str, entries: Iterable[Entry]) -> None:
  """Writes an index, one line for each entry."""
  content = {"entries": [dataclasses.asdict(e) for e in entries]}
  write_sealed(store, store.study_dir(study) / "index.json", content)


def merged_index(old: Iterable[Entry], new: Iterable[Entry]) -> list[Entry]:
  """Returns an index with new entries in place of old ones of equal key.

  A score's name keeps its first meaning: another score of that name gets a part
  of its identity as well.

  Args:
    old: of earlier runs.
    new: of this one.
  """
  known = {e.key: e for e in old}
  scores = {e.ids[SCORE] for e in known.values() if e.kind == SCORE}
  for entry in new:
    if entry.kind == SCORE:
      score_id = entry.ids[SCORE]
      if score_id in scores:
        continue
      if entry.key in known:
        name = f"{entry.between}-{score_id[:6]}"
        entry = dataclasses.replace(entry, between=name)
    known[entry.key] = entry
  return list(known.values())
