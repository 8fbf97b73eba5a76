"""TrainState: everything that changes during a run."""

from typing import Any

from flax import struct


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
  # Carries of what watches presented examples, by its name.
  watched: Any = struct.field(default_factory=dict)
