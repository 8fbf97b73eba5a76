"""What a study's name means in a workdir, and what may be added to it."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imp_jax.core.buckets import exists
from imp_jax.core.identity import filled
from imp_jax.core.index import Entry
from imp_jax.core.options import extends, merged
from imp_jax.core.sealed import read_sealed
from imp_jax.core.store import Store, StoreError
from imp_jax.engine.provenance import made_with, told_apart, way_of
from imp_jax.engine.scheduler import Wanted
from imp_jax.probes.registry import PROBES
from imp_jax.pruning.settings import PruneSettings, idle
from imp_jax.stages.control_settings import NUMBER_OF, ControlSettings
from imp_jax.stages.evaluate import EvalSettings
from imp_jax.stages.trunk import Trunk
from imp_jax.study.experiment import Study
from imp_jax.study.listing import FILE as LISTING
from imp_jax.study.listing import load_listing


def damaged_files(store: Store, study: str) -> tuple[str, ...]:
  """Returns the names of those files about a study that hold no such thing.

  Raises:
    OSError: one is there and cannot be read.
  """
  found, folder = [], store.study_dir(study)
  reads = {
    "config.json": lambda file: read_sealed(file)["experiments"],
    "index.json": lambda file: read_sealed(file)["entries"],
    LISTING: lambda _: load_listing(store, study),
  }
  for name, read in reads.items():
    try:
      if exists(folder / name):
        read(folder / name)
    except (KeyError, ValueError):
      found.append(name)
  return tuple(found)


def check_same_meaning(store: Store, study: Study) -> None:
  """Refuses a study name that means something else in this workdir.

  More replicates, levels, experiments and controls extend a study; any other
  difference is another study.

  Raises:
    ValueError: names the field, what it was and what it is now.
  """
  file = store.study_dir(study.name) / "config.json"
  if not exists(file):
    return
  old, new = read_sealed(file), meaning_of(study)
  if any("trunk" not in e for e in old["experiments"].values()):
    raise ValueError(
      f"config.json of study {study.name!r} is none of this version's; give "
      "this one another --config.name"
    )
  for path, was, now in _differences(old, new):
    raise ValueError(
      f"study {study.name!r} already means something else in this workdir: "
      f"{path} was {was}, now {now}; give this one another --config.name"
    )


def check_same_execution(
  store: Store,
  study: Study,
  nodes: Wanted,
  index: Iterable[Entry] = (),
) -> None:
  """Refuses to go on with a study in another way of executing it.

  Another version of JAX, kind of device or recorded flag is another way, and so
  is a model, criterion or score whose source was changed. Modes that are
  bit-identical to each other count as one.

  Args:
    store: of the workdir.
    study: whose execution this run has.
    nodes: what it needs.
    index: what the study has already.

  Raises:
    ValueError: names both ways, or what was changed, and how to mix them all
      the same.
  """
  now = way_of(made_with(study.execution))
  missing, others = 0, []
  code = {name: h for node in nodes for name, h in node.stage.code().items()}

  def note(record: Mapping[str, Any]) -> None:
    made = record.get("made_with")
    for name, known in record.get("code", {}).items():
      if known != code.get(name, known):
        raise ValueError(
          f"what {name!r} stands for was changed since artefacts of this "
          "workdir were made by it: take a new --workdir, or set "
          "--config.execution.mix=True to use and mix them all the same"
        )
    if made and (way := way_of(made)) != now and way not in others:
      others.append(way)

  for node, replicates in nodes.items():
    for r in replicates:
      try:
        note(store.load_record(node.object_id(study.seed, r)))
      except StoreError:
        missing += 1
        # It goes on from what an interrupted run kept.
        kept = store.checkpoint(node.checkpoint_id(study.seed, r))
        note(kept.load_record())
  if not missing:
    return
  for object_id in {i for entry in index for i in entry.ids.values()}:
    with contextlib.suppress(StoreError):  # not finished
      note(store.load_record(object_id))
  if others:
    told, *rest = told_apart(now, *others)
    raise ValueError(
      f"study {study.name!r} has results of execution {' and '.join(rest)}; "
      f"this run would add {told}, which rounds differently; set "
      "--config.execution.mix=True to mix them"
    )


def meaning_of(study: Study) -> dict[str, Any]:
  """Returns what a study's name stands for, as JSON-able values."""
  experiments = {}
  for e in study.experiments:
    fields = dataclasses.asdict(e)
    del fields["name"], fields["search"]  # prune.masks_of names it
    experiments[e.name] = fields
  meaning = {
    "seed": study.seed,
    "claims": dataclasses.asdict(study.claims),
    "experiments": experiments,
    "scores": {s.score.name: dataclasses.asdict(s) for s in study.scores},
  }
  return json.loads(json.dumps(meaning))


