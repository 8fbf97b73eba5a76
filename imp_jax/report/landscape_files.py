"""The files that describe the landscape around a study's tickets."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.files import read_json
from imp_jax.report.barriers import (
  barriers_table,
  curves_table,
  mean_example_barriers,
)
from imp_jax.report.curvature import curvature_table, first_spectrum_figure
from imp_jax.report.curvature_figures import eigenvalue_figure
from imp_jax.report.geometry import (
  GEOMETRY_COLUMNS,
  geometry_table,
  mask_overlaps,
)
from imp_jax.report.landscape import (
  LANDSCAPE_COLUMNS,
  instability_lines,
  instability_table,
  landscape_table,
)
from imp_jax.report.landscape_figures import (
  barrier_histograms,
  instability_figure,
  levels_figure,
  path_figure,
)
from imp_jax.report.parts import Parts
from imp_jax.report.plane_figures import plane_figure
from imp_jax.report.predictor_figures import landscape_figure, predictor_figure
from imp_jax.report.predictors import (
  PREDICTOR_COLUMNS,
  connected_lines,
  connected_verdict_row,
  predictors_table,
  whole_claim,
)
from imp_jax.report.tables import Records, experiments_table, results_table
from imp_jax.settings import ClaimSettings
from imp_jax.store import Artefact, Store, StoreError


@dataclasses.dataclass(frozen=True)
class ViewEntry:
  """Where one view of one replicate is stored: a row of landscape.json.

  Attributes:
    experiment, kind, level, between: as of a view.
    replicate: number from 0.
    stage: that made it: "path", "curvature" or "plane".
    artefact: identity.
  """

  experiment: str
  kind: str
  level: int
  between: str
  replicate: int
  stage: str
  artefact: str

  @property
  def key(self) -> tuple:
    """What it is of; its artefact is another if it was looked at otherwise."""
    return (
      self.experiment,
      self.kind,
      self.level,
      self.between,
      self.replicate,
    )


def load_views(store: Store, study: str) -> list[ViewEntry]:
  """Returns where the study's views are stored, of all runs so far."""
  file = store.study_dir(study) / "landscape.json"
  if not file.exists():
    return []
  return [ViewEntry(**row) for row in read_json(file, str(file))]


def write_landscape(
  parts: Parts,
  entries: Sequence[ViewEntry],
  records: Records,
  claims: ClaimSettings,
) -> Mapping[str, Any] | None:
  """Writes the landscape's tables and figures, of these and earlier entries.

  Returns claim 3's row of verdicts.csv, if it was declared and there is any.

  geometry.csv always; landscape.json and, of what was looked at, barriers.csv,
  paths.csv, landscape.csv, predictors.csv, instability.csv, curvature.csv, and
  as .png and .svg landscape, predictors, instability, barriers, paths,
  levels_BATCHSTATS, spectrum, eigenvalues, plane_EXPERIMENT_NETWORKS.

  Args:
    parts: of the study; config.json is there.
    entries: of this run.
    records: of the study's tickets.
    claims: what it declared.
  """
  store, study = parts.store, parts.study
  known = {e.key: e for e in load_views(store, study)}
  known |= {e.key: e for e in entries}
  if known:
    rows = [dataclasses.asdict(e) for e in known.values()]
    parts.text("landscape.json", lambda: json.dumps(rows, indent=0))
  found = _loaded(store, known.values())
  paths = [
    ((e.experiment, e.replicate, e.level, e.kind, e.between), artefact)
    for e, artefact in found
    if e.stage == "path"
  ]
  geometry = parts.table(
    "geometry",
    lambda: geometry_table(
      study, records, paths, mask_overlaps(store, [e for e, *_ in records])
    ),
  )
  if geometry is None:  # its failure is named; distances are left out
    geometry = pd.DataFrame(columns=list(GEOMETRY_COLUMNS))
  decided = None
  if paths:
    with parts.attempt("everything about paths"):
      decided = _write_connectivity(parts, records, paths, claims, geometry)
  curved = [(e, a) for e, a in found if e.stage == "curvature"]
  if curved:
    table = parts.table(
      "curvature", lambda: curvature_table(study, curved, _densities(records))
    )
    # Against density, on an axis that has no place for emptied networks.
    if table is not None and len(table.query("density != 0")):
      parts.figure("eigenvalues", lambda: eigenvalue_figure(table))
    parts.figure("spectrum", lambda: first_spectrum_figure(curved))
  for e, artefact in found:
    if e.stage == "plane":
      name = f"plane_{e.experiment}_{'_'.join(e.between.split(', '))}"
      parts.figure(
        name.replace(" ", ""), functools.partial(_plane, e, artefact)
      )
  if claims.connected and decided is None:  # nothing to compare, and it is said
    nothing = pd.DataFrame(columns=list(LANDSCAPE_COLUMNS))
    decided = connected_verdict_row(nothing, claims.connected, claims)
  return decided


