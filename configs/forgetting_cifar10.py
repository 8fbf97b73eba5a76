"""Easy by forgetting instead of by EL2N: CIFAR-10 / ResNet-20.

  python -m launch.main --config=configs/forgetting_cifar10.py \
    --workdir=runs/c10 --config.data.path=~/tensorflow_datasets

3,200 random examples, and 3,200 easy or hard ones by either score, at
t_r = 200. Forgetting events are counted as examples are presented, over 200
epochs (78,000 steps) of the ResNet-18; never-learned examples are infinitely
hard. EL2N is taken on the way, at step 7,800 of the same trainings. 20 levels,
4 replicates: a GPU's work, not run yet. Variants, joined by commas: `:quick`,
`:smoke`, `:composer`, `:openlth`.
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
  config.name = study_name("forgetting-cifar10", variants)
  config.scores.update(
    steps="200ep",
    at_steps=("20ep",),
    observe="presentation",
    never_learned="inf",
  )
  # Milestones after 60, 120 and 160 of 200 epochs, as by Paul et al. 2021.
  config.scores.optim.update(
    milestones=("60ep", "120ep", "160ep"), milestone_factor=0.2
  )
  steps, size, level = 200, 3200, 10
  if "quick" in variants:
    steps, size, level = 10, 320, 2
  if "smoke" in variants:
    steps, size, level = 1, 10, 1
    config.prune.levels = 1
  if variants & set(REDUCTIONS):
    # A whole epoch is long for a CPU: evaluate every few steps instead.
    few = 2 if "smoke" in variants else 10
    config.scores.update(
      steps=f"{4 * few}step",
      at_steps=(f"{few}step",),
      observe="evaluation",
      every=f"{few}step",
    )
  t_r = f"{steps}step"
  by_forgetting = [
    subset(kind, size, t_r, score="forgetting")
    | {"name": f"{kind}-{size}-forgetting"}
    for kind in ("easy", "hard")
  ]
  config.experiments = (
    everything("none", "0step"),
    everything(f"all-{steps}", t_r),
    *(subset(kind, size, t_r) for kind in ("random", "easy", "hard")),
    *by_forgetting,
  )
  config.claims.rewinding = {
    "treatments": (f"all-{steps}",),
    "baseline": "none",
    "level": level,
  }
  return config