def merged_meaning(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
  """Returns what a name stands for after a run: also what earlier runs did.

  Args:
    old: what config.json says.
    new: of `meaning_of`; it means the same.
  """
  experiments_before = old.get("experiments", {})
  experiments = dict(experiments_before)
  for name, fields in new["experiments"].items():
    was = experiments.get(name, {}).get("probes", {})
    probes = {
      group: merged(PROBES[group].settings, was[group], now)
      if group in was
      else now
      for group, now in fields["probes"].items()
    }
    experiments[name] = fields | {"probes": probes}
    if was := experiments_before.get(name, {}).get("controls"):
      experiments[name]["controls"] = _both_controls(was, fields["controls"])
  scores = old.get("scores", {}) | new["scores"]
  return new | {"experiments": experiments, "scores": scores}


def _differences(
  old: dict[str, Any], new: dict[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
  """Yields (field, what it was, what it is now) of what is no extension.

  What a name did not say before, it may say now.
  """
  for part in ("seed", "scores"):
    yield from _unequal(part, old.get(part), new[part])
  for claim, now in new["claims"].items():
    # Of before there was such a claim: it was not declared.
    if (was := old["claims"].get(claim)) != now:
      yield f"claims.{claim}", was, now
  for name, fields in new["experiments"].items():
    was = old["experiments"].get(name)
    if was is not None:
      yield from _of_experiment(f"experiments.{name}", was, fields)


def _of_experiment(
  path: str, was: dict[str, Any], now: dict[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
  trunk = filled(Trunk, was["trunk"])
  # The data first: what is derived from them differs for that alone.
  for group in sorted(now["trunk"], key=lambda group: group != "stream"):
    before, settings = trunk.get(group), now["trunk"][group]
    if group == "prune":
      yield from _of_pruning(f"{path}.prune", before, settings)
    else:
      yield from _unequal(f"{path}.{group}", before, settings)
  controls = [filled(ControlSettings, e["controls"]) for e in (was, now)]
  for number, kinds in NUMBER_OF.items():
    values = [c[number] for c in controls if {*kinds} & {*c["kinds"]}]
    if len(set(values)) > 1:
      yield f"{path}.controls.{number}", *values
  evaluated = filled(EvalSettings, was["eval"])
  yield from _unequal(f"{path}.eval", evaluated, now["eval"])
  for group, settings in now["probes"].items():
    before = was["probes"].get(group)
    if before and not extends(PROBES[group].settings, before, settings):
      yield f"{path}.{group}", before, settings


def _both_controls(was: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
  """What controls there are after a run that trained some of them."""
  was, now = filled(ControlSettings, was), filled(ControlSettings, now)
  kept = {
    number: was[number]
    for number, kinds in NUMBER_OF.items()
    if {*kinds} & {*was["kinds"]}
  }
  either = {
    field: sorted({*was[field], *now[field]}) for field in ("kinds", "levels")
  }
  return now | kept | either


def _of_pruning(
  path: str, was: dict[str, Any], now: dict[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
  """More levels extend IMP, and so do the densities of more levels."""
  was, now = (settings | idle(settings) for settings in (was, now))
  densities = [settings["densities"] for settings in (was, now)]
  if (
    all(densities)
    and densities[0][: len(densities[1])] == densities[1][: len(densities[0])]
  ):
    was = {**was, "densities": densities[1]}
  if not extends(PruneSettings, was, now):
    yield from _unequal(path, was, {**now, "levels": was["levels"]})


def _unequal(path: str, was: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
  """The fields of two settings that are in both and not equal."""
  if isinstance(was, dict) and isinstance(now, dict):
    for key, value in now.items():
      if key in was:
        yield from _unequal(f"{path}.{key}", was[key], value)
  elif was != now and was is not None:
    yield path, was, now
