"""How far apart networks and masks are, as a table."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from imp_jax.core.index import Entry
from imp_jax.core.masks import unpacked_leaves
from imp_jax.core.store import Store, if_finished
from imp_jax.landscape.geometry import expected_overlap, mask_overlap
from imp_jax.probes.barriers import Measured
from imp_jax.results.tickets import Records

GEOMETRY_COLUMNS = (
  "study",
  "experiment",
  "replicate",
  "level",
  "between",
  "quantity",
  "value",
)


def geometry_table(
  study: str,
  tickets: Records,
  paths: Measured,
  overlaps: Sequence[tuple],
) -> pd.DataFrame:
  """Returns one row per two things that were compared, and quantity.

  "between" is "start-end" (a ticket and the network it trained to), a path's
  kind and pair ("children 0-1") or "replicates" (masks, with the others).
  Quantities: distance, relative_distance and sign_agreement of
  `geometry.apartness`; mask_overlap, the Jaccard index, and expected_overlap,
  random masks' at that density.

  Args:
    study: its name.
    tickets: (entry, train record, pretrain record).
    paths: what was measured.
    overlaps: rows of `mask_overlaps`.
  """
  rows = [
    (study, entry.row_name, entry.replicate, entry.level, "start-end", *item)
    for entry, trained, *_ in tickets
    for item in trained.get("travelled", {}).items()
  ]
  rows += [
    (study, experiment, replicate, level, f"{kind} {pair}", *item)
    for (experiment, replicate, level, kind, pair), artefact in paths
    for item in artefact.record["apart"].items()
  ]
  rows += [(study, *row) for row in overlaps]
  return pd.DataFrame(rows, columns=list(GEOMETRY_COLUMNS))


def mask_overlaps(store: Store, entries: Sequence[Entry]) -> list[tuple]:
  """Returns how far each replicate's masks agree with the other replicates'.

  Rows of `geometry_table` without the study: means over the others.
  """
  groups: dict[tuple[str, int], dict[int, dict[str, np.ndarray]]] = {}
  for entry in entries:
    if "masks" not in entry.ids:
      continue
    with if_finished():
      packed = store.load(entry.ids["masks"]).arrays
      assert packed is not None  # masks, by construction
      group = groups.setdefault((entry.row_name, entry.level), {})
      group[entry.replicate] = unpacked_leaves(packed)
  rows = []
  for (name, level), masks in groups.items():
    overlap = {
      pair: mask_overlap(masks[pair[0]], masks[pair[1]], tuple(masks[pair[0]]))
      for pair in itertools.combinations(masks, 2)
    }
    for replicate, leaves in masks.items():
      others = [x for pair, x in overlap.items() if replicate in pair]
      if others:
        kept = np.concatenate([m.ravel() for m in leaves.values()])
        expected = expected_overlap(float(kept.mean()))
        place = (name, replicate, level, "replicates")
        rows.append((*place, "mask_overlap", float(np.mean(others))))
        rows.append((*place, "expected_overlap", expected))
  return rows
