"""A run that is asked to end saves what is in progress, and goes on later."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from imp_jax.command import progress
from imp_jax.command.progress import Bar
from imp_jax.engine.context import Stopped
from imp_jax.study import execute, prepare
from tests.tiny import Log, run_tiny, tiny_config

CHANGES = dict(
  replicates=2,
  prune__levels=1,
  claims__rewinding={"treatments": ()},
  optim__steps="12step",
  experiments=({"name": "a"},),
  execution__chunk_steps=2,
  eval__curve_steps=(),
)


class Asked(Log):
  """Is asked to end after so many replicate-steps."""

  def __init__(self, after):
    super().__init__()
    self.after = after

  def stop(self):
    return "SIGTERM" if self.done >= self.after else None


# Before anything, within a training, where one has just ended, in the last.
@pytest.mark.parametrize("after", [0, 10, 24, 40])
def test_what_was_in_progress_is_kept(tmp_path, after):
  whole, _ = run_tiny(tmp_path / "whole", **CHANGES)
  workdir = tmp_path / "cut"
  with pytest.raises(Stopped, match="SIGTERM"):
    execute(prepare(tiny_config(**CHANGES), str(workdir)), Asked(after))
  folder = workdir / "checkpoints"
  kept = sorted(p.name for f in folder.glob("*") for p in f.iterdir())
  # Within a training: at the step that it had come to, though no minute passed.
  assert kept == {10: ["000000006"] * 2, 40: ["000000008"] * 2}.get(after, [])
  log = Log()
  resumed = execute(prepare(tiny_config(**CHANGES), str(workdir)), log)
  assert log.done == log.total  # what need not be trained again counts too
  pd.testing.assert_frame_equal(resumed.table, whole.table)


@pytest.fixture
def handlers():
  """As a terminal has them; where tests run, some may be ignored."""
  before = {n: signal.getsignal(n) for n in progress.SIGNALS}
  for number in before:
    signal.signal(number, signal.SIG_DFL)
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_each_signal_asks_once(handlers, capfd, name):
  with Bar() as bar:
    assert bar.stop() is None
    os.kill(os.getpid(), getattr(signal, name))
    assert bar.stop() == name
    # The next one ends the process, and so in the report that follows.
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
  assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
  assert f"{name}: saving" in capfd.readouterr().err


def test_what_is_ignored_stays_ignored(handlers):
  """As nohup and a shell's background processes have it."""
  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  with Bar() as bar:
    os.kill(os.getpid(), signal.SIGHUP)
    assert bar.stop() is None
    assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
  assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
  assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_line_now_and_then_where_there_is_no_terminal(monkeypatch, capfd):
  times = iter([0.0, 1.0, 31.0, 40.0, 70.0])
  monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
  with Bar() as bar:
    bar.begin(4000)
    bar.node("all-20 level 3")
    for _ in range(4):
      bar.steps(1000)
  assert capfd.readouterr().err == (
    "all-20 level 3: 2,000 of 4,000 steps\n"
    "all-20 level 3: 4,000 of 4,000 steps\n"
  )


def test_a_program_that_is_terminated_reports_what_is_finished(tmp_path):
  command = [sys.executable, "-m", "launch.main", f"--workdir={tmp_path}"]
  command += ["--config=configs/mnist1d.py:smoke"]
  command += ["--config.optim.steps=1000000step", "--config.replicates=2"]
  running = subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )
  deadline = time.monotonic() + 60
  while not list(tmp_path.glob("objects/*")) and time.monotonic() < deadline:
    time.sleep(0.1)
  time.sleep(1)
  running.send_signal(signal.SIGTERM)
  _, err = running.communicate(timeout=60)
  assert running.returncode == 128 + signal.SIGTERM, err
  assert "Traceback" not in err
  assert "ended by SIGTERM" in err.splitlines()[-1]
  assert "the same command goes on" in err.splitlines()[-1]
  study = tmp_path / "studies" / "mnist1d-smoke"
  assert (study / "results.csv").exists()
  assert list(tmp_path.glob("checkpoints/*/*/record.json"))
