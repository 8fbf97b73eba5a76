"""The paper's data-diet studies, which differ in their data only."""

from configs.defaults import words
from configs.recipes import (
  PRESETS,
  REDUCTIONS,
  everything,
  get_recipe,
  study_name,
  subset,
)

SIZES = (256, 512, 1024, 2048, 3200, 6400, 12800, 25600)
KINDS = ("random", "easy", "hard")


def get_diet(name: str, arg: str):
  """Returns none / all / random / easy / hard at t_r = 200 on a data set.

  Args:
    name: "cifar10", "cifar100" or "cinic10".
    arg: variants joined by commas: "sizes" (every size of the paper's, not
      3,200 alone), the reductions and the presets.
  """
  variants = words(arg, ("sizes", *REDUCTIONS, *PRESETS))
  config = get_recipe(name, variants)
  config.name = study_name(f"data-diet-{name}", variants)
  steps, sizes, size, level = 200, SIZES, 3200, 10
  if "quick" in variants:
    steps, sizes, size, level = 10, (160, 320), 320, 2
  if "smoke" in variants:
    steps, sizes, size, level = 1, (4, 10), 10, 2
  every = sizes if "sizes" in variants else (size,)
  config.experiments = (
    everything("none", "0step"),
    everything(f"all-{steps}", f"{steps}step"),
    everything(f"all-{2 * steps}", f"{2 * steps}step"),
    *(subset(kind, s, f"{steps}step") for s in every for kind in KINDS),
  )
  config.claims.rewinding = {
    "treatments": (f"all-{steps}",),
    "baseline": "none",
    "level": level,
  }
  return config
