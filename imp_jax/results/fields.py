"""Receptive fields as tables: statistics by network, some units' weights."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from imp_jax.core.artefacts import Artefact
from imp_jax.core.index import Entry
from imp_jax.probes.fields import STATISTICS

Looked = Sequence[tuple[Entry, Artefact]]
FIELD_COLUMNS = ("study", "experiment", "replicate", "level", *STATISTICS)
ROW_COLUMNS = ("study", "experiment", "level", "unit", "input", "weight")


def fields_table(study: str, looked: Looked) -> pd.DataFrame:
  """Returns a row per network: the statistics of `probes.fields.Fields`.

  Args:
    study: its name.
    looked: what was looked at, and where.
  """
  rows = [
    (
      study,
      entry.experiment,
      entry.replicate,
      entry.level,
      *(artefact.record[name] for name in STATISTICS),
    )
    for entry, artefact in looked
  ]
  table = pd.DataFrame(rows, columns=list(FIELD_COLUMNS))
  return table.astype(dict.fromkeys(STATISTICS, float))


def field_rows_table(study: str, looked: Looked) -> pd.DataFrame:
  """Returns the kept weights of the shown units of replicate 0.

  At the first level, the middle one and the last, of those looked at.

  Args:
    study, looked: as of `fields_table`.

  Returns:
    "unit" is by where it looks, "input" the position in the flattened input.
  """
  rows, levels = [], sorted({entry.level for entry, _ in looked})
  shown = {levels[i] for i in (0, len(levels) // 2, -1)} if levels else ()
  for entry, artefact in looked:
    if entry.replicate or entry.level not in shown:
      continue
    assert artefact.arrays is not None  # by construction
    for unit, weights in enumerate(artefact.arrays["rows"]):
      rows += [
        (study, entry.experiment, entry.level, unit, place, _short(weight))
        for place, weight in enumerate(weights.ravel())
        if weight
      ]
  return pd.DataFrame(rows, columns=list(ROW_COLUMNS))


def _short(weight: Any) -> float:
  return float(f"{weight:.4g}")


def field_lines(table: pd.DataFrame) -> list[str]:
  """Returns a line per experiment: neighbours and kurtosis by level."""
  lines = []
  name: Any
  rows: Any
  for name, rows in table.groupby("experiment", sort=False):
    means = rows.groupby("level")[["neighbours", "kurtosis"]].mean()
    told = "; ".join(
      f"level {level} {row.neighbours:.2f} ({row.kurtosis:+.2f})"
      for level, row in zip(
        means.index, means.itertuples(index=False), strict=True
      )
    )
    lines.append(
      f"neighbouring inputs of {name}'s first layer, as a ratio to chance that "
      "knows which inputs are kept, and in brackets the excess kurtosis of its "
      f"pre-activations: {told}"
    )
  return lines
