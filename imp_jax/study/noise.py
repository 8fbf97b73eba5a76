"""Resolving noise on labels."""

import hashlib
from typing import Any

import numpy as np

from imp_jax.core.options import read
from imp_jax.data.dataset import Dataset
from imp_jax.data.settings import NO_NOISE, NoiseSettings
from imp_jax.engine.imports import Imports


def resolve_noise(
  noise: Any, dataset: Dataset, imports: Imports, group: str = "pretrain.noise"
) -> NoiseSettings:
  """Returns the noise on labels; none of it is one and the same setting.

  Args:
    noise: a config's group.
    dataset, imports: the data, and what the config's files hold.
    group: its name.

  Raises:
    OSError: a file is not there.
    ValueError: a field is out of its range, or of another kind of noise.
  """
  kind = noise.kind
  if noise.fraction and kind in ("matrix", "file"):
    raise ValueError(
      f"{group}.fraction is for 'redrawn' and 'symmetric'; a matrix or a "
      f"file says itself how much noise it is, got {noise.fraction}"
    )
  for field in ("matrix", "file"):
    if bool(noise[field]) != (kind == field):
      raise ValueError(
        f"{group}.{field} goes with {group}.kind={field!r}, got "
        f"{str(noise[field])[:80]!r} and {kind!r}"
      )
  if kind == "matrix":
    return _noise_by_class(noise, dataset.num_classes, f"{group}.matrix")
  if kind == "file":
    content = imports.labels(noise.file, dataset)
    return read(NoiseSettings, noise, fraction=0.0, content=content)
  return read(NoiseSettings, noise) if noise.fraction else NO_NOISE


def _noise_by_class(noise: Any, num_classes: int, field: str) -> NoiseSettings:
  """Noise by a transition matrix, which must have a distribution per class."""
  rows = [tuple(row) for row in noise.matrix]
  if [len(row) for row in rows] != [num_classes] * num_classes:
    raise ValueError(
      f"{field} must be {num_classes} rows of {num_classes} probabilities, one "
      f"row per class, got rows of {[len(row) for row in rows][:20]}"
    )
  for i, row in enumerate(rows):
    if not all(0 <= p <= 1 for p in row) or abs(sum(row) - 1) > 1e-6:
      raise ValueError(
        f"{field}: row {i} must be probabilities that add up to 1, got {row}"
      )
  values = np.asarray(rows, np.float64)
  if np.array_equal(values, np.eye(num_classes)):
    return NO_NOISE
  content = hashlib.sha256(values.tobytes()).hexdigest()[:32]
  return read(NoiseSettings, noise, fraction=0.0, content=content)
