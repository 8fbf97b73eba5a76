"""Which axes of a network's arrays are one: read off what it computes.

The function that the network is, as JAX traces it, says which axes are
multiplied, added and contracted with each other. Those that are one can be
permuted together and nothing else is seen of it: the units of a layer. An axis
along which order matters (space, classes, the examples' features) is fixed, and
so is each that an operation touches that is not known here.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

PyTree = Any

# Operations that do the same to each entry; axes in one place are one.
_SAME = """
abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp
convert_element_type copy cos cosh div eq erf erf_inv erfc exp exp2 expm1 floor
ge gt imag integer_pow is_finite le log log1p logistic lt max min mul ne neg
nextafter not or pow real reduce_precision rem round rsqrt select_n sign sin
sinh sqrt square stop_gradient sub tan tanh xor
"""
# Which see no order along what they reduce.
_REDUCING = """
reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or
"""
_ELEMENTWISE, _REDUCTIONS = (set(names.split()) for names in (_SAME, _REDUCING))
# Functions that are called: their own operations are looked at.
_CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_LOOPS = ("scan", "while", "cond")  # these are operations


class Axis:
  """An axis of arrays, one with others as far as is known.

  Attributes:
    size: of it.
    parts: of which it is the product, the first the slowest; () = it is whole.
    fixed: whether order matters along it.
  """

  def __init__(
    self, size: int, *, parts: Sequence["Axis"] = (), fixed: bool = False
  ):
    self.size, self.parts, self.fixed = size, tuple(parts), fixed
    self._with: Axis | None = None

  @property
  def root(self) -> "Axis":
    """The one that stands for all that are one with it."""
    axis = self
    while axis._with is not None:
      axis = axis._with
    return axis

  @property
  def factors(self) -> tuple["Axis", ...]:
    """The whole axes of which it is the product; those of size 1 left out."""
    axis = self.root
    if axis.parts:
      return tuple(f for part in axis.parts for f in part.factors)
    return (axis,) if axis.size > 1 else ()

  def fix(self) -> None:
    """Says that order matters along it."""
    for axis in self.factors:
      axis.fixed = True

  def join(self, other: "Axis") -> None:
    """Makes it one with another of its size."""
    a, b = self.root, other.root
    if a is b or a.size == 1:
      return
    if a.parts and b.parts:
      one, two = a.factors, b.factors
      if [f.size for f in one] != [f.size for f in two]:
        a.fix()  # cut in two ways: neither way's parts can be moved
        b.fix()
        return
      for x, y in zip(one, two, strict=True):
        x.join(y)
      return
    if a.parts:
      a, b = b, a
    a._with = b  # the one that is whole takes the other's parts
    if a.fixed:
      b.fix()


Axes = tuple[Axis, ...]


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
  given = [_fresh(v.aval.shape) for v in closed.jaxpr.invars]
  for axes in given[count:]:
    _fix(axes)
  made: list[Axes] = []

  def rule(eqn: Any, ins: Sequence[Axes]) -> list[Axes]:
    outs = _axes_of(eqn, ins)
    made.append(outs[0] if len(outs) == 1 else ())
    return outs

  outs = walk(closed, given, rule, _constant)
  for axes in outs:
    _fix(axes)
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


def _fresh(shape: Sequence[int]) -> Axes:
  return tuple(Axis(size) for size in shape)


def _constant(value: Any) -> Axes:
  axes = _fresh(np.shape(value))
  _fix(axes)
  return axes


def _fix(axes: Axes) -> None:
  for axis in axes:
    axis.fix()


def _axes_of(eqn: Any, ins: Sequence[Axes]) -> list[Axes]:
  """The axes of an operation's outputs; joins and fixes those of its inputs."""
  name, shapes = eqn.primitive.name, [v.aval.shape for v in eqn.outvars]
  known = _RULES.get(name)
  if name in _ELEMENTWISE:
    return [_elementwise(ins, shapes[0])]
  if name in _REDUCTIONS:
    return [_without(ins[0], eqn.params["axes"])]
  if known and (axes := known(eqn.params, ins, shapes[0])) is not None:
    return [axes]
  for axes in ins:
    _fix(axes)
  outs = [_fresh(shape) for shape in shapes]
  for axes in outs:
    _fix(axes)
  return outs


def _elementwise(ins: Sequence[Axes], shape: Sequence[int]) -> Axes:
  """Of one rank, or numbers; an axis of size 1 is stretched."""
  found = []
  whole = [axes for axes in ins if len(axes) == len(shape)]
  for place, size in enumerate(shape):
    own = [axes[place] for axes in whole if axes[place].size == size]
    for axis in own[1:]:
      own[0].join(axis)
    found.append(own[0] if own else Axis(size))
  return tuple(found)


def _without(axes: Axes, gone: Sequence[int]) -> Axes:
  return tuple(axis for i, axis in enumerate(axes) if i not in gone)


# Each gives None where it does not know what to do.
Rule = Callable[[Mapping[str, Any], Sequence[Axes], Sequence[int]], Axes | None]


