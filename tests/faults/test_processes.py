"""Several processes on one workdir: stopped, continued and killed."""

import collections
import itertools
import random
import signal
import subprocess
import sys
import time

import pytest
from etils import epath

from imp_jax.core import processes
from imp_jax.core.buckets import entries
from imp_jax.core.graph import Item
from imp_jax.core.processes import Heart, Peers, this_process
from imp_jax.core.store import Store
from imp_jax.engine import claims as module
from imp_jax.engine.claims import Claims, check_company
from tests.faults import worker

LEASE = 1.0


def start(workdir, log, lease=LEASE, seconds=0.3):
  command = [sys.executable, "-m", "tests.faults.worker"]
  command += [str(workdir), str(log), str(lease), str(seconds)]
  return subprocess.Popen(command)


def events(log):
  """Rows (what, "label replicate", pid, seconds) of a log."""
  rows = []
  for line in log.read_text().splitlines() if log.exists() else ():
    what, label, replicate, pid, seconds = line.split()
    rows.append((what, f"{label} {replicate}", int(pid), float(seconds)))
  return rows


def wait_for(condition, seconds=60):
  deadline = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.02)


def intervals(rows, silent):
  """{item: [(begin, end, pid)]}: when a process that was alive was at it.

  Args:
    rows: of `events`.
    silent: {pid: when it was stopped or killed}.
  """
  found = collections.defaultdict(list)
  begun = {}
  for what, item, pid, at in rows:
    if what == "begins":
      begun[item, pid] = at
    elif what in ("ends", "loses"):
      found[item].append((begun.pop((item, pid)), at, pid))
  for (item, pid), at in begun.items():  # killed
    found[item].append((at, silent[pid], pid))
  return {
    item: sorted(
      (
        begin,
        min(end, silent.get(pid, end)) if begin < silent.get(pid, end) else end,
        pid,
      )
      for begin, end, pid in own
    )
    for item, own in found.items()
  }


def check_whole(workdir):
  """Every artefact is there and right."""
  context, values = worker.context_of(str(workdir)), {}
  for node, replicates in worker.graph().items():
    for r in replicates:
      item = Item(node, r)
      record = context.store.load(node.object_id(0, r)).record
      values[item] = record["value"]
      made = 1 + sum(values[source] for _, source in node.sources(r))
      assert record["value"] == made
  for folder in ("claims", "processes", "partial"):
    assert not entries(context.store.root / folder), folder


def check_at_once(rows, silent):
  for item, own in intervals(rows, silent).items():
    for (_, end, pid), (begin, _, other) in itertools.pairwise(own):
      assert begin >= end, f"{item}: {pid} until {end}, {other} from {begin}"


MORE = [pytest.param(n, marks=pytest.mark.long) for n in (2, 4)]


@pytest.mark.parametrize("count", [3, *MORE])
def test_processes_share_a_graph_and_compute_nothing_twice(tmp_path, count):
  log = tmp_path / "log"
  running = [start(tmp_path / "w", log, seconds=0.1) for _ in range(count)]
  assert [process.wait(60) for process in running] == [0] * count
  check_whole(tmp_path / "w")
  rows = events(log)
  begun = [item for what, item, *_ in rows if what == "begins"]
  assert len(begun) == len(set(begun)) == len(worker.graph()) * 3
  at_work = {pid for what, _, pid, _ in rows if what == "begins"}
  assert len(at_work) == count
  check_at_once(rows, {})


def test_a_killed_process_is_followed_at_once(tmp_path):
  """On one machine nobody waits for the lease of a process that has ended."""
  log = tmp_path / "log"
  first = start(tmp_path / "w", log, lease=60)
  wait_for(lambda: any(row[0] == "begins" for row in events(log)))
  silent = {first.pid: time.time()}
  first.kill()
  first.wait()
  assert list((tmp_path / "w" / "claims").iterdir())
  started = time.monotonic()
  assert start(tmp_path / "w", log, lease=60, seconds=0.01).wait(60) == 0
  assert time.monotonic() - started < 30
  check_whole(tmp_path / "w")
  check_at_once(events(log), silent)


def test_a_stopped_process_loses_what_it_was_at_and_overwrites_nothing(
  tmp_path,
):
  log = tmp_path / "log"
  first = start(tmp_path / "w", log, seconds=2.0)
  wait_for(lambda: any(row[0] == "begins" for row in events(log)))
  time.sleep(0.5)
  silent = {first.pid: time.time()}
  first.send_signal(signal.SIGSTOP)
  assert start(tmp_path / "w", log, seconds=0.05).wait(60) == 0
  others = {f: f.read_bytes() for f in (tmp_path / "w").rglob("record.json")}
  woken = time.time()
  first.send_signal(signal.SIGCONT)
  assert first.wait(60) == 0
  assert others == {
    f: f.read_bytes() for f in (tmp_path / "w").rglob("record.json")
  }
  rows = events(log)
  (lost,) = (at for what, _, _, at in rows if what == "loses")
  assert lost - woken < 1.0  # at its next look
  check_whole(tmp_path / "w")
  check_at_once([row for row in rows if row[0] != "loses"], silent)


