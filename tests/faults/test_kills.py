"""Whole programs that are killed at any moment, and disks that fill."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import imp_jax
from imp_jax.command.cli import NO_STORAGE

# About ten seconds of work after the start, and a checkpoint at every chunk.
CONFIG = (
  "--config=configs/mnist1d.py:smoke",
  "--config.optim.steps=400step",
  "--config.optim.milestones=()",
  "--config.eval.curve_steps=()",
  "--config.execution.chunk_steps=20",
  "--config.execution.checkpoint_seconds=0",
  "--config.connectivity.children=2",
)
STUDY = "studies/mnist1d-smoke"


def command(workdir, *more):
  config = [*CONFIG, *more, f"--workdir={workdir}"]
  return [sys.executable, "-m", "launch.main", *config]


def run(workdir, *more):
  return subprocess.run(
    command(workdir, *more), capture_output=True, text=True, check=False
  )


def tables(workdir):
  """Every table of the study, but for how long things took."""
  folder = workdir / STUDY
  found = {
    file.name: pd.read_csv(file).drop(columns="seconds", errors="ignore")
    for file in sorted(folder.glob("*.csv"))
  }
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  found["metrics.jsonl"] = pd.DataFrame(map(json.loads, lines))
  return {name: table.to_csv(index=False) for name, table in found.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """The tables of a run that nothing happened to, and its seconds."""
  workdir = tmp_path_factory.mktemp("whole")
  started = time.monotonic()
  done = run(workdir)
  assert done.returncode == 0, done.stderr
  return tables(workdir), time.monotonic() - started


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_a_killed_run_ends_in_the_same_tables(tmp_path, whole, seed):
  """Anywhere from its start to its report; twice, to kill a resumed one."""
  draw = random.Random(seed)
  for _ in range(2):
    running = subprocess.Popen(
      command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(draw.uniform(0.3, 1.0) * whole[1])
    running.kill()
    running.wait()
  done = run(tmp_path)
  assert done.returncode == 0, done.stderr
  assert tables(tmp_path) == whole[0]
  for folder in ("checkpoints", "claims", "partial", "processes"):
    assert not list((tmp_path / folder).glob("*")), folder


@pytest.mark.long
@pytest.mark.parametrize("what", ["checkpoint", "report"])
def test_a_kill_while_something_is_written(tmp_path, whole, what):
  """A checkpoint of which some is there, and a report of a few tables."""
  pattern = "partial/*/tree" if what == "checkpoint" else f"{STUDY}/*.csv"
  few = 1 if what == "checkpoint" else 2
  running = subprocess.Popen(
    command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
  )
  while running.poll() is None and len(list(tmp_path.glob(pattern))) < few:
    time.sleep(0.001)
  running.kill()
  assert running.wait() == -signal.SIGKILL
  done = run(tmp_path)
  assert done.returncode == 0, done.stderr
  assert tables(tmp_path) == whole[0]


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 3, 4])
def test_programs_on_one_workdir_make_one_study(tmp_path, whole, count):
  """Some are stopped, continued and killed meanwhile."""
  draw = random.Random(count)
  lease = "--config.execution.lease_seconds=2"
  running = [
    subprocess.Popen(
      command(tmp_path, lease),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
    for _ in range(count)
  ]
  for process in running[1:]:
    time.sleep(draw.uniform(3, 8))
    process.send_signal(signal.SIGSTOP)
    time.sleep(draw.choice([0.5, 4.0]))
    process.send_signal(signal.SIGCONT)
  if count > 2:
    running[-1].kill()
  codes = []
  for process in running:
    _, told = process.communicate(timeout=300)
    codes.append(process.returncode)
    assert "Traceback" not in told, told
  assert set(codes) <= {0, -signal.SIGKILL} and codes[0] == 0
  assert run(tmp_path, lease).returncode == 0
  assert tables(tmp_path) == whole[0]


@pytest.fixture
def disk(tmp_path):
  """Makes disks of so many KiB in memory."""
  folders = []

  def make(kib):
    folder = tmp_path / f"disk{len(folders)}"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kib}k", "none", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True)
    if mounted.returncode:
      pytest.skip("disks cannot be mounted here")
    folders.append(folder)
    return folder

  yield make
  for folder in folders:
    subprocess.run(["umount", str(folder)], check=False)


def used(folder):
  """KiB."""
  return shutil.disk_usage(folder).used // 1024


def remount(folder, options):
  subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.skipif(
  os.name != "posix" or shutil.which("mount") is None, reason="no mount"
)
def test_a_disk_that_fills_is_said_in_one_line_and_nothing_is_lost(disk):
  smoke = "--config=configs/mnist1d.py:smoke"
  folder = disk(4000)
  ballast = folder / "ballast"
  for left in (100, 150):  # at different moments, in KiB
    ballast.write_bytes(bytes(1024 * (4000 - left - used(folder))))
    done = subprocess.run(
      [sys.executable, "-m", "launch.main", smoke, f"--workdir={folder}"],
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == NO_STORAGE, done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr.splitlines()[-1], left
    ballast.unlink()
  done = subprocess.run(
    [sys.executable, "-m", "launch.main", smoke, f"--workdir={folder}"],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0 and "damaged" not in done.stderr, done.stderr
  assert not list((folder / "partial").iterdir())


def test_a_read_only_disk_can_be_read_and_not_run_in(disk, finished):
  folder = disk(20_000) / "w"
  shutil.copytree(finished[0], folder)
  remount(folder.parent, "ro")
  results = imp_jax.load(str(folder))
  assert results.table.equals(finished[1].table)
  assert results.ticket("none", level=1).metrics["test"]["count"]
  smoke = [sys.executable, "-m", "launch.main", f"--workdir={folder}"]
  done = subprocess.run(
    [*smoke, "--config=configs/mnist1d.py:smoke"],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert len(done.stderr.splitlines()) == 1, done.stderr
  assert "is not writable: " in done.stderr
  status = subprocess.run(
    [*smoke, "--status"], capture_output=True, text=True, check=False
  )
  assert status.returncode == 0, status.stderr
  # Regained, all goes on.
  remount(folder.parent, "rw")
