"""Finished experiments of a study as small files that outlive its workdir.

OUT/config.json       what the study means, experiments yet to come included
OUT/experiments.csv   the settings of all of them
OUT/<experiment>/     results.csv (its rows, controls' too), landscape.csv if it
                      has any, masks.npz (see `pruned_at`) and experiment.json:
                      replicates, in what ways it was made, seconds
OUT/results.csv       the rows of all experiments that were exported so far
OUT/verdicts.csv      what they say of the claims; it has no seconds

Workdirs of several machines may export to one folder, each whole experiments of
one study.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from etils import epath

from imp_jax.core.buckets import (
  entries,
  exists,
  open_path,
  read_file,
  replace_file,
)
from imp_jax.core.files import read_json, shown
from imp_jax.core.identity import filled, restored
from imp_jax.core.index import Entry
from imp_jax.core.masks import unpacked_leaves
from imp_jax.core.store import Store, StoreError, if_finished
from imp_jax.engine.provenance import way_of
from imp_jax.results.claims import ClaimSettings
from imp_jax.results.landscape import LANDSCAPE_COLUMNS
from imp_jax.results.load import Results
from imp_jax.results.predictors import connected_verdict_row, whole_claim
from imp_jax.results.tables import seconds_of
from imp_jax.results.tickets import experiments_table
from imp_jax.results.verdicts import verdicts_table
from imp_jax.stages.evaluate import EvalSettings
from imp_jax.stages.trunk import Trunk

KEPT = 255
_PLACES = ("path", "cache_dir")  # of data, which differ between machines


def export(results: Results, out: str) -> tuple[list[str], list[str], int]:
  """Writes the experiments of which everything is finished.

  Args:
    results: the study's.
    out: the folder; it may hold what other workdirs exported of the same study.

  Returns:
    Names of the experiments that were written, and of the unfinished ones; and
    in how many ways (device, JAX, execution) all that is there was made.

  Raises:
    ValueError: none is finished, an artefact is damaged, or OUT holds a study
      that means something else, or has other replicates. Nothing is written.
  """
  tables = results.tables
  finished, unfinished = {}, []
  for name in tables.experiments:
    entries = [e for e in tables.index if e.experiment == name]
    records = _records(tables.store, entries)
    if records:
      finished[name] = (entries, records)
    else:
      unfinished.append(name)
  if not finished:
    raise ValueError(
      f"no experiment of study {tables.study} is finished; unfinished: "
      f"{', '.join(unfinished) or 'none'}"
    )
  folder = open_path(out)
  meaning = _merged(folder, {"study": tables.study} | _without_places(tables))
  there = _there(folder)
  files: dict[str, bytes] = {}
  for name, (entries, records) in finished.items():
    there[name] = _experiment_record(tables.store, entries, records)
    files[f"{name}/experiment.json"] = _json(there[name])
    arrays: Any = pruned_at(tables.store, entries)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    files[f"{name}/masks.npz"] = buffer.getvalue()
    files[f"{name}/results.csv"] = _csv(_rows_of(name, tables.get("results")))
    if "landscape" in tables.names:
      files[f"{name}/landscape.csv"] = _csv(
        _rows_of(name, tables.get("landscape"))
      )
  counts = {name: record["replicates"] for name, record in there.items()}
  if len(set(counts.values())) > 1:
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    raise ValueError(
      f"experiments in {folder} would have different numbers of replicates: "
      f"{told}"
    )
  files["config.json"] = _json(meaning)
  files["experiments.csv"] = _csv(experiments_table(meaning))
  for name, data in files.items():
    replace_file(folder / name, data)
  _write_joined(folder, meaning, sorted(there))
  ways = {
    json.dumps(way) for record in there.values() for way in record["ways"]
  }
  return list(finished), unfinished, len(ways)


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

  Raises:
    ValueError: there are more levels than a byte counts, or a mask is damaged.
  """
  found: dict[str, np.ndarray] = {}
  tickets = sorted(
    (e for e in entries if e.kind == "imp" and "masks" in e.ids),
    key=lambda e: (e.replicate, e.level),
  )
  for entry in tickets:
    if entry.level >= KEPT:
      raise ValueError(
        f"masks of up to level {KEPT - 1} can be exported, {entry.experiment} "
        f"has level {entry.level}"
      )
    try:
      packed = store.load(entry.ids["masks"]).arrays
    except StoreError as error:
      raise ValueError(str(error)) from error
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
  with if_finished():
    ids = {i for entry in entries for i in entry.ids.values()}
    return [store.load_record(i) for i in sorted(ids)]
  return None


