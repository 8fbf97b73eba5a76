"""A network as JAX traces it: the axes of its arrays, and its operations."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from imp_jax.landscape.axes import Axes, Axis, constant, fix, fresh
from imp_jax.landscape.axis_rules import axes_of

PyTree = Any

# Functions that are called: their own operations are looked at.
_CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_LOOPS = ("scan", "while", "cond")  # these are operations


@dataclasses.dataclass(frozen=True)
class Site:
  """A value that is computed: units' activations.

  Attributes:
    number: of the operation that makes it, in the order they are done.
    axis: of the value, along which the units lie; the first is the examples'.
  """

  number: int
  axis: int


@dataclasses.dataclass(frozen=True)
class Traced:
  """A network's arrays, axis by axis.

  Attributes:
    leaves: axes of each of its arrays, in the order of its flattened tree.
    sites: of each whole axis, by its root: the last of the values that have it
      at the most places.
  """

  leaves: tuple[Axes, ...]
  sites: Mapping[Axis, Site]


def trace_axes(
  apply: Callable[..., Any], network: PyTree, inputs: Any
) -> Traced:
  """Returns which axes of a network's arrays are one.

  Args:
    apply: (network, inputs) -> outputs, without operations that fix axes they
      need not, such as those of fast convolutions.
    network: its arrays, or their shapes.
    inputs: their shape; the first axis is the examples', of a size that no
      other axis has.
  """
  closed = jax.make_jaxpr(apply)(network, inputs)
  count = len(jax.tree.leaves(network))
  given = [fresh(v.aval.shape) for v in closed.jaxpr.invars]
  for axes in given[count:]:
    fix(axes)
  made: list[Axes] = []

  def rule(eqn: Any, ins: Sequence[Axes]) -> list[Axes]:
    outs = axes_of(eqn, ins)
    made.append(outs[0] if len(outs) == 1 else ())
    return outs

  outs = walk(closed, given, rule, constant)
  for axes in outs:
    fix(axes)
  examples = given[count][0].size
  sites: dict[Axis, Site] = {}
  most: dict[Axis, int] = {}
  for number, axes in enumerate(made):
    if axes and axes[0].size == examples:
      places = math.prod(axis.size for axis in axes[1:])
      for place, axis in enumerate(axes[1:], start=1):
        root = axis.root
        if axis.size > 1 and not root.parts and places >= most.get(root, 0):
          sites[root], most[root] = Site(number, place), places
  return Traced(tuple(given[:count]), sites)


def walk(
  function: Any,
  args: Sequence[Any],
  rule: Callable[[Any, Sequence[Any]], Sequence[Any]],
  constant: Callable[[Any], Any],
) -> list[Any]:
  """Goes through a function's operations, those it calls included.

  Args:
    function: as JAX traced it.
    args: what stands for its arguments.
    rule: (operation, what stands for its inputs) -> for its outputs.
    constant: number or array in the function -> what stands for it.

  Returns:
    What stands for its outputs.
  """
  jaxpr = getattr(function, "jaxpr", function)
  consts = map(constant, getattr(function, "consts", ()))
  known = dict(
    itertools.chain(
      zip(jaxpr.constvars, consts, strict=True),
      zip(jaxpr.invars, args, strict=True),
    )
  )

  def of(var: Any) -> Any:
    return constant(var.val) if hasattr(var, "val") else known[var]

  for eqn in jaxpr.eqns:
    ins = [of(var) for var in eqn.invars]
    called = next((eqn.params[k] for k in _CALLED if k in eqn.params), None)
    if called is None or eqn.primitive.name in _LOOPS:
      outs = rule(eqn, ins)
    else:
      outs = walk(called, ins, rule, constant)
    known.update(zip(eqn.outvars, outs, strict=True))
  return [of(var) for var in jaxpr.outvars]


def named_sites(traced: Traced) -> Iterator[tuple[Axis, Site]]:
  """Yields each axis that may be permuted and where its units' values are."""
  for axis, site in traced.sites.items():
    root = axis.root
    if not root.fixed and not root.parts:
      yield root, site
