"""Workdirs in Google's and Amazon's buckets, as emulators have them."""

import signal
import subprocess
import sys
import threading
import time

import fsspec
import numpy as np
import pandas as pd
import pytest

import imp_jax
from imp_jax.command.cli import BadInput
from imp_jax.command.workdirs import (
  put_away_unneeded,
  show_plan,
  show_status,
)
from imp_jax.core import artefacts, buckets
from imp_jax.core.artefacts import Artefact
from imp_jax.core.buckets import create_file, entries, open_path, read_file
from imp_jax.core.processes import this_process
from imp_jax.core.store import DamagedError, Store
from imp_jax.engine.claims import working_in
from imp_jax.engine.context import Stopped
from imp_jax.study import execute, prepare
from imp_jax.study.extension import damaged_files
from tests.emulators import BUCKET, Emulator
from tests.faults.test_asked_to_end import CHANGES, Asked
from tests.faults.test_processes import (
  check_at_once,
  check_whole,
  events,
  start,
  wait_for,
)
from tests.places import ROOT
from tests.tiny import run_tiny, tiny_config

STUDY = "mnist1d-smoke"
TABLE = f"studies/{STUDY}/results.csv"
SMOKE = "--config=configs/mnist1d.py:smoke"
ARTEFACT = Artefact(
  {"value": 1.5},
  {"a": {"b": np.arange(5.0)}},
  {"mask": np.array([True, False])},
)


# A study takes its time: of the two kinds, whose storage has the same tests,
# one runs it whenever tests are run, the other in `make test-slow`.
of_one_kind = pytest.mark.parametrize(
  "emulator", [pytest.param("gs", marks=pytest.mark.long), "s3"], indirect=True
)


@pytest.fixture(scope="session", params=["gs", "s3"])
def emulator(request, tmp_path_factory):
  made = Emulator(request.param, tmp_path_factory.mktemp(request.param))
  with pytest.MonkeyPatch.context() as patched:
    for name, value in made.environment.items():
      patched.setenv(name, value)
    fsspec.config.set_conf_env(fsspec.config.conf)
    yield made
  made.close()


@pytest.fixture
def workdir(emulator, request):
  """A folder of a bucket that answers, as its address."""
  yield f"{emulator.scheme}://{BUCKET}/{request.node.name.partition('[')[0]}"
  emulator.fail_every(0)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
  """(results, results.csv) of the study on a disk."""
  folder = tmp_path_factory.mktemp("local")
  results, _ = run_tiny(folder, written=True, **CHANGES)
  return results, (folder / TABLE).read_bytes()


def launched(*flags, module="launch.main"):
  return subprocess.run(
    [sys.executable, "-m", module, *flags],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
    timeout=500,
  )


def table(workdir):
  return read_file(open_path(f"{workdir}/{TABLE}"))


def one_line(done, code):
  assert done.returncode == code, done.stderr
  lines = done.stderr.strip().splitlines()
  assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
  return lines[0]


def test_what_is_saved_is_loaded_and_written_once(workdir):
  store = Store(workdir)
  assert store.fault("x") == "missing" and not store.has("x")
  store.save("x", ARTEFACT)
  first = [file.name for file in entries(store.root / "objects" / "x")]
  store.save("x", Artefact({"value": 2}))  # another, who comes later
  assert [f.name for f in entries(store.root / "objects" / "x")] == first
  for reader in (store, Store(workdir, writable=False)):
    found = reader.load("x")
    assert found.record == {"value": 1.5, "id": "x"}
    np.testing.assert_array_equal(found.tree["a"]["b"], np.arange(5.0))
    np.testing.assert_array_equal(found.arrays["mask"], [True, False])
  assert [file.name for file in entries(store.root)] == ["objects"]


def test_large_trees_are_orbaxs(workdir, monkeypatch):
  monkeypatch.setattr(artefacts, "LARGE", 8)
  store = Store(workdir)
  store.save("x", ARTEFACT)
  (part, _) = entries(store.root / "objects" / "x")
  assert [f.name for f in entries(part)] == ["arrays.npz", "tree"]
  np.testing.assert_array_equal(store.load("x").tree["a"]["b"], np.arange(5.0))


def test_of_two_writers_one_is_first(workdir, monkeypatch):
  """The other has written all but its record by then; nothing is mixed."""
  store, write = Store(workdir), artefacts.create_file

  def late(path, data):
    monkeypatch.setattr(artefacts, "create_file", write)
    Store(workdir).save("x", Artefact({"value": 7}, ARTEFACT.tree))
    write(path, data)

  monkeypatch.setattr(artefacts, "create_file", late)
  store.save("x", ARTEFACT)
  found = store.load("x")
  assert found.record["value"] == 7 and found.arrays is None
  assert len(entries(store.root / "objects" / "x")) == 2  # no other's part