def harass(workdir, log, seed, count):
  """Processes that are stopped, continued, killed and joined by others.

  Returns:
    {pid: since when} of those that were no live claimants any more.
  """
  draw = random.Random(seed)
  running = [start(workdir, log) for _ in range(count)]
  alive, silent = list(running), {}
  for _ in range(4):
    time.sleep(draw.uniform(0.3, 1.5))
    alive = [process for process in alive if process.poll() is None]
    if len(alive) < 2:
      break
    chosen = draw.choice(alive)
    now, pause = time.time(), draw.choice([0.3, 2 * LEASE])
    if draw.random() < 0.5:
      silent[chosen.pid] = now
      chosen.kill()
      running.append(start(workdir, log))
      alive.append(running[-1])
    else:
      # One that goes on within its lease was alive all along.
      if pause > LEASE:
        silent[chosen.pid] = now
      chosen.send_signal(signal.SIGSTOP)
      time.sleep(pause)
      chosen.send_signal(signal.SIGCONT)
    alive.remove(chosen)  # once each, so that its silence has one beginning
  for process in running:
    process.wait(120)
  assert start(workdir, log).wait(60) == 0  # of all that are left, the last
  return silent


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_however_processes_end(tmp_path, seed, count):
  log = tmp_path / "log"
  silent = harass(tmp_path / "w", log, seed, count)
  check_whole(tmp_path / "w")
  check_at_once(events(log), silent)


@pytest.fixture
def two(tmp_path, monkeypatch):
  """Claims of two processes in one workdir, and a clock to set."""
  now = [0.0]
  for used in (processes, module):
    monkeypatch.setattr(used.time, "monotonic", lambda: now[0])
  root = epath.Path(tmp_path)
  heart = Heart(root, 10, {"version": "1"})
  yield now, Claims(root, heart, Peers(root, 10)), tmp_path
  heart.close()


def stranger(root, version="1", place="elsewhere", beat=1):
  """A process of another machine, whose end cannot be seen."""
  name = f"{place}-12-34-abcdef"
  (root / "processes").mkdir(exist_ok=True)
  text = f'{{"version": "{version}", "pid": 12, "host": "h", "beat": {beat}}}'
  (root / "processes" / name).write_text(text)
  return name


def test_another_machines_claim_ends_a_lease_after_its_last_beat(two):
  now, claims, root = two
  owner = stranger(root)
  (root / "claims" / "x.0").write_text(owner)
  assert not claims.take("x") and claims.held_by_others() == {"x": owner}
  now[0] = 9
  stranger(root, beat=2)
  assert not claims.take("x")
  now[0] = 18
  assert not claims.take("x")
  now[0] = 19.5
  assert claims.take("x") and claims.is_mine("x")
  assert sorted(f.name for f in (root / "claims").iterdir()) == ["x.0", "x.1"]
  claims.release("x")
  assert not list((root / "claims").iterdir())


def test_one_alone_takes_over(two):
  """Of two that saw a death, the second finds the first one's claim."""
  _, claims, root = two
  (root / "claims" / "x.0").write_text("gone-1-2-3")
  (root / "claims" / "x.1").write_text(stranger(root))
  assert not claims.take("x")


def test_a_claim_without_a_name_is_waited_for_and_then_followed(two):
  now, claims, root = two
  (root / "claims" / "x.0").write_text("")
  assert not claims.take("x")
  now[0] = 11
  assert claims.take("x")


def test_what_was_taken_over_is_not_mine_and_not_released(two):
  now, claims, root = two
  assert claims.take("x")
  claims.check()
  (root / "claims" / "x.1").write_text(stranger(root))
  claims.check()  # the heart was never late: nobody looks
  now[0] = 20
  with pytest.raises(module.ClaimLostError):
    claims.check()
  claims.release("x")
  assert (root / "claims" / "x.1").exists()


def test_a_process_of_another_version_is_refused(tmp_path, monkeypatch):
  store = Store(str(tmp_path))
  stranger(tmp_path, version="0.0.1")
  polls = []

  def sleep(_):
    polls.append(1)
    stranger(tmp_path, version="0.0.1", beat=1 + len(polls) // 3)

  monkeypatch.setattr(module.time, "sleep", sleep)
  with pytest.raises(ValueError, match=r"process 12 on h .* version 0\.0\.1"):
    check_company(store, 60)
  before = time.monotonic()
  monkeypatch.setattr(module.time, "sleep", lambda _: None)
  check_company(store, 0.2)  # it shows no life
  assert time.monotonic() - before < 5


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
  store = Store(str(tmp_path))
  (tmp_path / "claims").write_text("a file")
  with pytest.raises(OSError, match=r"claims, by which .* is not writable"):
    check_company(store, 60)


# Beside a workdir that the name of an odd one would match as a pattern.
@pytest.mark.parametrize("name", ["w", "w[1]"])
def test_what_dead_processes_left_is_removed_and_no_more(tmp_path, name):
  other = tmp_path / "w1" / "studies" / "s" / ".curves.csv.0a1b"
  other.parent.mkdir(parents=True)
  other.write_text("another's")
  tmp_path /= name
  store = Store(str(tmp_path))
  alive = stranger(tmp_path)
  partial, study = tmp_path / "partial", tmp_path / "studies" / "s"
  study.mkdir(parents=True)
  for name in ("0123", "elsewhere-1-2-3.ab", f"{alive}.ab"):
    (partial / name).mkdir(parents=True)
    (partial / name / "tree").write_text("half")
  (partial / f"{this_process()}.ab").write_text("half")
  (study / ".curves.csv.0a1b").write_text("half")
  (study / ".notes").write_text("a user's")
  (study / "results.csv").write_text("whole")
  Peers(epath.Path(tmp_path), 60).sweep()
  left = sorted(f.name for f in partial.iterdir())
  assert left == sorted([f"{alive}.ab", f"{this_process()}.ab"])
  assert sorted(f.name for f in study.iterdir()) == [".notes", "results.csv"]
  assert other.exists()
  assert store.fault("x") == "missing"
