"""A study's tables, each made from its artefacts when it is asked for."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from imp_jax.core.artefacts import Artefact
from imp_jax.core.identity import restored
from imp_jax.core.index import SCORE, Entry, load_index
from imp_jax.core.sealed import read_sealed
from imp_jax.core.store import Store, if_finished
from imp_jax.probes.barriers import Measured, barriers_table, curves_table
from imp_jax.probes.bound import GROUP as BOUND
from imp_jax.probes.bound import bound_table
from imp_jax.probes.curvature import Curved, curvature_table
from imp_jax.probes.displacement import GROUP as DISPLACEMENT
from imp_jax.probes.displacement import PRUNED
from imp_jax.probes.fields import GROUP as FIELDS
from imp_jax.probes.fields import STATISTICS
from imp_jax.probes.permutation import GROUP as PERMUTATION
from imp_jax.probes.permutation import UNMATCHED
from imp_jax.probes.planes import planes_table
from imp_jax.results.claims import BARRIER, ClaimSettings, ConnectedClaim
from imp_jax.results.contrasts import contrasts_table, quantities
from imp_jax.results.cost import Adapted, cost_table
from imp_jax.results.displacement import displacement_table, is_of_displaced
from imp_jax.results.fields import field_rows_table, fields_table
from imp_jax.results.geometry import (
  GEOMETRY_COLUMNS,
  geometry_table,
  mask_overlaps,
)
from imp_jax.results.landscape import (
  LANDSCAPE_COLUMNS,
  instability_table,
  landscape_table,
)
from imp_jax.results.matching import matching_table, smallest_density_table
from imp_jax.results.parts import Unavailable
from imp_jax.results.permutation import permutation_table
from imp_jax.results.predictors import (
  connected_verdict_row,
  predictors_table,
  whole_claim,
)
from imp_jax.results.scores import reliability_table
from imp_jax.results.successive import successive_table
from imp_jax.results.tickets import (
  Records,
  experiments_table,
  history_table,
  layers_table,
  load_records,
  results_table,
)
from imp_jax.results.trial import trial_table
from imp_jax.results.verdicts import verdicts_table

# Kinds of paths that join successive levels, among others.
_BETWEEN_LEVELS = ("successive", "matrix")


def seconds_of(store: Store, entries: Iterable[Entry]) -> float:
  """Returns the seconds that finished artefacts took, and what they need.

  Args:
    store: of the workdir.
    entries: of what was made; each artefact counts once.
  """
  left = [i for entry in entries for i in entry.ids.values()]
  seen, seconds = set(), 0.0
  while left:
    object_id = left.pop()
    if object_id in seen:
      continue
    seen.add(object_id)
    with if_finished():
      record = store.load_record(object_id)
      made = record["made_with"]
      seconds += made["seconds_together"] / made["items_together"]
      left += record["inputs"].values()
  return round(seconds, 1)


class Tables:
  """The tables of one study of a workdir, of all runs so far.

  Attributes:
    store, study: where it lies.
    index: what it is made of.
    meaning: what its name stands for: config.json.
  """

  def __init__(self, store: Store, study: str):
    """Reads the index; tables are made when they are asked for.

    Raises:
      OSError, ValueError: it is damaged, or another version's.
    """
    self.store, self.study = store, study
    self.index: list[Entry] = load_index(store, study)
    file = store.study_dir(study) / "config.json"
    self.meaning: dict[str, Any] = read_sealed(file)
    self._made: dict[str, pd.DataFrame] = {}
    self._failed: dict[str, Exception] = {}
    self._told: set[str] = set()

  @functools.cached_property
  def claims(self) -> ClaimSettings:
    """What the study declared before it ran."""
    return restored(ClaimSettings, self.meaning["claims"])

  @property
  def names(self) -> list[str]:
    """The tables that there are, in the order of their files."""
    wanted = {
      "results": True,
      "experiments": True,
      "layers": True,
      "curves": True,
      "matching": True,
      "smallest_density": True,
      "trial": self._has_trial(),
      "contrasts": self.claims.contrasts is not None,
      "cost": bool(self.adapted),
      "geometry": True,
      "barriers": bool(self.paths),
      "paths": bool(self.paths),
      "instability": bool(self.paths),
      "successive": any(e.kind in _BETWEEN_LEVELS for e in self.index),
      "permutation": any(e.kind == UNMATCHED for e in self.index),
      "displacement": any(e.kind == PRUNED for e in self.index),
      "landscape": self._has_landscape(),
      "predictors": self._has_landscape() and self._rows("landscape") > 0,
      "curvature": bool(self.curved),
      "bound": any(e.kind == BOUND for e in self.index),
      "fields": bool(self.looked),
      "field_rows": bool(self.looked),
      "planes": bool(self.planes),
      "verdicts": self.claims.primary_level is not None,
      "reliability": any(e.kind == SCORE for e in self.index),
    }
    return [name for name, there in wanted.items() if there]

  def get(self, name: str) -> pd.DataFrame:
    """Returns a table.

    Args:
      name: one of `names`, or "training": the running loss of every ticket.

    Raises:
      KeyError: there is no such table.
      Unavailable: it failed before, or one that it is made from did.
      Exception: whatever making it raises.
    """
    if self.peek(name) is not None:
      return self._made[name]
    if name in self._told:
      raise Unavailable(name)
    self._told.add(name)
    raise self._failed[name]

  def peek(self, name: str) -> pd.DataFrame | None:
    """Returns a table, or None if it cannot be made: `get` tells why.

    Args:
      name: as of `get`.

    Raises:
      KeyError: there is no such table.
    """
    if name not in self._made and name not in self._failed:
      make = self._makers[name]
      try:
        self._made[name] = make()
      except Exception as error:  # whatever a library raises at odd data
        self._failed[name] = error
    return self._made.get(name)

  @property
  def _makers(self) -> Mapping[str, Callable[[], pd.DataFrame]]:
    return {
      "results": lambda: results_table(self.study, self.records),
      "experiments": lambda: experiments_table(self.meaning),
      "layers": lambda: layers_table(self.study, self.records),
      "curves": lambda: history_table(self.study, self.records, "test"),
      "training": lambda: history_table(
        self.study, self.records, "train_batches"
      ),
      "matching": lambda: matching_table(
        self.get("results"), self.get("experiments"), self.claims
      ),
      "smallest_density": lambda: smallest_density_table(
        self.get("results"), self.claims
      ),
      "trial": lambda: trial_table(
        self.study, self.get("results"), self.claims
      ),
      "contrasts": self._contrasts,
      "cost": lambda: cost_table(
        self.study,
        self.adapted,
        {
          n: prune["fraction"]
          for n, e in self.experiments.items()
          if not (prune := e["trunk"]["prune"])["exclude"]
        },
        self.get("results"),
        self.claims,
      ),
      "geometry": self._geometry,
      "barriers": lambda: barriers_table(
        self.study, self.paths, self.thresholds
      ),
      "paths": lambda: curves_table(self.study, self.paths),
      "instability": lambda: instability_table(
        self.get("barriers"), self.get("experiments")
      ),
      "successive": lambda: successive_table(
        self.study,
        self.get("barriers"),
        self.get("results"),
        self.claims.margin,
      ),
      "permutation": lambda: permutation_table(
        self.study,
        self.get("barriers"),
        self.claims,
        self._declared(PERMUTATION, lambda kind: ", " in kind),
      ),
      "displacement": lambda: displacement_table(
        self.study,
        self.get("barriers"),
        self.claims,
        self._declared(DISPLACEMENT, is_of_displaced),
      ),
      "landscape": self._landscape,
      "predictors": self._predictors,
      "curvature": lambda: curvature_table(
        self.study, self.curved, self.densities
      ),
      "bound": lambda: bound_table(self.study, self.finished(BOUND)),
      "fields": lambda: fields_table(self.study, self.looked),
      "field_rows": lambda: field_rows_table(self.study, self.looked),
      "planes": lambda: planes_table(self.study, self.planes),
      "verdicts": self._verdicts,
      "reliability": lambda: reliability_table(
        self.study, {n: a.record for n, a in self.scores.items()}
      ),
    }

  @functools.cached_property
  def records(self) -> Records:
    """The records of the tickets that are finished."""
    return load_records(self.store, self.index)

  @functools.cached_property
  def adapted(self) -> Adapted:
    """IMP's tickets whose fraction was chosen, with their masks' records."""
    found = []
    for entry, trained, *_ in self.records:
      masks = entry.ids.get("masks")
      if (
        masks
        and entry.kind == "imp"
        and (prune := self.experiments[entry.experiment]["trunk"]["prune"])
        and prune.get("adaptive")
        and not prune.get("masks_of")  # the search has its cost
      ):
        with if_finished():
          record = self.store.load_record(masks)
          found.append((entry, trained["density"], record))
    return found

  @functools.cached_property
  def paths(self) -> Measured:
    """Each path's place (see `Measured`) and its artefact."""
    return [
      ((e.experiment, e.replicate, e.level, e.kind, e.between), artefact)
      for e, artefact in self.finished("path")
    ]

  @functools.cached_property
  def curved(self) -> Curved:
    """Each network's entry and its curvature's artefact."""
    return self.finished("curvature")

  @functools.cached_property
  def looked(self) -> list[tuple[Entry, Artefact]]:
    """Each network's entry and its receptive fields."""
    return self.finished(FIELDS)

  @functools.cached_property
  def planes(self) -> list[tuple[Entry, Artefact]]:
    """Each plane's entry and its artefact."""
    return self.finished("plane")

  @functools.cached_property
  def scores(self) -> dict[str, Artefact]:
    """The scores of the training examples that are finished, by name."""
    return {e.between: artefact for e, artefact in self.finished(SCORE)}

  def finished(self, role: str) -> list[tuple[Entry, Artefact]]:
    """Returns the artefacts of a role that are finished, and what they are of.

    Args:
      role: e.g. "path", "plane", "score".
    """
    artefacts = []
    for entry in self.index:
      if role in entry.ids:
        with if_finished():
          artefacts.append((entry, self.store.load(entry.ids[role])))
    return artefacts

  @property
  def experiments(self) -> dict[str, dict[str, Any]]:
    """The settings of every experiment, by its name."""
    return self.meaning["experiments"]

  @property
  def thresholds(self) -> dict[str, list[float]]:
    """Below which barriers examples count as connected, by experiment."""
    claim = self.claims.connected
    declared = [claim.threshold] if claim else []
    return {
      name: sorted({*e["probes"]["connectivity"]["thresholds"], *declared})
      for name, e in self.experiments.items()
    }

  @property
  def shown_threshold(self) -> float | None:
    """The claim's threshold, or the smallest that every experiment has."""
    if self.claims.connected:
      return self.claims.connected.threshold
    every = [set(t) for t in self.thresholds.values() if t]
    common = set.intersection(*every) if every else set()
    return min(common, default=None)

  @property
  def connected_claim(self) -> ConnectedClaim | None:
    """Claim 3, with every experiment that it is about named."""
    claim = self.claims.connected
    return claim and whole_claim(claim, self.experiments)

  @property
  def looked_at(self) -> tuple[int, tuple[str, ...]]:
    """Level and experiments of the predictors: claim 3's, or the last level."""
    claim = self.connected_claim
    if claim:
      return claim.level, claim.experiments
    return max(map(int, self.get("landscape")["level"])), ()

  @property
  def densities(self) -> Mapping[tuple[str, int, int], float]:
    """Kept fractions by (experiment, level, replicate) of IMP's tickets."""
    return {
      (entry.experiment, entry.level, entry.replicate): trained["density"]
      for entry, trained, *_ in self.records
      if entry.kind == "imp"
    }

  def _rows(self, name: str) -> int:
    table = self.peek(name)
    return 0 if table is None else len(table)

  def _declared(self, group: str, of: Callable[[str], bool]) -> int:
    """How many barriers a probe's paths have, once for all replicates.

    Args:
      group: the probe's.
      of: whether a kind of path is meant.
    """
    places = {
      (e.experiment, e.level, e.kind, e.between)
      for e in self.index
      if of(e.kind)
    }
    return sum(
      len(self.experiments[name]["probes"][group]["batch_stats"])
      for name, *_ in places
    )

  def _has_trial(self) -> bool:
    controls = any(entry.kind != "imp" for entry, *_ in self.records)
    return controls or self.claims.trial is not None

  def _contrasts(self) -> pd.DataFrame:
    """From the tables that hold what was declared, and no others."""
    claim = self.claims.contrasts
    assert claim  # or there is no such table
    declared = {
      quantity for names in claim.comparisons for quantity in names[2:]
    }
    values = quantities(
      self.get("results"),
      self.get("barriers") if BARRIER in declared else None,
      self.get("fields") if declared & {*STATISTICS} else None,
      {
        name: (c["batch_stats"][0], math.comb(c["children"], 2))
        for name, e in self.experiments.items()
        if (c := e["probes"]["connectivity"])["children"]
      },
    )
    return contrasts_table(self.study, values, self.claims)

  def _geometry(self) -> pd.DataFrame:
    overlaps = mask_overlaps(self.store, [e for e, *_ in self.records])
    return geometry_table(self.study, self.records, self.paths, overlaps)

  def _has_landscape(self) -> bool:
    threshold = self.shown_threshold
    if not self.paths or not threshold:
      return False
    barriers = self.peek("barriers")
    if barriers is None:
      return False
    wanted = f"connected_midpoint_{threshold:g}_average"
    rows = barriers.query(
      "kind == 'children' and level == 0 and split == 'train'"
    )
    return wanted in set(rows["metric"])

  def _landscape(self) -> pd.DataFrame:
    geometry = self.peek("geometry")
    if geometry is None:  # it is named by itself; distances are left out
      geometry = pd.DataFrame(columns=list(GEOMETRY_COLUMNS))
    threshold = self.shown_threshold
    assert threshold is not None  # or there is no such table
    return landscape_table(
      self.get("barriers"),
      self.get("results"),
      self.get("experiments"),
      geometry,
      threshold=threshold,
    )

  def _predictors(self) -> pd.DataFrame:
    level, names = self.looked_at
    return predictors_table(self.get("landscape"), level, self.claims, names)

  def _verdicts(self) -> pd.DataFrame:
    claim, connected = self.connected_claim, None
    if claim:
      # Without any it is undecided, and that is said.
      landscape = pd.DataFrame(columns=list(LANDSCAPE_COLUMNS))
      if "landscape" in self.names:
        landscape = self.get("landscape")
      connected = connected_verdict_row(landscape, claim, self.claims)
    return verdicts_table(
      self.study,
      self.get("results"),
      self.claims,
      connected,
      seconds_of(self.store, self.index),
    )
