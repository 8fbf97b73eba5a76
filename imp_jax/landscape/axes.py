"""Which axes of a network's arrays are one: read off what it computes.

The function that the network is, as JAX traces it, says which axes are
multiplied, added and contracted with each other. Those that are one can be
permuted together and nothing else is seen of it: the units of a layer. An axis
along which order matters (space, classes, the examples' features) is fixed, and
so is each that an operation touches that is not known here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


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


def fresh(shape: Sequence[int]) -> Axes:
  """Returns axes of which nothing is known."""
  return tuple(Axis(size) for size in shape)


def fix(axes: Axes) -> None:
  """Says that order matters along all of them."""
  for axis in axes:
    axis.fix()


def constant(value: Any) -> Axes:
  """Returns the axes of a number or array that stands in a function."""
  axes = fresh(np.shape(value))
  fix(axes)
  return axes
