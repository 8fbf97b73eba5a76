"""Sweeps: what their files make, and workers that are lost."""

import collections
import os
import signal
import subprocess
import sys
import time

import pytest

from imp_jax.command.pools import Ended, LocalPool, RayPool
from imp_jax.command.progress import Bar
from imp_jax.command.sweep import _attended, _needs, load_sweep, run_sweep
from imp_jax.study import prepare
from imp_jax.study.options import check_fields
from tests.places import ROOT
from tests.tiny import copy_of, tiny_config

SMOKE = "--config=configs/mnist1d.py:smoke"
MORE = """
def get_sweep():
  return [
    {"name": "more", "pretrain.steps": "2step"},
    {"pretrain.steps": "1step", "optim.learning_rate": 0.05},
  ]
"""
# The same, as a config that was written by hand.
BY_HAND = f"""
from configs.mnist1d import get_config as smoke
{MORE.replace('    {"pre', '    {"name": "NAME", "pre')}
def get_config():
  config = smoke("smoke")
  config.experiments = (*config.experiments, *get_sweep())
  return config
""".replace("NAME", "pretrain.steps=1step+optim.learning_rate=0.05")


def written(folder, text, name="x.py"):
  file = folder / name
  file.write_text(text)
  return str(file)


def run(*args, program="launch.sweep"):
  return subprocess.run(
    [sys.executable, "-m", program, *args],
    cwd=ROOT,
    env=os.environ | {"PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )


def test_the_sweep_that_is_there_is_one():
  experiments = load_sweep(str(ROOT / "configs/sweeps/rewinding.py"))
  assert [e["name"] for e in experiments][:2] == ["all-10", "all-25"]


@pytest.mark.parametrize(
  "text,message",
  [
    ("def get_sweep(): return []", r"get_sweep\(\) returns no experiment"),
    ("def get_sweep(): return [1]", r"returns dicts like .*, got 1"),
    ("def get_sweep(): return [{}]", r"returns dicts like .*, got \{\}"),
    ("def get_sweep(): return 1", "must be a Python file .* not iterable"),
    ("x = 1", "must be a Python file with a function .*no attribute"),
    ("def get_sweep(:", "must be a Python file with a function get_sweep"),
    ("1 / 0", "must be a Python file .*division by zero"),
  ],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path, text, message):
  with pytest.raises(ValueError, match=message) as refused:
    load_sweep(written(tmp_path, text))
  assert "\n" not in str(refused.value)
  with pytest.raises(FileNotFoundError, match="--sweep=.*/y.py: no such file"):
    load_sweep(str(tmp_path / "y.py"))


def test_two_experiments_of_one_name_are_refused():
  config = tiny_config(experiments=({"name": "a"},))
  config.experiments = (*config.experiments, {"name": "a", "prune.levels": 1})
  with pytest.raises(ValueError, match="two experiments are named 'a'"):
    check_fields(config)


def test_what_a_worker_needs_is_written_like_ray_does():
  assert _needs(["GPU=1", "CPU=0.5"]) == {"GPU": 1, "CPU": 0.5}
  for text in ("GPU", "=1", "GPU=0", "GPU=-1", "GPU=x", "GPU=nan", "GPU=inf"):
    with pytest.raises(ValueError, match="--resources are like GPU=1, got"):
      _needs([text])


@pytest.mark.parametrize(
  "flags,message",
  [
    ((), "--config is missing"),
    ((SMOKE, "--workdir=W"), "--sweep is missing"),
    ((SMOKE, "--workdir=W", "--sweep=none.py"), "none.py: no such file"),
    ((SMOKE, "--workdir=W", "--sweep=X", "--resources=GPU=1"), "--ray_address"),
    (
      (SMOKE, "--workdir=W", "--sweep=X", "--ray_address=no:1"),
      "no Ray cluster",
    ),
  ],
)
def test_bad_input_is_one_line_and_makes_nothing(tmp_path, flags, message):
  if "no Ray" in message:
    pytest.importorskip("ray")
  names = {"X": written(tmp_path, MORE), "W": str(tmp_path / "w")}
  flags = [
    f[:-1] + names[f[-1]] if f[-2:] in ("=X", "=W") else f for f in flags
  ]
  done = run(*flags)
  assert done.returncode == 2, done.stderr
  (line,) = done.stderr.splitlines()
  assert message in line
  assert not list(tmp_path.glob("w/objects/*"))


class Scripted:
  """A pool whose workers end as they are told, in turn."""

  def __init__(self, codes):
    self.size, self.codes = len(codes), list(map(collections.deque, codes))
    self.started, self.waiting = [], []

  def start(self, worker):
    self.started.append(worker)
    self.waiting.append(worker)

  def ended(self, seconds):
    del seconds
    codes = {worker: self.codes[worker].popleft() for worker in self.waiting}
    self.waiting = [w for w, code in codes.items() if code == "busy"]
    return [
      Ended(worker, code, "there", "its last line")
      for worker, code in codes.items()
      if code != "busy"
    ]

  def close(self):
    pass


@pytest.mark.parametrize(
  "codes,code,started",
  [
    ([[0]], 0, [0]),
    ([[1, 1, 1]], 1, [0, 0, 0]),
    ([[1, 0]], 0, [0, 0]),
    ([[2]], 2, [0]),
    ([[None, -9, 0]], 0, [0, 0, 0]),
    ([[3, 134, 4, 0]], 4, [0, 0, 0]),
    ([[2], [0]], 0, [0, 1]),
    ([[None, "busy", "busy", 0], ["busy", "busy", "busy", 0]], 0, [0, 1, 0]),
    ([[2], [2]], 2, [0, 1]),
    ([[0], [0]], 0, [0, 1]),
    ([[0], ["busy", "busy", 0]], 0, [0, 1]),
  ],
)
def test_lost_workers_are_started_again(tmp_path, capsys, codes, code, started):
  plan, pool = prepare(tiny_config(), str(tmp_path)), Scripted(codes)
  assert _attended(plan, pool, Bar()) == code
  assert pool.started == started
  assert not pool.waiting
  told = capsys.readouterr().err
  assert told.count("started again") == len(started) - pool.size
  if len(codes[0]) == 4 and code == 4:
    assert "worker 0 (there) ended with 4: its last line" in told


def test_no_more_workers_are_started_than_there_is_work(finished):
  """But for one, which looks for damage and writes what the study means."""
  plan = prepare(tiny_config(), str(finished[0]))
  pool = Scripted([[0]] * 3)
  assert _attended(plan, pool, Bar()) == 0 and pool.started == [0]


def sleeper(tmp_path, code="import time; time.sleep(60)"):
  command = [sys.executable, "-c", f"print('here', flush=True); {code}"]
  return LocalPool(command, tmp_path, os.environ)


def test_workers_of_a_pool_that_closes_are_asked_to_end(tmp_path):
  pool = sleeper(tmp_path)
  assert pool.size == 1
  pool.start(0)
  assert pool.ended(0.1) == []
  while "here" not in (tmp_path / "worker0.log").read_text():
    time.sleep(0.01)
  pool.close()
  (ended,) = pool.ended(1)
  assert ended == Ended(0, -signal.SIGTERM, "here", "here")


def test_a_worker_ends_with_who_started_it():
  """Who is killed, and passes nothing on."""
  child = (
    "import os, sys, time; from imp_jax.command.pools import end_with; "
    "end_with(int(sys.argv[1])); print(os.getpid(), flush=True); time.sleep(60)"
  )
  parent = (
    "import os, subprocess, sys, time; subprocess.Popen([sys.executable, '-c', "
    "sys.argv[1], str(os.getpid())]); time.sleep(60)"
  )
  starter = subprocess.Popen(
    [sys.executable, "-c", parent, child], stdout=subprocess.PIPE, text=True
  )
  assert starter.stdout
  pid = int(starter.stdout.readline())
  starter.kill()
  starter.wait()
  deadline = time.monotonic() + 30
  while is_running(pid):
    assert time.monotonic() < deadline
    time.sleep(0.05)


def is_running(pid):
  try:
    with open(f"/proc/{pid}/stat") as file:
      return file.read().rpartition(")")[2].split()[0] not in "ZX"
  except FileNotFoundError:
    return False


@pytest.mark.parametrize(
  "codes,code,begun",
  [([[2]], 2, False), ([[0]], 0, True), ([[3] * 3], 3, True)],
)
def test_a_sweep_reports_what_there_is(
  finished, tmp_path, codes, code, begun, capsys
):
  workdir = copy_of(finished, tmp_path) if begun else tmp_path / "w"
  plan = prepare(tiny_config(), str(workdir))
  table = workdir / "studies" / "mnist1d-smoke" / "results.csv"
  table.unlink(missing_ok=True)
  assert run_sweep(plan, Scripted(codes)) == code
  assert table.exists() == begun


@pytest.mark.long
def test_two_local_workers_make_the_study_of_one(tmp_path):
  sweep = written(tmp_path, MORE)
  small = "--config.model.name=lenet300100", "--config.model.width=0.1"
  flags = SMOKE, f"--sweep={sweep}", f"--workdir={tmp_path / 'w'}"
  done = run(*flags, *small, "--workers=2")
  assert done.returncode == 0, done.stderr
  config = written(tmp_path, BY_HAND, "by_hand.py")
  flags = f"--config={config}", f"--workdir={tmp_path / 'one'}"
  one = run(*flags, *small, program="launch.main")
  assert one.returncode == 0, one.stderr
  tables = [
    (tmp_path / w / "studies/mnist1d-smoke/results.csv").read_bytes()
    for w in ("w", "one")
  ]
  assert tables[0] == tables[1]
  assert len(list((tmp_path / "w" / "logs").iterdir())) == 2
  assert "more" in done.stdout


@pytest.fixture
def cluster():
  """A Ray cluster of two nodes on this machine, two CPUs each."""
  pytest.importorskip("ray")
  from ray.cluster_utils import Cluster

  made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
  yield made
  made.shutdown()


@pytest.mark.long
def test_a_killed_node_loses_nothing(tmp_path, cluster):
  """Two nodes beside the head; one is killed while its worker trains."""
  nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
  cluster.wait_for_nodes()
  sweep = written(tmp_path, MORE)
  longer = ["--config.optim.steps=400step", "--config.optim.milestones=()"]
  longer += [
    "--config.execution.chunk_steps=20",
    "--config.eval.curve_steps=()",
  ]
  workdir = tmp_path / "w"
  running = subprocess.Popen(
    [
      *(sys.executable, "-m", "launch.sweep", SMOKE, *longer),
      *(f"--sweep={sweep}", f"--workdir={workdir}"),
      f"--ray_address={cluster.address}",
    ],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  # Until both are at work.
  while (
    len(list(workdir.glob("objects/*"))) < 5
    or len(list(workdir.glob("processes/*"))) < 2
  ):
    assert running.poll() is None, running.communicate()
    time.sleep(0.05)
  cluster.remove_node(nodes[1], allow_graceful=False)
  _, told = running.communicate(timeout=300)
  print(told)
  assert running.returncode == 0, told
  assert "was lost" in told and "started again, 2 of 3 times" in told
  local = run(
    *(SMOKE, *longer, f"--sweep={sweep}", f"--workdir={tmp_path / 'one'}")
  )
  assert local.returncode == 0, local.stderr
  tables = [
    (tmp_path / w / "studies/mnist1d-smoke/results.csv").read_bytes()
    for w in ("w", "one")
  ]
  assert tables[0] == tables[1]


@pytest.mark.long
def test_what_no_node_has_is_refused(tmp_path, cluster):
  cluster.add_node(num_cpus=1)
  cluster.wait_for_nodes()
  with pytest.raises(ValueError, match="needs GPU=1, and no node .* than 0"):
    RayPool([], tmp_path, cluster.address, {"GPU": 1})
  cluster.add_node(num_cpus=0, resources={"special": 1})
  cluster.wait_for_nodes()
  with pytest.raises(ValueError, match="has special=1, CPU=1 together"):
    RayPool([], tmp_path, cluster.address, {"special": 1, "CPU": 1})
