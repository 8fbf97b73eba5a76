"""Random keys by name and number, so that each purpose can vary alone."""

import zlib

import jax
import numpy as np


def named_key(key: jax.Array, name: str, *numbers: int) -> jax.Array:
  """Returns `key` folded with a purpose's name, then with each number.

  Args:
    key: a typed key, `jax.random.key(seed)`.
    name: the purpose: "init", "data_order", "augment", ...
    *numbers: what else the purpose depends on: replicate, level, ...

  Returns:
    A typed key. Equal arguments give equal keys in every process: the name is
    hashed by CRC-32, since `hash(str)` is salted per process.
  """
  key = jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode())))
  for number in numbers:
    key = jax.random.fold_in(key, np.uint32(number))
  return key


def key_words(key: jax.Array) -> tuple[int, ...]:
  """Returns a typed key's data as Python ints, to seed a host generator."""
  return tuple(int(word) for word in np.asarray(jax.random.key_data(key)))
