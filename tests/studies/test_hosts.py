"""Two processes that run one program, each with two devices of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from imp_jax.command.cli import NO_COMPANY
from imp_jax.core.artefacts import Artefact
from imp_jax.core.store import DamagedError, Store, StoreError
from imp_jax.engine import hosts, leader
from imp_jax.engine.context import Context, Stopped
from imp_jax.engine.replicates import resolve_devices, resolve_execution

CONVOLUTION = (
  "--config=configs/mnist1d.py:smoke",
  "--config.execution.mode=vmap",
)
SMOKE = (  # compiles in less time
  *CONVOLUTION,
  "--config.model.name=lenet300100",
  "--config.model.width=0.1",
)
# Some seconds of work, and a checkpoint at every chunk.
LONGER = (
  *CONVOLUTION,
  "--config.optim.steps=400step",
  "--config.optim.milestones=()",
  "--config.eval.curve_steps=()",
  "--config.execution.chunk_steps=20",
  "--config.execution.checkpoint_seconds=0",
)
STUDY = "studies/mnist1d-smoke"


def start(workdir, *flags, devices=2):
  flag = f"--xla_force_host_platform_device_count={devices}"
  return subprocess.Popen(
    [sys.executable, "-m", "launch.main", f"--workdir={workdir}", *flags],
    env=os.environ | {"XLA_FLAGS": flag},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def pair(workdirs, *flags, each=((), ())):
  """Two processes of one program."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  return [
    start(
      workdirs[i],
      "--distributed",
      f"--coordinator_address={address}",
      "--num_processes=2",
      f"--process_id={i}",
      *flags,
      *each[i],
    )
    for i in range(2)
  ]


def ended(processes, seconds=300):
  """(exit code, standard error) of each."""
  found = []
  for process in processes:
    _, errors = process.communicate(timeout=seconds)
    found.append((process.returncode, errors))
  return found


def table(workdir):
  return (workdir / STUDY / "results.csv").read_bytes()


def raising(error):
  def run():
    raise error

  return run


@pytest.fixture(scope="module")
def one(tmp_path_factory):
  """The table of one process that has all four devices."""
  workdir = tmp_path_factory.mktemp("one") / "w"
  ((code, errors),) = ended([start(workdir, *SMOKE, devices=4)])
  assert code == 0, errors
  return table(workdir)


def test_two_processes_make_the_study_of_one(tmp_path, one):
  """The second has no workdir: the first one reads and writes."""
  workdirs = tmp_path / "w", tmp_path / "none"
  for code, errors in ended(pair(workdirs, *SMOKE)):
    assert code == 0, errors
  assert table(workdirs[0]) == one
  assert not workdirs[1].exists()
  (record, *_) = workdirs[0].glob("objects/*/record.json")
  made = json.loads(record.read_text())["made_with"]
  assert (made["processes"], made["devices"], made["devices_each"]) == (2, 4, 2)


def test_processes_that_differ_are_refused(tmp_path):
  workdirs = tmp_path / "w", tmp_path / "w"
  seeds = [(f"--config.seed={i}",) for i in range(2)]
  for code, errors in ended(pair(workdirs, *SMOKE, each=seeds)):
    assert code == 2
    assert errors.splitlines()[-1] == (
      "error: processes of one program must be alike, but --config.seed is "
      "'0' of process 0 and '1' of process 1"
    )
  assert not list(tmp_path.glob("w/studies/*"))


def test_what_one_cannot_do_ends_all(tmp_path):
  """Said in one line by each, with nobody waiting for the other."""
  workdirs = tmp_path / "w", tmp_path / "w"
  bad = [(), ("--config.prune.levels=-1",)]
  (first, second) = ended(pair(workdirs, *SMOKE, each=bad))
  line = "prune.levels must be at least 0, got -1"
  for code, errors in (first, second):
    assert code == 2
    assert line in errors.splitlines()[-1]
  assert "error: process 1 cannot begin: " in first[1]
  assert not list(tmp_path.glob("w/studies/*"))


def in_training(workdir, *flags):
  """Two processes, once they have a checkpoint."""
  running = pair((workdir, workdir), *flags)
  while not list(workdir.glob("checkpoints/*/*/record.json")):
    assert all(process.poll() is None for process in running), ended(running)
    time.sleep(0.05)
  return running


@pytest.mark.long
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others_and_they_go_on(tmp_path, killed):
  whole, workdir = tmp_path / "whole", tmp_path / "w"
  for code, errors in ended(pair((whole, whole), *LONGER)):
    assert code == 0, errors
  running = in_training(workdir, *LONGER)
  running[killed].kill()
  before = time.monotonic()
  codes = ended(running)
  assert time.monotonic() - before < 60
  code, errors = codes[1 - killed]
  if code == NO_COMPANY:
    assert "a process of this program has failed" in errors.splitlines()[-1]
  else:  # JAX saw it first
    assert code == -signal.SIGABRT, errors
    assert "This most likely indicates that another task died" in errors
  for code, errors in ended(pair((workdir, workdir), *LONGER)):
    assert code == 0, errors
  assert table(workdir) == table(whole)


