"""What looks at networks while they train: perturbs them, keeps snapshots."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from imp_jax.core.graph import Item
from imp_jax.core.masks import apply_masks
from imp_jax.engine.context import Context
from imp_jax.engine.trainer import Run, network_tree

PyTree = Any


class TrainWatch:
  """Perturbs children after their step, keeps weights; see `trainer.Watch`.

  A run's `watched` holds "snapshots": parameters by step.

  Args:
    context: what stages run with.
    runs: by item, whose stage is a `Train` with settings equal to the others'
      but for the number of the child.
  """

  presented = None

  def __init__(self, context: Context, runs: Mapping[Item, Run]):
    self._moves: dict[str, tuple[int, float, jax.Array]] = {}
    self._snapshots: tuple[int, ...] = ()
    for item, run in runs.items():
      train: Any = item.node.stage
      self._snapshots = train.snapshots
      if train.differ.differ == "perturb":
        numbers = (item.replicate, train.run_number, train.child)
        key = context.key("perturb", *numbers)
        self._moves[run.name] = (train.differ.step, train.differ.norm, key)
    self.moves = bool(self._moves)
    self.names: tuple[str, ...] = ("snapshots",) if self._snapshots else ()
    moved_at = (step for step, _, _ in self._moves.values())
    self.steps = tuple(sorted({*self._snapshots, *moved_at}))

  def __call__(self, step: int, runs: Sequence[Run]) -> None:
    for run in runs:
      move = self._moves.get(run.name)
      if move and step == move[0]:
        _, norm, key = move
        moved = perturbed(run.state.params, run.masks, key, norm)
        run.state = run.state.replace(params=moved)
      if step in self._snapshots:
        kept = run.watched.setdefault("snapshots", {})
        kept[f"{step:09d}"] = network_tree(run.state)["params"]


@jax.jit
def perturbed(
  params: PyTree, masks: PyTree, key: jax.Array, norm: float | jax.Array
) -> PyTree:
  """Returns the parameters moved by a random vector of the given L2 norm.

  Args:
    params: one network's.
    masks: entries that may move; the others stay 0.
    key: of the direction, normal in every kept entry.
    norm: L2 length of the move.
  """
  leaves, structure = jax.tree.flatten(params)
  keys = jax.random.split(key, len(leaves))
  drawn = [
    jax.random.normal(k, leaf.shape)
    for k, leaf in zip(keys, leaves, strict=True)
  ]
  direction = apply_masks(jax.tree.unflatten(structure, drawn), masks)
  squares = [jnp.sum(leaf**2) for leaf in jax.tree.leaves(direction)]
  scale = norm / jnp.sqrt(jnp.stack(squares).sum())
  return jax.tree.map(lambda p, d: p + scale * d, params, direction)
