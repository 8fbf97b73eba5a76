"""Pruning as much as curvature allows, at each level: MNIST-1D, in minutes.

  python -m launch.main --config=configs/around/bounded.py \
    --workdir=runs/bounded

After Paul et al. 2023 (arXiv 2210.03044), where flatness limits how much a
level may prune. Each level takes one to six steps of 20 % at once: as many as
the bound on pruning allows ("whole"), as 0.7 of it does ("part"), or as the
training error bears ("error", tolerance 0.1), against 20 % at each level
("fixed"). Declared: all take fewer trainings to their last density; there
"part" and "error" are as good as the fixed fraction, and "whole" is worse.
t_r = 100; 24 replicates; network, rate and steps of configs/mnist1d.py.
`:quick` has 4, `:smoke` takes seconds.
"""

from configs.adaptive_mnist1d import FRACTIONS
from configs.defaults import get_defaults, words

# Run once, after everything here stood.
CONFIRMING_SEEDS = (349,)


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke"))
  config = get_defaults()
  config.name = "-".join(["bounded", *sorted(variants)])
  config.seed = CONFIRMING_SEEDS[0]
  config.replicates = 24
  config.optim.update(
    steps="1000step", learning_rate=0.4, milestones=("500step", "750step")
  )
  config.pretrain.steps = "100step"
  config.prune.update(fraction=0.2, rule="exact")
  fixed, levels = 13, {"whole": 3, "part": 4, "error": 3}
  if "quick" in variants:
    config.replicates = 4
  if "smoke" in variants:
    config.seed, config.replicates = 2, 2
    config.model.update(name="lenet300100", width=0.05)  # compiles in no time
    config.data.update(train_examples=80, batch_size=16)
    config.optim.update(steps="4step", learning_rate=0.1, milestones=("3step",))
    config.pretrain.steps = "1step"
    fixed, levels = 3, dict.fromkeys(levels, 1)
  chosen = {
    "whole": {"prune.bound": 1.0},
    "part": {"prune.bound": 0.7},
    "error": {"prune.tolerance": 0.1},
  }
  config.experiments = (
    {"name": "fixed", "prune.levels": fixed},
    *(
      {
        "name": name,
        "prune.adaptive": FRACTIONS,
        "prune.levels": levels[name],
        **fields,
      }
      for name, fields in chosen.items()
    ),
  )
  config.claims.cost.baseline = "fixed"
  return config