@pytest.mark.long
@pytest.mark.parametrize("asked", [0, 1])
def test_what_one_is_asked_all_do(tmp_path, asked):
  running = in_training(tmp_path, *LONGER)
  running[asked].send_signal(signal.SIGTERM)
  for code, errors in ended(running):
    assert code == 128 + signal.SIGTERM
    assert "ended by SIGTERM" in errors
  assert list(tmp_path.glob("checkpoints/*/*/record.json"))
  for code, errors in ended(pair((tmp_path, tmp_path), *LONGER)):
    assert code == 0, errors


@pytest.mark.parametrize("address", ["here", "here:", ":1", "here:x"])
def test_an_address_without_a_port_is_refused(address):
  with pytest.raises(ValueError, match="must be HOST:PORT, got"):
    hosts.join(address, 2, 0)


@pytest.mark.parametrize(
  "run,said,raised",
  [
    (lambda: 1, {"code": 1}, None),
    (raising(Stopped("SIGHUP")), {"stopped": "SIGHUP"}, Stopped),
    (raising(OSError("full")), {"failed": "OSError: full"}, OSError),
    (raising(leader.OutOfStepError("x")), None, leader.OutOfStepError),
  ],
)
def test_how_the_leader_ended_all_end(monkeypatch, run, said, raised):
  told = []
  monkeypatch.setattr(hosts, "told", lambda data=b"": told.append(data))
  if raised is None:
    assert leader.leading(run) == said["code"]
  else:
    with pytest.raises(raised):
      leader.leading(run)
  assert [json.loads(data) for data in told] == ([said] if said else [])
  if not said:
    return
  monkeypatch.setattr(hosts, "told", lambda: told[0])
  context = Context(None, None, 0, None, None, None)
  if raised is None:
    assert leader.follow(context, {}) == said["code"]
  else:
    wanted = Stopped if raised is Stopped else leader.OutOfStepError
    with pytest.raises(wanted, match=next(iter(said.values()))):
      leader.follow(context, {})


@pytest.mark.parametrize(
  "given", [("here:1", None, None), ("here:1", 2, None), (None, None, 0)]
)
def test_half_an_address_is_refused(given):
  with pytest.raises(ValueError, match="are given together, or none"):
    hosts.join(*given)


def test_what_several_processes_cannot_do(monkeypatch):
  monkeypatch.setattr(hosts, "are_several", lambda: True)
  assert resolve_execution("auto", "cpu") == "vmap"
  with pytest.raises(ValueError, match="in one process alone; unroll, map"):
    resolve_execution("threads", "cpu")


def test_several_processes_use_all_their_devices(monkeypatch):
  monkeypatch.setattr(jax, "device_count", lambda: 4)
  assert resolve_devices(2, "vmap") == 2
  monkeypatch.setattr(hosts, "are_several", lambda: True)
  assert resolve_devices(0, "vmap") == resolve_devices(4, "vmap") == 4
  with pytest.raises(ValueError, match="devices is 2, but several .* have, 4"):
    resolve_devices(2, "vmap")


def test_processes_are_alike_or_refused(monkeypatch):
  def check(*every):
    texts = [json.dumps({"error": "", **facts}) for facts in every]
    monkeypatch.setattr(hosts, "gathered", lambda _: texts)
    leader.check_alike(json.loads(texts[0]))

  check({"jax": "1"}, {"jax": "1"})
  with pytest.raises(ValueError, match="jax is '1' of process 0 and '2' of"):
    check({"jax": "1"}, {"jax": "1"}, {"jax": "2"})
  with pytest.raises(ValueError, match="process 1 cannot begin: no data"):
    check({"jax": "1"}, {"error": "no data"})


def test_what_the_leader_reads_all_have(tmp_path, monkeypatch):
  store, said = Store(str(tmp_path)), []
  monkeypatch.setattr(hosts, "told", lambda data: said.append(data) or data)
  arrays = {"names": np.array(["a", "ü"]), "kept": np.array([True, False])}
  tree = {"w": {"kernel": np.arange(3, dtype=np.float32)}}
  store.save("a", Artefact({"x": [1, None]}, tree, arrays))
  reader = leader._Told(store)
  got = reader.load("a")
  assert got.record["x"] == [1, None] and got.arrays is not None
  for wanted, found in ((tree, got.tree), (arrays, got.arrays)):
    jax.tree.map(np.testing.assert_array_equal, wanted, found)
  with pytest.raises(leader._ReadError) as missing:
    reader.load("b")
  assert missing.value.kind == StoreError.__name__
  (tmp_path / "objects" / "a" / "tree.msgpack").write_bytes(b"?")
  with pytest.raises(leader._ReadError) as damaged:
    reader.load("a")
  assert damaged.value.kind == DamagedError.__name__
  checkpoint = reader.checkpoint("c")
  assert checkpoint.restore() is None
  checkpoint.save(3, Artefact({"y": 1}))
  step, artefact = checkpoint.restore()
  assert (step, artefact.record["y"]) == (3, 1)
  checkpoint.clear()
  assert checkpoint.restore() is None
  assert all(isinstance(data, bytes) and data for data in said)
