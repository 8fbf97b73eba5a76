"""What each operation says of its arrays' axes."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imp_jax.landscape.axes import Axes, Axis, fix, fresh

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


def axes_of(eqn: Any, ins: Sequence[Axes]) -> list[Axes]:
  """Returns the axes of an operation's outputs; joins and fixes its inputs'."""
  name, shapes = eqn.primitive.name, [v.aval.shape for v in eqn.outvars]
  known = _RULES.get(name)
  if name in _ELEMENTWISE:
    return [_elementwise(ins, shapes[0])]
  if name in _REDUCTIONS:
    return [_without(ins[0], eqn.params["axes"])]
  if known and (axes := known(eqn.params, ins, shapes[0])) is not None:
    return [axes]
  for axes in ins:
    fix(axes)
  outs = [fresh(shape) for shape in shapes]
  for axes in outs:
    fix(axes)
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
  found = list(fresh(shape))
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
  found = list(fresh(shape))
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
  found = list(fresh(shape))
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
  found = list(fresh(shape))
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
