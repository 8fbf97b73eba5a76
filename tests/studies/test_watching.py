"""What a run tells while it goes on: lines, JSONL, TensorBoard, W&B."""

import io
import json
import struct
import sys
import types

import pytest

from imp_jax.command import progress, writers
from imp_jax.command.progress import Bar
from imp_jax.command.studies import run_study
from imp_jax.command.writers import (
  WRITERS,
  Lines,
  Place,
  TensorBoard,
  Writers,
)
from imp_jax.core.store import Store
from imp_jax.engine import execution
from imp_jax.results.load import Results
from imp_jax.study import prepare
from tests.results.test_output import Terminal, content
from tests.tiny import tiny_config


def told_rows(workdir):
  """All rows of all processes' files, in order."""
  files = workdir.glob("studies/*/measured/*.jsonl")
  return [json.loads(line) for f in files for line in f.open()]


def row(network="a level 0, replicate 0", step=1, **more):
  row = {"network": network, "step": step, "split": "train_batches"}
  return row | {"loss": 2.0, "accuracy": 0.5, "density": 1.0} | more


def test_every_measurement_is_a_line_that_is_there_at_once(tmp_path):
  config = tiny_config(eval__curve_steps=("1step",))
  assert run_study(config, str(tmp_path)) == 0
  rows = told_rows(tmp_path)
  ours = Results(Store(str(tmp_path)), config.name)
  table = ours.tables.get("training")
  told = {
    (r["network"], r["step"]): r for r in rows if r["split"] == "train_batches"
  }
  of_none = table[(table["experiment"] == "none") & (table["level"] == 1)]
  assert set(of_none["metric"]) == {"loss", "accuracy"}
  results = ours.tables.get("results").query("experiment == 'none'")
  density = set(results.query("level == 1")["density"]).pop()
  for _, expected in of_none.iterrows():
    network = f"none level 1, replicate {expected['replicate']}"
    found = told[network, expected["step"]]
    assert found[expected["metric"]] == expected["value"]
    assert found["density"] == density
  presented = [
    r["examples"] for (n, _), r in told.items() if "none level 1" in n
  ]
  assert sum(presented) == config.data.batch_size * sum(
    max(step for n, step in told if n == network)
    for network in {n for n, _ in told if "none level 1" in n}
  )
  # The end of each, on the test data, and one on the way.
  ends = [r for r in rows if r["split"] == "test" and "density" not in r]
  for r in range(config.replicates):
    (end,) = [e for e in ends if e["network"] == f"none level 2, replicate {r}"]
    expected = results.query(
      f"replicate == {r} and level == 2 and metric == 'accuracy' "
      "and split == 'test'"
    )
    assert end["accuracy"] == expected["value"].item()
  on_the_way = [r for r in rows if r["split"] == "test" and "density" in r]
  assert {r["step"] for r in on_the_way} == {1}
  # A second run measures nothing, and has no file of its own.
  assert run_study(config, str(tmp_path)) == 0
  assert told_rows(tmp_path) == rows