def _experiment_record(
  store: Store, entries: Sequence[Entry], records: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
  ways = {json.dumps(way_of(r["made_with"]), sort_keys=True) for r in records}
  return {
    "replicates": 1 + max(entry.replicate for entry in entries),
    "ways": [json.loads(way) for way in sorted(ways)],
    # With what it is made from, which other experiments may share.
    "seconds": seconds_of(store, entries),
  }


def _rows_of(name: str, table: pd.DataFrame) -> pd.DataFrame:
  """An experiment's rows and its controls', which are named "NAME:control"."""
  parent = table["experiment"].str.partition(":")[0]
  return table.loc[parent == name]


def _without_places(tables: Any) -> dict[str, Any]:
  """What the study means, but for where a machine has its data."""
  data = tables.meaning.get("data", {})
  kept = {k: v for k, v in data.items() if k not in _PLACES}
  return tables.meaning | {"data": kept}


def _there(folder: epath.Path) -> dict[str, Any]:
  """The records of the experiments that a folder holds."""
  files = [own / "experiment.json" for own in entries(folder)]
  return {
    file.parent.name: read_json(file, str(file))
    for file in files
    if exists(file)
  }


def _merged(folder: epath.Path, meaning: dict[str, Any]) -> dict[str, Any]:
  """What a folder's study means with this one, which must agree with it.

  Raises:
    ValueError: names the field that differs.
  """
  file = folder / "config.json"
  if not exists(file):
    return meaning
  known = read_json(file, str(file))
  common = known["experiments"].keys() & meaning["experiments"].keys()
  if not common:
    raise ValueError(
      f"{folder} holds other experiments, none of which this study has: export "
      "to another folder"
    )
  was, now = (_flat(m, common) for m in (known, meaning))
  for field in sorted(was.keys() | now.keys()):
    if was.get(field) != now.get(field):
      raise ValueError(
        f"{folder} holds a study that means something else: {field} is "
        f"{shown(was.get(field))} there, {shown(now.get(field))} here; export "
        "to another folder"
      )
  experiments = known["experiments"] | meaning["experiments"]
  return meaning | {"experiments": experiments}


def _flat(meaning: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
  """What results depend on, by dotted name, younger fields filled in."""
  experiments = {
    name: {
      "trunk": filled(Trunk, meaning["experiments"][name]["trunk"]),
      "eval": filled(EvalSettings, meaning["experiments"][name]["eval"]),
    }
    for name in names
  }
  parts = {
    "study": meaning["study"],
    "seed": meaning["seed"],
    "claims": filled(ClaimSettings, meaning["claims"]),
    "experiments": experiments,
  }
  return pd.json_normalize(parts).astype(object).iloc[0].to_dict()


def _write_joined(
  folder: epath.Path, meaning: Mapping[str, Any], names: Sequence[str]
) -> None:
  """Writes what all experiments of the folder say together."""

  def joined(file: str) -> pd.DataFrame | None:
    there = [folder / name / file for name in names]
    parts = [
      pd.read_csv(io.BytesIO(read_file(path))) for path in there if exists(path)
    ]
    return pd.concat(parts, ignore_index=True) if parts else None

  table = joined("results.csv")
  assert table is not None  # every experiment has one
  replace_file(folder / "results.csv", _csv(table))
  claims, connected = restored(ClaimSettings, meaning["claims"]), None
  if claims.primary_level is None:
    return
  if claims.connected:
    landscape = joined("landscape.csv")
    if landscape is None:
      landscape = pd.DataFrame(columns=list(LANDSCAPE_COLUMNS))
    claim = whole_claim(claims.connected, meaning["experiments"])
    connected = connected_verdict_row(landscape, claim, claims)
  verdicts = verdicts_table(meaning["study"], table, claims, connected)
  replace_file(folder / "verdicts.csv", _csv(verdicts))


def _csv(table: pd.DataFrame) -> bytes:
  return table.to_csv(index=False).encode()


def _json(content: Mapping[str, Any]) -> bytes:
  return (json.dumps(content, indent=1) + "\n").encode()
