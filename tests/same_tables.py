"""Runs one study from a commit and from the working tree, compares all values.

  python -m tests.same_tables COMMIT configs/mnist1d.py:quick [--keep=DIR]

Both on this machine, each into a workdir of its own. Every value of every
table must be the same, text for text, and every array of scores and labels.
Exit code 1 names what is not.
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from tests.places import ROOT

# What differs on purpose: seconds are measured; experiments.csv and JSON files
# say what names mean, in the words of their version.
FREE_COLUMNS = {"verdicts.csv": {"seconds"}}
FREE_FILES = {
  "experiments.csv": "the settings by their names in each version",
}


def run_study(tree: pathlib.Path, config: str, workdir: pathlib.Path) -> None:
  """Runs a study from a checked-out tree."""
  command = [sys.executable, "-m", "launch.main"]
  command += [f"--config={config}", f"--workdir={workdir}"]
  subprocess.run(command, cwd=tree, check=True, stdout=subprocess.DEVNULL)


def differences(old: pathlib.Path, new: pathlib.Path) -> list[str]:
  """Returns what differs between two folders of one study, a line each."""
  found = []
  for kind in ("*.csv", "*.jsonl", "scores/*.np*", "noisy_labels/*.np*"):
    names = {
      str(p.relative_to(side)) for side in (old, new) for p in side.glob(kind)
    }
    for name in sorted(names - FREE_FILES.keys()):
      one, other = old / name, new / name
      if not (one.exists() and other.exists()):
        found.append(
          f"{name}: only in {'the commit' if one.exists() else 'the tree'}"
        )
      elif kind.endswith("np*"):
        if not np.array_equal(np.load(one), np.load(other), equal_nan=True):
          found.append(f"{name}: another array")
      elif kind == "*.jsonl":
        if one.read_text() != other.read_text():
          found.append(f"{name}: other rows")
      else:
        found += _table_differences(name, one, other)
  return found


def _table_differences(name, one, other) -> list[str]:
  free = FREE_COLUMNS.get(name, set())
  rows = []
  for file in (one, other):
    with file.open(newline="") as text:
      rows.append(
        [
          {k: v for k, v in row.items() if k not in free}
          for row in csv.DictReader(text)
        ]
      )
  if len(rows[0]) != len(rows[1]):
    return [f"{name}: {len(rows[0])} rows, and now {len(rows[1])}"]
  return [
    f"{name}, row {i}: {json.dumps(a)} is now {json.dumps(b)}"
    for i, (a, b) in enumerate(zip(*rows, strict=True))
    if a != b
  ][:3]


def main() -> int:
  parser = argparse.ArgumentParser(prog="python -m tests.same_tables")
  parser.add_argument("commit")
  parser.add_argument("configs", nargs="+")
  parser.add_argument("--keep", help="where the commit's results are kept")
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as scratch:
    keep = pathlib.Path(args.keep or scratch).absolute()
    tree = pathlib.Path(scratch) / "tree"
    git = ["git", "-C", str(ROOT)]
    add = [*git, "worktree", "add", "--detach", str(tree), args.commit]
    subprocess.run(add, check=True, capture_output=True)
    try:
      failed = [c for c in args.configs if not _same(c, tree, keep, scratch)]
    finally:
      remove = [*git, "worktree", "remove", "--force", str(tree)]
      subprocess.run(remove, check=True)
  return int(bool(failed))


def _same(config, tree, keep, scratch) -> bool:
  name = pathlib.Path(config).stem + config.partition(":")[2]
  old, new = keep / name, pathlib.Path(scratch) / f"new-{name}"
  if not (old / "finished").exists():
    run_study(tree, config, old)
    (old / "finished").touch()
  run_study(ROOT, config, new)
  (one,), (other,) = ([*(w / "studies").iterdir()] for w in (old, new))
  found = differences(one, other)
  for line in found:
    print(line)
  tables = len([*one.glob("*.csv")])
  print(f"{config}: {'differs' if found else f'{tables} tables are the same'}")
  return not found


if __name__ == "__main__":
  sys.exit(main())
