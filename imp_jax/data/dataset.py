"""A data set as arrays in one canonical order, with a fingerprint."""

import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.keys import key_words, named_key
from imp_jax.data.arrays import (
  averaged,
  channel_moments,
  channels_of,
  check_unit,
  checked_arrays,
)
from imp_jax.data.subsets import keep_indices


@dataclasses.dataclass(frozen=True)
class Split:
  """Examples of one split; arrays lie on the device once `on_device` made it.

  Attributes:
    inputs: uint8[n, height, width, channels] or float32[n, length].
    labels: int32[n].
    source_index: int64[n], each example's position in its source.
    fingerprint: hash of the examples in canonical order. Equal for the same
      examples in any source and any source order.
  """

  inputs: jax.Array | np.ndarray
  labels: jax.Array | np.ndarray
  source_index: np.ndarray
  fingerprint: str

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def source_order(self) -> str:
    """Hash of which example stands where in the source."""
    return _order_hash(self.source_index)


@dataclasses.dataclass(frozen=True)
class Listing:
  """Training examples as their source lists them, for files in that order.

  Equal fingerprints say that two sources hold the same examples; numbers listed
  in source order fit both only if the order is equal too.

  Attributes:
    fingerprint: of these examples, as a split's.
    source_index: int64[n], each one's position in the source.
    labels: int32[n].
    kept: int64[m], which of them the training split has, ascending.
  """

  fingerprint: str
  source_index: np.ndarray
  labels: np.ndarray
  kept: np.ndarray

  def __len__(self) -> int:
    return len(self.source_index)

  @property
  def source_order(self) -> str:
    """Hash of which example stands where in the source."""
    return _order_hash(self.source_index)


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Splits in canonical order, and what describes them.

  Attributes:
    name: the source's name, for people; no number depends on it.
    splits: "train", "test" and, if there is one, "valid".
    class_names: one per class.
    mean, std: normalisation constants per channel, inputs scaled to [0, 1] if
      they are uint8.
    one_order: whether the source knows one order of its examples only, since it
      generates them.
    undivided: the training examples before some were taken from them, as a
      validation split or by drawing a subsample; the latest first.
  """

  name: str
  splits: dict[str, Split]
  class_names: tuple[str, ...]
  mean: tuple[float, ...]
  std: tuple[float, ...]
  one_order: bool = False
  undivided: tuple[Listing, ...] = ()

  @property
  def train(self) -> Split:
    return self.splits["train"]

  @property
  def fingerprint(self) -> str:
    """The training split's: nothing else of the data reaches a training."""
    return self.train.fingerprint

  @property
  def listings(self) -> tuple[Listing, ...]:
    """What a file in source order may list: the training split, or all of it.

    The largest is the last.
    """
    train = self.train
    training = Listing(
      self.fingerprint,
      train.source_index,
      np.asarray(train.labels),
      np.arange(len(train)),
    )
    return (training, *self.undivided)

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
  one_order: bool = False,
  side: int = 0,
) -> Dataset:
  """Returns the validated data set in canonical order, as host arrays.

  Warns of inputs that are both training and other examples, and of inputs that
  training has under several labels.

  Args:
    name: the source's name.
    arrays: {"train": (inputs, labels), "test": ...}. Images uint8[n, h, w] or
      [n, h, w, c]; signals float32[n, length]; labels integer[n] or [n, 1], or
      one-hot [n, classes].
    class_names: one per class; numbered from the labels if None, which must
      then name every class.
    mean, std: normalisation constants per channel; measured on the training
      split if empty.
    one_order: whether the source knows one order only.
    side: pixels of the shorter side that images are averaged to; 0 = as they
      are. Measured constants are of the averaged ones.

  Raises:
    ValueError: a split is empty or mis-shaped, images have no such side, inputs
      are not finite, a label lies outside the classes, a class that nobody
      named has no training example, or training has one class only.
  """
  splits, inputs_seen = {}, {}
  for split, (inputs, labels) in sorted(arrays.items()):
    inputs, labels = checked_arrays(f"{name} {split}", inputs, labels)
    if side:
      inputs = averaged(f"{name} {split}", inputs, side)
    splits[split], inputs_seen[split] = canonical_split(inputs, labels)
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
    empty = sorted(set(range(top + 1)) - set(present.tolist()))
    if empty:
      raise ValueError(
        f"{name} train: class {empty[0]} has no example, yet labels go up to "
        f"{top}: number the classes 0..{top - len(empty)}, or, if it is meant, "
        f"give the {top + 1} class_names"
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
    mean, std = channel_moments(np.asarray(splits["train"].inputs))
  channels = channels_of(splits["train"].inputs.shape[1:])
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
  if splits["train"].inputs.dtype != np.uint8:
    check_unit(name, mean[0], std[0])
  _warn_of_repeats(name, splits, inputs_seen)
  return Dataset(
    name=name,
    splits=splits,
    class_names=tuple(class_names),
    mean=tuple(float(m) for m in mean),
    std=tuple(float(s) for s in std),
    one_order=one_order,
  )


def canonical_split(
  inputs: np.ndarray, labels: np.ndarray
) -> tuple[Split, list[bytes]]:
  """Returns the split sorted by a hash of each example, and hashes of inputs.

  Exact duplicates (same bytes, same label) stay in source order among
  themselves, which changes no array but `source_index`.

  Returns:
    (the split, the hash of each one's inputs alone).
  """
  rows = np.ascontiguousarray(inputs).reshape(len(inputs), -1).view(np.uint8)
  of_inputs, of_examples = [], []
  for row, label in zip(rows, labels, strict=True):
    digest = hashlib.blake2b(row.tobytes(), digest_size=16)
    of_inputs.append(digest.digest())
    digest.update(int(label).to_bytes(4, "little", signed=True))
    of_examples.append(digest.digest())
  hashes = np.asarray(of_examples, dtype="V16").view(">u8").reshape(-1, 2)
  order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # a stable sort
  digest = hashlib.sha256(f"{inputs.shape[1:]} {inputs.dtype}".encode())
  digest.update(hashes[order].tobytes())
  split = Split(
    inputs[order],
    labels[order],
    order.astype(np.int64),
    digest.hexdigest()[:32],
  )
  return split, [of_inputs[i] for i in order]


def with_valid_split(dataset: Dataset, size: int, key: jax.Array) -> Dataset:
  """Returns the data set with `size` training examples moved to "valid".

  Which ones depends on the key and the examples' content only (canonical
  order), so every source of the same data gives the same split.

  Raises:
    ValueError: size leaves no training example, of a class or at all, or there
      is a "valid" already.
  """
  if "valid" in dataset.splits:
    raise ValueError(
      f"{dataset.name} has a validation split of its own: set "
      "data.valid_examples=0 (or, of CINIC-10, data.merge_valid=True)"
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
  divided, inputs_seen = {}, {}
  for name, keep in (("train", ~chosen), ("valid", chosen)):
    divided[name], inputs_seen[name] = _part(train, np.flatnonzero(keep))
  lost = set(train.labels.tolist()) - set(divided["train"].labels.tolist())
  if lost:
    raise ValueError(
      f"data.valid_examples={size} leaves no training example of class "
      f"{dataset.class_names[min(lost)]}"
    )
  _warn_of_repeats(dataset.name, divided, inputs_seen)
  return dataclasses.replace(
    dataset,
    splits=dataset.splits | divided,
    undivided=_kept(dataset.listings, np.flatnonzero(~chosen)),
  )


def with_subsample(dataset: Dataset, size: int) -> Dataset:
  """Returns the data set with `size` of its training examples.

  As many of each class, or one more of the first ones. Which ones depends on
  the examples' content only (canonical order, and one key for all studies), so
  that every seed and every source of the same data gives the same data.

  Raises:
    ValueError: fewer than classes, or more than there are, at all or of a
      class.
  """
  train, classes = dataset.train, dataset.num_classes
  if not classes <= size <= len(train):
    raise ValueError(
      f"data.subsample must be 0 (all) or in {classes}..{len(train)}, between "
      f"one of each class and all training examples, got {size}"
    )
  words = key_words(named_key(jax.random.key(0), "subsample"))
  try:
    kept = keep_indices(
      "random",
      np.asarray(train.labels),
      size=size,
      num_classes=classes,
      tie_words=words,
      draw_words=words,
      balanced=True,
    )
  except ValueError as error:  # a class is smaller than its share
    raise ValueError(f"data.subsample={size}: {error}") from None
  part, _ = _part(train, kept)
  return dataclasses.replace(
    dataset,
    splits=dataset.splits | {"train": part},
    undivided=_kept(dataset.listings, kept),
  )


def measured(dataset: Dataset) -> Dataset:
  """Returns the data set normalised by its training split's own moments."""
  mean, std = channel_moments(np.asarray(dataset.train.inputs))
  return dataclasses.replace(dataset, mean=mean, std=std)


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
    name: dataclasses.replace(s, inputs=place(s.inputs), labels=place(s.labels))
    for name, s in dataset.splits.items()
  }
  return dataclasses.replace(dataset, splits=splits)


def _part(split: Split, kept: np.ndarray) -> tuple[Split, list[bytes]]:
  """What `canonical_split` returns of the examples at ascending positions."""
  part, inputs_seen = canonical_split(
    np.asarray(split.inputs)[kept], np.asarray(split.labels)[kept]
  )
  # In canonical order already, so sorting leaves them as they are.
  source_index = split.source_index[kept]
  return dataclasses.replace(part, source_index=source_index), inputs_seen


def _kept(listings: Sequence[Listing], kept: np.ndarray) -> tuple[Listing, ...]:
  """The listings, once the training split keeps these of its examples."""
  return tuple(
    dataclasses.replace(listing, kept=listing.kept[kept])
    for listing in listings
  )


def _order_hash(source_index: np.ndarray) -> str:
  return hashlib.sha256(source_index.tobytes()).hexdigest()[:32]


def _warn_of_repeats(
  name: str,
  splits: Mapping[str, Split],
  inputs_seen: Mapping[str, Sequence[bytes]],
) -> None:
  """Warns of inputs that occur where they should not occur twice."""
  labels_of: dict[bytes, set[int]] = {}
  for h, label in zip(
    inputs_seen["train"], splits["train"].labels.tolist(), strict=True
  ):
    labels_of.setdefault(h, set()).add(label)
  ambiguous = sum(len(labels) > 1 for labels in labels_of.values())
  if ambiguous:
    warnings.warn(
      f"{name}: {ambiguous} inputs are training examples under more than one "
      "label",
      stacklevel=3,
    )
  for split in sorted(set(splits) - {"train"}):
    labels = splits[split].labels.tolist()
    same_label = [
      (label in labels_of[h])
      for h, label in zip(inputs_seen[split], labels, strict=True)
      if h in labels_of
    ]
    if same_label:
      other = same_label.count(False)
      under = f", {other} of them under another label" if other else ""
      warnings.warn(
        f"{name}: {len(same_label)} of {len(labels)} {split} examples are also "
        f"training examples{under}",
        stacklevel=3,
      )
