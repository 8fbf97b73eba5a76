"""Prepared TFDS folders: reading, choosing a version, converting."""

import io
import json
import re
import shutil
import struct
import subprocess
import sys
from unittest import mock

import chex
import numpy as np
import pytest
from PIL import Image

from imp_jax.data import tfrecord
from imp_jax.data.dataset import make_dataset
from imp_jax.data.sources import load_dataset
from tests.places import ROOT
from tests.tiny import random_arrays


def prepare_tfds(folder, arrays, version="3.0.2"):
  """A prepared CIFAR-10 look-alike, as array_record, without TensorFlow."""
  import tensorflow_datasets as tfds

  with tfds.core.registered.skip_registration():

    class Cifar10(tfds.core.GeneratorBasedBuilder):
      name = "cifar10"
      VERSION = tfds.core.Version(version)

      def _info(self):
        features = {
          "image": tfds.features.Image(shape=(8, 8, 3), encoding_format="png"),
          "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
        }
        return tfds.core.DatasetInfo(
          builder=self, features=tfds.features.FeaturesDict(features)
        )

      def _split_generators(self, dl_manager):
        return {s: self._generate_examples(s) for s in arrays}

      def _generate_examples(self, split):
        for i, (image, label) in enumerate(zip(*arrays[split], strict=True)):
          png = io.BytesIO()
          Image.fromarray(image).save(png, format="png")
          png.seek(0)
          yield i, {"image": png, "label": int(label)}

  Cifar10(
    data_dir=str(folder), file_format="array_record"
  ).download_and_prepare()
  return folder / "cifar10" / version


def prepare_cinic10(folder, rng):
  import tensorflow_datasets as tfds

  from imp_jax.data.cinic10 import CLASS_NAMES, Cinic10

  for split in ("train", "valid", "test"):
    for label in CLASS_NAMES:
      images = folder / "manual" / "CINIC-10" / split / label
      images.mkdir(parents=True)
      image = rng.integers(0, 256, (32, 32, 3), dtype="uint8")
      mode = "L" if label == "ship" else "RGB"  # some are grey
      Image.fromarray(image).convert(mode).save(images / "x.png")
  Cinic10(
    data_dir=str(folder), file_format="array_record"
  ).download_and_prepare(
    download_config=tfds.download.DownloadConfig(
      manual_dir=str(folder / "manual")
    )
  )
  return folder / "cinic10" / "1.0.0"


def slow_crc32c(data):
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
  return crc ^ 0xFFFFFFFF


