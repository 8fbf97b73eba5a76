"""The lines a run prints below its tables: verdicts, matching, warnings."""

import collections
import contextlib
import math
from collections.abc import Sequence

import pandas as pd

from imp_jax.probes.bound import bound_lines
from imp_jax.results.accuracy import sampling_note
from imp_jax.results.claims import ClaimSettings
from imp_jax.results.contrasts import contrast_lines
from imp_jax.results.cost import cost_lines
from imp_jax.results.displacement import displacement_lines
from imp_jax.results.fields import field_lines
from imp_jax.results.landscape import instability_lines
from imp_jax.results.matching import smallest_density_table
from imp_jax.results.permutation import permutation_lines
from imp_jax.results.predictors import PREDICTOR_COLUMNS, connected_lines
from imp_jax.results.successive import successive_lines
from imp_jax.results.tables import Tables
from imp_jax.results.trial import trial_lines, trial_table
from imp_jax.results.verdicts import verdict_lines


def summary_lines(
  results: pd.DataFrame,
  layers: pd.DataFrame,
  experiments: pd.DataFrame,
  claims: ClaimSettings,
) -> list[str]:
  """Returns the lines below the table: what was found, and warnings.

  Args:
    results, layers, experiments: rows of the CSV files of those names.
    claims: what the study declared.
  """
  return [
    *sampling_lines(results, experiments),
    *verdict_lines(results, claims),
    *trial_lines(trial_table("", results, claims)),
    *matching_lines(results, claims),
    *emptied_lines(layers),
  ]


def sampling_lines(
  results: pd.DataFrame, experiments: pd.DataFrame
) -> list[str]:
  """Returns the line that says how exact an accuracy can be on these data."""
  note = sampling_note(results, experiments)
  if not note:
    return []
  return [
    f"accuracies are on {note}; all networks share them, so that replicates do "
    "not lower it, and differences have it only where two networks disagree"
  ]


def emptied_lines(layers: pd.DataFrame) -> list[str]:
  """Returns a warning per experiment whose masks empty a layer or a channel.

  Each layer is named with the first level at which it happens in any
  replicate; layers.csv has every count. Levels at which a replicate has no
  weight left at all are told first, and no layer of them.
  """
  lines = []
  place = ["experiment", "replicate", "level"]
  total = layers.groupby(place, sort=False)["kept"].transform("sum")
  layers = layers.assign(left=total)
  empty, layers = layers.query("left == 0"), layers.query("left > 0")
  for name, rows in empty.groupby("experiment", sort=False):
    first = rows.sort_values("level").drop_duplicates("replicate")
    told = ", ".join(
      f"replicate {r} from level {level}"
      for r, level in zip(first["replicate"], first["level"], strict=True)
    )
    lines.append(f"warning: {name}: empty, no weight is left: {told}")
  for what, rows in (
    ("layers emptied", layers.query("kept == 0")),
    ("channels emptied", layers.query("emptied_channels > 0")),
  ):
    for name, group in rows.groupby("experiment", sort=False):
      first = group.sort_values("level").drop_duplicates("layer")
      named = ", ".join(
        f"{layer} from level {level}"
        for layer, level in zip(first["layer"], first["level"], strict=True)
      )
      lines.append(f"warning: {name}: {what}: {named}")
  return lines


def matching_lines(results: pd.DataFrame, claims: ClaimSettings) -> list[str]:
  """Returns each experiment's smallest matching density, and per replicate."""
  lines = []
  table = smallest_density_table(results, claims)
  for name, rows in table.groupby("experiment", sort=False):
    together, *alone = rows["density"]
    lines.append(
      f"smallest matching density of {name} (margin "
      f"{100 * claims.margin:g} points): {100 * together:.1f} %, by the "
      f"interval of all; {_per_replicate(alone)}"
    )
  return lines


def _per_replicate(densities: Sequence[float]) -> str:
  """Each replicate's smallest matching density, or of many their counts."""
  found = [
    "failed" if math.isnan(density) else f"{100 * density:.1f} %"
    for density in densities
  ]
  if len(found) <= 8:
    return f"each by its own difference {', '.join(found)}"
  counts = collections.Counter(found).most_common()
  return "replicates: " + ", ".join(f"{n} at {value}" for value, n in counts)


def landscape_lines(tables: Tables) -> list[str]:
  """Returns the lines that a run prints of its levels and its landscape."""
  lines = []
  if "contrasts" in tables.names:
    lines += contrast_lines(tables.get("contrasts"))
  if "cost" in tables.names:
    lines += cost_lines(tables.get("cost"), tables.claims)
  if "bound" in tables.names:
    lines += bound_lines(tables.get("bound"))
  if "fields" in tables.names:
    lines += field_lines(tables.get("fields"))
  if "displacement" in tables.names:
    lines += displacement_lines(tables.get("displacement"))
  if "permutation" in tables.names:
    lines += permutation_lines(tables.get("permutation"))
  if "successive" in tables.names:
    lines += successive_lines(tables.get("successive"))
  if "instability" in tables.names:
    lines += instability_lines(tables.get("instability"))
  claim = tables.connected_claim
  if claim and "landscape" in tables.names:
    landscape = tables.get("landscape")
    predictors = pd.DataFrame(columns=list(PREDICTOR_COLUMNS))
    with contextlib.suppress(Exception):  # it costs its own lines only
      predictors = tables.get("predictors")
    lines += connected_lines(landscape, predictors, claim, tables.claims)
  return lines
