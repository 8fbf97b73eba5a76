"""Scores batch by batch, and of examples as training presents them."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_jax.core.masks import init_masks
from imp_jax.scores import (
  Streams,
  observed_streams,
)
from imp_jax.scores.streams import AUM, DUAL, TDDS, Forgetting
from imp_jax.training import TrainState, init_opt_state, train_steps
from tests.pure.test_training import PIPELINE, make_recipe
from tests.scoring import (
  MEAN,
  OUTPUTS,
  STD,
  aum_loop,
  by_outputs,
  forgetting_loop,
  network,
  normalised,
  score,
  signals,
)
from tests.tiny import run_tiny


def scored(logits, labels):
  """[scores, examples] from the functions of one example."""
  rows = zip(np.asarray(logits), np.asarray(labels), strict=True)
  return np.asarray([[score(n, z, y) for n in OUTPUTS] for z, y in rows]).T


def test_the_batch_size_of_scoring_changes_no_score(rng, conv1d):
  net, data = network(conv1d), signals(rng, 23)
  logits = conv1d.apply(*net, jnp.asarray(normalised(data[0])))
  want = scored(logits, data[1])
  whole = by_outputs(conv1d, net, data, 23)
  np.testing.assert_allclose(whole, want, rtol=1e-5, atol=1e-6)
  for batch_size in (5, 7, 100):
    got = by_outputs(conv1d, net, data, batch_size)
    # Not bit for bit: matrix products of other sizes sum in another order.
    np.testing.assert_allclose(got, whole, rtol=1e-6, atol=1e-6)


def test_batch_mode_normalises_by_the_scored_batch(rng, conv1d):
  """The last batch is whole, and goes back over the one before."""
  net, data = network(conv1d), signals(rng, 23)
  x = jnp.asarray(normalised(data[0]))
  for size in (5, 7):
    want = np.zeros((len(OUTPUTS), 23))
    for start in [*range(0, 23 - size, size), 23 - size]:
      part = slice(start, start + size)
      logits, _ = conv1d.apply_train(*net, x[part], None)
      want[:, part] = scored(logits, data[1][part])
    got = by_outputs(conv1d, net, data, size, batch_mode=True)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  other = by_outputs(conv1d, net, data, 23, batch_mode=True)
  assert np.abs(other - got).max() > 0.1
  assert np.abs(by_outputs(conv1d, net, data, 23) - other).max() > 0.1


ALL_STREAMS = Streams(
  tuple(
    (str(i), rule)
    for i, rule in enumerate((Forgetting("max"), AUM(), TDDS(3), DUAL(2)))
  )
)


@pytest.mark.parametrize("batch_size", [7, 100])
def test_an_evaluation_is_one_observation_of_each_example(
  rng, conv1d, batch_size
):
  """The overlap of the last two batches is not observed twice."""
  data, nets = signals(rng, 23), [network(conv1d, s) for s in (0, 1, 0)]
  observe = jax.jit(
    functools.partial(
      observed_streams,
      model=conv1d.normalising(MEAN, STD),
      streams=ALL_STREAMS,
      batch_size=batch_size,
    )
  )
  got = want = ALL_STREAMS.init(23, 10)
  for net in nets:
    got = observe(*net, got, *data)
    logits = conv1d.apply(*net, jnp.asarray(normalised(data[0])))
    want = ALL_STREAMS(want, logits, data[1])
  chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(got["0"]["seen"], 3)
  assert int(got["0"]["events"].sum()) > 0


def test_presented_examples_are_watched_and_training_is_not_touched(
  rng, conv1d
):
  x, y = signals(rng, 20, classes=10)
  # Examples 16.. are never presented; two of each batch's places are padding.
  plan = np.full((12, 6), -1, np.int32)
  for step in plan:
    step[rng.permutation(6)[:4]] = rng.permutation(16)[:4]
  pipeline = dataclasses.replace(PIPELINE, padded=True)
  watch = Streams((("0", Forgetting("inf")), ("1", AUM())))
  params, stats = network(conv1d)
  masks, recipe = init_masks(params), make_recipe()

  def fresh(watched=()):
    return TrainState(
      step=jnp.int32(0),
      params=params,
      batch_stats=stats,
      opt_state=init_opt_state(params),
      key=jax.random.key(1),
      watched=watched,
    )

  def program(watch):
    return jax.jit(
      functools.partial(
        train_steps, model=conv1d, pipeline=pipeline, watch=watch
      )
    )

  plain_program = program(None)

  def train(state, first, count, fn=plain_program):
    rows = jnp.asarray(np.roll(plan, -first, axis=0))
    return fn(state, masks, rows, x, y, recipe, jnp.int32(count))[0]

  carries = watch.init(20, 10)
  watched = train(fresh(carries), 0, 12, program(watch))
  plain = train(fresh(), 0, 12)
  chex.assert_trees_all_equal(
    (watched.params, watched.batch_stats, watched.opt_state),
    (plain.params, plain.batch_stats, plain.opt_state),
  )
  # A replay, step by step: the logits of each batch before its update.
  seen = {i: [] for i in range(20)}
  forward = jax.jit(conv1d.apply_train)
  state = fresh()
  for step in range(12):
    index = plan[step]
    rows = jnp.asarray(np.maximum(index, 0))
    weights = jnp.asarray(index >= 0, jnp.float32)
    logits, _ = forward(state.params, state.batch_stats, x[rows], weights)
    for place in np.flatnonzero(index >= 0):
      seen[int(index[place])].append(np.asarray(logits[place], np.float64))
    state = train(state, step, 1)
  found = watched.watched
  for i, logits in seen.items():
    assert int(found["0"]["seen"][i]) == len(logits)
    if not logits:
      chex.assert_trees_all_equal(
        *(jax.tree.map(lambda a: a[i], c) for c in (found, carries))
      )
      continue
    one = jax.tree.map(lambda a: a[i], found)
    assert float(Forgetting("inf").finish(one["0"])) == forgetting_loop(
      logits, int(y[i]), "inf"
    )
    assert float(AUM().finish(one["1"])) == pytest.approx(
      aum_loop(logits, int(y[i])), rel=1e-3, abs=1e-4
    )
  assert {len(logits) for logits in seen.values()} >= {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["aum", "forgetting", "tdds", "dual"])
def test_presentations_that_are_too_few_are_refused_before_training(
  tmp_path, name
):
  """With the last partial batch dropped an epoch leaves examples out."""
  settings = dict(
    experiments=(),
    claims__rewinding={"treatments": ()},
    data__batch_size=48,  # of 80 examples: one step an epoch
    scores__compute=(name,),
    scores__observe="presentation",
    scores__window=3,
    scores__steps={"aum": "1ep", "forgetting": "2ep"}.get(name, "3ep"),
    scores__networks=1,
  )
  with pytest.raises(ValueError, match="presentations of every example, but"):
    run_tiny(tmp_path / "dropped", **settings)
  assert not (tmp_path / "dropped" / "objects").exists()
  results, log = run_tiny(
    tmp_path / "kept", **settings, data__last_batch="keep"
  )
  assert not log.warnings
  assert np.isfinite(results.scores(name).values).sum() > 0
