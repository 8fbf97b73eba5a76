"""Tiny studies for tests: a small network, few steps, any change on top."""

import contextlib
import hashlib
import json
import shutil

import numpy as np

from configs import mnist1d
from imp_jax.data.dataset import make_dataset
from imp_jax.results.report import report
from imp_jax.study import Progress, execute, prepare

EVALUATION = ", evaluation"
TEST_EXAMPLES = 20


class Log(Progress):
  """Keeps what a run tells, to count what it computed.

  Evaluations of networks apart from everything else.
  """

  def __init__(self):
    self.total, self.done = 0, 0
    self.nodes, self.evaluated, self.warnings = [], [], []

  def begin(self, total_steps):
    self.total = total_steps

  def node(self, label):
    if label.endswith(EVALUATION):
      self.evaluated.append(label.removesuffix(EVALUATION))
    else:
      self.nodes.append(label)

  def steps(self, count):
    self.done += count

  def warn(self, message):
    self.warnings.append(message)


def tiny_config(**changes):
  """The smoke config, with fields set by dotted name ("__" for ".").

  With few test signals, where nothing else is said.
  """
  config = changed_config(mnist1d.get_config("smoke"), changes)
  if config.data.source == "mnist1d" and config.data.test_examples is None:
    config.data.test_examples = TEST_EXAMPLES
  return config


def changed_config(config, changes, *, any_type=False):
  """A config with fields set, of another type too if that is to be refused."""
  for path, value in changes.items():
    *groups, field = path.split("__")
    node = config
    for group in groups:
      node = node[group]
    with node.ignore_type() if any_type else contextlib.nullcontext():
      if isinstance(value, dict):  # the rest of the group stays
        node[field].update(value)
      else:
        node[field] = value
  return config


def put(config, field, value):
  """The config with one field set by its dotted name, whatever its type."""
  *groups, last = field.split(".")
  node = config
  for group in groups:
    node = node[group]
  with node.unlocked():
    del node[last]  # with its type, of which a value would be made
    node[last] = value
  return config


def run_tiny(workdir, *, written=False, **changes):
  """Runs a tiny study; returns (results, log).

  Args:
    workdir: of the study.
    written: whether its report is written; what it lacks is a warning.
    **changes: of `tiny_config`.
  """
  log = Log()
  plan = prepare(tiny_config(**changes), str(workdir))
  results = execute(plan, log)
  if written:
    log.warnings += report(results, plan.dataset)
  return results, log


def random_arrays(rng, *, train=24, test=10, shape=(8, 8, 3), classes=3):
  """Arrays of a random image data set, every class present."""

  def part(count):
    labels = rng.permutation(count) % classes
    return rng.integers(0, 256, (count, *shape), dtype="uint8"), labels

  return {"train": part(train), "test": part(test)}


def write_npz(path, arrays):
  """Writes a data set's arrays as an `.npz` holds them; returns its name."""
  np.savez(
    path,
    **{
      f"{split}_{part}": array
      for split, pair in arrays.items()
      for part, array in zip(("image", "label"), pair, strict=True)
    },
  )
  return str(path)


def random_dataset(rng, **options):
  return make_dataset("random", random_arrays(rng, **options))


def seal(file, record):
  """Writes a changed record with its own checksum right."""
  record = dict(record)
  sums = record.pop("checksums")
  data = json.dumps(record, sort_keys=True).encode()
  sums["record.json"] = hashlib.sha256(data).hexdigest()
  file.write_text(json.dumps(record | {"checksums": sums}))


def copy_of(finished, tmp_path):
  """A copy of a finished workdir, to go on in."""
  return shutil.copytree(finished[0], tmp_path / "copy")
