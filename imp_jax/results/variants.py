"""Variants: what experiments pre-trained on, whatever the number of steps.

Works on experiments.csv: one row per experiment, settings by dotted name.
"""

from typing import Any

import pandas as pd

from imp_jax.probes.registry import PROBES

KINDS = ("none", "all", "random", "easy", "hard", "ccs", "keep_list")
DIET_COLUMNS = ("pretrain.subset.kind", "pretrain.subset.size")

# What a variant's experiments may differ in: the number of pre-training steps,
# and what changes no ticket's number at a level.
_STEPS = "pretrain.steps"
_FREE = ("experiment", "seed", _STEPS, "prune.levels")
_FREE_GROUPS = ("controls.", "eval.", *(f"{group}." for group in PROBES))
# Settings that a label says best, in this order; others come after them.
_SAID_FIRST = (
  "pretrain.subset.score",
  "pretrain.subset.balanced",
  "pretrain.subset.offset",
  "pretrain.noise.fraction",
  "pretrain.noise.content",
)


def has_diets(experiments: pd.DataFrame) -> bool:
  """Returns whether the table says which examples were pre-trained on."""
  return set(DIET_COLUMNS) <= set(experiments.columns)


def variants(experiments: pd.DataFrame) -> pd.DataFrame:
  """Returns which variant each pre-trained experiment is of.

  Args:
    experiments: rows of experiments.csv.

  Returns:
    Columns experiment, rewind_step, kind, size, diet, variant and base. The
    diet is its subset's kind and what tells it from others of that kind, its
    size apart ("easy", or "easy el2n" beside "easy forgetting"); the variant
    is the diet with its size, of experiments that are equal in every setting
    but the pre-training steps. The base numbers what experiments have besides
    pre-training. An experiment without pre-training steps is of kind and
    variant "none" whatever its subset: it is the t_r = 0 of all of its base.
  """
  settings = _comparable(experiments)
  steps = experiments[_STEPS].astype(int)
  kinds, sizes = _kinds(experiments), _sizes(experiments)
  kinds, sizes = kinds.where(steps > 0, "none"), sizes.where(steps > 0, 0)
  about_base = [c for c in settings if not c.startswith("pretrain.")]
  about_diet = [c for c in settings if c not in DIET_COLUMNS]
  diet = kinds.copy()
  for kind in kinds.unique():
    group = settings.loc[
      kinds == kind, about_base if kind == "none" else about_diet
    ]
    for column in _telling_columns(group):
      # Pre-training's own optimiser is told where it is another than the main.
      main = column.removeprefix("pretrain.")
      plain = settings.get(main) if ".optim." in column else None
      diet.loc[group.index] += [
        "" if plain is not None and plain[i] == v else _detail(column, v)
        for i, v in group[column].items()
      ]
  sized = ~kinds.isin(["none", "all"])
  return pd.DataFrame(
    {
      "experiment": experiments["experiment"],
      "rewind_step": steps,
      "kind": kinds,
      "size": sizes,
      "diet": diet,
      "variant": diet.where(~sized, _with_size(kinds, sizes, diet)),
      "base": settings.groupby(about_base, dropna=False).ngroup()
      if about_base
      else 0,
    }
  )


def _comparable(experiments: pd.DataFrame) -> pd.DataFrame:
  """The settings that tell variants apart, as text: lists do not hash.

  What is empty in a file is "" again, as in the table it was written from.
  """
  columns = [
    c for c in experiments if c not in _FREE and not c.startswith(_FREE_GROUPS)
  ]
  return experiments.loc[:, columns].astype(object).fillna("").astype(str)


def _telling_columns(group: pd.DataFrame) -> list[str]:
  """Columns that tell a kind's diets apart, the preferred ones first."""
  first = [c for c in _SAID_FIRST if c in group]
  found, count = [], 1
  for column in [*first, *(c for c in group if c not in first)]:
    finer = group.groupby([*found, column]).ngroups
    if finer > count:
      found, count = [*found, column], finer
  return found


def _kinds(experiments: pd.DataFrame) -> pd.Series:
  """Kinds of subset; "all" of experiments whose settings do not name one."""
  column = "pretrain.subset.kind"
  if column not in experiments:
    return pd.Series("all", index=experiments.index)
  kinds: Any = experiments[column]
  return kinds.fillna("all").astype(str)


def _sizes(experiments: pd.DataFrame) -> pd.Series:
  column = "pretrain.subset.size"
  if column not in experiments:
    return pd.Series(0, index=experiments.index)
  sizes: Any = experiments[column]
  return sizes.fillna(0).astype(int)


def _with_size(
  kinds: pd.Series, sizes: pd.Series, diet: pd.Series
) -> pd.Series:
  return pd.Series(
    [
      f"{kind} {size}{name.removeprefix(kind)}"
      for kind, size, name in zip(kinds, sizes, diet, strict=True)
    ],
    index=diet.index,
    dtype=object,
  )


def _detail(column: str, value: str) -> str:
  """What a label adds for one setting in which diets of a kind differ."""
  if value in ("", "nan", "0", "0.0"):  # the plain one: no score, no noise
    return ""
  if column == "pretrain.subset.score":
    return f" {value}"
  if column == "pretrain.subset.balanced":
    return " balanced" if value == "True" else " unbalanced"
  if column == "pretrain.noise.fraction":
    return f" {100 * float(value):g} % noise"
  if column == "pretrain.noise.content":  # of a matrix or a file
    return f" noise {value[:6]}"
  return f" {column.removeprefix('pretrain.').removeprefix('subset.')}={value}"
