"""AdamW against NumPy's own account of it, and what it is called."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.identity import content_id
from imp_jax.training import UpdateRule, init_opt_state
from imp_jax.training.optimiser import (
  make_tx,
  opt_state_tree,
  restore_opt_state,
)
from imp_jax.training.settings import (
  OptimSettings,
  make_recipe,
  optim_in_steps,
  update_rule,
)

B1, B2, EPS, DECAY, RATE = 0.8, 0.99, 1e-6, 0.05, 0.1


@pytest.mark.parametrize("decay_on", ["all", "kernels"])
def test_adamw_against_numpy(rng, decay_on):
  """Loshchilov and Hutter 2019, algorithm 2, the rate of each step apart."""
  shape = {"kernel": (3, 2), "bias": (2,)}
  params = {"a": {k: rng.normal(size=n) for k, n in shape.items()}}
  params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
  optim = OptimSettings(
    name="adamw",
    milestones=(),
    warmup=0,
    momentum=B1,
    b2=B2,
    eps=EPS,
    weight_decay=DECAY,
    decay_on=decay_on,
  )
  rule = update_rule(optim)
  tx, state = make_tx(make_recipe(optim), rule), init_opt_state(params, rule)
  want = {k: np.asarray(v, np.float64) for k, v in params["a"].items()}
  first = {k: np.zeros(n) for k, n in shape.items()}
  second = {k: np.zeros(n) for k, n in shape.items()}
  for t in range(1, 6):
    grads = {k: rng.normal(size=n).astype(np.float32) for k, n in shape.items()}
    updates, state = tx.update({"a": grads}, state, params)
    params = jax.tree.map(lambda p, u: p - RATE * u, params, updates)
    # As a checkpoint keeps it, and gives it back.
    state = restore_opt_state(params, opt_state_tree(state), rule)
    for k, g in grads.items():
      first[k] = B1 * first[k] + (1 - B1) * g
      second[k] = B2 * second[k] + (1 - B2) * g.astype(np.float64) ** 2
      adam = first[k] / (1 - B1**t)
      adam /= np.sqrt(second[k] / (1 - B2**t)) + EPS
      decayed = DECAY if decay_on == "all" or k == "kernel" else 0.0
      want[k] = want[k] - RATE * (adam + decayed * want[k])
  for k, value in want.items():
    np.testing.assert_allclose(params["a"][k], value, rtol=1e-5, atol=1e-6)


def test_one_optimisers_state_is_no_others():
  params = {"a": {"kernel": jnp.ones(3)}}
  state = opt_state_tree(init_opt_state(params))
  with pytest.raises(ValueError, match="another optimiser's"):
    restore_opt_state(params, state, UpdateRule(name="adamw"))


def test_sgd_is_what_it_was_before_there_was_another():
  """New options with defaults are in no identity."""
  plain = optim_in_steps()
  named = optim_in_steps(name="sgd", b2=0.999, eps=1e-8)
  assert content_id(plain) == content_id(named)
  assert content_id(plain) != content_id(optim_in_steps(name="adamw"))
