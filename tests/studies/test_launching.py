"""TPU VMs and SLURM: every command, word for word; none of them is here."""

import os
import subprocess
import sys

import pytest
from absl import flags

from launch import tpu
from tests.places import ROOT

PLACE = ["--name=t", "--zone=z"]
TPU = [*PLACE, "--type=v5litepod-16", "--runtime=v2-alpha-tpuv5-lite"]
STUDY = ["--repository=https://host/r.git", "--workdir=gs://b/x"]
STUDY += ["--config=configs/x.py", "--args=--config.seed=1 --only=a"]
DESCRIBE = (
  "gcloud compute tpus queued-resources describe t --zone=z "
  "'--format=value(state.state)'"
)
CREATE = (
  "gcloud compute tpus queued-resources create t --zone=z --node-id=t "
  "--accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite"
)
DELETE = (
  "gcloud compute tpus queued-resources delete t --zone=z --force --quiet"
)
SETUP = (
  "gcloud compute tpus tpu-vm ssh t --zone=z --worker=all '--command="
  "test -d imp_jax || git clone https://host/r.git imp_jax; cd imp_jax && "
  "git pull --ff-only && python3 -m venv .venv && "
  """.venv/bin/pip install --quiet -e '"'"'.[tpu,gcs]'"'"''"""
)
RUN = (
  "gcloud compute tpus tpu-vm ssh t --zone=z --worker=all '--command="
  "cd imp_jax && JAX_COMPILATION_CACHE_DIR=gs://b/x/programs "
  ".venv/bin/python -m launch.main --distributed --config=configs/x.py "
  "--workdir=gs://b/x --config.seed=1 --only=a'"
)
FETCH = "gcloud storage rsync --recursive gs://b/x/studies out"


def launched(*args):
  return subprocess.run(
    [sys.executable, "-m", "launch.tpu", *args],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.parametrize(
  "args,commands",
  [
    (["create", *TPU], [DESCRIBE, CREATE]),
    (["create", *TPU, "--spot"], [DESCRIBE, f"{CREATE} --spot"]),
    (["setup", *PLACE, *STUDY], [SETUP]),
    (["run", *TPU, *STUDY], [DESCRIBE, CREATE, SETUP, RUN]),
    (["fetch", *STUDY, "--out=out"], [FETCH]),
    (["delete", *PLACE], [DELETE]),
  ],
)
def test_a_dry_run_prints_every_command(args, commands):
  done = launched(*args, "--dry_run")
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines() == commands


@pytest.mark.parametrize(
  "args,message",
  [
    ([], "give one of create, setup, run, fetch, delete, got ''"),
    (["make"], "got 'make'"),
    (["create", *PLACE], "create needs --type"),
    (["run", *TPU, "--repository=r"], "run needs --workdir"),
    (["fetch", "--workdir=here", "--out=o"], "must be gs://BUCKET/..., got"),
  ],
)
def test_what_is_missing_is_one_line(args, message):
  done = launched(*args, "--dry_run")
  assert done.returncode == 2
  (line,) = done.stderr.splitlines()
  assert message in line


@pytest.fixture
def given(monkeypatch):
  values = flags.FlagValues()
  monkeypatch.setattr(tpu.flags, "FLAGS", values)
  for name in ("name", "zone", "type", "runtime", "repository"):
    flags.DEFINE_string(name, name[0], "", flag_values=values)
  for name, value in (("workdir", "gs://b"), ("config", "c"), ("args", None)):
    flags.DEFINE_string(name, value, "", flag_values=values)
  for name in ("spot", "dry_run"):
    flags.DEFINE_bool(name, False, "", flag_values=values)
  values(["x"])
  monkeypatch.setattr(tpu.time, "sleep", lambda _: None)


def scripted(states, codes):
  """A shell: states by turn, the study's exit codes by turn."""
  told, states, codes = [], iter(states), iter(codes)

  def shell(command):
    what = next(
      w
      for w in ("describe", "create", "delete", "launch.main", "git clone")
      if any(w in part for part in command)
    )
    told.append(what)
    if what == "describe":
      state = next(states)
      return (0, f"{state}\n") if state else (1, "")
    return (next(codes) if what == "launch.main" else 0), ""

  return shell, told


def test_a_tpu_that_is_taken_away_is_made_anew_and_the_study_goes_on(given):
  shell, told = scripted(
    # made; there; taken away: removed (it is there), made, waited for, there.
    ["", "ACTIVE", *["SUSPENDED"] * 3, "PROVISIONING", "ACTIVE"],
    [1, 0],
  )
  assert tpu.study(shell) == 0
  assert told == [
    *("describe", "create", "describe", "git clone", "launch.main"),
    *("describe", "describe", "describe", "delete", "create"),
    *("describe", "describe", "git clone", "launch.main"),
  ]


@pytest.mark.parametrize("code", [0, 1, 2, 255])
def test_what_a_study_ends_with_where_the_tpu_is_there_is_its_end(given, code):
  shell, told = scripted(["ACTIVE", "ACTIVE"], [code])
  assert tpu.study(shell) == code
  asked = ["describe"] if code else []
  assert told == ["describe", "git clone", "launch.main", *asked]


def test_what_is_there_is_not_made_and_what_is_not_is_not_removed(given):
  shell, told = scripted(["ACTIVE"], [])
  tpu.create(shell)
  shell, told_too = scripted([""], [])
  tpu.delete(shell)
  assert told == told_too == ["describe"]


@pytest.mark.parametrize("tasks", ["", "1", "8"])
def test_a_slurm_job_runs_the_study_and_queues_itself_again(tasks):
  known = {"SLURM_NTASKS": tasks} if tasks else {}
  done = subprocess.run(
    ["bash", "launch/slurm.sbatch", "--dry_run", "--config=c", "--workdir=w"],
    cwd=ROOT,
    env={**os.environ, **known, "SLURM_JOB_ID": "7"},
    capture_output=True,
    text=True,
    check=False,
  )
  together = " --distributed" if tasks == "8" else ""
  assert done.stdout.splitlines() == [
    f"srun .venv/bin/python -m launch.main{together} --config=c --workdir=w",
    "scontrol requeue 7",
  ]
  assert done.returncode == 143 and not done.stderr


def test_what_slurm_is_asked_for():
  text = (ROOT / "launch" / "slurm.sbatch").read_text()
  asked = [s[8:] for s in text.splitlines() if s.startswith("#SBATCH ")]
  assert asked == [
    "--job-name=imp_jax",
    "--ntasks-per-node=1",
    "--gpus-per-node=1",
    "--cpus-per-task=8",
    "--time=24:00:00",
    "--requeue",
    "--open-mode=append",
    "--output=%x-%j.log",
    "--signal=TERM@180",
  ]
