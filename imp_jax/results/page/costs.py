"""What a study took to compute, out of its artefacts' records."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from imp_jax.core.index import Entry
from imp_jax.core.store import Store, if_finished
from imp_jax.pruning.invariants import INVARIANTS


@dataclasses.dataclass(frozen=True)
class Made:
  """What the record of one artefact says of its making.

  What was spent is its share of what ran together; old records lack some.

  Attributes:
    stage: that made it.
    seconds: of wall time.
    compile_seconds, program_seconds: of these, in which JAX compiled, and in
      which the programs over replicates ran.
    examples, flop: presented in training, and of its steps.
    inputs: identities of what it was made of.
    way: versions, device and execution, in words.
    checked: the invariants that it was found to keep.
    counted: whether its record says more than the seconds.
  """

  stage: str
  seconds: float
  compile_seconds: float
  program_seconds: float
  examples: float
  flop: float
  inputs: tuple[str, ...]
  way: str
  checked: tuple[str, ...]
  counted: bool = True


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
      together = made.get("items_together", 1)
      found[object_id] = Made(
        stage=record.get("stage", ""),
        inputs=tuple(record.get("inputs", {}).values()),
        way=_way(made),
        checked=tuple(record.get("checked", ())),
        counted="program_seconds_together" in made,
        **{f: made.get(f"{f}_together", 0.0) / together for f in _SPENT},
      )
      left += found[object_id].inputs
  return found


_SPENT = ("seconds", "compile_seconds", "program_seconds", "examples", "flop")


def stages_table(made: Mapping[str, Made]) -> pd.DataFrame:
  """Returns a row per stage, the longest first: artefacts, and what they took.

  Seconds are of wall time; "elsewhere" is what neither compiling nor programs
  over replicates account for.
  """
  rows = []
  for stage in dict.fromkeys(each.stage for each in made.values()):
    own = [each for each in made.values() if each.stage == stage]
    seconds = _total(own)["seconds"]
    spent = _total(each for each in own if each.counted)
    rows.append(
      {
        "stage": stage,
        "artefacts": len(own),
        "seconds": round(seconds, 1),
        "compiling (s)": round(spent["compile_seconds"], 1),
        "in programs (s)": round(spent["program_seconds"], 1),
        "elsewhere (s)": round(_elsewhere(spent), 1),
        "examples in training": f"{spent['examples']:.0f}",
        "FLOP of training": f"{spent['flop']:.3g}",
      }
    )
  rows.sort(key=lambda row: -row["seconds"])
  return pd.DataFrame(rows)


def _total(made: Iterable[Made]) -> dict[str, float]:
  made = list(made)
  return {f: sum(getattr(each, f) for each in made) for f in _SPENT}


def _elsewhere(spent: Mapping[str, float]) -> float:
  inside = spent["compile_seconds"] + spent["program_seconds"]
  return max(spent["seconds"] - inside, 0.0)


def spent_lines(made: Mapping[str, Made]) -> list[str]:
  """Returns what all of it took in compute, and outside compiled programs.

  Of the artefacts whose records say it, by the process that finished them.
  """
  counted = [each for each in made.values() if each.counted]
  spent = _total(counted)
  if not spent["program_seconds"]:  # nothing, or records of before
    return []
  of_some = ""
  if len(counted) < len(made):
    of_some = f" of the {len(counted):,} artefacts whose records say more"
  lines = [
    f"of {spent['seconds']:,.0f} s{of_some}, JAX compiled for "
    f"{spent['compile_seconds'] / spent['seconds']:.0%}, and "
    f"{_elsewhere(spent) / spent['seconds']:.0%} passed outside compiled "
    "programs: reading, checking and writing"
  ]
  if spent["flop"]:
    lines.append(
      f"{spent['flop']:.3g} FLOP of training, {spent['examples']:,.0f} "
      "examples presented, since each was last gone on with; a removed weight "
      "counts, for it is multiplied too"
    )
  return lines


def invariants_table(made: Mapping[str, Made]) -> pd.DataFrame:
  """Returns a row per invariant: how many artefacts were found to keep it."""
  counts = collections.Counter(
    i for each in made.values() for i in each.checked
  )
  rows = [
    (words, counts[name]) for name, words in INVARIANTS.items() if counts[name]
  ]
  return pd.DataFrame(rows, columns=["invariant", "checked and kept by"])


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
