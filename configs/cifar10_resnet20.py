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

from configs.defaults import words
from configs.recipes import (
  PRESETS,
  REDUCTIONS,
  everything,
  get_recipe,
  study_name,
)


def get_config(arg: str = ""):
  variants = words(arg, (*REDUCTIONS, *PRESETS))
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
  if variants & set(REDUCTIONS):
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