def test_a_line_says_how_the_networks_are_and_what_is_left(monkeypatch, capfd):
  now = [0.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
  with Bar(line_seconds=10) as bar:
    bar.begin(4000)
    bar.node("all-20 level 3")
    for step in (500, 1000, 1500):
      for r, accuracy in enumerate((0.5, 0.6)):
        network = f"all-20 level 3, replicate {r}"
        shown = {"accuracy": accuracy, "density": 0.262, "examples": 64_000}
        bar.measured(row(network, step, **shown))
      now[0] += 4
      bar.steps(1000)
    bar.node("all-20 level 4")
    now[0] += 10
    bar.steps(0)
  # 1,000 steps and 128,000 examples in 4 seconds.
  assert capfd.readouterr().err == (
    "all-20 level 3: 3,000 of 4,000 steps, training accuracy 55.0%, "
    "density 26.2%, 32,000 examples/s, 4 s left\n"
    "all-20 level 4: 3,000 of 4,000 steps, 4 s left\n"
  )


def test_on_a_terminal_words_are_below_the_bar(monkeypatch):
  terminal = Terminal(io.BytesIO(), "utf-8")
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setattr(sys, "stderr", terminal)
  with Bar() as bar:
    bar.begin(4)
    bar.node("none level 1")
    bar.measured(row(examples=100, density=0.64))
    bar.steps(4)
  shown = content(terminal).splitlines()
  at = [i for i, line in enumerate(shown) if "none level 1" in line]
  assert "training accuracy 50.0%, density 64.0%" in shown[at[-1] + 1]


def test_steps_of_before_are_no_speed(monkeypatch, capfd):
  """A run that goes on from a checkpoint tells of all its steps at once."""
  now = [0.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
  with Bar(line_seconds=3) as bar:
    bar.begin(10_000)
    bar.node("a")
    bar.steps(9000)
    for step in (9100, 9200):
      now[0] += 2
      bar.measured(row(step=step, examples=100))
      bar.steps(100)
  told = capfd.readouterr().err
  assert told.endswith("50 examples/s, 16 s left\n")


@pytest.mark.parametrize(
  ("seconds", "said"),
  [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (3599, "1 h 0 min")],
)
def test_durations_as_they_are_read(seconds, said):
  assert progress._duration(seconds) == said


def events(file):
  """(tag, value, step) of a TensorBoard file, by its format's definition."""
  from tensorboardX.proto.event_pb2 import Event

  data, at = file.read_bytes(), 0
  while at < len(data):
    (length,) = struct.unpack("<Q", data[at : at + 8])
    event = Event.FromString(data[at + 12 : at + 12 + length])
    at += 16 + length
    for value in event.summary.value:
      yield value.tag, value.simple_value, event.step


def test_tensorboard_has_a_run_of_each_network(tmp_path):
  config = tiny_config(execution__writers=("tensorboard",))
  assert run_study(config, str(tmp_path)) == 0
  folder = tmp_path / "studies" / config.name / "tensorboard"
  runs = {str(f.parent.relative_to(folder)): f for f in folder.glob("*/*/*")}
  told = told_rows(tmp_path)
  networks = {r["network"] for r in told}
  assert {run.replace("/", ", ") for run in runs} == networks
  expected = {
    (f"{r['split']}/{name}", r["step"]): r[name]
    for r in told
    if r["network"] == "none level 1, replicate 1"
    for name in ("loss", "accuracy", "density", "examples")
    if name in r
  }
  found = {(t, s): v for t, v, s in events(runs["none level 1/replicate 1"])}
  assert found == pytest.approx(expected, rel=1e-6)


def test_tensorboard_keeps_few_files_open(tmp_path):
  """Each takes descriptors and threads; a study has hundreds of networks."""
  place = Place(Store(str(tmp_path)), "s", {})
  writer = TensorBoard(place)
  for step in (1, 2):
    for network in range(40):
      writer.write(row(f"n level {network}, replicate 0", step=step))
      assert len(writer._open) <= 16
  writer.close()
  files = list((tmp_path / "studies" / "s" / "tensorboard").glob("*/*/*"))
  assert len({f.parent for f in files}) == 40
  found = sorted(
    step
    for file in files
    if file.parent.parent.name == "n level 7"
    for tag, _, step in events(file)
    if tag == "train_batches/loss"
  )
  assert found == [1, 2]


def test_a_writer_that_is_given_up_is_closed(capfd):
  closed = []

  class Full:
    def __init__(self, place):
      pass

    def write(self, row):
      raise OSError("full")

    def close(self):
      closed.append(True)
      raise OSError("full")

  both = Writers(types.SimpleNamespace(), ())
  both._kinds = {"full": Full}
  both.write(row())
  both.close()
  assert closed == [True]
  assert capfd.readouterr().err.count("measurements") == 1


def test_weights_and_biases_without_a_network(tmp_path, monkeypatch):
  monkeypatch.setenv("WANDB_MODE", "offline")
  config = tiny_config(execution__writers=("wandb",))
  assert run_study(config, str(tmp_path)) == 0
  folder = tmp_path / "studies" / config.name / "wandb"
  (file,) = folder.glob("offline-run-*/*.wandb")
  content = file.read_bytes()
  for part in (b"none level 2, replicate 1/test/accuracy", b"imp_jax"):
    assert part in content
  # Its numbers stand there as text.
  last = [r for r in told_rows(tmp_path) if r["split"] == "test"][-1]
  assert str(last["accuracy"]).encode() in content


def test_a_writer_that_fails_ends_no_run(tmp_path, monkeypatch, capfd):
  def full(self, row):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(Lines, "write", full)
  monkeypatch.setattr(writers, "WRITERS", {"wandb": Unwilling})
  monkeypatch.setattr(execution, "WRITERS", {"wandb": "json"})
  config = tiny_config(execution__writers=("wandb",))
  assert run_study(config, str(tmp_path)) == 0
  told = capfd.readouterr().err.splitlines()
  assert [line for line in told if "measurements" in line] == [
    "warning: measurements go no more to lines: [Errno 28] No space left on "
    "device",
    "warning: measurements go no more to wandb: no API key",
  ]


class Unwilling:
  def __init__(self, place):
    raise RuntimeError("no API key")


def test_one_that_fails_when_it_is_closed_is_told_of(capfd):
  class Slow(Unwilling):
    def __init__(self, place):
      pass

    def write(self, row):
      pass

    def close(self):
      raise TimeoutError("the service does not answer")

  place = types.SimpleNamespace()
  both = Writers(place, ())
  both._kinds = {"slow": Slow}
  both.write(row())
  both.close()
  assert "slow: the service does not answer" in capfd.readouterr().err


@pytest.mark.parametrize("name", WRITERS)
def test_a_package_that_is_not_installed(tmp_path, monkeypatch, name):
  package = execution.WRITERS[name]
  monkeypatch.setitem(execution.WRITERS, name, "no_such_package")
  config = tiny_config(execution__writers=(name,))
  with pytest.raises(ValueError, match=rf"imp-jax\[{name}\]") as refused:
    prepare(config, str(tmp_path / "new"))
  assert "\n" not in str(refused.value)
  assert not (tmp_path / "new").exists()
  assert package  # or there would be nothing to install


def test_writers_have_one_list():
  assert list(WRITERS) == list(execution.WRITERS)


def test_tensorboard_needs_a_disk():
  config = tiny_config(execution__writers=("tensorboard",))
  with pytest.raises(ValueError, match="writes to a disk, and gs://b/w is in"):
    prepare(config, "gs://b/w")


def test_in_a_bucket_a_file_is_renewed_after_a_minute(tmp_path, monkeypatch):
  now = [0.0]
  monkeypatch.setattr(writers.time, "monotonic", lambda: now[0])
  study = tmp_path / "studies" / "a"
  store = types.SimpleNamespace(is_remote=True, study_dir=lambda _: study)
  lines = Lines(Place(store, "a", {}))
  lines.write(row(step=1))
  assert not told_rows(tmp_path)
  now[0] = 61.0
  lines.write(row(step=2))
  assert [r["step"] for r in told_rows(tmp_path)] == [1, 2]
  lines.write(row(step=3))
  lines.close()
  assert [r["step"] for r in told_rows(tmp_path)] == [1, 2, 3]
