"""Examples that are made from the training data, without a network."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from imp_jax.data.batches import permutation

# "distilled" ones need networks: `training.distillation`.
MADE = ("gaussian", "gaussian_teacher", "class_means", "distilled")


def gaussian_twin(
  inputs: Float[np.ndarray, " examples *shape"],
  labels: Int[np.ndarray, " examples"],
  normal: Float[np.ndarray, " examples *shape"],
) -> Float[np.ndarray, " examples *shape"]:
  """Returns inputs drawn from a Gaussian of each class's mean and covariance.

  Which so are those of all inputs together. Each is made from its own normal
  numbers by the symmetric root of its class's covariance (ddof = 0), which is
  unique.

  Args:
    inputs, labels: the training data; with one label all have one covariance.
    normal: independent standard normal numbers.
  """
  flat = np.asarray(inputs, np.float64).reshape(len(inputs), -1)
  drawn = np.asarray(normal, np.float64).reshape(flat.shape)
  made = np.empty_like(flat)
  for c in np.unique(labels):
    own = labels == c
    mean = flat[own].mean(axis=0)
    apart = flat[own] - mean
    values, axes = np.linalg.eigh(apart.T @ apart / len(apart))
    root = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    made[own] = mean + drawn[own] @ root
  return made.reshape(inputs.shape).astype(inputs.dtype)


def class_means(
  inputs: Float[np.ndarray, " examples *shape"],
  labels: Int[np.ndarray, " examples"],
  *,
  per_class: int,
  words: Sequence[int],
) -> tuple[Float[np.ndarray, " made *shape"], Int[np.ndarray, " made"]]:
  """Returns means over random parts of each class, and their labels.

  The parts of a class are as large as each other, or one larger; with one per
  class they are the classes' means.

  Args:
    inputs, labels: the training data.
    per_class: parts; at most a class's examples.
    words: of the key that draws the parts.
  """
  made, classes = [], np.unique(labels)
  for c in classes:
    own = np.flatnonzero(labels == c)
    order = own[permutation(len(own), (*words, int(c)))]
    made += [
      np.asarray(inputs[part], np.float64).mean(axis=0)
      for part in np.array_split(order, per_class)
    ]
  return (
    np.stack(made).astype(inputs.dtype),
    np.repeat(classes, per_class).astype(labels.dtype),
  )
