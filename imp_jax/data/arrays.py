"""Checks a data set's arrays, brings them into one form, measures them."""

import math

import numpy as np


def checked_arrays(
  what: str, inputs: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns (inputs, int32 labels [n]) in the form that everything expects.

  Images come back as uint8[n, height, width, channels], signals as
  float32[n, length].

  Args:
    what: the data set and split, for messages.
    inputs, labels: as of `dataset.make_dataset`.

  Raises:
    ValueError: they are no such arrays; the message says what to do where it
      is known.
  """
  inputs, labels = np.asarray(inputs), np.asarray(labels)
  if not inputs.ndim or not labels.ndim:
    raise ValueError(
      f"{what}: inputs and labels must be arrays, got shapes {inputs.shape} "
      f"and {labels.shape}"
    )
  if not len(inputs):
    raise ValueError(f"{what}: holds no example")
  if not inputs.size:
    raise ValueError(f"{what}: inputs are empty, {inputs.shape}")
  labels = _class_numbers(what, labels)
  if len(inputs) != len(labels):
    hint = ""
    if inputs.ndim == 4 and inputs.shape[3] == len(labels):
      hint = "; examples come first: inputs.transpose(3, 0, 1, 2)"
    raise ValueError(
      f"{what}: {len(inputs)} inputs but {len(labels)} labels{hint}"
    )
  if inputs.dtype == np.uint8 and inputs.ndim in (3, 4):
    if inputs.ndim == 4 and inputs.shape[1] <= 4 < min(inputs.shape[2:]):
      raise ValueError(
        f"{what}: inputs {inputs.shape} have their {inputs.shape[1]} channels "
        "first, images are [n, height, width, channels]: "
        "inputs.transpose(0, 2, 3, 1)"
      )
    inputs = inputs.reshape(*inputs.shape[:3], -1)
  elif np.issubdtype(inputs.dtype, np.floating) and inputs.ndim == 2:
    with np.errstate(over="ignore"):  # then not finite
      inputs = inputs.astype(np.float32)
    if not np.isfinite(inputs).all():
      raise ValueError(f"{what}: signals must be finite float32 numbers")
  else:
    raise ValueError(
      f"{what}: inputs must be images uint8[n, height, width(, channels)] or "
      f"signals float[n, length], got {inputs.dtype} {inputs.shape}; images of "
      "floats in 0..1 are (255 * x).round().astype('uint8')"
    )
  low, high = labels.min(), labels.max()
  if low < 0 or high >= 2**31:  # before the cast could wrap them
    raise ValueError(
      f"{what}: labels must number the classes from 0, got {low}..{high}"
    )
  return inputs, labels.astype(np.int32)


def averaged(what: str, images: np.ndarray, side: int) -> np.ndarray:
  """Returns images averaged over whole square blocks of pixels, as uint8.

  Halves are rounded up.

  Args:
    what: the data set and split, for messages.
    images: uint8[n, height, width, channels].
    side: pixels that the shorter side is to have.

  Raises:
    ValueError: they are signals, or whole blocks give no such side.
  """
  if images.ndim != 4:
    raise ValueError(
      f"{what}: data.resize={side} is for images, these are signals of length "
      f"{images.shape[1]}"
    )
  count, height, width, channels = images.shape
  shorter, common = min(height, width), math.gcd(height, width)
  blocks = [b for b in range(1, common + 1) if not common % b]
  if side not in [shorter // b for b in blocks]:
    sides = ", ".join(str(shorter // b) for b in reversed(blocks))
    raise ValueError(
      f"{what}: data.resize={side} does not divide images of {height} x "
      f"{width} pixels; sides that do: {sides}"
    )
  block = shorter // side
  sums = images.reshape(
    count, height // block, block, width // block, block, channels
  ).sum(axis=(2, 4), dtype=np.uint32)
  return ((sums + block**2 // 2) // block**2).astype(np.uint8)


def channels_of(input_shape: tuple[int, ...]) -> int:
  """Returns how many channels inputs of a shape have; signals have one."""
  return input_shape[-1] if len(input_shape) == 3 else 1


def channel_moments(
  inputs: np.ndarray,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and standard deviation (ddof 0) per channel.

  Of uint8 as fractions of 255. To six significant digits of the deviation, so
  that no machine's order of summation shows in them, in whatever unit the
  inputs are. A constant channel has a deviation of 1: it is only centred.
  """
  flat = inputs.reshape(-1, channels_of(inputs.shape[1:]))
  if flat.dtype == np.uint8:
    # Exact integer sums, so that no summation order shows in the constants.
    flat = flat.astype(np.int64)
    mean = flat.sum(axis=0) / len(flat)
    var = (flat**2).sum(axis=0) / len(flat) - mean**2
    mean, std = mean / 255, np.sqrt(var) / 255
  else:
    mean, std = (
      flat.mean(axis=0, dtype=np.float64),
      flat.std(axis=0, dtype=np.float64),
    )
  std = np.where(std > 0, std, 1.0)
  digits = [5 - math.floor(math.log10(s)) for s in std]
  return (
    tuple(round(float(m), d) for m, d in zip(mean, digits, strict=True)),
    tuple(round(float(s), d) for s, d in zip(std, digits, strict=True)),
  )


def check_unit(name: str, mean: float, std: float) -> None:
  """Refuses signals whose spread float32 cannot hold beside their mean.

  Raises:
    ValueError: says which, and what to do.
  """
  info = np.finfo(np.float32)
  if not info.tiny * 1e4 < std < info.max / 1e4:
    raise ValueError(
      f"{name}: signals have a standard deviation of {std:g}, beyond what "
      "float32 computes with: give them in another unit"
    )
  step = float(np.spacing(np.float32(abs(mean))))
  if step > 1e-3 * std:
    raise ValueError(
      f"{name}: signals lie around {mean:g}, where float32 has steps of "
      f"{step:g}, with a standard deviation of only {std:g}: subtract their "
      "mean before they are saved"
    )


def _class_numbers(what: str, labels: np.ndarray) -> np.ndarray:
  """Labels as integers of shape (n,), from a column or one-hot rows too."""
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels[:, 0]
  elif labels.ndim == 2 and labels.dtype.kind in "biuf":
    if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
      raise ValueError(
        f"{what}: labels {labels.shape} are not one-hot; give one class number "
        "per example, e.g. labels.argmax(axis=1)"
      )
    labels = labels.argmax(axis=1)
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      f"{what}: labels must be integers of shape (n,), got {labels.dtype} "
      f"{labels.shape}"
    )
  return labels