def _write_connectivity(parts, records, paths, claims, geometry):
  """Tables and figures of barriers beside what the tickets became.

  Returns claim 3's row of verdicts.csv, if there is any.
  """
  study = parts.study
  meaning = json.loads((parts.folder / "config.json").read_text())
  results = results_table(study, records)
  experiments = experiments_table(meaning)
  thresholds: dict[str, list[float]] = {
    name: sorted(
      {
        *e.get("connectivity", {}).get("thresholds", ()),
        *([claims.connected.threshold] if claims.connected else []),
      }
    )
    for name, e in meaning["experiments"].items()
  }
  barriers = parts.table(
    "barriers", lambda: barriers_table(study, paths, thresholds)
  )
  curves = parts.table("paths", lambda: curves_table(study, paths))
  if curves is not None:
    parts.figure("paths", lambda: path_figure(curves))
  if barriers is None:
    return None
  instability = parts.table(
    "instability", lambda: instability_table(barriers, experiments)
  )
  if instability is not None:
    parts.figure("instability", lambda: instability_figure(instability))
  densities = results.groupby("level").density.mean()
  modes = {mode for _, path in paths for mode in _modes(path)}
  for mode in sorted(modes):
    parts.figure(
      f"levels_{mode}",
      functools.partial(levels_figure, barriers, densities, batch_stats=mode),
    )
  threshold = _shown_threshold(claims, thresholds)
  per_example = mean_example_barriers(paths)
  if per_example:
    shown = (threshold,) if threshold else ()
    parts.figure(
      "barriers", lambda: barrier_histograms(per_example, thresholds=shown)
    )
  if threshold and _has_midpoints(barriers, threshold):
    table = parts.table(
      "landscape",
      lambda: landscape_table(
        barriers, results, experiments, geometry, threshold=threshold
      ),
    )
    if table is not None and len(table):
      claim = claims.connected
      if claim:
        claim = whole_claim(claim, experiments)
      _write_predictors(parts, table, claim, claims)
      if claim:
        return parts.made(
          "claim 3's verdict",
          lambda: connected_verdict_row(table, claim, claims),
        )
  return None


def _write_predictors(parts, landscape, claim, claims):
  """What goes with sparse accuracy: at the claim's level, or the last."""
  level, names = int(landscape["level"].max()), ()
  if claim:
    level, names = claim.level, claim.experiments
  shown = landscape[landscape["experiment"].isin(names)] if names else landscape
  parts.figure("landscape", lambda: landscape_figure(shown, level))
  predictors = parts.table(
    "predictors", lambda: predictors_table(landscape, level, claims, names)
  )
  if predictors is not None:
    parts.figure("predictors", lambda: predictor_figure(predictors, level))


def _modes(path: Artefact) -> set[str]:
  """The ways in which a path got BatchNorm's statistics."""
  return {mode for modes in path.record["paths"].values() for mode in modes}


def _shown_threshold(claims, thresholds) -> float | None:
  """The claim's threshold, or the smallest that every experiment has."""
  if claims.connected:
    return claims.connected.threshold
  every = [set(t) for t in thresholds.values() if t]
  common = set.intersection(*every) if every else set()
  return min(common, default=None)


def _has_midpoints(barriers, threshold) -> bool:
  wanted = f"connected_midpoint_{threshold:g}_average"
  rows = barriers.query(
    "kind == 'children' and level == 0 and split == 'train'"
  )
  return wanted in set(rows["metric"])


def _densities(records) -> Mapping[tuple[str, int, int], float]:
  return {
    (entry.experiment, entry.level, entry.replicate): trained["density"]
    for entry, trained, *_ in records
    if entry.ticket == "imp"
  }


def _plane(entry: ViewEntry, artefact: Artefact):
  arrays = artefact.arrays
  assert arrays is not None  # a plane, by construction
  paths = [
    arrays[name][:, :2] for name in sorted(arrays) if name.startswith("path.")
  ]
  return plane_figure(
    arrays["xs"],
    arrays["ys"],
    np.asarray(arrays["loss"]),
    arrays["corners"],
    entry.between.split(", "),
    paths,
    title=f"{entry.experiment}, replicate {entry.replicate}",
    quantity="training loss (nats)",
  )


def _loaded(store, entries) -> list[tuple[ViewEntry, Artefact]]:
  found = []
  for entry in entries:
    try:
      found.append((entry, store.load(entry.artefact)))
    except StoreError:
      continue  # not made yet, or its replicate failed
  return found


def landscape_lines(results: Any, claims: ClaimSettings) -> list[str]:
  """Returns the lines that a run prints of its landscape.

  Args:
    results: the study's; `read_table` is used.
    claims: what it declared.
  """
  lines = []
  if results.has_table("instability"):
    lines += instability_lines(results.read_table("instability"))
  if claims.connected and results.has_table("landscape"):
    predictors = pd.DataFrame(columns=list(PREDICTOR_COLUMNS))
    if results.has_table("predictors"):
      predictors = results.read_table("predictors")
    claim = claims.connected
    if results.has_table("experiments"):
      claim = whole_claim(claim, results.read_table("experiments"))
    lines += connected_lines(
      results.read_table("landscape"), predictors, claim, claims
    )
  return lines
