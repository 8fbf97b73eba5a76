"""What a workdir holds and lacks: --plan, --status and --gc."""

from collections.abc import Mapping, Sequence
from typing import Any

from imp_jax.command.cli import BAD_INPUT, BadInput
from imp_jax.command.output import say
from imp_jax.core.buckets import exists, read_file
from imp_jax.core.index import study_names
from imp_jax.core.processes import Peers
from imp_jax.core.store import Store
from imp_jax.engine.claims import held
from imp_jax.study import prepare
from imp_jax.study.listing import (
  counts,
  load_listing,
  put_away,
  unneeded,
)
from imp_jax.study.outlook import outlook, outlook_lines, stage_lines

# Of a reader, who has not watched anybody yet: all count as alive.
_LEASE = 60.0


def show_plan(config: Any, workdir: str, only: Sequence[str] = ()) -> int:
  """Prints what a study has yet to do and what that takes; runs nothing.

  Args:
    config, workdir, only: as of `study.prepare`; a workdir that is not there
      is not made.

  Raises:
    BadInput: as of `study.prepare`.
  """
  try:
    plan = prepare(config, workdir, only, writes=False)
    found = outlook(plan, _held(plan.store))
    is_new = not exists(plan.store.root)
  except BAD_INPUT as error:
    raise BadInput(error) from None
  if is_new:
    say(f"there is no workdir {workdir} yet: all is to do")
  for line in outlook_lines(found):
    say(line)
  return 0


def show_status(workdir: str) -> int:
  """Prints how far a workdir's studies are, and who is at work.

  Raises:
    BadInput: it is not there, or damaged.
  """
  try:
    store = _open(workdir)
    holding = _held(store)
    for name in study_names(store):
      rows = load_listing(store, name)
      say(f"study {name}" + ("" if rows else ": of an earlier version"))
      for line in stage_lines(counts(store, rows, holding)):
        say(f"  {line}")
      failures = store.study_dir(name) / "failures.txt"
      if exists(failures):
        for line in read_file(failures).decode().splitlines():
          say(f"  failed: {line}")
    for facts in _others(store).values():
      say(f"at work: process {facts.get('pid')} on {facts.get('host')}")
  except BAD_INPUT as error:
    raise BadInput(error) from None
  return 0


def put_away_unneeded(workdir: str, *, dry_run: bool) -> int:
  """Moves artefacts that no study refers to into a folder to be deleted.

  Args:
    workdir: whose.
    dry_run: lists them, and moves nothing.

  Raises:
    BadInput: the workdir is not there, or a process is at work in it.
  """
  try:
    store = _open(workdir)
    if (others := _others(store)) and not dry_run:
      facts = next(iter(others.values()))
      raise ValueError(
        f"process {facts.get('pid')} on {facts.get('host')} is at work in "
        f"{workdir}: what it makes may be listed only later"
      )
    found = unneeded(store)
    for name, size in found.items():
      say(f"{name}  {size / 2**20:.2f} MiB")
    total = f"{len(found)} artefacts, {sum(found.values()) / 2**20:.1f} MiB"
    if dry_run or not found:
      say(f"no study needs {total}")
    else:
      say(f"{total} moved to {put_away(store, found)}, to be deleted")
  except BAD_INPUT as error:
    raise BadInput(error) from None
  return 0


def _open(workdir: str) -> Store:
  """A workdir that is there, for reading."""
  store = Store(workdir, writable=False)
  if not exists(store.root):
    raise FileNotFoundError(f"there is no workdir {workdir}")
  return store


def _others(store: Store) -> Mapping[str, Mapping[str, Any]]:
  return Peers(store.root, _LEASE).others()


def _held(store: Store) -> Mapping[str, str]:
  return held(store.root, Peers(store.root, _LEASE))