def _squeeze(params: Mapping, ins: Sequence[Axes], shape: Any) -> Axes:
  del shape
  return _without(ins[0], params["dimensions"])


def _transpose(params: Mapping, ins: Sequence[Axes], shape: Any) -> Axes:
  del shape
  return tuple(ins[0][place] for place in params["permutation"])


def _broadcast(params: Mapping, ins: Sequence[Axes], shape: Any) -> Axes:
  """An axis that repeats one number is any other's."""
  found = list(_fresh(shape))
  for axis, place in zip(ins[0], params["broadcast_dimensions"], strict=True):
    if axis.size == shape[place]:
      found[place] = axis
  return tuple(found)


def _reshape(params: Mapping, ins: Sequence[Axes], shape: Any) -> Axes | None:
  """Axes that become one, or one that is cut: as far as they come even."""
  if params.get("dimensions") is not None:
    return None
  old = [axis for axis in ins[0] if axis.size > 1]
  sizes, found = list(shape), []
  for size in sizes:
    if size == 1:
      found.append(Axis(1))
      continue
    taken: list[Axis] = []
    while math.prod(axis.size for axis in taken) < size and old:
      axis = old.pop(0)
      room = size // max(math.prod(a.size for a in taken), 1)
      if axis.size > room:  # it is cut
        if axis.size % room or room == 1:
          return None
        axis, rest = _cut(axis, room)
        if axis is None:
          return None
        old.insert(0, rest)
      taken.append(axis)
    if math.prod(axis.size for axis in taken) != size:
      return None
    found.append(taken[0] if len(taken) == 1 else Axis(size, parts=taken))
  return tuple(found)


def _cut(axis: Axis, size: int) -> tuple[Any, Any]:
  """An axis as two, the first of a size; (None, None) if it cannot be."""
  factors = axis.factors
  if len(factors) > 1:
    for i in range(1, len(factors)):
      if math.prod(f.size for f in factors[:i]) == size:
        rest = axis.size // size
        one = factors[0] if i == 1 else Axis(size, parts=factors[:i])
        tail = factors[i:]
        return one, tail[0] if len(tail) == 1 else Axis(rest, parts=tail)
    return None, None
  root = next(iter(factors), axis).root
  one, two = Axis(size), Axis(axis.size // size)
  root.parts = (one, two)
  if root.fixed:
    root.fix()
  return one, two


def _convolution(
  params: Mapping, ins: Sequence[Axes], shape: Any
) -> Axes | None:
  if params["feature_group_count"] > 1 or params["batch_group_count"] > 1:
    return None
  (inputs, kernel), numbers = ins, params["dimension_numbers"]
  lhs, rhs, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
  inputs[lhs[1]].join(kernel[rhs[1]])
  for place in lhs[2:]:
    inputs[place].fix()
  for place in rhs[2:]:
    kernel[place].fix()
  found = list(_fresh(shape))
  found[out[0]], found[out[1]] = inputs[lhs[0]], kernel[rhs[0]]
  for place in out[2:]:
    found[place].fix()
  return tuple(found)


def _product(params: Mapping, ins: Sequence[Axes], shape: Any) -> Axes:
  del shape
  (one, two), ((left, right), (of_one, of_two)) = (
    ins,
    params["dimension_numbers"],
  )
  for i, j in itertools.chain(
    zip(left, right, strict=True), zip(of_one, of_two, strict=True)
  ):
    one[i].join(two[j])
  batch = tuple(one[i] for i in of_one)
  rest = (_without(one, (*left, *of_one)), _without(two, (*right, *of_two)))
  return (*batch, *rest[0], *rest[1])


def _windows(params: Mapping, ins: Sequence[Axes], shape: Any) -> Axes:
  """A window over space: what it slides along is fixed."""
  found = list(_fresh(shape))
  sides = zip(
    params["window_dimensions"], params["window_strides"], strict=True
  )
  for place, (window, stride) in enumerate(sides):
    if window == stride == 1 and ins[0][place].size == shape[place]:
      found[place] = ins[0][place]
    else:
      ins[0][place].fix()
      found[place].fix()
  return tuple(found)


def _padded(params: Mapping, ins: Sequence[Axes], shape: Any) -> Axes:
  found = list(_fresh(shape))
  for place, axis in enumerate(ins[0]):
    if params["padding_config"][place] == (0, 0, 0):
      found[place] = axis
    else:
      axis.fix()
      found[place].fix()
  return tuple(found)


_RULES: Mapping[str, Rule] = {
  "broadcast_in_dim": _broadcast,
  "conv_general_dilated": _convolution,
  "dot_general": _product,
  "pad": _padded,
  "reduce_window_max": _windows,
  "reduce_window_min": _windows,
  "reduce_window_sum": _windows,
  "reshape": _reshape,
  "squeeze": _squeeze,
  "transpose": _transpose,
}


def named_sites(traced: Traced) -> Iterator[tuple[Axis, Site]]:
  """Yields each axis that may be permuted and where its units' values are."""
  for axis, site in traced.sites.items():
    root = axis.root
    if not root.fixed and not root.parts:
      yield root, site
