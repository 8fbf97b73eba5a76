"""One neuron: when rewinding fails, and going on does not.

Gadhikar and Burkholz 2024 (arXiv 2402.19262): a relu(w . x) is to learn
relu(x_1). With a > 0, dense training makes w_1 positive whatever its sign was,
for the other inputs bring it past 0; alone, with the others pruned, it cannot
pass. So rewinding succeeds for one of four patterns of signs at initialisation,
learning-rate rewinding for two.
"""

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.masks import apply_masks, init_masks
from imp_jax.models import make_model
from imp_jax.pruning import CRITERIA, Network, select_masks

INPUTS, EXAMPLES, DRAWS = 10, 200, 8
RATE, STEPS = 0.05, 4000
# Magnitudes do not ask which network they are of.
MODEL = make_model("lenet300100", num_classes=2, input_shape=(INPUTS,))


def trained(params, masks, x):
  """By gradient descent on half the mean squared error; and its loss."""

  def loss(params):
    w = params["w"]["kernel"]
    predicted = params["a"]["kernel"] * jax.nn.relu(x @ w)
    return 0.5 * jnp.mean((predicted - jax.nn.relu(x[:, 0])) ** 2)

  def step(params, _):
    grads = apply_masks(jax.grad(loss)(params), masks)
    return jax.tree.map(lambda p, g: p - RATE * g, params, grads), None

  params, _ = jax.lax.scan(step, params, None, length=STEPS)
  return params, loss(params)


def succeeds(sign_a, sign_w, key):
  """Whether (rewinding, learning-rate rewinding, the dense neuron) learn it."""
  of_x, of_w = jax.random.split(key)
  x = jax.random.normal(of_x, (EXAMPLES, INPUTS))
  w = 0.1 * jax.random.normal(of_w, (INPUTS,))
  w = w.at[0].set(sign_w * jnp.abs(w[0]))
  # As long as the weights, so that it keeps its sign.
  a = sign_a * 1.1 * jnp.linalg.norm(w)
  drawn = {"a": {"kernel": a}, "w": {"kernel": w}}
  dense, loss = trained(drawn, init_masks(drawn), x)
  scores = CRITERIA["magnitude"].scores(Network(dense, {}, key), MODEL)
  masks = select_masks(
    scores,
    init_masks(drawn),
    jnp.array([INPUTS - 1]),
    groups=(("w/kernel",),),
    rule="exact",
  )
  results = [
    trained(apply_masks(start, masks), masks, x)[1] for start in (drawn, dense)
  ]
  return jnp.stack([*results, loss]) < 1e-3


def test_rewinding_succeeds_in_a_quarter_and_going_on_in_half():
  signs = jnp.array([(1, 1), (1, -1), (-1, 1), (-1, -1)], jnp.float32)
  keys = jax.random.split(jax.random.key(0), DRAWS)
  each = jax.vmap(lambda pair: jax.vmap(lambda key: succeeds(*pair, key))(keys))
  found = np.asarray(jax.jit(each)(signs))
  for kind, wanted in enumerate(
    (
      [1, 0, 0, 0],  # rewound: both signs as they must be
      [1, 1, 0, 0],  # gone on with: w_1 has changed its sign
      [1, 1, 0, 0],  # dense
    )
  ):
    shares = found[:, :, kind].mean(axis=1)
    np.testing.assert_array_equal(shares, wanted)
