"""Pre-training on random labels: the paper's CIFAR-10 / ResNet-20 study.

  python -m launch.main --config=configs/random_labels_cifar10.py \
    --workdir=runs/c10 --config.data.path=~/tensorflow_datasets

10 % or 50 % of the pre-training labels are redrawn uniformly; EL2N is computed
on the noisy labels too. All, and 3,200 random or easy examples, at t_r = 200,
beside clean labels and none; 20 levels, 4 replicates: a GPU's work, not run
yet. Variants, joined by commas: `:quick`, `:smoke`, `:composer`, `:openlth`.
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


def get_config(arg: str = ""):
  variants = words(arg, (*REDUCTIONS, *PRESETS))
  config = get_recipe("cifar10", variants)
  config.name = study_name("random-labels-cifar10", variants)
  steps, size, level = 200, 3200, 10
  if "quick" in variants:
    steps, size, level = 10, 320, 2
  if "smoke" in variants:
    steps, size, level = 1, 10, 1
    config.prune.levels = 1
  clean = (
    everything(f"all-{steps}", f"{steps}step"),
    subset("random", size, f"{steps}step"),
    subset("easy", size, f"{steps}step"),
  )
  config.experiments = (
    everything("none", "0step"),
    *(e | {"pretrain.noise.fraction": 0.0} for e in clean),
    *(
      e
      | {
        "name": f"{e['name']}-noise{round(100 * fraction)}",
        "pretrain.noise.fraction": fraction,
      }
      for fraction in (0.1, 0.5)
      for e in clean
    ),
  )
  config.claims.rewinding = {
    "treatments": (f"all-{steps}",),
    "baseline": "none",
    "level": level,
  }
  return config