def framed(record):
  """A record as TFRecord files hold it."""

  def masked(data):
    crc = slow_crc32c(data)
    return struct.pack("<I", (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF)

  length = struct.pack("<Q", len(record))
  return length + masked(length) + record + masked(record)


def rewrite_as_tfrecord(folder):
  """Turns a version prepared as array_record into one prepared as tfrecord."""
  from array_record.python import array_record_module as module

  for file in sorted(folder.glob("*.array_record*")):
    reader = module.ArrayRecordReader(str(file))
    copy = file.with_name(file.name.replace("array_record", "tfrecord"))
    copy.write_bytes(b"".join(framed(r) for r in reader.read_all()))
    reader.close()
    file.unlink()
  edit_info(folder, fileFormat="tfrecord")
  return folder


def edit_info(folder, **changes):
  file = folder / "dataset_info.json"
  file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def contents(folder):
  return {f.name: f.read_bytes() for f in folder.iterdir()}


def printed_command(name, path):
  """The message of a data set that is not ready, and its command's code."""
  with pytest.raises(FileNotFoundError) as error:
    load_dataset("tfds", name=name, path=str(path))
  message = str(error.value)
  assert "\n" not in message
  found = re.search(r'python -c "(.*)"$', message)
  assert found
  return message, found[1]


def run_in_shell(code):
  return subprocess.run(
    f'"{sys.executable}" -c "{code}"',
    shell=True,
    capture_output=True,
    text=True,
    cwd=ROOT,
  )


def test_tfds_equals_npz_and_is_decoded_once(tmp_path, rng, monkeypatch):
  arrays = random_arrays(rng)
  prepare_tfds(tmp_path, arrays)
  found = load_dataset("tfds", name="cifar10", path=str(tmp_path))
  by_npz = make_dataset("x", arrays)
  assert found.fingerprint == by_npz.fingerprint
  chex.assert_trees_all_equal(found.train.inputs, by_npz.train.inputs)
  chex.assert_trees_all_equal(found.train.labels, by_npz.train.labels)
  assert found.class_names == ("a", "b", "c")
  assert found.mean == (0.4914, 0.4822, 0.4465)
  monkeypatch.setattr("imp_jax.data.prepared._decode_tfds", None)  # not again
  again = load_dataset("tfds", name="cifar10", path=str(tmp_path))
  assert again.fingerprint == found.fingerprint


def test_tfds_reads_without_tensorflow(tmp_path, rng):
  prepare_tfds(tmp_path, random_arrays(rng))
  load_dataset(
    "tfds", name="cifar10", path=str(tmp_path), cache_dir=str(tmp_path / "c")
  )
  assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("merge,train", [(True, 20), (False, 10)])
def test_cinic10_merged_or_separate(tmp_path, rng, merge, train):
  from imp_jax.data.cinic10 import CLASS_NAMES

  prepare_cinic10(tmp_path, rng)
  found = load_dataset(
    "tfds", name="cinic10", path=str(tmp_path), merge_valid=merge
  )
  assert len(found.train) == train
  assert ("valid" in found.splits) == (not merge)
  assert found.class_names == CLASS_NAMES


def test_the_newest_version_by_number_is_read(tmp_path, rng):
  old, new = random_arrays(rng), random_arrays(rng)
  folder = prepare_tfds(tmp_path, old, "3.9.2")
  prepare_tfds(tmp_path, new, "3.10.0")
  # No versions: a copy someone made, and what a killed preparation leaves.
  for name in ("older", "4.x", "incomplete.AB12CD_3.11.0"):
    shutil.copytree(folder, tmp_path / "cifar10" / name)
  # Newer, but there is something to read without it.
  shutil.copytree(folder, tmp_path / "cifar10" / "3.12.0")
  rewrite_as_tfrecord(tmp_path / "cifar10" / "3.12.0")
  found = load_dataset("tfds", name="cifar10", path=str(tmp_path))
  assert found.fingerprint == make_dataset("x", new).fingerprint


def test_the_newest_tfrecord_version_is_converted(tmp_path, rng):
  arrays = random_arrays(rng)
  for version in ("3.9.2", "3.10.0"):
    rewrite_as_tfrecord(prepare_tfds(tmp_path, arrays, version))
  message, _ = printed_command("cifar10", tmp_path)
  assert f"{tmp_path}/cifar10/3.10.0" in message and "3.9.2" not in message


def test_nothing_prepared_names_the_command_that_prepares(tmp_path):
  message, code = printed_command("mnist", tmp_path)
  assert message.startswith(
    f"mnist is not prepared as array_record in {tmp_path}"
  )
  assert code == (
    f"import tensorflow_datasets as tfds; tfds.builder('mnist', data_dir="
    f"'{tmp_path}', file_format='array_record').download_and_prepare()"
  )
  _, code = printed_command("cinic10", tmp_path)
  assert code == (
    "from imp_jax.data.cinic10 import Cinic10 as builder; builder(data_dir="
    f"'{tmp_path}', file_format='array_record').download_and_prepare()"
  )


@pytest.mark.parametrize("name", ["cifar10", "cinic10"])
def test_the_printed_command_converts_a_tfrecord_copy(
  tmp_path, rng, capsys, name
):
  data_dir = tmp_path / """it's my "$HOME" `x` \\n"""  # a shell's favourites
  if name == "cifar10":
    folder = prepare_tfds(data_dir, random_arrays(rng))
  else:
    folder = prepare_cinic10(data_dir, rng)
  original = load_dataset("tfds", name=name, path=str(data_dir))
  rewrite_as_tfrecord(folder)
  before = contents(folder)

  message, code = printed_command(name, data_dir)
  assert f"{name} is prepared in {folder}, but as tfrecord" in message
  done = run_in_shell(code + "; import sys; print(sorted(sys.modules))")
  assert done.returncode == 0, done.stderr
  assert "'tensorflow'" not in done.stdout
  found = load_dataset(
    "tfds", name=name, path=str(data_dir), cache_dir=str(tmp_path / "cache")
  )
  assert found.fingerprint == original.fingerprint
  assert found.class_names == original.class_names
  assert contents(folder) == before
  # It is a data_dir of its own, for TFDS too.
  again = load_dataset("tfds", name=name, path=str(data_dir / "array_record"))
  assert again.fingerprint == original.fingerprint
  exec(code)
  assert "is there already" in capsys.readouterr().out


def test_a_killed_conversion_leaves_nothing_that_is_read(tmp_path, rng):
  arrays = random_arrays(rng)
  rewrite_as_tfrecord(prepare_tfds(tmp_path, arrays))
  message, code = printed_command("cifar10", tmp_path)
  # Killed when all is written but the last step.
  kill = "import os, pathlib as p; p.Path.rename = lambda *_: os.abort()"
  assert run_in_shell(f"{kill}; {code}").returncode != 0
  assert list(tmp_path.glob("incomplete.*/dataset_info.json"))
  assert printed_command("cifar10", tmp_path) == (message, code)
  assert run_in_shell(code).returncode == 0
  found = load_dataset("tfds", name="cifar10", path=str(tmp_path))
  assert found.fingerprint == make_dataset("x", arrays).fingerprint


def flipped(data, place):
  return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


@pytest.mark.parametrize(
  "damage,message",
  [
    (lambda data: data[:-1], "record 9 is cut short"),
    (lambda data: data + b"\0", "record 10 is cut short"),
    (lambda data: flipped(data, 0), "the length of record 0 is corrupt"),
    (lambda data: bytes(len(data)), "the length of record 0 is corrupt"),
    (lambda data: flipped(data, 40), "record 0 differs from its checksum"),
    (lambda data: flipped(data, -1), "record 9 differs from its checksum"),
    (lambda data: b"", "it holds 0 records, dataset_info.json says 10"),
    (lambda data: data * 2, "it holds 20 records, dataset_info.json says 10"),
    (None, "No such file"),
  ],
)
def test_damaged_shards_are_named_and_nothing_is_left(
  tmp_path, rng, damage, message
):
  folder = rewrite_as_tfrecord(prepare_tfds(tmp_path, random_arrays(rng)))
  shard = folder / "cifar10-test.tfrecord-00000-of-00001"
  data = shard.read_bytes()
  shard.unlink()
  if damage:
    shard.write_bytes(damage(data))
  before = sorted(tmp_path.rglob("*"))
  target = tmp_path / "array_record" / "cifar10" / "3.0.2"
  with pytest.raises(SystemExit) as error:
    tfrecord.convert(str(folder), str(target))
  line = str(error.value)
  assert line.startswith("nothing was written: ") and "\n" not in line
  assert str(shard) in line and message in line
  assert sorted(tmp_path.rglob("*")) == before


def test_folders_that_cannot_be_converted(tmp_path, rng, monkeypatch):
  folder = rewrite_as_tfrecord(prepare_tfds(tmp_path, random_arrays(rng)))
  target = str(tmp_path / "other" / "cifar10" / "3.0.2")
  with pytest.raises(SystemExit, match="no/dataset_info.json: No such file"):
    tfrecord.convert(str(tmp_path / "no"), target)
  with monkeypatch.context() as patch, pytest.raises(SystemExit) as error:
    denied = PermissionError(13, "Permission denied")
    patch.setattr("pathlib.Path.mkdir", mock.Mock(side_effect=denied))
    tfrecord.convert(str(folder), target)
  assert f"{tmp_path} cannot be written to (Permission d" in str(error.value)
  (folder / "dataset_info.json").write_text("{")
  wrong = "cifar10/3.0.2/dataset_info.json: must be as TFDS writes it"
  with pytest.raises(SystemExit, match=wrong):
    tfrecord.convert(str(folder), target)
  with pytest.raises(ValueError, match=wrong):
    load_dataset("tfds", name="cifar10", path=str(tmp_path))


def test_a_folder_with_both_formats_is_read_as_it_is(tmp_path, rng):
  """As `tfds convert_format` leaves one, where TensorFlow is installed."""
  arrays = random_arrays(rng)
  folder = prepare_tfds(tmp_path / "one", arrays)
  both = shutil.copytree(folder, tmp_path / "two" / "cifar10" / "3.0.2")
  for file in rewrite_as_tfrecord(folder).glob("*.tfrecord*"):
    shutil.copy(file, both)
  # Files alone are no sign: it may have been stopped half-way.
  edit_info(both, fileFormat="tfrecord")
  message, _ = printed_command("cifar10", tmp_path / "two")
  assert "but as tfrecord" in message
  edit_info(both, alternativeFileFormats=["array_record"])
  found = load_dataset("tfds", name="cifar10", path=str(tmp_path / "two"))
  assert found.fingerprint == make_dataset("x", arrays).fingerprint


def test_file_names_are_those_that_the_folder_declares(tmp_path, rng):
  arrays = random_arrays(rng)
  folder = rewrite_as_tfrecord(prepare_tfds(tmp_path, arrays))
  info = json.loads((folder / "dataset_info.json").read_text())
  for split in info["splits"]:
    name = f"cifar10-{split['name']}.tfrecord-00000-of-00001"
    split["filepathTemplate"] = "{SPLIT}_{SHARD_INDEX}.{FILEFORMAT}"
    (folder / name).rename(folder / f"{split['name']}_00000.tfrecord")
  edit_info(folder, splits=info["splits"])
  target = tmp_path / "array_record" / "cifar10" / "3.0.2"
  tfrecord.convert(str(folder), str(target))
  found = load_dataset("tfds", name="cifar10", path=str(tmp_path))
  assert found.fingerprint == make_dataset("x", arrays).fingerprint


@pytest.mark.parametrize(
  "data,expected",  # RFC 3720, B.4, and the usual check value
  [
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (b"123456789", 0xE3069283),
    (b"", 0),
  ],
)
def test_crc32c_of_known_bytes(data, expected):
  assert tfrecord.crc32c(data) == expected == slow_crc32c(data)


def test_crc32c_at_the_edges_of_its_blocks(rng):
  for count in (1, 2, 3, 4, 5, 1023, 1024, 1025, 1027, 1028, 2048, 3001):
    data = rng.integers(0, 256, count, dtype=np.uint8).tobytes()
    assert tfrecord.crc32c(data) == slow_crc32c(data)
