"""A data set as arrays in one canonical order, with a fingerprint."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.keys import key_words, named_key


@dataclasses.dataclass(frozen=True)
class Split:
  """Examples of one split; arrays lie on the device once `on_device` made it.

  Attributes:
    inputs: uint8[n, height, width, channels] or float32[n, length].
    labels: int32[n].
    source_index: int64[n], each example's position in its source.
  """

  inputs: jax.Array | np.ndarray
  labels: jax.Array | np.ndarray
  source_index: np.ndarray

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def source_order(self) -> str:
    """Hash of which example stands where in the source.

    Equal fingerprints say that two sources hold the same examples; numbers
    listed in source order fit both only if this is equal too.
    """
    return hashlib.sha256(self.source_index.tobytes()).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Splits in canonical order, and what describes them.

  Attributes:
    name: the source's name, for people; no number depends on it.
    splits: "train", "test" and, if there is one, "valid".
    class_names: one per class.
    mean, std: normalisation constants per channel, inputs scaled to [0, 1] if
      they are uint8.
    fingerprint: hash of every split's examples in canonical order. Equal for
      the same examples in any source and any source order.
  """

  name: str
  splits: dict[str, Split]
  class_names: tuple[str, ...]
  mean: tuple[float, ...]
  std: tuple[float, ...]
  fingerprint: str

  @property
  def train(self) -> Split:
    return self.splits["train"]

  @property
  def num_classes(self) -> int:
    return len(self.class_names)

  @property
  def input_shape(self) -> tuple[int, ...]:
    return tuple(self.train.inputs.shape[1:])


def make_dataset(
  name: str,
  arrays: dict[str, tuple[np.ndarray, np.ndarray]],
  *,
  class_names: Sequence[str] | None = None,
  mean: Sequence[float] = (),
  std: Sequence[float] = (),
) -> Dataset:
  """Returns the validated data set in canonical order, as host arrays.

  Args:
    name: the source's name.
    arrays: {"train": (inputs, labels), "test": ...}. Images uint8[n, h, w] or
      [n, h, w, c]; signals float32[n, length]; labels integer[n].
    class_names: one per class; numbered from the labels if None.
    mean, std: normalisation constants per channel; measured on the training
      split if empty.

  Raises:
    ValueError: a split is empty or mis-shaped, inputs are not finite, a label
      lies outside the classes, or training has one class only.
  """
  splits, digest = {}, hashlib.sha256()
  for split, (inputs, labels) in sorted(arrays.items()):
    inputs, labels = _checked_arrays(f"{name} {split}", inputs, labels)
    splits[split], order_digest = canonical_split(inputs, labels)
    digest.update(f"{split} {inputs.shape[1:]} {inputs.dtype}".encode())
    digest.update(order_digest)
  shapes = {split: s.inputs.shape[1:] for split, s in splits.items()}
  if len(set(shapes.values())) > 1:
    raise ValueError(f"{name}: splits differ in shape: {shapes}")
  present = np.unique(splits["train"].labels)
  if len(present) < 2:
    raise ValueError(
      f"{name} train: needs at least two classes, has only {present.tolist()}"
    )
  if class_names is None:
    top = int(splits["train"].labels.max())
    if top >= len(splits["train"]):
      raise ValueError(
        f"{name} train: labels must number the classes from 0, got {top} "
        f"among {len(splits['train'])} examples"
      )
    class_names = tuple(str(c) for c in range(top + 1))
  for split, s in splits.items():
    low, high = int(s.labels.min()), int(s.labels.max())
    if low < 0 or high >= len(class_names):
      raise ValueError(
        f"{name} {split}: labels must lie in 0..{len(class_names) - 1} "
        f"({len(class_names)} classes), got {low}..{high}"
      )
  if bool(len(mean)) != bool(len(std)):
    raise ValueError(
      f"{name}: give both data.mean and data.std or neither, got "
      f"{tuple(mean)} and {tuple(std)}"
    )
  if not len(mean):
    mean, std = _channel_moments(np.asarray(splits["train"].inputs))
  channels = _channels(splits["train"].inputs.shape[1:])
  numbers = (*mean, *std)
  if (
    not np.isfinite(numbers).all()
    or not len(mean) == len(std) == channels
    or min(std) <= 0
  ):
    raise ValueError(
      f"{name}: data.mean and data.std need {channels} numbers (std > 0), "
      f"got {tuple(mean)} and {tuple(std)}"
    )
  return Dataset(
    name=name,
    splits=splits,
    class_names=tuple(class_names),
    mean=tuple(float(m) for m in mean),
    std=tuple(float(s) for s in std),
    fingerprint=digest.hexdigest()[:32],
  )


