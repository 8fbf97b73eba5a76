"""Jobs that several processes run together: one leads, the others follow.

The leader alone looks into the workdir, claims items, decides and writes. It
says what the next job is, and what each of its inputs holds; so the workdir
need not be on the others' machines, and all go on from one checkpoint.
"""

import contextlib
import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import serialization

from imp_jax.core.artefacts import Artefact
from imp_jax.core.files import shown
from imp_jax.core.graph import Item, Outcome
from imp_jax.core.store import DamagedError, Store, StoreError
from imp_jax.engine import hosts
from imp_jax.engine.claims import ClaimLostError
from imp_jax.engine.context import Context, Stopped
from imp_jax.engine.executor import run_items
from imp_jax.engine.scheduler import Wanted

# What reading from storage raises, the narrower kinds first.
_ERRORS = {kind.__name__: kind for kind in (DamagedError, StoreError, OSError)}
_LOST = "lost"


class OutOfStepError(RuntimeError):
  """This process failed in the middle of a job; the others cannot go on."""


class _ReadError(Exception):
  """The leader could not read something, of which all have been told."""

  def __init__(self, kind: str, text: str):
    super().__init__(text)
    self.kind = kind


def lead(context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
  """Returns the outcome of each item, run by all processes together.

  As `executor.run_items`, of the leader.

  Raises:
    OutOfStepError: it failed in a way of which the others know nothing.
  """
  ids = [item.node.object_id(context.seed, item.replicate) for item in items]
  _say(items=ids)
  return _in_step(context, items)


def leading(run: Callable[[], int]) -> int:
  """Returns what `run` does, and tells the others how it ended.

  Args:
    run: what the leader does; it calls `lead`, and returns an exit code.
  """
  try:
    code = run()
  except OutOfStepError:
    raise  # nobody would hear it
  except Stopped as why:
    _say(stopped=str(why))
    raise
  except BaseException as error:
    _say(failed=" ".join(f"{type(error).__name__}: {error}".split()))
    raise
  _say(code=code)
  return code


def follow(context: Context, wanted: Wanted) -> int:
  """Runs the leader's jobs with it until it ends; returns its exit code.

  Args:
    context: what stages run with; nothing is read from its store.
    wanted: the graph.

  Raises:
    Stopped: all processes were asked to end.
    OutOfStepError: as of `lead`, or the leader failed.
  """
  by_id = {
    node.object_id(context.seed, r): Item(node, r)
    for node, replicates in wanted.items()
    for r in replicates
  }
  while True:
    said = json.loads(hosts.told())
    if "stopped" in said:
      raise Stopped(said["stopped"])
    if "failed" in said:
      raise OutOfStepError(f"the leader: {said['failed']}")
    if "code" in said:
      return said["code"]
    # What ends the leader's job too; it says what becomes of it.
    with contextlib.suppress(Stopped, ClaimLostError, *_ERRORS.values()):
      _in_step(context, [by_id[i] for i in said["items"]])


def _say(**message: Any) -> None:
  """Says what is next to all who follow."""
  hosts.told(json.dumps(message).encode())


def check_alike(facts: Mapping[str, Any]) -> None:
  """Refuses processes of which one is not as the others are.

  Args:
    facts: JSON-able: of this process; "error" is why it cannot begin, or "".

  Raises:
    ValueError: names the fact, and two processes that differ in it.
  """
  every = [json.loads(text) for text in hosts.gathered(json.dumps(facts))]
  for number, other in enumerate(every):
    if other["error"]:
      raise ValueError(
        facts["error"] or f"process {number} cannot begin: {other['error']}"
      )
  for number, other in enumerate(every):
    for name, value in every[0].items():
      if other.get(name) != value:
        raise ValueError(
          f"processes of one program must be alike, but {name} is "
          f"{shown(value)} of process 0 and {shown(other.get(name))} of "
          f"process {number}"
        )


def _in_step(context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
  context = dataclasses.replace(
    context,
    store=_Told(context.store),  # pyright: ignore
    stop=_agreed(context.stop),
  )
  try:
    context.stop_if_asked()
    return run_items(context, items)
  except (Stopped, ClaimLostError):
    raise
  except _ReadError as error:
    raise _ERRORS[error.kind](str(error)) from None
  except Exception as error:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    raise OutOfStepError(reason) from error


def _agreed(stop: Callable[[], str | None]) -> Callable[[], str | None]:
  """What asks any process to end asks all of them."""

  def every() -> str | None:
    try:
      why = stop() or ""
    except ClaimLostError:
      why = _LOST
    found = [text for text in hosts.gathered(why) if text]
    if _LOST in found:
      raise ClaimLostError
    return found[0] if found else None

  return every


class _Told:
  """A store to stages: its leader reads and writes, and tells the others."""

  def __init__(self, store: Store):
    self._store = store

  def load(
    self, object_id: str, facts: Mapping[str, Any] | None = None
  ) -> Artefact:
    return _tell(lambda: self._store.load(object_id, facts))

  def checkpoint(self, object_id: str) -> "_ToldCheckpoint":
    return _ToldCheckpoint(self._store, object_id)


class _ToldCheckpoint:
  """A checkpoint hook; see `core.store.Checkpoint`."""

  def __init__(self, store: Store, object_id: str):
    self._own = store.checkpoint(object_id)

  def save(self, step: int, artefact: Artefact) -> None:
    if hosts.leads():
      self._own.save(step, artefact)

  def restore(self) -> tuple[int, Artefact] | None:
    def latest() -> Artefact:
      found = self._own.restore()
      if found is None:
        return Artefact({})
      step, artefact = found
      return dataclasses.replace(
        artefact, record={"step": step, "record": artefact.record}
      )

    artefact = _tell(latest)
    if not artefact.record:
      return None
    record = artefact.record
    return record["step"], dataclasses.replace(
      artefact, record=record["record"]
    )

  def clear(self) -> None:
    if hosts.leads():
      self._own.clear()


def _tell(read: Callable[[], Artefact]) -> Artefact:
  """Returns what the leader reads.

  Raises:
    _ReadError: it could not.
  """
  message = b""
  if hosts.leads():
    try:
      message = _packed(read())
    except tuple(_ERRORS.values()) as error:
      kind = next(n for n, k in _ERRORS.items() if isinstance(error, k))
      message = _packed(Artefact({kind: str(error)}), failed=True)
  failed, artefact = _unpacked(hosts.told(message))
  if failed:
    ((kind, text),) = artefact.record.items()
    raise _ReadError(kind, text)
  return artefact


def _packed(artefact: Artefact, failed: bool = False) -> bytes:
  record = json.dumps([failed, artefact.record]).encode()
  content: dict[str, Any] = {"record": np.frombuffer(record, np.uint8)}
  if artefact.tree is not None:
    content["tree"] = artefact.tree
  if artefact.arrays is not None:  # text too, which msgpack has none of
    file = io.BytesIO()
    np.savez(file, **artefact.arrays)  # pyright: ignore
    content["arrays"] = np.frombuffer(file.getvalue(), np.uint8)
  return serialization.msgpack_serialize(content)


def _unpacked(message: bytes) -> tuple[bool, Artefact]:
  content: Any = serialization.msgpack_restore(message)
  failed, record = json.loads(content["record"].tobytes())
  arrays = None
  if "arrays" in content:
    file = io.BytesIO(content["arrays"].tobytes())
    with np.load(file, allow_pickle=False) as loaded:
      arrays = dict(loaded)
  return failed, Artefact(record, content.get("tree"), arrays)
