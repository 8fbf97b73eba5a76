"""TrainState: everything that changes during a run."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from imp_jax.training.optimiser import SGD, UpdateRule, init_opt_state

PyTree = Any

# In a state's `watched`: of each weight, the sum over steps of -w dL/dw.
MOVEMENT = "movement"


class TrainState(struct.PyTreeNode):
  """One replicate's state; every field is an array pytree.

  What stays constant (masks, data, schedule numbers, step counts) is an
  argument of the functions that need it.
  """

  step: Any  # i32[], absolute: a rewound run begins at t_r
  params: Any  # nested dict of f32; exactly 0 where the mask is False
  batch_stats: Any  # nested dict of f32
  opt_state: Any
  key: Any  # typed augmentation key; step s uses fold_in(key, s)
  # Carries of what watches presented examples, by its name; or MOVEMENT.
  watched: Any = struct.field(default_factory=dict)


def start_state(
  params: PyTree,
  batch_stats: PyTree,
  key: jax.Array,
  step: int | jax.Array = 0,
  *,
  rule: UpdateRule = SGD,
) -> TrainState:
  """Returns the state of a replicate whose optimiser has gathered nothing.

  Args:
    params, batch_stats: the network; what its masks remove is 0.
    key: of its augmentation.
    step: absolute; t_r of a network that was rewound.
    rule: the optimiser's.
  """
  return TrainState(
    step=jnp.asarray(step, jnp.int32),
    params=params,
    batch_stats=batch_stats,
    opt_state=init_opt_state(params, rule),
    key=key,
  )
