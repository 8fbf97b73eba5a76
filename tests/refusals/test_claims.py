"""Claims: what a config may declare, and what a name then stands for."""

import json

import pytest

from imp_jax.results.claims import EasyDataClaim, LittleDataClaim
from imp_jax.study import prepare
from imp_jax.study.extension import meaning_of
from tests.tiny import tiny_config

NAMES = ("none", "all", "random", "easy")


def config_with(level=1, **claims):
  """A study of four experiments with claims' fields set."""
  config = tiny_config(
    experiments=tuple(
      {"name": n, "pretrain.steps": f"{min(i, 1)}step"}
      for i, n in enumerate(NAMES)
    ),
    claims__rewinding={"treatments": ()},
  )
  for claim, fields in claims.items():
    config.claims[claim].update({"level": level} | fields)
  return config


def claims_of(tmp_path, **claims):
  return prepare(config_with(**claims), str(tmp_path)).study.claims


def test_claims_resolve_to_what_was_declared(tmp_path):
  claims = claims_of(
    tmp_path,
    little_data={"comparisons": (("random", "all"),)},
    easy_data={"comparisons": (["easy", "random", "all"],), "level": 2},
  )
  assert claims.little_data == LittleDataClaim((("random", "all"),), 1, 0.0025)
  assert claims.easy_data == EasyDataClaim(
    (("easy", "random", "all"),), 2, 0.0025
  )
  assert claims.rewinding is None and claims.primary_level == 1


def test_claim_2_has_claim_1s_margin_unless_it_has_its_own(tmp_path):
  """Also where claim 1 is not declared."""
  easy = {"comparisons": (("easy", "random", "all"),)}
  shared = claims_of(tmp_path, little_data={"margin": 0.006}, easy_data=easy)
  assert shared.little_data is None and shared.easy_data is not None
  assert shared.easy_data.margin == 0.006
  own = claims_of(
    tmp_path,
    little_data={"comparisons": (("random", "all"),), "margin": 0.006},
    easy_data=easy | {"margin": 0.01},
  )
  assert own.little_data is not None and own.little_data.margin == 0.006
  assert own.easy_data is not None and own.easy_data.margin == 0.01


def test_a_claim_without_comparisons_is_not_declared(tmp_path):
  claims = claims_of(tmp_path)
  assert (claims.rewinding, claims.little_data, claims.easy_data) == (None,) * 3
  assert claims.primary_level is None


@pytest.mark.parametrize(
  "claim,fields,message",
  [
    (
      "little_data",
      {"comparisons": (("randm", "all"),)},
      "unknown claims.little_data.comparisons 'randm'; known: none, all, "
      "random, easy; did you mean 'random'",
    ),
    (
      "little_data",
      {"comparisons": (("all", "all"),)},
      "claims.little_data compares 'all' with itself",
    ),
    (
      "little_data",
      {"comparisons": ("random", "all")},
      r"each of claims.little_data.comparisons is \(treatment, baseline\), "
      "got 'random'",
    ),
    (
      "little_data",
      {"comparisons": (("random", "all", "easy"),)},
      r"is \(treatment, baseline\), got \('random', 'all', 'easy'\)",
    ),
    (
      "little_data",
      {"comparisons": (("random", "all"),) * 2},
      r"claims.little_data.comparisons has \('random', 'all'\) twice",
    ),
    (
      "little_data",
      {"comparisons": (("random", "all"),), "level": 3},
      r"claims.little_data.level must be a whole number in 0\.\.2, got 3",
    ),
    (
      "easy_data",
      {"comparisons": (("easy", "random"),)},
      r"claims.easy_data.comparisons is \(easy, random, all\), got \('easy'",
    ),
    (
      "easy_data",
      {"comparisons": (("easy", "random", "easy"),)},
      "claims.easy_data compares 'easy' with itself",
    ),
    (
      "easy_data",
      {"comparisons": (("easy", "random", "most"),)},
      "unknown claims.easy_data.comparisons 'most'",
    ),
  ],
)
def test_bad_claims_are_refused_in_one_line(tmp_path, claim, fields, message):
  with pytest.raises(ValueError, match=message) as error:
    claims_of(tmp_path, **{claim: fields})
  assert "\n" not in str(error.value)


def test_a_claim_is_part_of_what_a_name_means(tmp_path):
  easy = {"easy_data": {"comparisons": (("easy", "random", "all"),)}}
  plan = prepare(config_with(**easy), str(tmp_path))
  folder = plan.store.study_dir(plan.study.name)
  meaning = json.dumps(meaning_of(plan.study))
  plan.store.write_text(folder / "config.json", meaning)
  prepare(config_with(**easy), str(tmp_path))
  with pytest.raises(ValueError, match=r"claims.easy_data was .*'level': 2,"):
    prepare(config_with(level=2, **easy), str(tmp_path))
  with pytest.raises(ValueError, match="claims.easy_data was .*, now None"):
    prepare(config_with(), str(tmp_path))
  little = {"comparisons": (("random", "all"),)}
  margin = {"easy_data": easy["easy_data"] | {"margin": 0.01}}
  with pytest.raises(ValueError, match="easy_data was .*'margin': 0.0025"):
    prepare(config_with(**margin), str(tmp_path))
  with pytest.raises(ValueError, match="claims.little_data was None, now"):
    prepare(config_with(**easy, little_data=little), str(tmp_path))
