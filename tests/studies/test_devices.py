"""Several devices, of which a CPU pretends to have some."""

import os
import subprocess
import sys

import pytest

from imp_jax.engine.replicates import resolve_devices
from tests.places import ROOT
from tests.tiny import run_tiny


def test_replicates_sharded_over_devices():
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "pytest",
      "-p",
      "no:xdist",
      "tests/studies/several_devices.py",
    ],
    cwd=ROOT,
    env=os.environ
    | {
      "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
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
