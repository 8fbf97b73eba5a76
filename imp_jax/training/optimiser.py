"""The optimiser from numbers: SGD with momentum or AdamW, absolute steps."""

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
OPTIMISERS = ("sgd", "adamw")


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
  momentum: Any  # f32[]; of AdamW its first decay rate, b1
  weight_decay: Any  # f32[]; see `make_tx`
  loss_scale: Any  # f32[], 1 unless activations are float16
  b2: Any = 0.999  # f32[], of AdamW
  eps: Any = 1e-8  # f32[], of AdamW


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
    name: one of OPTIMISERS.
  """

  nesterov: bool = False
  decay_on: str = "all"
  name: str = "sgd"


SGD = UpdateRule()


def make_tx(recipe: Recipe, rule: UpdateRule) -> optax.GradientTransformation:
  """Returns an optimiser up to the learning rate.

  The train step multiplies its update by -lr(step). SGD as PyTorch writes it:
  v <- momentum * v + (g + weight_decay * w); the update is v (or, with
  Nesterov, g + momentum * v). AdamW (Loshchilov and Hutter 2019, arXiv
  1711.05101): Adam's update of g alone, with b1 = momentum, plus
  weight_decay * w.

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
  decay = optax.stateless(functools.partial(jax.tree.map_with_path, decayed))
  if rule.name == "adamw":
    b1, b2, eps = recipe.momentum, recipe.b2, recipe.eps
    adam = optax.scale_by_adam(b1, b2, eps, nesterov=rule.nesterov)
    return optax.chain(adam, decay)
  return optax.chain(decay, optax.trace(recipe.momentum, rule.nesterov))


def init_opt_state(params: PyTree, rule: UpdateRule = SGD) -> PyTree:
  """Returns the optimiser's state before its first step: nothing gathered.

  Args:
    params: whose optimiser it is.
    rule: whose state it is.
  """
  if rule.name == "adamw":
    return optax.chain(optax.scale_by_adam(), optax.identity()).init(params)
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
  like = jax.eval_shape(functools.partial(init_opt_state, rule=rule), params)
  empty = serialization.to_state_dict(like)
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
  return serialization.from_state_dict(like, whole)


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