def test_what_a_killed_writer_left_is_missing_and_goes(workdir):
  store = Store(workdir)
  for folder in ("objects/x", "checkpoints/y/000000004"):
    artefacts.write_file(store.root / folder / "ab12" / "arrays.npz", b"half")
  assert store.fault("x") == "missing"
  store.save("x", ARTEFACT)
  assert len(entries(store.root / "objects" / "x")) == 2
  kept = store.checkpoint("y")
  assert kept.restore() is None and not entries(store.root / "checkpoints/y")
  for step in (4, 6):
    kept.save(step, ARTEFACT)
  step, found = kept.restore()
  assert step == 6 and found.record["value"] == 1.5
  assert [f.name for f in entries(store.root / "checkpoints/y")] == [
    "000000006"
  ]
  kept.clear()
  assert kept.restore() is None


def test_a_lost_answer_to_the_last_request_loses_nothing(workdir, monkeypatch):
  """The record is there; its writer is told that nothing was reached."""
  store, write = Store(workdir), artefacts.create_file

  def unanswered(path, data):
    write(path, data)
    raise OSError("no answer")

  monkeypatch.setattr(artefacts, "create_file", unanswered)
  store.save("x", ARTEFACT)
  assert store.load("x").record["value"] == 1.5


def test_a_damaged_artefact_that_stays_does_not_count_as_made(workdir):
  store = Store(workdir)
  store.save("x", ARTEFACT)
  artefacts.write_file(store.root / "objects" / "x" / "record.json", b"{")
  with pytest.raises(OSError):
    store.save("x", ARTEFACT)


def test_what_cannot_be_removed_is_no_success(workdir, monkeypatch):
  """Amazon's client does not say that one of many was left."""

  def refused(*args, **kwargs):
    raise PermissionError("no")

  for name in "ab":
    artefacts.write_file(open_path(f"{workdir}/x/{name}"), b"x")
  client = buckets._filesystem(workdir[:2])
  monkeypatch.setattr(client, "rm", _nothing)
  with pytest.raises(OSError, match="cannot be removed"):
    buckets.remove(open_path(f"{workdir}/x"))
  monkeypatch.setattr(client, "rm_file", refused)
  with pytest.raises(PermissionError):
    buckets.remove(open_path(f"{workdir}/x/a"))
  with pytest.raises(OSError, match=r"not writable: no"):
    Store(workdir)


def test_what_another_makes_at_once_is_not_what_was_removed(
  workdir, monkeypatch
):
  """A claim that is given up is another's the moment after."""
  path = open_path(f"{workdir}/claims/x.0")
  create_file(path, b"mine")
  client = buckets._filesystem(workdir[:2])
  remove_file = client.rm_file

  def removed_and_taken(name):
    remove_file(name)
    create_file(path, b"another's")

  monkeypatch.setattr(client, "rm_file", removed_and_taken)
  buckets.remove(path)
  assert read_file(path) == b"another's"


def _nothing(*args, **kwargs):
  """Does nothing, and says so to nobody."""


def test_objects_that_stand_for_folders_are_none_of_their_files(workdir):
  """As consoles and mounts make them."""
  bucket = buckets._filesystem(workdir[:2])
  bucket.pipe_file(f"{workdir}/processes/", b"")
  artefacts.write_file(open_path(f"{workdir}/processes/a"), b"xyz")
  folder = open_path(f"{workdir}/processes")
  assert [file.name for file in entries(folder)] == ["a"]
  assert buckets.tree_files(folder) == ["a"]
  assert buckets.tree_bytes(open_path(workdir)) == 3


def test_what_was_moved_before_is_moved_again(workdir):
  store = Store(workdir)
  for _ in range(2):
    store.save("x", ARTEFACT)
    buckets.move(store.root / "objects" / "x", store.root / "unneeded" / "x")
    assert not entries(store.root / "objects")
  found = buckets.tree_files(store.root / "unneeded" / "x")
  assert sum(name == "record.json" for name in found) == 1
  assert all(name.count("/") < 2 for name in found)
  with pytest.raises(FileNotFoundError):
    buckets.move(store.root / "objects" / "x", store.root / "unneeded" / "x")


@pytest.mark.parametrize("error", [KeyError("x"), ConnectionError("gone")])
def test_whatever_goes_wrong_is_a_plain_oserror(workdir, monkeypatch, error):
  """Clients raise what they like, of which some cannot even be made anew."""

  def fail(*args, **kwargs):
    raise error

  store = Store(workdir)
  store.save("x", ARTEFACT)
  monkeypatch.setattr(buckets._filesystem(workdir[:2]), "cat_file", fail)
  with pytest.raises(OSError, match="cannot be read: .*cannot be reached") as e:
    store.fault("x")
  assert type(e.value) is OSError
  index = store.study_dir("s") / "config.json"
  artefacts.write_file(index, b"{}")
  with pytest.raises(OSError):  # it is not damaged
    damaged_files(store, "s")


