"""Bad input: a clear error before anything is computed or written."""

import pytest

from imp_jax.core.ranges import steps_of
from imp_jax.study import prepare
from tests.tiny import changed_config, tiny_config

ONE = ({"name": "a"},)

BAD = [
  (
    dict(data__source="csv"),
    "unknown data source 'csv'; known: mnist1d, npz, tfds",
  ),
  (
    dict(data__source="tfds", data__name="imagenet", data__test_examples=None),
    "unknown data set 'imagenet'; known: cifar10",
  ),
  (dict(model__name="resnet21"), "6m \\+ 2"),
  (dict(model__name="resnet1d9"), "6m \\+ 2 .*got 9$"),
  (
    dict(model__name="conv2d"),
    "unknown model 'conv2d'; known: .*did you mean 'conv1d'",
  ),
  (
    dict(model__name="resnet20"),
    "resnet20 takes images .*inputs are \\(40,\\)",
  ),
  (dict(prune__densities=(0.2, 0.5)), "must not rise"),
  (
    dict(controls__kinds=("reinit",), experiments=({"name": "a"},)),
    r"controls.kinds is \('reinit',\), but controls.levels is empty",
  ),
  (
    dict(prune__criterion="movement", prune__source="rewound"),
    "prune.source='rewound' at pretrain.steps=0 scores just these",
  ),
  (
    dict(prune__criterion="snip", prune__examples_per_class=100),
    r"examples_per_class is 100, but the rarest class has \d+ training",
  ),
  (
    dict(prune__densities=(0.5,), prune__rule="exact"),
    "1 entries for 2 levels",
  ),
  (dict(prune__densities=(0.5, 0.4)), "it goes with prune.rule='exact'"),
  (
    dict(prune__criterion="sanh_movement", prune__source="rewound"),
    "sums over a level's training: it goes with prune.source='trained'",
  ),
  (
    dict(prune__rounds=5),
    "prune.rounds=5 asks for exact counts: it goes with prune.rule='exact'",
  ),
  (
    dict(prune__rounds=5, prune__rule="exact"),
    "prune.rounds=5 change nothing of prune.criterion='magnitude'",
  ),
  (
    dict(prune__allocation="erk"),
    "prune.allocation='erk' asks for exact counts",
  ),
  (
    dict(prune__exclude=("tail",)),
    "'tail', which is no prunable layer; known: conv1/kernel",
  ),
  (dict(data__mean=(0.1,)), "both data.mean and data.std or neither"),
  (dict(data__train_examples=50), "multiple of 8"),
  (dict(eval__splits=("train",)), "eval.splits must name 'test'"),
  (dict(optim__steps="8000000000step"), "below 2\\^31 steps"),
  (
    dict(
      optim__schedule="cosine",
      ticket__kind="finetune",
      ticket__finetune_steps="2step",
    ),
    "which is 0",
  ),
  (dict(experiments=("a", "b")), "each of experiments is a dict"),
  (
    dict(experiments=({"name": "a", "data.train_examples": 40},)),
    "'data.train_examples', which a study's experiments share",
  ),
  (
    dict(experiments=({"name": "a", "prune.levels": None},)),
    "must have a value",
  ),
  (dict(claims__rewinding={"baseline": "all-1"}), "'all-1' is both"),
  (dict(data__batch_size=81), "at most the 80 training examples, got 81"),
  (dict(data__crop_pad=2), "are for images"),
  (
    dict(data__valid_examples=80),
    r"data.valid_examples must be in 1\.\.79, got 80",
  ),
  (dict(data__resize=16), "data.resize=16 is for images, these are signals"),
  (
    dict(data__subsample=81),
    r"data.subsample must be 0 \(all\) or in 10\.\.80, .* got 81",
  ),
  (
    dict(data__subsample=9),
    r"between one of each class and all training examples, got 9",
  ),
  (
    dict(data__subsample=12, data__batch_size=16),
    "at most the 12 training examples, got 16",
  ),
  (dict(data__mean=(0.1, 0.2), data__std=(1.0,)), "need 1 numbers"),
  (dict(optim__steps="0step"), "optim.steps must be at least 1"),
  (dict(optim__milestones=("2step", "1step")), "must increase"),
  (
    dict(experiments=({"name": "a", "pretrain.steps": "3step"},)),
    "pretrain.steps of a is 3, but the run has 3 steps",
  ),
  (dict(ticket__kind="finetune"), "finetune_steps must be at least 1, got 0"),
  (
    dict(
      optim__name="adamw",
      pretrain__optim__name="sgd",
      pretrain__steps="1step",
      ticket__optimizer="rewound",
      experiments=({"name": "a"},),
      claims__rewinding={"treatments": ()},
    ),
    "pretrain.optim.name is 'sgd', optim.name 'adamw'",
  ),
  (
    dict(ticket__kind="lr_rewind", ticket__optimizer="rewound"),
    "W_r's momentum",
  ),
  (
    dict(controls__levels=(9,)),
    r"controls.levels must be a whole number in 1\.\.2, got 9",
  ),
  (
    dict(eval__splits=("valid",)),
    "unknown eval.splits 'valid'; known: test, train",
  ),
  (dict(execution__mode="pmap"), "unknown execution.mode 'pmap'; known: auto"),
  (
    dict(claims__rewinding={"level": 9}),
    r"claims.rewinding.level must be a whole number in 0\.\.2",
  ),
  (
    dict(claims__rewinding={"baseline": "nil"}),
    "unknown claims.rewinding 'nil'",
  ),
  (
    dict(experiments=({"name": "a"}, {"name": "a"})),
    "two experiments are named 'a'",
  ),
  (dict(experiments=({"prune.levels": 1},)), "needs a name"),
  (
    dict(experiments=({"name": "a", "pretrain.step": "1step"},)),
    "unknown field 'pretrain.step'; did you mean 'pretrain.steps'",
  ),
  (
    dict(experiments=({"name": "a", "seed": 3},)),
    "'seed', which a study's experiments share",
  ),
  (
    dict(experiments=({"name": "a", "prune.levels": "2"},)),
    "experiment a, prune.levels",
  ),
]


@pytest.mark.parametrize(
  "changes,message", BAD, ids=[str(list(b[0])) for b in BAD]
)
def test_bad_settings_are_refused_and_nothing_is_written(
  tmp_path, changes, message
):
  workdir = tmp_path / "new"
  config = changed_config(tiny_config(), changes, any_type=True)
  with pytest.raises((ValueError, OSError), match=message) as error:
    prepare(config, str(workdir))
  assert "\n" not in str(error.value)
  assert not workdir.exists()


@pytest.mark.parametrize(
  "duration,steps",
  [
    ("200step", 200),
    ("2ep", 20),
    ("1.55ep", 16),
    ("25ex", 4),
    ("24ex", 3),
    ("0step", 0),
  ],
)
def test_durations(duration, steps):
  assert steps_of(duration, "x", per_epoch=10, batch_size=8) == steps


@pytest.mark.parametrize(
  "duration", ["200", "2 ep", "-1step", "1.5step", "", "step"]
)
def test_durations_without_a_unit_are_refused(duration):
  with pytest.raises(ValueError, match="x must be a duration like"):
    steps_of(duration, "x", per_epoch=10, batch_size=8)
