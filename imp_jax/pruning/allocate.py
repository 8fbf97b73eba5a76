"""Allocation: which prunable leaves compete with one another for survival."""

from collections.abc import Mapping, Sequence

ALLOCATIONS = ("global", "per_layer")


def leaf_groups(
  prunable: Sequence[str], *, allocation: str, exclude: Sequence[str] = ()
) -> tuple[tuple[str, ...], ...]:
  """Returns groups of leaf paths; scores are compared within a group only.

  Args:
    prunable: the model's prunable leaf paths.
    allocation: "global" (one group of all leaves; raw scores, not normalised
      per layer) or "per_layer" (each leaf is its own group).
    exclude: layers left out: a leaf path, or a prefix of whole path parts
      ("head" leaves out "head/kernel").

  Returns:
    Groups in the order of `prunable`, without the excluded leaves.

  Raises:
    ValueError: unknown allocation, or an exclusion that matches no leaf, or
      nothing is left to prune.
  """
  if allocation not in ALLOCATIONS:
    raise ValueError(
      f"unknown allocation {allocation!r}; known: {', '.join(ALLOCATIONS)}"
    )
  for name in exclude:
    if not any(_is_under(path, name) for path in prunable):
      raise ValueError(
        f"prune.exclude names {name!r}, which is no prunable layer; "
        f"known: {', '.join(prunable)}"
      )
  kept = tuple(
    p for p in prunable if not any(_is_under(p, name) for name in exclude)
  )
  if not kept:
    raise ValueError("prune.exclude leaves no layer to prune")
  return (kept,) if allocation == "global" else tuple((p,) for p in kept)


def excluded_count(
  counts: Mapping[str, int],
  groups: Sequence[Sequence[str]],
  *,
  allocation: str,
  rule: str,
) -> int:
  """Returns how many excluded weights count among the survivors of a level.

  Under the paper's rule both of its authors' code bases take the fraction of
  all survivors, excluded layers among them, from the other layers, so that the
  whole network's density follows (1 - fraction)^level: all of them count.
  Under the exact rule, and within single layers, none does.

  Args:
    counts: weights of each prunable leaf; those of excluded ones never change.
    groups: of `leaf_groups`.
    allocation, rule: of pruning.
  """
  if allocation != "global" or rule != "threshold":
    return 0
  return sum(counts.values()) - sum(counts[p] for g in groups for p in g)


def _is_under(path: str, prefix: str) -> bool:
  return path == prefix or path.startswith(prefix + "/")
