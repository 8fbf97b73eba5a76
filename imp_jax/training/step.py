"""One pure step of SGD on a masked network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from imp_jax.core.masks import apply_masks
from imp_jax.training.state import MOVEMENT, TrainState

PyTree = Any
Metrics = dict[str, jax.Array]


def train_step(
  state: TrainState,
  masks: PyTree,
  batch: dict[str, Any],
  *,
  apply_fn: Callable[..., tuple[jax.Array, PyTree]],
  tx: optax.GradientTransformation,
  learning_rate: jax.Array,
  loss_scale: jax.Array | float = 1.0,
  skip_overflow: bool = False,
  movement: bool = False,
) -> tuple[TrainState, Metrics, Float[Array, "batch classes"]]:
  """One step on one replicate; returns (state, metric sums, logits).

  Args:
    state: the state before the step.
    masks: kept weights.
    batch: "inputs" [batch, ...], "labels" i32[batch], "weights"
      f32[batch] with 0 for padding, or None where there is none.
    apply_fn: (params, batch_stats, inputs, weights) -> (logits, batch_stats).
    tx: from `make_tx`.
    learning_rate: of this step.
    loss_scale: multiplies the loss and divides the gradient, for float16.
    skip_overflow: leave params and opt_state as they are when a gradient is not
      finite, as mixed-precision training in float16 does. Elsewhere such a
      gradient is an error, to be seen.
    movement: whether -w dL/dw is added to the state's MOVEMENT.

  Returns:
    The state after the step and {"loss", "correct", "count"} summed over the
    batch without padding: the loss before the update, in nats. The logits are
    those that the loss was made from.
  """

  def scaled_loss(params: PyTree) -> tuple[jax.Array, Any]:
    logits, batch_stats = apply_fn(
      apply_masks(params, masks),
      state.batch_stats,
      batch["inputs"],
      batch["weights"],
    )
    sums = metric_sums(logits, batch["labels"], batch["weights"])
    return sums["loss"] / sums["count"] * loss_scale, (
      sums,
      batch_stats,
      logits,
    )

  (_, (sums, batch_stats, logits)), grads = jax.value_and_grad(
    scaled_loss, has_aux=True
  )(state.params)
  grads = jax.tree.map(lambda g: g / loss_scale, grads)
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  params = jax.tree.map(
    lambda p, u: p - learning_rate * u, state.params, updates
  )
  watched = state.watched
  if movement:
    moved = jax.tree.map(
      lambda total, w, g: total - w * g, watched[MOVEMENT], state.params, grads
    )
    watched = {**watched, MOVEMENT: moved}
  if skip_overflow:
    finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)])
    params, opt_state, watched = jax.tree.map(
      lambda new, old: jnp.where(finite.all(), new, old),
      (params, opt_state, watched),
      (state.params, state.opt_state, state.watched),
    )
  # Mask after the update too: rewound momentum would move removed weights.
  state = state.replace(
    step=state.step + 1,
    params=apply_masks(params, masks),
    batch_stats=batch_stats,
    opt_state=opt_state,
    watched=watched,
  )
  return state, sums, logits


def metric_sums(
  logits: Float[Array, "batch classes"],
  labels: Int[Array, " batch"],
  weights: Float[Array, " batch"] | None = None,
) -> Metrics:
  """Returns sums over a batch: cross-entropy "loss", "correct", "count".

  Args:
    logits: float32.
    labels: class numbers; any valid number where the weight is 0.
    weights: 0 for padding, 1 elsewhere; None = all 1.
  """
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  correct = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
  if weights is None:
    count = jnp.asarray(len(labels), jnp.float32)
    return {"loss": losses.sum(), "correct": correct.sum(), "count": count}
  return {
    "loss": (weights * losses).sum(),
    "correct": (weights * correct).sum(),
    "count": weights.sum(),
  }
