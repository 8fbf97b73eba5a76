"""The paper's CIFAR-10 experiment without data diets: ResNet-20, 20 levels.

  python -m launch.main --config=configs/cifar10_resnet20.py \\
    --workdir=runs/c10 --config.data.path=~/tensorflow_datasets

The paper's settings: 3 experiments x 21 levels x 62,400 steps x 4 replicates,
dense test accuracy 91.3-91.5 %; a GPU's work. Variants, joined by commas:
`:quick` (half width, 3 levels of 80 steps, 2 replicates: minutes on two CPU
cores), `:smoke` (seconds), and the presets `:composer` and `:openlth` (the two
code bases behind the paper's figures).

`:gpu` is the data diet in pieces for a GPU that is lent for a while: levels 0
to 12 of T = 7,800 (20 epochs, not the paper's 160), one experiment a call:

  python -m launch.main --config=configs/cifar10_resnet20.py:gpu \\
    --workdir=runs/c10 --only=none
  python -m launch.export --workdir=runs/c10 --out=results/cifar10_jpeg
An .npz instead: --config.data.source=npz --config.data.path=FILE.
"""

from configs.defaults import words
from configs.recipes import (
  PRESETS,
  REDUCTIONS,
  everything,
  get_recipe,
  study_name,
  subset,
)


def set_pieces(config):
  """Makes a study of whole experiments that each fit half an hour."""
  config.optim.update(steps="7800step", milestones=("3900step", "5850step"))
  config.prune.levels = 12
  # Networks of the study's own kind, for the paper's sixteen ResNet-18 would
  # take longer than all experiments. scores.file takes others.
  config.scores.update(networks=10, steps="5ep")
  config.scores.model.update(name="resnet20", bn_scale_init="uniform")
  config.scores.optim.milestones = ()
  config.experiments = (
    *config.experiments,
    *(subset(kind, 3200, "200step") for kind in ("easy", "random", "hard")),
  )
  claims = config.claims
  claims.little_data.update(comparisons=(("random-3200", "all-200"),), level=10)
  claims.easy_data.update(
    comparisons=(("easy-3200", "random-3200", "all-200"),), level=10
  )


def get_config(arg: str = ""):
  variants = words(arg, ("gpu", *REDUCTIONS, *PRESETS))
  config = get_recipe("cifar10", variants)
  config.name = study_name("cifar10-resnet20", variants)
  config.experiments = (
    everything("none", "0step"),
    everything("all-200", "200step"),
    everything("all-400", "400step"),
  )
  config.claims.rewinding = {
    "treatments": ("all-200", "all-400"),
    "baseline": "none",
    "level": 10,
  }
  if "gpu" in variants:
    set_pieces(config)
  if variants & set(REDUCTIONS):
    if "gpu" in variants:
      raise ValueError("gpu and the reductions are two sizes: choose one")
    config.experiments = (
      everything("none", "0step"),
      everything("all", "1step" if "smoke" in variants else "10step"),
    )
    config.claims.rewinding = {
      "treatments": ("all",),
      "baseline": "none",
      "level": 2,
    }
  return config
