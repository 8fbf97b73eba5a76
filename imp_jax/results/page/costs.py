"""What a study took to compute, out of its artefacts' records."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from imp_jax.core.index import Entry
from imp_jax.core.store import Store, if_finished


@dataclasses.dataclass(frozen=True)
class Made:
  """What the record of one artefact says of its making.

  Attributes:
    stage: that made it.
    seconds: of wall time, its share of what ran together.
    inputs: identities of what it was made of.
    way: versions, device and execution, in words.
  """

  stage: str
  seconds: float
  inputs: tuple[str, ...]
  way: str


def made_by_id(store: Store, entries: Iterable[Entry]) -> dict[str, Made]:
  """Returns what is known of all finished artefacts of entries, and inputs.

  Args:
    store: of the workdir.
    entries: of what was made.
  """
  left = [i for entry in entries for i in entry.ids.values()]
  found: dict[str, Made] = {}
  while left:
    object_id = left.pop()
    if object_id in found:
      continue
    with if_finished():
      record = store.load_record(object_id)
      made = record.get("made_with", {})
      found[object_id] = Made(
        record.get("stage", ""),
        made.get("seconds_together", 0.0) / made.get("items_together", 1),
        tuple(record.get("inputs", {}).values()),
        _way(made),
      )
      left += found[object_id].inputs
  return found


def stages_table(made: Mapping[str, Made]) -> pd.DataFrame:
  """Returns a row per stage: how many artefacts, and seconds of wall time."""
  counts: Any = collections.defaultdict(lambda: [0, 0.0])
  for each in made.values():
    counts[each.stage][0] += 1
    counts[each.stage][1] += each.seconds
  rows = [(stage, n, round(s, 1)) for stage, (n, s) in counts.items()]
  rows.sort(key=lambda row: -row[2])
  return pd.DataFrame(rows, columns=["stage", "artefacts", "seconds"])


def ways_table(made: Mapping[str, Made]) -> pd.DataFrame:
  """Returns a row per way in which artefacts were made, and how many were."""
  counts = collections.Counter(each.way for each in made.values() if each.way)
  return pd.DataFrame(counts.most_common(), columns=["made with", "artefacts"])


def sharing_line(made: Mapping[str, Made], entries: Iterable[Entry]) -> str:
  """Returns what experiments would have taken without sharing artefacts.

  Args:
    made: of `made_by_id`.
    entries: of the study.
  """
  own: dict[str, set[str]] = collections.defaultdict(set)
  for entry in entries:
    own[entry.experiment].update(entry.ids.values())
  apart = sum(
    sum(made[i].seconds for i in _closure(made, ids)) for ids in own.values()
  )
  together = sum(each.seconds for each in made.values())
  if apart <= together:
    return f"{together:,.0f} s of wall time in all"
  return (
    f"{together:,.0f} s of wall time in all; experiments on their own would "
    f"have taken {apart:,.0f} s: sharing saved {1 - together / apart:.0%}"
  )


def _closure(made: Mapping[str, Made], ids: Iterable[str]) -> set[str]:
  """Artefacts and all that they are made of, of those that are known."""
  left, found = list(ids), set()
  while left:
    object_id = left.pop()
    if object_id not in found and object_id in made:
      found.add(object_id)
      left += made[object_id].inputs
  return found


def _way(made: Mapping[str, Any]) -> str:
  """Versions, device and execution, of old records as far as they say."""
  named = ("jax", "backend", "device", "execution", "convolution")
  words = [f"{name} {made[name]}" for name in named if name in made]
  flags = made.get("flags") or {}
  return ", ".join([*words, *(f"{k}={v}" for k, v in sorted(flags.items()))])