def canonical_split(
  inputs: np.ndarray, labels: np.ndarray
) -> tuple[Split, bytes]:
  """Returns the split sorted by a hash of each example, and the hash of all.

  Exact duplicates (same bytes, same label) stay in source order among
  themselves, which changes no array but `source_index`.
  """
  rows = np.ascontiguousarray(inputs).reshape(len(inputs), -1).view(np.uint8)
  hashes = (
    np.asarray(
      [
        hashlib.blake2b(
          row.tobytes() + int(label).to_bytes(4, "little", signed=True),
          digest_size=16,
        ).digest()
        for row, label in zip(rows, labels, strict=True)
      ],
      dtype="V16",
    )
    .view(">u8")
    .reshape(-1, 2)
  )
  order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # a stable sort
  split = Split(inputs[order], labels[order], order.astype(np.int64))
  return split, hashlib.sha256(hashes[order].tobytes()).digest()


def with_valid_split(dataset: Dataset, size: int, key: jax.Array) -> Dataset:
  """Returns the data set with `size` training examples moved to "valid".

  Which ones depends on the key and the examples' content only (canonical
  order), so every source of the same data gives the same split.

  Raises:
    ValueError: size leaves no training example, or there is a "valid" already.
  """
  if "valid" in dataset.splits:
    raise ValueError(
      f"{dataset.name} has a validation split already: set "
      "data.valid_examples=0 (or data.merge_valid=True)"
    )
  if not 0 < size < len(dataset.train):
    raise ValueError(
      f"data.valid_examples must be in 1..{len(dataset.train) - 1}, got {size}"
    )
  rng = np.random.default_rng(key_words(named_key(key, "valid")))
  raw = rng.bit_generator.random_raw(len(dataset.train))
  chosen = np.zeros(len(dataset.train), bool)
  chosen[np.argsort(raw, kind="stable")[:size]] = True
  train = dataset.train

  def part(keep):
    return Split(
      train.inputs[keep], train.labels[keep], train.source_index[keep]
    )

  split_id = f"{dataset.fingerprint} valid {size} {key_words(key)}"
  return dataclasses.replace(
    dataset,
    splits=dataset.splits | {"train": part(~chosen), "valid": part(chosen)},
    fingerprint=hashlib.sha256(split_id.encode()).hexdigest()[:32],
  )


def on_device(
  dataset: Dataset,
  place: Callable[[jax.typing.ArrayLike], jax.Array] = jnp.asarray,
) -> Dataset:
  """Returns the data set with inputs and labels as device arrays.

  Args:
    dataset: on the host.
    place: makes an array on the device, or on several.
  """
  splits = {
    name: Split(place(s.inputs), place(s.labels), s.source_index)
    for name, s in dataset.splits.items()
  }
  return dataclasses.replace(dataset, splits=splits)


def _checked_arrays(what, inputs, labels):
  inputs, labels = np.asarray(inputs), np.asarray(labels)
  if not len(inputs):
    raise ValueError(f"{what}: holds no example")
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      f"{what}: labels must be integers of shape (n,), got {labels.dtype} "
      f"{labels.shape}"
    )
  if len(inputs) != len(labels):
    raise ValueError(f"{what}: {len(inputs)} inputs but {len(labels)} labels")
  if inputs.dtype == np.uint8 and inputs.ndim in (3, 4):
    inputs = inputs.reshape(*inputs.shape[:3], -1)
  elif np.issubdtype(inputs.dtype, np.floating) and inputs.ndim == 2:
    inputs = inputs.astype(np.float32)
    if not np.isfinite(inputs).all():
      raise ValueError(f"{what}: signals must be finite")
  else:
    raise ValueError(
      f"{what}: inputs must be images uint8[n, height, width(, channels)] or "
      f"signals float[n, length], got {inputs.dtype} {inputs.shape}"
    )
  low, high = labels.min(), labels.max()
  if low < 0 or high >= 2**31:  # before the cast could wrap them
    raise ValueError(
      f"{what}: labels must number the classes from 0, got {low}..{high}"
    )
  return inputs, labels.astype(np.int32)


def _channels(input_shape: tuple[int, ...]) -> int:
  return input_shape[-1] if len(input_shape) == 3 else 1


def _channel_moments(inputs):
  """Mean and standard deviation (ddof 0) per channel, uint8 as fractions."""
  flat = inputs.reshape(-1, _channels(inputs.shape[1:]))
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
  std = np.where(std > 0, std, 1.0)  # a constant channel is only centred
  return tuple(round(float(m), 6) for m in mean), tuple(
    round(float(s), 6) for s in std
  )
