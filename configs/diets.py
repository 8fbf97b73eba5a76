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
      3,200 alone), "steps" (t_r = 50 and 100 too), the reductions and the
      presets.
  """
  variants = words(arg, ("sizes", "steps", *REDUCTIONS, *PRESETS))
  config = get_recipe(name, variants)
  config.name = study_name(f"data-diet-{name}", variants)
  steps, sizes, size, level = 200, SIZES, 3200, 10
  if "quick" in variants:
    steps, sizes, size, level = 8, (160, 320), 320, 2
  if "smoke" in variants:
    steps, sizes, size, level = 1, (4, 10), 10, 1
    config.prune.levels = 1
  # Scores this young find one class the easiest, and a network that has seen
  # nothing else for a few steps never recovers.
  fields = {"balanced": True} if "quick" in variants else {}
  every = sizes if "sizes" in variants else (size,)
  fewer = ()
  if "steps" in variants and "smoke" not in variants:
    fewer = (steps // 4, steps // 2)
  config.experiments = (
    everything("none", "0step"),
    everything(f"all-{steps}", f"{steps}step"),
    everything(f"all-{2 * steps}", f"{2 * steps}step"),
    *(
      subset(kind, s, f"{steps}step", **fields) for s in every for kind in KINDS
    ),
    *(e for t_r in fewer for e in _at(t_r, size, fields)),
  )
  claims = config.claims
  claims.rewinding = {
    "treatments": (f"all-{steps}",),
    "baseline": "none",
    "level": level,
  }
  claims.little_data.update(
    comparisons=((f"random-{size}", f"all-{steps}"),),
    level=level,
  )
  claims.easy_data.update(
    comparisons=((f"easy-{size}", f"random-{size}", f"all-{steps}"),),
    level=level,
  )
  return config


def get_landscape(name: str, arg: str):
  """Returns a diet with dense children of every W_r, and claim 3.

  The paper's landscape study: three children, which differ in data order and
  augmentation, and the midpoint on the training images.

  Args:
    name, arg: as of `get_diet`.
  """
  config = get_diet(name, arg)
  config.name = config.name.replace("data-diet", "landscape", 1)
  reduced = {"quick", "smoke"} & set(arg.split(","))
  if not reduced:
    config.replicates = 2 if name == "cinic10" else 4
    config.prune.levels = 7 if name == "cinic10" else 8
  if "smoke" in reduced:  # the diets' own smoke runs the others
    config.experiments = config.experiments[:2]
    config.claims.little_data.comparisons = ()
    config.claims.easy_data.comparisons = ()
  level = config.prune.levels
  config.connectivity.update(
    children=2 if reduced else 3,
    differ="both",
    alphas=(0.5,),
    splits=("train",) if "quick" in reduced else ("train", "test"),
    thresholds=(0.5,),
  )
  for claim in (config.claims.rewinding, config.claims.little_data):
    claim.level = level
  config.claims.easy_data.level = level
  config.claims.connected.update(threshold=0.5, level=level)
  return config


def _at(t_r, size, fields):
  """All and each kind of subset at another t_r, which their names tell."""
  yield everything(f"all-{t_r}", f"{t_r}step")
  for kind in KINDS:
    own = {"name": f"{kind}-{size}-at-{t_r}"}
    yield subset(kind, size, f"{t_r}step", **fields) | own
