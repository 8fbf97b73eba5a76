"""Every field of a config: known, checked whether it is used or not."""

import math

import ml_collections
import pytest

from configs.defaults import get_defaults
from imp_jax.core.files import NAME_BYTES
from imp_jax.study.options import FIELDS, check_fields, flatten
from tests.tiny import put, tiny_config

# What no field may hold, whatever it is.
HOSTILE = (
  math.nan,
  -math.inf,
  -(10**30),
  ({},),
  (None,),
  (math.nan,),
  object(),
  b"bytes",
  1j,
)


@pytest.fixture
def config():
  return tiny_config()


def test_every_default_has_a_check_and_passes_it():
  config = get_defaults()
  assert set(flatten(config.to_dict())) == set(FIELDS)
  check_fields(config)


@pytest.mark.parametrize("field", sorted(set(FIELDS) - {"experiments"}))
def test_hostile_values_of_any_field_are_refused_by_its_name(field):
  """In one line; the group need not be used."""
  for value in HOSTILE:
    with pytest.raises(ValueError) as error:
      check_fields(put(tiny_config(), field, value))
    line = str(error.value)
    assert field in line and "\n" not in line and len(line) < 300, line


@pytest.mark.parametrize(
  "field,value,message",
  [
    ("model.width", 1e300, "must be at most"),
    ("scores.model.width", 1e300, "must be at most"),
    ("prune.levels", 10**400, r"must be .* 0\.\.2147483647, got a number of"),
  ],
)
def test_what_is_too_much_is_refused_where_no_range_tells_it(
  field, value, message
):
  with pytest.raises(ValueError, match=f"^{field} {message}"):
    check_fields(put(tiny_config(), field, value))


@pytest.mark.parametrize(
  "field,value,message",
  [
    ("scores.model.dtype", "flaot16", "'flaot16'.*did you mean 'float16'"),
    ("scores.model.name", "resnat18", "'resnat18'.*did you mean 'resnet18'"),
    ("model.name", "conv2d", "unknown model 'conv2d'.*did you mean 'conv1d'"),
  ],
)
def test_choices_of_models_that_are_not_used_are_checked(field, value, message):
  with pytest.raises(ValueError, match=message):
    check_fields(put(tiny_config(), field, value))


def test_a_missing_and_an_unknown_field_are_named(config):
  with config.unlocked():
    del config.prune
  with pytest.raises(ValueError, match="lacks prune.levels, .* and 10 more"):
    check_fields(config)
  config = tiny_config()
  with config.unlocked():
    config.prune.fration = 0.3
  with pytest.raises(
    ValueError, match="unknown field 'prune.fration'; did you mean 'prune.fra"
  ):
    check_fields(config)
  config = tiny_config()
  with config.unlocked(), config.ignore_type():
    config.prune = 3
  with pytest.raises(ValueError, match="lacks prune.levels"):
    check_fields(config)


@pytest.mark.parametrize(
  "given", [{}, {"seed": 1}, None, 3, ml_collections.ConfigDict()]
)
def test_what_is_no_config_is_refused(given):
  with pytest.raises(ValueError, match="ConfigDict|the config lacks"):
    check_fields(given)


def test_names_have_a_limit_in_bytes(config):
  longest = "é" * (NAME_BYTES // 2)
  config.name = longest
  config.experiments = ({"name": longest},)
  check_fields(config)
  config.name = longest + "x"
  with pytest.raises(
    ValueError, match="^name must have at most 100 bytes.*101"
  ):
    check_fields(config)
  config.name = "a"
  config.experiments = ({"name": longest + "x"},)
  with pytest.raises(ValueError, match="name of experiment .*most 100 bytes"):
    check_fields(config)


@pytest.mark.parametrize(
  "experiment,message",
  [
    (
      {"name": "a", "prune.fraction": 2.0},
      r"experiment a, prune.fraction must",
    ),
    (
      {"name": "a", "prune": {"levels": -1}},
      "a, prune.levels must be at least",
    ),
    ({"name": "a", "scores.optim.momentum": -1}, "a, scores.optim.momentum"),
    ({"name": "a", 3: 4}, "set fields by name, got"),
    ({"name": {}}, "needs a name"),
    (3, "each of experiments is a dict"),
  ],
)
def test_what_experiments_set_is_checked_too(config, experiment, message):
  config.experiments = (experiment,)
  with pytest.raises(ValueError, match=message):
    check_fields(config)


def test_a_long_value_is_cut_in_messages(config):
  with pytest.raises(ValueError) as error:
    check_fields(put(config, "data.mean", ("x" * 10**6,)))
  assert len(str(error.value)) < 200
