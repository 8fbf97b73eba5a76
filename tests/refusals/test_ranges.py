"""Both ends of every option's range, by name, and which range it is."""

import re

import pytest

from configs.defaults import get_defaults
from imp_jax.study import prepare
from imp_jax.study.options import FIELDS, check_fields
from tests.refusals.ranges import sides
from tests.tiny import put

# Of these there is no range to speak of; test_claims.py and test_fields.py.
OTHERS = {
  "experiments",
  "claims.little_data.comparisons",
  "claims.easy_data.comparisons",
  "claims.contrasts.comparisons",
}
# What is told of "x" holds of "scores.optim.x", where it may be unset.
UNSET = ("pretrain.optim.", "scores.optim.", "scores.model.")
SCORES = (
  "el2n | grand | grand_last_layer | loss | margin | entropy | confidence | "
  "forgetting | aum | tdds | dual | vog | barrier | input_norm | random"
)
# By hand: a bound that moves in the code is to be moved here too.
RANGES = {
  "whole, 0..4294967295": ("seed", "data.generator_seed"),
  "whole, at least 0": (
    "data.resize",
    "data.subsample",
    "data.valid_examples",
    "data.crop_pad",
    "pretrain.subset.size",
    "train.subset.size",
    "pretrain.subset.offset",
    "train.subset.offset",
    "prune.levels",
    "execution.alphas_at_once",
    "execution.replicates_at_once",
    "execution.devices",
    "execution.devices_each",
    *(
      f"claims.{claim}.level"
      for claim in ("rewinding", "little_data", "easy_data", "connected")
    ),
  ),
  "whole, at least 1": (
    "replicates",
    "data.batch_size",
    "prune.examples_per_class",
    "connectivity.recompute_batches",
    "curvature.examples",
    "curvature.eigenvalues",
    "planes.examples",
    "planes.recompute_batches",
    "permutation.recompute_batches",
    "displacement.recompute_batches",
    "bound.examples",
  ),
  "whole, at least 4": ("data.train_examples",),
  "whole, at least 10, or unset": ("data.test_examples",),
  "whole, at least 10000": ("claims.resamples",),
  "whole, 0..1000": ("connectivity.children", "planes.snapshots"),
  "whole, 1..1000": ("controls.prunings", "fields.shown"),
  "whole, 1..10000": (
    "scores.networks",
    "prune.rounds",
    "train.made.per_class",
    "train.made.networks",
    "train.made.matchings",
    "train.made.batch_size",
  ),
  "whole, 0..10000": ("train.made.network_steps",),
  "whole, 1..100000": ("execution.chunk_steps", "execution.eval_batch_size"),
  "whole, 2..1000": ("scores.checkpoints", "planes.points"),
  "whole, 2..10000": (
    "scores.window",
    "curvature.lanczos_steps",
    "curvature.probes",
    "bound.lanczos_steps",
    "bound.probes",
  ),
  "whole, at least 2": ("permutation.examples",),
  "tuple of: whole, at least 0": (
    "connectivity.levels",
    "curvature.levels",
    "planes.levels",
    "permutation.levels",
    "permutation.joint_levels",
    "bound.levels",
    "fields.levels",
    "claims.contrasts.levels",
  ),
  "tuple of: whole, at least 1": (
    "controls.levels",
    "claims.trial.levels",
    "displacement.levels",
  ),
  "at least 0": (
    "optim.learning_rate",
    "optim.milestone_factor",
    "optim.weight_decay",
    "connectivity.perturb_norm",
    "planes.margin",
    "prune.bound",
    "execution.memory_gib",
    "execution.checkpoint_seconds",
  ),
  "at least 1": (
    "optim.loss_scale",
    "execution.lease_seconds",
    "execution.line_seconds",
  ),
  "tuple of: tensorboard | wandb": ("execution.writers",),
  "> 0": (
    "model.width",
    "optim.eps",
    "claims.connected.threshold",
    "train.made.learning_rate",
    "train.made.network_rate",
  ),
  "tuple of: > 0 nats": ("connectivity.thresholds",),
  "> 0 nats": ("bound.epsilon", "prune.epsilon"),
  "tuple of: > 0": ("displacement.scales",),
  "weights | activations": ("controls.matching",),
  "tuple of: weights | activations": ("permutation.match",),
  "tuple of: own | dense | joint": ("permutation.found_on",),
  "in [0, 1)": (
    "prune.tolerance",
    "bound.tolerance",
    "optim.momentum",
    "optim.b2",
    "pretrain.subset.drop_hardest",
    "train.subset.drop_hardest",
  ),
  "in [0, 1]": (
    "pretrain.noise.fraction",
    "train.noise.fraction",
  ),
  "in (0, 1)": (
    "prune.fraction",
    "claims.little_data.margin",
    "claims.margin",
    "claims.confidence",
  ),
  "in (0, 1), or unset": ("claims.easy_data.margin",),
  "in (0, 1]": ("controls.flipped", "controls.early_distance"),
  "tuple of: in (0, 1)": ("prune.adaptive",),
  "tuple of: in (0, 1]": ("prune.densities",),
  "drop | keep": ("data.last_batch",),
  "fixed | replicate | level": ("data.order", "data.augment_noise"),
  "crop_flip | flip_crop": ("data.augment_order",),
  "lenet300100 | mlp_skip | conv1d | vgg16 | resnet18 | resnet50 | "
  "resnetN (N = 6m + 2) | resnet1dN (for signals)": ("model.name",),
  "uniform | ones": ("model.bn_scale_init",),
  "float32 | bfloat16 | float16": ("model.dtype",),
  "sgd | adamw": ("optim.name",),
  "milestones | cosine": ("optim.schedule",),
  "zero | first": ("optim.warmup_start",),
  "all | kernels": ("optim.decay_on",),
  "none | all | random | easy | hard | ccs | keep_list": (
    "pretrain.subset.kind",
    "train.subset.kind",
  ),
  f"{SCORES} | file": (
    "pretrain.subset.score",
    "train.subset.score",
  ),
  f"tuple of: {SCORES}": ("scores.compute",),
  "none | gaussian | gaussian_teacher | class_means | distilled": (
    "train.made.kind",
  ),
  "redrawn | symmetric | matrix | file": (
    "pretrain.noise.kind",
    "train.noise.kind",
  ),
  "eval | batch": ("scores.bn_mode",),
  "evaluation | presentation": ("scores.observe",),
  "inf | max | zero": ("scores.never_learned",),
  "magnitude | grasp | magnitude_increase | movement | ntk_sap | random | "
  "sanh_movement | snip | synflow": ("prune.criterion",),
  "trained | rewound": ("prune.source",),
  "global | per_layer | erk": ("prune.allocation",),
  "threshold | exact": ("prune.rule",),
  "weight_rewind | lr_rewind | finetune": ("ticket.kind",),
  "fresh | rewound": ("ticket.optimizer",),
  "tuple of: random_mask | reinit | random_global | random_erk | random_smart "
  "| other_mask | permuted_mask | one_shot | inverted | early_mask | gradual | "
  "shuffled_weights | constant_magnitudes | redrawn_magnitudes | "
  "init_magnitudes | "
  "trained_magnitudes | random_signs | flipped_signs | init_signs | "
  "trained_signs | trained_weights | trained_flipped | sparse_signs | "
  "sparse_signs_norm | displaced | all": ("controls.kinds",),
  "tuple of: worst_class_accuracy": ("eval.metrics",),
  "tuple of: train | valid | test": (
    "eval.splits",
    "connectivity.splits",
    "permutation.splits",
    "displacement.splits",
  ),
  "order | augment | both | perturb": ("connectivity.differ",),
  "tuple of: average | recompute | endpoint": (
    "connectivity.batch_stats",
    "permutation.batch_stats",
    "displacement.batch_stats",
  ),
  "tuple of: hessian | gauss_newton": ("curvature.matrices",),
  "tuple of: children | levels": ("planes.through",),
}
# Ranges by their type alone.
UNBOUNDED = r"True|text|numbers$|step|letters"
CASES = {
  field: sides(declared.range.told)
  for field, declared in FIELDS.items()
  if field not in OTHERS
}


