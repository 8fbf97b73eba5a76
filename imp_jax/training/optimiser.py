"""The optimiser from numbers: SGD with momentum, absolute steps."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import serialization, struct, traverse_util
from jaxtyping import Array, Float, Int

PyTree = Any

DECAY_ON = ("all", "kernels")


class Recipe(struct.PyTreeNode):
  """The optimiser's numbers, all traced: one program serves every value.

  The learning rate of step s is
  learning_rate * min(1, (s + warmup_offset) / warmup) times
  factor ** (number of milestones <= s) or, with cosine_steps > 0, times
  (1 + cos(pi * min(s / cosine_steps, 1))) / 2.
  """

  learning_rate: Any  # f32[]
  milestones: Any  # i32[milestones], absolute steps
  factor: Any  # f32[]
  warmup: Any  # i32[], steps of linear warm-up, 0 = none
  warmup_offset: Any  # i32[], 0 = from 0, 1 = from 1 / warmup
  cosine_steps: Any  # i32[], 0 = milestones
  momentum: Any  # f32[]
  weight_decay: Any  # f32[], added to the gradient before momentum
  loss_scale: Any  # f32[], 1 unless activations are float16


def learning_rate(recipe: Recipe, step: Int[Array, ""]) -> Float[Array, ""]:
  """Returns the learning rate of an absolute step."""
  warmed = (step + recipe.warmup_offset) / jnp.maximum(recipe.warmup, 1)
  warmup = jnp.where(recipe.warmup > 0, jnp.minimum(warmed, 1), 1)
  passed = jnp.sum(recipe.milestones <= step)
  progress = jnp.minimum(step / jnp.maximum(recipe.cosine_steps, 1), 1)
  decay = jnp.where(
    recipe.cosine_steps > 0,
    (1 + jnp.cos(jnp.pi * progress)) / 2,
    recipe.factor ** passed.astype(jnp.float32),
  )
  return recipe.learning_rate * warmup * decay


@dataclasses.dataclass(frozen=True)
class UpdateRule:
  """What a train program is compiled for of an optimiser.

  Attributes:
    nesterov: Nesterov's momentum.
    decay_on: weight decay on "all" parameters (the paper's) or "kernels".
  """

  nesterov: bool = False
  decay_on: str = "all"


SGD = UpdateRule()


def make_tx(recipe: Recipe, rule: UpdateRule) -> optax.GradientTransformation:
  """Returns SGD as PyTorch writes it, up to the learning rate.

  v <- momentum * v + (g + weight_decay * w); the update is v (or, with
  Nesterov, g + momentum * v), which the train step multiplies by -lr(step).

  Args:
    recipe: the numbers.
    rule: the static choices.
  """

  def decayed(path: tuple[Any, ...], update: Any, param: Any) -> Any:
    if rule.decay_on == "kernels" and path[-1].key != "kernel":
      return update
    return update + recipe.weight_decay * param

  # Not optax.add_decayed_weights with a mask: its state differs from the one
  # without, and one kind of checkpoint should serve every setting.
  return optax.chain(
    optax.stateless(functools.partial(jax.tree.map_with_path, decayed)),
    optax.trace(recipe.momentum, rule.nesterov),
  )


def init_opt_state(params: PyTree, rule: UpdateRule = SGD) -> PyTree:
  """Returns the optimiser's state before its first step: no momentum.

  Args:
    params: whose optimiser it is.
    rule: whose state it is.
  """
  del rule  # all of them have one kind of state
  trace = optax.TraceState(jax.tree.map(jnp.zeros_like, params))
  return (optax.EmptyState(), trace)


def opt_state_tree(opt_state: PyTree) -> PyTree:
  """Returns an optimiser's whole state as a nested dict, to be stored."""
  flat = traverse_util.flatten_dict(serialization.to_state_dict(opt_state))
  return traverse_util.unflatten_dict(flat)  # without what holds no array


def restore_opt_state(
  params: PyTree, tree: PyTree, rule: UpdateRule = SGD
) -> PyTree:
  """Returns the optimiser's state that `opt_state_tree` made a dict of.

  Args:
    params: whose optimiser it is.
    tree: the nested dict.
    rule: whose state it is.

  Raises:
    ValueError: it is another optimiser's, or of other parameters.
  """
  empty = serialization.to_state_dict(init_opt_state(params, rule))
  flat = traverse_util.flatten_dict(empty, keep_empty_nodes=True)
  stored = traverse_util.flatten_dict(tree)
  wanted = traverse_util.flatten_dict(empty)
  if stored.keys() != wanted.keys():
    odd = sorted(stored.keys() ^ wanted.keys())[0]
    raise ValueError(
      "the stored optimiser state is another optimiser's: they differ in "
      f"{'/'.join(odd)}"
    )
  whole = traverse_util.unflatten_dict(flat | stored)
  return serialization.from_state_dict(init_opt_state(params, rule), whole)


def masked_opt_state(
  opt_state: PyTree, masks: PyTree, rule: UpdateRule = SGD
) -> PyTree:
  """Returns an optimiser's state with 0 for every weight that is masked.

  Args:
    opt_state: its state; what is like the parameters is masked.
    masks: kept weights.
    rule: whose state it is.
  """
  return optax.tree_map_params(
    functools.partial(init_opt_state, rule=rule),
    lambda leaf, mask: jnp.where(mask, leaf, jnp.zeros_like(leaf)),
    opt_state,
    masks,
  )
