"""What adaptive pruning costs and gives on MNIST-1D, in minutes.

  python -m launch.main --config=configs/adaptive_mnist1d.py \
    --workdir=runs/adaptive

IMP rewound to t_r = 100 where rewinding matters (network, rate and steps of
configs/mnist1d.py), 12 replicates: 20 % at each level, against as many of such
levels at once as the network bears, by two tolerances. `:quick` has 4
replicates, `:smoke` takes seconds.
"""

from configs.defaults import get_defaults, words

# Run once, after everything here stood.
CONFIRMING_SEEDS = (342,)
# One to six levels of 20 % at once.
FRACTIONS = tuple(round(1 - 0.8**n, 6) for n in range(1, 7))


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke"))
  config = get_defaults()
  config.name = "-".join(["adaptive-mnist1d", *sorted(variants)])
  config.seed = CONFIRMING_SEEDS[0]
  config.replicates = 12
  config.optim.update(
    steps="1000step", learning_rate=0.4, milestones=("500step", "750step")
  )
  config.pretrain.steps = "100step"
  config.prune.update(fraction=0.2, rule="exact")
  fixed, adaptive = 9, {"strict": (0.02, 5), "loose": (0.1, 3)}
  if "quick" in variants:
    config.replicates = 4
  if "smoke" in variants:
    config.seed = 2
    config.replicates = 2
    config.model.update(name="lenet300100", width=0.05)  # compiles in no time
    config.data.update(train_examples=80, batch_size=16)
    config.optim.update(steps="4step", learning_rate=0.1, milestones=("3step",))
    config.pretrain.steps = "1step"
    fixed, adaptive = 3, {"strict": (0.01, 1), "loose": (0.1, 1)}
  config.experiments = (
    {"name": "fixed", "prune.levels": fixed},
    *(
      {
        "name": name,
        "prune.adaptive": FRACTIONS,
        "prune.tolerance": tolerance,
        "prune.levels": levels,
      }
      for name, (tolerance, levels) in adaptive.items()
    ),
  )
  config.claims.cost.baseline = "fixed"
  return config
