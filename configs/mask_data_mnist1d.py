"""Which data, and which learning rate, may the mask see? MNIST-1D, in minutes.

  python -m launch.main --config=configs/mask_data_mnist1d.py \
    --workdir=runs/mask-data

Searches train their levels on all examples, on 400 random, easy or hard ones,
on labels of which 40 % are noise, at a quarter of the learning rate, or rewind
to t_r = 0; for each the ticket that has its masks is trained on all the data
from the one W_r of t_r = 100, at the one rate. All have equally many steps. 12
replicates. `:quick` has 4, `:smoke` takes seconds.
"""

from configs.defaults import get_defaults, words

# Run once, after everything here stood.
CONFIRMING_SEEDS = (341,)
LEVELS = (2, 4, 5)
SIZE = 400  # a tenth


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke"))
  config = get_defaults()
  config.name = "-".join(["mask-data-mnist1d", *sorted(variants)])
  config.seed = CONFIRMING_SEEDS[0]
  config.replicates = 12
  config.optim.update(
    steps="1000step", learning_rate=0.4, milestones=("500step", "750step")
  )
  config.prune.update(levels=5, fraction=0.36, rule="exact")
  config.pretrain.steps = "100step"
  config.scores.update(networks=10, steps="300step")
  config.scores.optim.learning_rate = 0.1
  size, levels = SIZE, LEVELS
  if "quick" in variants:
    config.replicates = 4
  if "smoke" in variants:
    config.seed = 2
    config.replicates = 2
    config.model.update(name="lenet300100", width=0.05)  # compiles in no time
    config.data.update(train_examples=80, batch_size=16)
    config.optim.update(steps="4step", learning_rate=0.1, milestones=("3step",))
    config.pretrain.steps = "1step"
    config.prune.update(levels=2, fraction=0.2)
    config.scores.update(networks=2, steps="2step")
    size, levels = 20, (2,)
  searches = {
    **{
      kind: {
        "train.subset.kind": kind,
        "train.subset.size": size,
        "train.subset.balanced": True,
      }
      for kind in ("random", "easy", "hard")
    },
    "noisy": {"train.noise.fraction": 0.4},
    "slow": {"optim.learning_rate": 0.25 * config.optim.learning_rate},
    "init": {"pretrain.steps": "0step"},
  }
  config.experiments = (
    {"name": "imp"},
    *(
      {"name": f"search-{name}", **fields} for name, fields in searches.items()
    ),
    *(
      {"name": f"masks-{name}", "prune.masks_of": f"search-{name}"}
      for name in searches
    ),
    {
      "name": "random-masks",
      "prune.criterion": "random",
    },
  )
  config.claims.trial.update(baseline="imp", levels=levels)
  return config
