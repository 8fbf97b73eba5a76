"""The paper's CIFAR-10 experiment without data diets: ResNet-20, 20 levels.

  python -m launch.main --config=configs/cifar10_resnet20.py \\
    --workdir=runs/c10 --config.data.path=~/tensorflow_datasets

The paper's settings: 3 experiments x 21 levels x 62,400 steps x 4 replicates,
dense test accuracy 91.3-91.5 %; a GPU's work. Variants, joined by commas:
`:quick` (half width, 3 levels of 80 steps, 2 replicates: minutes on two CPU
cores), `:smoke` (seconds), and the presets `:composer` and `:openlth` (the two
code bases behind the paper's figures).
An .npz instead: --config.data.source=npz --config.data.path=FILE.
"""

from configs.defaults import get_defaults, set_preset, words


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke", "composer", "openlth"))
  if {"composer", "openlth"} <= variants:
    raise ValueError("composer and openlth are two presets: choose one")
  config = get_defaults()
  config.name = "-".join(["cifar10-resnet20", *sorted(variants)])
  config.data.update(
    source="tfds",
    name="cifar10",
    crop_pad=4,
    flip=True,
    # Given, so that every source of the images is normalised alike.
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
  )
  config.model.name = "resnet20"
  # 160 epochs of 390 steps (batch 128, last partial batch dropped).
  config.optim.update(steps="62400step", milestones=("31200step", "46800step"))
  config.prune.levels = 20
  config.claims.margin = 0.005
  config.experiments = (
    {"name": "none", "pretrain.steps": "0step"},
    {"name": "all-200", "pretrain.steps": "200step"},
    {"name": "all-400", "pretrain.steps": "400step"},
  )
  config.claims.rewinding = {
    "treatments": ("all-200", "all-400"),
    "baseline": "none",
    "level": 10,
  }
  for preset in variants & {"composer", "openlth"}:
    set_preset(config, preset)
  if "quick" in variants:
    config.replicates = 2
    config.model.width = 0.5
    config.optim.update(steps="80step", milestones=("40step", "60step"))
    config.prune.levels = 2
    config.execution.chunk_steps = 20
    _two_experiments(config, "10step")
  if "smoke" in variants:
    config.replicates = 2
    config.model.update(name="resnet8", width=0.25)  # compiles in seconds
    config.data.batch_size = 4
    config.optim.update(steps="3step", milestones=("2step",))
    config.prune.levels = 2
    config.execution.chunk_steps = 2
    _two_experiments(config, "1step")
  return config


def _two_experiments(config, rewind_step):
  config.experiments = (
    {"name": "none", "pretrain.steps": "0step"},
    {"name": "all", "pretrain.steps": rewind_step},
  )
  config.claims.rewinding = {
    "treatments": ("all",),
    "baseline": "none",
    "level": 2,
  }
