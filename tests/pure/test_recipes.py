"""The paper's recipes and the presets of its two code bases."""

import jax.numpy as jnp
import pytest

from configs import cifar10_resnet20, data_diet_cinic10, scores_cifar10
from configs.defaults import get_defaults
from configs.recipes import PRESETS, get_recipe
from imp_jax.study.training import resolve_training
from imp_jax.training import settings
from imp_jax.training.optimiser import learning_rate
from tests.tiny import random_dataset


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_warm_up_from_0_as_both_code_bases_do(preset):
  config = cifar10_resnet20.get_config(preset)
  assert config.optim.warmup_start == "zero"
  assert config.optim.warmup == "0step"  # neither warms up by itself
  assert get_defaults().optim.warmup_start == "first"


@pytest.mark.parametrize(
  "start,rates", [("zero", [0.0, 0.25, 0.5]), ("first", [0.25, 0.5, 0.75])]
)
def test_warm_up_means_what_its_option_says(rng, start, rates):
  config = get_defaults()
  config.data.update(batch_size=8)
  config.optim.update(warmup="4step", warmup_start=start, learning_rate=1.0)
  optim = resolve_training(config, random_dataset(rng, shape=(8, 8, 3))).optim
  recipe = settings.make_recipe(optim)
  assert [
    float(learning_rate(recipe, jnp.int32(s))) for s in (0, 1, 2)
  ] == rates
  assert float(learning_rate(recipe, jnp.int32(9))) == 1.0


def test_without_warm_up_its_meaning_is_no_setting(rng):
  """Or one network would have two identities."""
  found = set()
  for start in ("zero", "first"):
    config = get_defaults()
    config.data.update(batch_size=8)
    config.optim.warmup_start = start
    data = random_dataset(rng, shape=(8, 8, 3))
    found.add(resolve_training(config, data).optim)
  assert len(found) == 1


def test_el2ns_networks_begin_as_in_its_paper():
  """BatchNorm's scale at 1; CINIC-10's are the authors' own, as theirs."""
  for config in (scores_cifar10.get_config(), get_recipe("cifar100", set())):
    assert config.scores.model.name == "resnet18"
    assert config.scores.model.bn_scale_init == "ones"
    assert config.model.bn_scale_init == "uniform"
  cinic10 = data_diet_cinic10.get_config()
  assert cinic10.scores.model.name == "resnet56"
  assert cinic10.scores.model.bn_scale_init == "uniform"
