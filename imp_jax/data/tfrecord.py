"""Copies a data set that TFDS prepared as tfrecord into array_record.

Both formats hold the same serialised examples. TFDS's own converter reads
tfrecord through TensorFlow; here the records are read directly.
"""

import contextlib
import functools
import importlib
import json
import pathlib
import shutil
import uuid
from collections.abc import Iterator

import numpy as np

from imp_jax.core.files import reading

INFO = "dataset_info.json"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"  # TFDS's default
_BLOCK = 1024  # bytes checked at once; the table, 1 MiB, stays in cache


def convert(folder: str, target: str) -> None:
  """Copies a prepared version's folder; for the command line.

  The folder stays as it is. The target appears whole or not at all; TFDS reads
  it too, with `data_dir` the folder that holds NAME/VERSION.

  Args:
    folder: a version's folder, data_dir/NAME[/CONFIG]/VERSION, with tfrecords.
    target: the folder to make, other_data_dir/NAME[/CONFIG]/VERSION.

  Raises:
    SystemExit: with the line to show, if it cannot be done.
  """
  source, goal = pathlib.Path(folder), pathlib.Path(target)
  if goal.exists():
    print(f"{goal} is there already; to make it anew, delete it first")
    return
  # Readers skip this name. It lies where nothing is made for it.
  root = next(parent for parent in goal.parents if parent.is_dir())
  partial = root / f"incomplete.{uuid.uuid4().hex}_{goal.name}"
  try:
    partial.mkdir()
  except OSError as error:
    raise SystemExit(
      f"{root} cannot be written to ({error.strerror}): as target give another "
      "folder, and as data.path what comes before its NAME/VERSION"
    ) from None
  try:
    examples = _write_copy(source, partial)
    goal.parent.mkdir(parents=True, exist_ok=True)
    partial.rename(goal)
  except (OSError, ValueError, RuntimeError) as error:
    raise SystemExit(f"nothing was written: {error}") from None
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  print(f"{goal}: {examples} examples as array_record")


def shard_records(shard: pathlib.Path) -> Iterator[bytes]:
  """Yields the records of a tfrecord file, each checked against its checksum.

  A record is its length (u64), that length's checksum, the data and their
  checksum (u32 each), all little-endian: tensorflow.org/tutorials/load_data/
  tfrecord, "TFRecords format details".

  Raises:
    ValueError: the file is damaged.
  """
  with shard.open("rb") as file:
    index = 0
    while header := file.read(12):
      if len(header) < 12:
        raise _damaged(shard, f"record {index} is cut short")
      if not _matches(header[:8], header[8:]):
        raise _damaged(shard, f"the length of record {index} is corrupt")
      data = file.read(int.from_bytes(header[:8], "little"))
      checksum = file.read(4)
      if len(checksum) < 4:
        raise _damaged(shard, f"record {index} is cut short")
      if not _matches(data, checksum):
        raise _damaged(shard, f"record {index} differs from its checksum")
      yield data
      index += 1


def crc32c(data: bytes) -> int:
  """Returns the CRC-32C (Castagnoli; RFC 3720, section 12.1) of some bytes.

  A CRC is linear: the XOR of what each byte contributes at its distance from
  the end, which is a look-up in a table. NumPy does a block at once: 2 s for
  60,000 records of 2,400 bytes, where a loop over bytes takes 7.
  """
  table, starts = _contributions()
  crc = 0xFFFFFFFF
  for start in range(0, len(data), _BLOCK):
    block = np.frombuffer(data[start : start + _BLOCK], np.uint8).copy()
    count = len(block)
    before = np.frombuffer(crc.to_bytes(4, "little"), np.uint8)
    block[:4] ^= before[:count]
    parts = table[starts[_BLOCK - count :] + block]
    crc = (crc >> 8 * count) ^ int(np.bitwise_xor.reduce(parts))
  return crc ^ 0xFFFFFFFF


@functools.cache
def _contributions() -> tuple[np.ndarray, np.ndarray]:
  """A byte's part of the CRC by place in a block, flat; each place's start."""
  last = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    last = (last >> 1) ^ np.where(last & 1, np.uint32(0x82F63B78), 0)
  table = np.empty((_BLOCK, 256), np.uint32)
  table[-1] = last
  for place in range(_BLOCK - 2, -1, -1):
    after = table[place + 1]  # one more zero byte behind it
    table[place] = (after >> 8) ^ last[after & 255]
  return table.ravel(), np.arange(_BLOCK) * 256


def _matches(data: bytes, checksum: bytes) -> bool:
  """Whether bytes have a checksum: their CRC, rotated and shifted."""
  crc = crc32c(data)
  masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
  return masked == int.from_bytes(checksum, "little")


def _damaged(shard: pathlib.Path, why: str) -> ValueError:
  return ValueError(
    f"{shard} is damaged: {why}; delete {shard.parent}, and the next run names "
    "the command that prepares it anew"
  )


def _write_copy(source: pathlib.Path, partial: pathlib.Path) -> int:
  """Writes shards and metadata; returns the number of examples."""
  with reading(str(source / INFO), "must be as TFDS writes it"):
    info = json.loads((source / INFO).read_text())
    shards = [
      shard for split in info["splits"] for shard in _shards(info, split)
    ]
  for file, copy, examples in shards:
    _copy_shard(source / file, partial / copy, examples)
  for split in info["splits"]:
    split["filepathTemplate"] = _TEMPLATE
  info["fileFormat"] = "array_record"
  info.pop("alternativeFileFormats", None)
  for file in source.iterdir():
    if file.suffix in (".json", ".txt"):  # features and the classes' names
      shutil.copyfile(file, partial / file.name)
  (partial / INFO).write_text(json.dumps(info, indent=2))
  return sum(examples for *_, examples in shards)


def _shards(info: dict, split: dict) -> list[tuple[str, str, int]]:
  """(tfrecord file, array_record file, examples) of each shard of a split."""
  lengths = [int(length) for length in split["shardLengths"]]

  def name(template: str, file_format: str, index: int) -> str:
    return template.format(
      DATASET=info["name"],
      SPLIT=split["name"],
      FILEFORMAT=file_format,
      SHARD_INDEX=f"{index:05d}",
      NUM_SHARDS=f"{len(lengths):05d}",
      SHARD_X_OF_Y=f"{index:05d}-of-{len(lengths):05d}",
    )

  written = split.get("filepathTemplate") or _TEMPLATE
  return [
    (name(written, "tfrecord", i), name(_TEMPLATE, "array_record", i), length)
    for i, length in enumerate(lengths)
  ]


def _copy_shard(shard: pathlib.Path, copy: pathlib.Path, examples: int) -> None:
  # By name, as pyright does not see into a compiled module.
  module = importlib.import_module("array_record.python.array_record_module")
  # The option is TFDS's: each record can be read on its own.
  writer = module.ArrayRecordWriter(str(copy), "group_size:1")
  count = 0
  with contextlib.closing(writer):
    for record in shard_records(shard):
      writer.write(record)
      count += 1
  if count != examples:
    raise _damaged(shard, f"it holds {count} records, {INFO} says {examples}")
