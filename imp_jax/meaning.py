"""What a study's name means in a workdir, and what may be added to it."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from imp_jax.nodes import Node, checkpoint_id
from imp_jax.provenance import made_with, told_apart, way_of
from imp_jax.settings import Study
from imp_jax.store import Store, StoreError


def check_same_meaning(store: Store, study: Study) -> None:
  """Refuses a study name that means something else in this workdir.

  More replicates, levels, experiments and controls extend a study; any other
  difference is another study.

  Raises:
    ValueError: names the field, what it was and what it is now.
  """
  file = store.study_dir(study.name) / "config.json"
  if not file.exists():
    return
  old, new = json.loads(file.read_text()), meaning_of(study)
  for path, now in _flat_items(new):
    was = old
    for part in path:
      if not isinstance(was, dict) or part not in was:
        if path[0] == "claims":  # of before there was such a claim
          was = None
          continue
        break
      was = was[part]
    else:
      if was != now and not _extends(path, was, now):
        raise ValueError(
          f"study {study.name!r} already means something else in this "
          f"workdir: {'.'.join(path)} was {was}, now {now}; give this one "
          "another --config.name"
        )


def check_same_execution(
  store: Store,
  study: Study,
  nodes: Mapping[Node, int],
  earlier: Callable[[], Iterable[str]] = tuple,
) -> None:
  """Refuses to go on with a study in another way of executing it.

  Another version of JAX, kind of device or recorded flag is another way. Modes
  that are bit-identical to each other count as one.

  Args:
    store: of the workdir.
    study: whose execution this run has.
    nodes: what it needs, with the number of replicates.
    earlier: gives the identities of what is in the study's tables already; it
      is asked where something is missing.

  Raises:
    ValueError: names both ways, and how to mix them all the same.
  """
  now = way_of(made_with(study.execution))
  missing, others = 0, []

  def note(record):
    made = record.get("made_with")
    if made and (way := way_of(made)) != now and way not in others:
      others.append(way)

  for node, count in nodes.items():
    for r in range(count):
      try:
        note(store.load_record(node.object_id(study.seed, r)))
      except StoreError:
        missing += 1
        # It goes on from what an interrupted run kept.
        kept = store.checkpoint(checkpoint_id(node, study.seed, r))
        note(kept.load_record())
  if not missing:
    return
  for object_id in earlier():
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
    del fields["name"]
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
  experiments = dict(old.get("experiments", {}))
  for name, fields in new["experiments"].items():
    was = experiments.get(name, {})
    kept = {group: _seen(group, was, fields) for group in _SEEN if group in was}
    experiments[name] = fields | kept
  scores = old.get("scores", {}) | new["scores"]
  return new | {"experiments": experiments, "scores": scores}


# Of each way to look at the landscape: the fields of which one at least is set
# where a study looks at all, and what else it may see more or less of.
_SEEN = {
  "connectivity": (("children", "successive"), ("levels", "thresholds")),
  "curvature": (("levels",), ()),
  "planes": (("through",), ("levels",)),
}


def _extends(path, was, now) -> bool:
  """Whether a changed setting only adds to a study."""
  if path[-1] in _SEEN:
    looking, free = _SEEN[path[-1]]
    return _sees_alike(looking, free, was, now)
  if path[-2:] == ("prune", "levels") or "controls" in path:
    return True
  if path[-1] != "densities" or not was or not now:
    return False
  return was[: len(now)] == now[: len(was)]


def _sees_alike(looking, free, was, now) -> bool:
  """Whether two groups of settings look at the landscape in one way."""
  if not all(_looks(looking, group) for group in (was, now)):
    return True
  if not was.get("children", 1) or not now.get("children", 1):
    free = (*free, "noise")  # there are no children to differ in it
  fixed = set(was) - {*looking, *free}
  return all(was[f] == now[f] for f in fixed)


def _seen(group, was, now) -> dict[str, Any]:
  """How an experiment looks at the landscape, or did where it does not now."""
  was, now = was[group], now[group]
  if not _looks(_SEEN[group][0], now):
    return was
  if was.get("children") and not now["children"]:
    return now | {f: was[f] for f in ("children", "noise", "levels")}
  return now


def _looks(looking, group) -> bool:
  return any(group[field] for field in looking)


def _flat_items(tree, path=()):
  for key, value in tree.items():
    # Claims, and what is seen of the landscape, are compared whole.
    whole = path == ("claims",) or key in _SEEN
    if isinstance(value, dict) and value and not whole:
      yield from _flat_items(value, (*path, key))
    else:
      yield (*path, key), value