def test_of_many_one_alone_creates_a_file(workdir):
  path, won = open_path(f"{workdir}/claims/x.0"), []

  def race(number):
    try:
      create_file(path, f"{number}".encode())
      won.append(number)
    except FileExistsError:
      pass

  threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(won) == 1 and read_file(path) == f"{won[0]}".encode()
  create_file(path, f"{won[0]}".encode())  # its first answer was lost
  with pytest.raises(FileExistsError):
    create_file(path, b"another")


def test_other_processes_files_are_seen_at_once(workdir, emulator):
  """Nothing that was listed is remembered."""
  folder = open_path(f"{workdir}/claims")
  assert entries(folder) == [] and not buckets.exists(folder / "a")
  code = (
    "from imp_jax.core.buckets import *\n"
    f"create_file(open_path('{workdir}/claims/a'), b'x')"
  )
  subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
  assert [file.name for file in entries(folder)] == ["a"]
  assert buckets.exists(folder / "a")


def test_a_claim_is_of_who_lives(workdir):
  store = Store(workdir)
  root = store.root
  here = this_process().split("-")
  dead = "-".join([here[0], "1", "2", "abcdef"])  # no such start
  other = "elsewhere-12-34-abcdef"
  beat = b'{"version": "1", "pid": 12, "host": "h", "beat": 1}'
  for name, owner in (("x.0", dead), ("y.0", other)):
    artefacts.write_file(root / "claims" / name, owner.encode())
  artefacts.write_file(root / "processes" / other, beat)
  with working_in(store, lease=60) as claims:
    assert claims.take("x") and claims.take("z")
    assert not claims.take("y") and claims.held_by_others() == {"y": other}
    assert all(map(claims.is_mine, "xz"))
    claims.release("x")
    claims.release("z")
  assert [f.name for f in entries(root / "claims")] == ["y.0"]
  assert [f.name for f in entries(root / "processes")] == [other]


def test_a_study_is_as_on_a_disk(workdir, local, capsys):
  _, log = run_tiny(workdir, written=True, **CHANGES)
  assert not log.warnings
  assert table(workdir) == local[1]
  _, log = run_tiny(workdir, **CHANGES)
  assert log.total == 0  # nothing is to be done
  loaded = imp_jax.load(workdir)
  pd.testing.assert_frame_equal(loaded.table, local[0].table)
  assert show_status(workdir) == 0
  assert "2 finished, 0 to do" in capsys.readouterr().out
  assert show_plan(tiny_config(**CHANGES), workdir) == 0
  assert not entries(open_path(f"{workdir}/claims"))


def test_what_no_study_needs_is_put_away(workdir, capsys):
  store = Store(workdir)
  store.save("x", ARTEFACT)
  assert put_away_unneeded(workdir, dry_run=False) == 0
  assert "1 artefacts" in capsys.readouterr().out
  assert not store.has("x")
  kept = entries(store.root / "unneeded" / "objects" / "x")
  assert [file.name for file in kept][-1] == "record.json" and len(kept) == 2


@of_one_kind
def test_damage_is_set_aside_and_made_anew(workdir, local):
  results, _ = run_tiny(workdir, written=True, **CHANGES)
  store = Store(workdir)
  trained = next(
    e.ids["train"] for e in results.tables.index if "train" in e.ids
  )
  (part, _) = entries(store.root / "objects" / trained)
  artefacts.write_file(entries(part)[0], b"something else")
  artefacts.write_file(store.study_dir(STUDY) / "index.json", b"{}")
  with pytest.raises(DamagedError, match=r"damaged \(.*/"):
    store.load(trained)
  _, log = run_tiny(workdir, written=True, **CHANGES)
  assert len(log.warnings) == 2 and all("set aside" in w for w in log.warnings)
  assert len(entries(store.root / "damaged")) == 2
  assert table(workdir) == local[1]


@of_one_kind
@pytest.mark.parametrize(
  "after", [10, pytest.param(40, marks=pytest.mark.long)]
)
def test_what_was_in_progress_is_kept(workdir, local, after):
  workdir += f"-{after}"
  with pytest.raises(Stopped, match="SIGTERM"):
    execute(prepare(tiny_config(**CHANGES), workdir), Asked(after))
  store = Store(workdir)
  steps = [
    f.name for i in entries(store.root / "checkpoints") for f in entries(i)
  ]
  assert steps == {10: ["000000006"] * 2, 40: ["000000008"] * 2}[after]
  resumed, _ = run_tiny(workdir, **CHANGES)
  pd.testing.assert_frame_equal(resumed.table, local[0].table)
  assert not entries(store.root / "checkpoints")