def test_every_range_has_something_on_both_sides():
  assert not [f for f, (taken, refused) in CASES.items() if not taken]
  assert not [f for f, (taken, refused) in CASES.items() if not refused]


def test_the_bounds_are_those_that_were_chosen():
  """Of every number; those of groups that may be unset are the same."""
  chosen = {field: told for told, fields in RANGES.items() for field in fields}
  for field, declared in FIELDS.items():
    told = declared.range.told
    group = next((u for u in UNSET if field.startswith(u)), "")
    if group:
      own = f"{group.split('.')[-2]}.{field.removeprefix(group)}"
      assert told == f"{FIELDS[own].range.told}, or unset"
    elif field not in OTHERS and not re.search(UNBOUNDED, told):
      assert told == chosen.pop(field, None), f"{field}: edit RANGES above"
  assert not chosen, "no such options: edit RANGES above"


@pytest.mark.parametrize("field", CASES)
def test_what_is_in_a_range_passes(field):
  config = get_defaults()
  for value in CASES[field][0]:
    check_fields(put(config, field, value))


@pytest.mark.parametrize("field", CASES)
def test_what_is_out_of_a_range_is_refused(tmp_path, field):
  """By name, with the rule, in a line; whether the group is used or not."""
  config, workdir = get_defaults(), tmp_path / "new"
  own = re.sub(r"(model)\.name$", r"\1", field)  # "unknown model 'conv2d'"
  names = f"{re.escape(field)}|unknown {re.escape(own)}"
  for value, rule in CASES[field][1]:
    with pytest.raises(ValueError) as error:
      prepare(put(config, field, value), str(workdir))
    line = str(error.value)
    assert re.search(f"^({names}) {rule}", line), line
    assert "\n" not in line and len(line) < 500
  assert not workdir.exists()
