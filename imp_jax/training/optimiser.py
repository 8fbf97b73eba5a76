"""The optimiser from numbers: SGD with momentum, absolute steps."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
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


def make_tx(
  recipe: Recipe, *, nesterov: bool, decay_on: str
) -> optax.GradientTransformation:
  """Returns SGD as PyTorch writes it, up to the learning rate.

  v <- momentum * v + (g + weight_decay * w); the update is v (or, with
  Nesterov, g + momentum * v), which the train step multiplies by -lr(step).

  Args:
    recipe: the numbers.
    nesterov: Nesterov's momentum.
    decay_on: "all" parameters (the paper's) or only "kernels".
  """

  def decayed(path, update, param):
    if decay_on == "kernels" and path[-1].key != "kernel":
      return update
    return update + recipe.weight_decay * param

  # Not optax.add_decayed_weights with a mask: its state differs from the one
  # without, and one kind of checkpoint should serve every setting.
  return optax.chain(
    optax.stateless(functools.partial(jax.tree.map_with_path, decayed)),
    optax.trace(recipe.momentum, nesterov),
  )


def init_opt_state(params: PyTree, momentum: PyTree | None = None) -> PyTree:
  """Returns an optimiser state with the given momentum, or zero momentum."""
  zeros = jax.tree.map(jnp.zeros_like, params)
  trace = optax.TraceState(zeros if momentum is None else momentum)
  return (optax.EmptyState(), trace)


def momentum_of(opt_state: PyTree) -> PyTree:
  """Returns the momentum tree, all there is to an optimiser state."""
  return opt_state[1].trace
