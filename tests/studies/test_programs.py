"""Compiled programs: silent to the host, one for a study, of bounded size."""

import functools
import logging

import jax
import pytest

from imp_jax.engine import trainer
from imp_jax.engine.replicates import replicate_slice, resolve_execution
from imp_jax.models import make_model
from imp_jax.scores import gradient_scores
from imp_jax.training.evaluation import evaluate
from tests.pure.test_replicates import make_case
from tests.tiny import run_tiny

# What a program that talks to the host has in its text.
TALK = ("callback", "infeed", "outfeed", "send(", "recv(", "host-transfer")


def programs(name):
  """Train, evaluation and gradient programs of a network, lowered."""
  fn, own, shared = make_case(name)
  inputs, labels, *_ = shared
  one, channels = replicate_slice(own, 0), (1, 3)[inputs.ndim > 2]
  options = dict(
    model=make_model(
      name, num_classes=4, input_shape=inputs.shape[1:], width=0.25
    ).normalising((0.5,) * channels, (0.25,) * channels),
    batch_size=16,
  )
  network = one[0].params, one[0].batch_stats
  yield jax.jit(fn).lower(*one, *shared)
  for made, more in ((evaluate, {}), (gradient_scores, {"names": ("grand",)})):
    program = jax.jit(functools.partial(made, **options, **more))
    yield program.lower(*network, inputs, labels)


def test_no_program_talks_to_the_host():
  """Neither as it is written nor, of the smaller network, as it is compiled."""
  written = [program.as_text() for program in programs("resnet8")]
  compiled = [p.compile().as_text() for p in programs("conv1d")]
  for text in written + compiled:
    assert len(text) > 10_000
    assert not [word for word in TALK if word in text]


def test_a_callback_would_be_seen():
  def fn(x):
    jax.debug.callback(lambda _: None, x)
    return x + 1

  text = jax.jit(fn).lower(1.0).compile().as_text()
  assert any(word in text for word in TALK)


def test_one_train_program_serves_a_study(tmp_path, caplog, request):
  """Levels, rewind steps, subsets' sizes, controls and learning rates."""
  trainer._train_program.cache_clear()
  jax.config.update("jax_log_compiles", True)  # in all threads
  request.addfinalizer(lambda: jax.config.update("jax_log_compiles", False))
  with caplog.at_level(logging.WARNING):
    run_tiny(
      tmp_path,
      prune__levels=3,
      claims__rewinding={"treatments": ()},
      controls__kinds=("random_mask", "reinit"),
      controls__levels=(1, 2),
      experiments=(
        {"name": "none", "pretrain.steps": "0step"},
        {"name": "all"},
        {"name": "later", "pretrain.steps": "2step"},
        {"name": "slow", "optim.learning_rate": 0.01},
      ),
      replicates=2,
    )
  compiled = [
    record.getMessage()
    for record in caplog.records
    if record.getMessage().startswith("Compiling jit(train_steps)")
  ]
  assert len(compiled) == 1, compiled


@pytest.mark.parametrize("execution", ["map", "vmap"])
def test_a_program_does_not_grow_with_the_replicates(execution):
  """But `unroll` does, which no backend takes by itself."""
  fn, own, shared = make_case("conv1d")

  def size(mode, count):
    many = jax.tree.map(lambda leaf: leaf[jax.numpy.arange(count) % 2], own)

    def together(own, shared):
      if mode == "vmap":
        return jax.vmap(lambda a: fn(*a, *shared))(own)
      if mode == "map":
        return jax.lax.map(lambda a: fn(*a, *shared), own)
      return [fn(*replicate_slice(own, r), *shared) for r in range(count)]

    return len(jax.jit(together).lower(many, shared).as_text())

  assert size(execution, 16) < 1.02 * size(execution, 2)
  assert size("unroll", 4) > 1.8 * size("unroll", 2)
  for backend in ("cpu", "gpu", "tpu"):
    assert resolve_execution("auto", backend) in ("threads", "map", "vmap")
