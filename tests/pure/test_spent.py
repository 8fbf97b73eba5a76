"""What is counted of a process's time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.engine.spent import Union, in_program, spent


@pytest.mark.parametrize(
  ("intervals", "length"),
  [
    ([(0, 1), (2, 4)], 3),
    ([(1, 2), (0, 3)], 3),  # one within the next
    ([(1, 2), (3, 4), (0, 5), (6, 7)], 6),
    ([(0, 2), (1, 3)], 3),  # beside it in another thread
    ([(0, 1), (2, 3), (0.5, 4)], 4),
    ([(0, 2), (0, 2)], 2),
  ],
)
def test_a_union_counts_each_moment_once(intervals, length):
  union = Union()
  assert sum(union.add(*each) for each in intervals) == length


def test_a_union_of_many_against_numpy(rng):
  """Against moments of a grid, in the order of their ends."""
  starts = rng.integers(0, 900, 300)
  stops = starts + rng.integers(1, 100, 300)
  union, covered, total = Union(), np.zeros(1000, bool), 0
  for i in np.argsort(stops, kind="stable"):
    total += union.add(int(starts[i]), int(stops[i]))
    covered[starts[i] : stops[i]] = True
    assert total == covered.sum()


def test_compiling_is_no_program_and_counts_once():
  def fn(x):
    return jnp.sin(x) @ jnp.cos(x) + 0.123

  before = spent()
  with in_program():
    jax.block_until_ready(jax.jit(fn)(jnp.ones((8, 8))))
  first = spent() - before
  assert first.compile_seconds > 0 and first.program_seconds >= 0
  with in_program():
    pass
  assert (spent() - before).compile_seconds == first.compile_seconds
