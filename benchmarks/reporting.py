"""Case `report`: how long a large study's report takes, and its size."""

import copy
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Measured, Options
from configs.mnist1d import get_config
from imp_jax.core.artefacts import Artefact
from imp_jax.core.index import Entry, load_index, save_index
from imp_jax.core.sealed import read_sealed, write_sealed
from imp_jax.core.store import Store
from imp_jax.results.load import load
from imp_jax.results.report import report
from imp_jax.study import Progress, execute, prepare

GOAL_SECONDS, GOAL_MIB = 10.0, 5.0
LARGE, SMALL = (20, 16, 10), (2, 2, 2)  # experiments, replicates, levels


def report_case(options: Options) -> Measured:
  """Seconds for the report of 20 experiments × 16 replicates × 10 levels.

  Their records are copies of a real study's, with other accuracies.
  """
  shape = SMALL if options.quick else LARGE
  with tempfile.TemporaryDirectory() as folder:
    workdir = Path(folder) / "w"
    _make(workdir, shape)
    own = []
    for _ in range(options.rounds):
      started = time.monotonic()
      failed = report(load(str(workdir), writable=True))
      own.append(time.monotonic() - started)
    assert not failed, failed
    size = (workdir / "report.html").stat().st_size / 2**20
  return Measured(
    case="report",
    unit="s",
    ours=own,
    reference=[GOAL_SECONDS],
    reference_name="at most",
    ratio=GOAL_SECONDS / statistics.median(own),
    goal=1.0,
    details={
      "experiments, replicates, levels": list(shape),
      "MiB of report.html": round(size, 2),
      "MiB at most": GOAL_MIB,
    },
  )


def _make(workdir: Path, shape: tuple[int, int, int]) -> None:
  """A workdir with so many tickets, each with a real one's records."""
  config = get_config("smoke")
  source = workdir.parent / "source"
  results = execute(prepare(config, str(source)), Progress())
  old, study = results.tables.store, results.study
  entry = next(
    e
    for e in load_index(old, study)
    if e.kind == "imp" and e.level == 1 and e.experiment != "none"
  )
  made = {role: old.load(object_id) for role, object_id in entry.ids.items()}
  meaning = read_sealed(old.study_dir(study) / "config.json")
  given = meaning["experiments"][entry.experiment]
  store, rng = Store(str(workdir)), np.random.default_rng(0)
  experiments, entries = {}, []
  count, replicates, levels = shape
  for number in range(1, count + 1):
    name, settings = f"all-{number}", copy.deepcopy(given)
    settings["trunk"]["pretrain"]["steps"] = number
    experiments[name] = settings
    for replicate in range(replicates):
      for level in range(levels):
        ids = {}
        for role, artefact in made.items():
          shared = role.startswith("pretrain")
          ids[role] = f"{name}-{role}-{replicate}" + f"-{level}" * (not shared)
          record = _record(artefact.record, role, ids, level, rng)
          copied = Artefact(record, arrays=artefact.arrays)
          store.save(ids[role], copied)
        entries.append(Entry(name, "imp", level, "", replicate, ids))
  meaning |= {"study": "large", "experiments": experiments}
  meaning["claims"] = {**meaning["claims"], "rewinding": None}
  write_sealed(store, store.study_dir("large") / "config.json", meaning)
  save_index(store, "large", entries)


def _record(
  record: dict[str, Any],
  role: str,
  ids: dict[str, str],
  level: int,
  rng: np.random.Generator,
) -> dict[str, Any]:
  """A record of another artefact of the same kind."""
  record = json.loads(json.dumps(record))
  record["inputs"] = {"weights": ids["pretrain"]} if role == "train" else {}
  if role == "train":
    record["density"] = 0.8**level
  if "metrics" in role:
    for split in record["metrics"].values():
      accuracy = 0.9 - 0.02 * level + 0.01 * rng.normal()
      split["accuracy"] = float(accuracy)
  return record