@of_one_kind
def test_some_503s_change_nothing(workdir, emulator, local):
  emulator.fail_every(100)
  _, log = run_tiny(workdir, written=True, **CHANGES)
  assert not log.warnings
  emulator.fail_every(0)
  assert table(workdir) == local[1]


# Google's client asks again for half a minute.
@pytest.mark.long
def test_503s_without_end_are_no_damage_and_cost_nothing(
  workdir, emulator, local
):
  """A bucket that does not answer has neither lost nor damaged anything."""

  class Failing(Asked):
    def stop(self):
      if super().stop():
        emulator.fail_every(1)

  with pytest.raises(OSError, match="503|ServiceUnavailable|injected"):
    execute(prepare(tiny_config(**CHANGES), workdir), Failing(24))
  store = Store(workdir, writable=False)
  with pytest.raises(OSError):
    store.fault("x")
  with pytest.raises(OSError):
    store.has("x")
  emulator.fail_every(0)
  _, log = run_tiny(workdir, written=True, **CHANGES)
  assert not entries(store.root / "damaged") and not log.warnings
  assert table(workdir) == local[1]


def test_a_bucket_that_is_not_there_is_refused_in_one_line(emulator, capsys):
  workdir = f"{emulator.scheme}://no-such-bucket/w"
  line = one_line(launched(SMOKE, f"--workdir={workdir}"), 2)
  assert f"workdir {workdir} is not writable: there is no such bucket" in line
  for show in (show_status, lambda w: put_away_unneeded(w, dry_run=False)):
    with pytest.raises(BadInput):
      show(workdir)
    assert f"there is no workdir {workdir}" in capsys.readouterr().err
  with pytest.raises(OSError):  # nor was it made
    Store(workdir)


def test_a_service_that_creates_over_what_is_there_is_refused(
  workdir, emulator
):
  emulator.overwrite(True)
  with pytest.raises(OSError, match="not writable: its service overwrites"):
    Store(workdir)
  emulator.overwrite(False)
  assert not entries(Store(workdir).root)


def test_an_address_that_means_several_is_refused(emulator):
  for odd in "*?[]":
    with pytest.raises(ValueError, match="a bucket's must have none of"):
      Store(f"{emulator.scheme}://{BUCKET}/x{odd}y")


@pytest.mark.parametrize("scheme,package", [("gs", "gcsfs"), ("s3", "s3fs")])
def test_without_its_package_a_bucket_is_refused(
  tmp_path, monkeypatch, scheme, package
):
  monkeypatch.setitem(sys.modules, f"{package}.core", None)
  monkeypatch.setattr(buckets, "_filesystem", buckets._filesystem.__wrapped__)
  extra = {"gs": "gcs", "s3": "s3"}[scheme]
  with pytest.raises(ImportError, match=rf"needs {package}: .*\[{extra}\]"):
    Store(f"{scheme}://{BUCKET}/w")


@of_one_kind
@pytest.mark.long  # of a disk: test_processes.py
def test_processes_share_a_bucket_and_compute_nothing_twice(workdir, tmp_path):
  """One of them is killed: it is followed at once."""
  log = tmp_path / "log"
  first = start(workdir, log, lease=60, seconds=2.0)
  wait_for(lambda: any(row[0] == "begins" for row in events(log)))
  silent = {first.pid: time.time()}
  first.kill()
  first.wait()
  running = [start(workdir, log, lease=60, seconds=0.05) for _ in range(2)]
  assert [process.wait(120) for process in running] == [0, 0]
  check_whole(workdir)
  check_at_once(events(log), silent)


@pytest.mark.long
def test_a_killed_run_goes_on(workdir, tmp_path):
  flags = [SMOKE, "--config.execution.checkpoint_seconds=0"]
  assert launched(*flags, f"--workdir={tmp_path}/w").returncode == 0
  command = [sys.executable, "-m", "launch.main", f"--workdir={workdir}"]
  for seconds in (4, 6, 8):
    run = subprocess.Popen(
      [*command, *flags], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    run.send_signal(signal.SIGKILL)
    run.wait()
  assert launched(*flags, f"--workdir={workdir}").returncode == 0
  assert table(workdir) == (tmp_path / "w" / TABLE).read_bytes()


@pytest.mark.long
def test_a_sweep_in_a_bucket_is_as_on_a_disk(workdir, tmp_path):
  sweep = tmp_path / "x.py"
  sweep.write_text(
    "def get_sweep(): return [{'name': 'more', 'pretrain.steps': '2step'}]"
  )
  flags = [SMOKE, f"--sweep={sweep}", "--workers=2"]
  for place in (f"{tmp_path}/w", workdir):
    done = launched(*flags, f"--workdir={place}", module="launch.sweep")
    assert done.returncode == 0, done.stderr
  assert "the workers' outputs are in " in done.stderr
  assert table(workdir) == (tmp_path / "w" / TABLE).read_bytes()
