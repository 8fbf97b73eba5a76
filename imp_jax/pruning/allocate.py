"""Allocation: which prunable leaves compete with one another for survival.

And the densities that others give to layers, whatever their weights are.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

ALLOCATIONS = ("global", "per_layer", "erk")
Shapes = Mapping[str, Sequence[int]]


def leaf_groups(
  prunable: Sequence[str], *, allocation: str, exclude: Sequence[str] = ()
) -> tuple[tuple[str, ...], ...]:
  """Returns groups of leaf paths; scores are compared within a group only.

  Args:
    prunable: the model's prunable leaf paths.
    allocation: "global" (one group of all leaves; raw scores, not normalised
      per layer), "per_layer" or "erk" (each leaf is its own group).
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


def erk_densities(shapes: Shapes) -> dict[str, Fraction]:
  """Returns each layer's density by Erdos-Renyi-Kernel, up to one factor.

  (sum of a kernel's dimensions) / (their product), so that large layers are the
  sparsest (Evci et al. 2020, arXiv 1911.11134, section 3).
  """
  return {
    path: Fraction(sum(shape), math.prod(shape))
    for path, shape in shapes.items()
  }


def scaled_counts(
  densities: Mapping[str, Fraction], sizes: Mapping[str, int], keep: int
) -> dict[str, int]:
  """Returns how many weights each layer keeps, in proportion to densities.

  One factor scales all of them; a layer that would keep more than it has keeps
  all, and the others are scaled anew. Remainders go to the largest fractions.

  Args:
    densities: above 0.
    sizes: the weights that each layer has.
    keep: of all layers together, exactly.

  Raises:
    ValueError: there are not so many weights.
  """
  if not 0 <= keep <= sum(sizes.values()):
    raise ValueError(
      f"{keep} weights cannot be kept of {sum(sizes.values())} in "
      f"{', '.join(sizes)}"
    )
  full: set[str] = set()
  while True:
    left = keep - sum(sizes[path] for path in full)
    free = [path for path in sizes if path not in full]
    whole = sum((densities[p] * sizes[p] for p in free), Fraction(0))
    factor = left / whole if whole else Fraction(0)
    over = {p for p in free if factor * densities[p] > 1}
    if not over:
      break
    full |= over
  shares = {p: factor * densities[p] * sizes[p] for p in free}
  return {p: sizes[p] for p in full} | _whole_counts(shares, left)


def erk_counts(
  shapes: Shapes, alive: Mapping[str, int], keep: int
) -> dict[str, int]:
  """Returns how many weights each layer keeps by Erdos-Renyi-Kernel.

  Args:
    shapes: of the layers' kernels.
    alive: the weights that each still has, and keeps at most.
    keep: of all layers together, exactly.

  Raises:
    ValueError: there are not so many weights.
  """
  # In proportion to densities of whole layers, whatever is left of them.
  wanted = {
    path: density * math.prod(shapes[path]) / alive[path]
    for path, density in erk_densities(shapes).items()
    if alive[path]
  }
  some = {path: alive[path] for path in wanted}
  return dict.fromkeys(shapes, 0) | scaled_counts(wanted, some, keep)


# Of a dense layer, by smart ratios.
_DENSE_LAYER = Fraction(3, 10)


def smart_ratio_counts(shapes: Shapes, keep: int) -> dict[str, int]:
  """Returns how many weights each layer keeps by smart ratios.

  Su et al. 2020 (arXiv 2009.11094): of L layers the l-th has a density in
  proportion to k^2 + k with k = L - l + 1 if it is a convolution, and 30 % if
  it is dense. What a layer cannot hold goes to the next ones, dense ones last.

  Args:
    shapes: of the layers' kernels, in the order of the network.
    keep: of all layers together, exactly.

  Raises:
    ValueError: there is no convolution, or nothing is left for them beside the
      dense layers' 30 %, or there are not so many weights.
  """
  sizes = {path: math.prod(shape) for path, shape in shapes.items()}
  dense = [path for path, shape in shapes.items() if len(shape) == 2]
  convolutions = [path for path in shapes if path not in dense]
  fixed = {p: Fraction(math.floor(_DENSE_LAYER * sizes[p])) for p in dense}
  left = keep - sum(fixed.values())
  if not convolutions or left < 0 or keep > sum(sizes.values()):
    raise ValueError(
      f"smart ratios keep 30 % of dense layers, {sum(fixed.values())} weights "
      f"here, and the rest of {keep} in {len(convolutions)} convolutions"
    )
  ratio = {
    p: Fraction(k * k + k)
    for k, p in enumerate(reversed(list(shapes)), start=1)
  }
  whole = sum(ratio[p] * sizes[p] for p in convolutions)
  shares = {p: left * ratio[p] * sizes[p] / whole for p in convolutions} | fixed
  surplus = Fraction(0)
  order = [*convolutions, *dense]
  while True:
    for path in order:
      wanted = shares[path] + surplus
      shares[path] = min(wanted, Fraction(sizes[path]))
      surplus = wanted - shares[path]
    if not surplus:
      break
  counts = _whole_counts(shares, keep)
  return {path: counts[path] for path in shapes}


def _whole_counts(shares: Mapping[str, Fraction], total: int) -> dict[str, int]:
  """Whole numbers of a sum near shares of that sum, the largest fraction up."""
  counts = {path: math.floor(share) for path, share in shares.items()}
  rest = total - sum(counts.values())
  up = sorted(counts, key=lambda path: counts[path] - shares[path])[:rest]
  return counts | {path: counts[path] + 1 for path in up}


def _is_under(path: str, prefix: str) -> bool:
  return path == prefix or path.startswith(prefix + "/")
