"""Finished experiments of a study as small files that outlive its workdir.

OUT/study.json        what they share: name, seed, claims, replicates
OUT/<experiment>/     results.csv (its rows), masks.npz (see `pruned_at`) and
                      experiment.json: settings, devices, seconds
OUT/results.csv       the rows of all experiments that were exported so far
OUT/verdicts.csv      what they say of the claims

Workdirs of several machines may export to one folder, each whole experiments.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from etils import epath

from imp_jax.core.files import read_json, shown
from imp_jax.core.identity import restored
from imp_jax.core.index import Entry
from imp_jax.core.masks import unpacked_leaves
from imp_jax.core.store import Store, StoreError, replace_file
from imp_jax.results.claims import ClaimSettings
from imp_jax.results.load import Results
from imp_jax.results.verdicts import verdicts_table

# Of an experiment's settings: what all of them have in common if they are to be
# compared.
COMMON = ("model", "stream", "optim", "steps")
KEPT = 255


def export(results: Results, out: str) -> tuple[list[str], list[str]]:
  """Writes the experiments of which everything is finished.

  Args:
    results: the study's.
    out: the folder; it may hold what other workdirs exported of the same study.

  Returns:
    Names of the experiments that were written, and of the unfinished ones.

  Raises:
    ValueError: none is finished; or OUT holds another study, other settings of
      an experiment, or experiments that these cannot be compared with.
  """
  tables = results.tables
  by_name: dict[str, list[Entry]] = {name: [] for name in tables.experiments}
  for entry in tables.index:
    if entry.experiment:
      by_name[entry.experiment].append(entry)
  finished, unfinished = {}, []
  for name, entries in by_name.items():
    records = _records(tables.store, entries)
    if records:
      finished[name] = records
    else:
      unfinished.append(name)
  if not finished:
    raise ValueError(
      f"no experiment of study {tables.study} is finished; unfinished: "
      f"{', '.join(unfinished) or 'none'}"
    )
  folder = epath.Path(out).expanduser()
  meaning = tables.meaning
  replicates = {1 + max(e.replicate for e in by_name[n]) for n in finished}
  study = {
    "study": tables.study,
    "seed": meaning["seed"],
    "claims": meaning["claims"],
    "replicates": max(replicates),
  }
  there = _there(folder)
  _check(folder, study, there, {n: tables.experiments[n] for n in finished})
  table = tables.get("results")
  for name, records in finished.items():
    own = folder / name
    rows = table[table["experiment"] == name]
    replace_file(own / "results.csv", rows.to_csv(index=False).encode())
    arrays: Any = pruned_at(tables.store, by_name[name])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    replace_file(own / "masks.npz", buffer.getvalue())
    record = _experiment_record(tables.experiments[name], records)
    there[name] = record
    _write_json(own / "experiment.json", record)
  _write_json(folder / "study.json", study)
  _write_joined(folder, study, there)
  return list(finished), unfinished


def pruned_at(store: Store, entries: Iterable[Entry]) -> dict[str, np.ndarray]:
  """Returns the level at which IMP removed each prunable weight.

  Masks are nested, so that this says all of them: level k's mask is
  `pruned_at > k`.

  Args:
    store: of the workdir.
    entries: of one experiment.

  Returns:
    uint8 arrays of the kernels' shapes by "replicate0/stem/kernel"; 255 where
    the last level keeps the weight. None of an experiment without levels.
  """
  found: dict[str, np.ndarray] = {}
  tickets = sorted(
    (e for e in entries if e.kind == "imp" and "masks" in e.ids),
    key=lambda e: (e.replicate, e.level),
  )
  for entry in tickets:
    packed = store.load(entry.ids["masks"]).arrays
    assert packed is not None  # masks, by construction
    for path, mask in unpacked_leaves(packed).items():
      name = f"replicate{entry.replicate}/{path}"
      known = found.setdefault(name, np.full(mask.shape, KEPT, np.uint8))
      known[~mask & (known == KEPT)] = entry.level
  return found


def _records(
  store: Store, entries: Sequence[Entry]
) -> list[Mapping[str, Any]] | None:
  """The records of all artefacts of an experiment; None if one is missing."""
  try:
    ids = {i for entry in entries for i in entry.ids.values()}
    return [store.load_record(i) for i in sorted(ids)]
  except StoreError:
    return None


def _experiment_record(
  settings: Mapping[str, Any], records: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
  seconds, devices = 0.0, set()
  for record in records:
    made = record["made_with"]
    seconds += made["seconds_together"] / made["items_together"]
    devices.add(made["device"])
  return {
    "settings": settings,
    "devices": sorted(devices),
    "seconds": round(seconds, 1),
  }


def _there(folder: epath.Path) -> dict[str, Any]:
  """The records of the experiments that a folder holds."""
  if not folder.exists():
    return {}
  files = sorted(folder.glob("*/experiment.json"))
  return {file.parent.name: read_json(file, str(file)) for file in files}


def _check(
  folder: epath.Path,
  study: Mapping[str, Any],
  there: Mapping[str, Any],
  new: Mapping[str, Any],
) -> None:
  """Refuses to put experiments beside others that they do not belong to."""
  file = folder / "study.json"
  if file.exists():
    known = read_json(file, str(file))
    for field, value in study.items():
      if known.get(field) != value:
        raise ValueError(
          f"{folder} holds a study whose {field} is {shown(known.get(field))}, "
          f"not {shown(value)}: export to another folder"
        )
  for name, settings in new.items():
    if name in there and there[name]["settings"] != settings:
      raise ValueError(
        f"{folder} holds experiment {name!r} with other settings: export to "
        "another folder"
      )
  trunk = next(iter(new.values()))["trunk"]
  for name, record in there.items():
    other = record["settings"]["trunk"]
    for field in COMMON if name not in new else ():
      if other[field] != trunk[field]:
        raise ValueError(
          f"{folder} holds experiment {name!r} whose {field} is "
          f"{shown(other[field])}, not {shown(trunk[field])}: they cannot be "
          "compared; export to another folder"
        )


def _write_joined(
  folder: epath.Path, study: Mapping[str, Any], there: Mapping[str, Any]
) -> None:
  """Writes what all experiments of the folder say together."""
  parts = [pd.read_csv(folder / name / "results.csv") for name in sorted(there)]
  table = pd.concat(parts, ignore_index=True)
  replace_file(folder / "results.csv", table.to_csv(index=False).encode())
  claims = restored(ClaimSettings, study["claims"])
  if claims.primary_level is None:
    return
  verdicts = verdicts_table(
    study["study"],
    table,
    claims,
    seconds=round(sum(record["seconds"] for record in there.values()), 1),
  )
  replace_file(folder / "verdicts.csv", verdicts.to_csv(index=False).encode())


def _write_json(file: epath.Path, content: Mapping[str, Any]) -> None:
  replace_file(file, (json.dumps(content, indent=1) + "\n").encode())
