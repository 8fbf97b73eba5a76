"""Several devices, of which a CPU pretends to have some."""

import os
import subprocess
import sys

import pytest

from imp_jax.engine.replicates import (
  resolve_devices,
  resolve_devices_each,
)
from tests.places import ROOT
from tests.tiny import run_tiny


@pytest.mark.parametrize(
  "file,devices,which",
  [
    pytest.param("several_devices", 3, "not long", marks=pytest.mark.long),
    pytest.param("several_devices", 3, "long", marks=pytest.mark.long),
    ("shared_batches", 4, "not long"),
    pytest.param("shared_batches", 4, "long", marks=pytest.mark.long),
  ],
)
def test_replicates_and_batches_sharded_over_devices(file, devices, which):
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "pytest",
      "-p",
      "no:xdist",
      "-m",
      which,
      f"tests/studies/{file}.py",
    ],
    cwd=ROOT,
    env=os.environ
    | {
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
      "CHECK_EVERY_ROOM": "1",
    },
    capture_output=True,
    text=True,
    timeout=400,
  )
  assert done.returncode == 0, done.stdout[-4000:]


def test_bad_numbers_of_devices_are_refused(tmp_path):
  for mode, devices, message in (
    ("threads", 2, "execution.mode='threads' runs on one"),
    ("vmap", 99, "execution.devices is 99, but there are"),
  ):
    with pytest.raises(ValueError, match=message):
      resolve_devices(devices, mode)
  with pytest.raises(ValueError, match="devices must be at least 0, got -1"):
    run_tiny(tmp_path / "w", execution__devices=-1)
  assert not (tmp_path / "w").exists()


def test_devices_that_are_left_over_share_batches():
  for devices, replicates, batch, wanted in (
    (1, 4, 128, 1),
    (8, 4, 128, 2),
    (8, 8, 128, 1),
    (8, 16, 128, 1),
    (8, 1, 128, 8),
    (8, 3, 128, 2),
    (6, 2, 128, 2),  # three would not divide the batch
    (8, 2, 100, 4),
    (8, 1, 100, 4),
    (8, 1, 7, 1),
  ):
    found = resolve_devices_each(0, devices, replicates, batch)
    assert found == wanted, (devices, replicates, batch)
  assert resolve_devices_each(4, 8, 8, 128) == 4
  for devices, batch, message in (
    (6, 128, "devices_each is 4, which does not divide execution.devices, 6"),
    (8, 30, "devices_each is 4, which does not divide data.batch_size, 30"),
  ):
    with pytest.raises(ValueError, match=message):
      resolve_devices_each(4, devices, 2, batch)
