"""May the mask be found on a few synthetic examples? MNIST-1D, in minutes.

  python -m launch.main --config=configs/around/distilled.py \
    --workdir=runs/distilled

After McDermott and Cummings 2023 (arXiv 2307.03364, 2310.18769) and McDermott
and Parhi 2025 (arXiv 2503.17905): IMP that is rewound to the initialisation
finds its masks on distilled examples, and the subnetworks they leave are stable
there, though the dense network is not. Each search trains its levels on 50
examples of each class, an eighth of the data: distilled by gradient matching,
real, or means of eight. What is found is trained on all the data; all have
equally many steps. Declared, at 17 and 11 % of the weights: distilled masks are
better than random ones, than those of as many real examples and of means, and
worse than those of all the data; children of their subnetworks at
initialisation have a lower barrier than those of the masks of all the data, and
of random ones. 12 replicates; network, rate and steps of configs/mnist1d.py.
`:quick` has 4, `:smoke` takes seconds.
"""

from configs.defaults import get_defaults, words

# Run once, after everything here stood.
CONFIRMING_SEEDS = (348,)
LEVELS = (4, 5)
PER_CLASS = 50
CONTRASTS = (
  ("distilled", "random"),
  ("distilled", "real"),
  ("distilled", "means"),
  ("distilled", "all"),
  ("distilled", "all", "barrier"),
  ("distilled", "random", "barrier"),
)


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke"))
  config = get_defaults()
  config.name = "-".join(["distilled", *sorted(variants)])
  config.seed = CONFIRMING_SEEDS[0]
  config.replicates = 12
  config.optim.update(
    steps="1000step", learning_rate=0.4, milestones=("500step", "750step")
  )
  config.prune.update(levels=5, fraction=0.36, rule="exact")
  config.train.made.update(per_class=PER_CLASS, networks=300)
  config.connectivity.update(
    alphas=(0.25, 0.5, 0.75), splits=("test",), batch_stats=("recompute",)
  )
  levels, rewound = LEVELS, "100step"
  if "quick" in variants:
    config.replicates = 4
  if "smoke" in variants:
    config.seed, config.replicates = 2, 2
    config.model.update(name="lenet300100", width=0.05)  # compiles in no time
    config.data.update(train_examples=80, batch_size=16)
    config.optim.update(steps="4step", learning_rate=0.1, milestones=("3step",))
    config.prune.update(levels=1, fraction=0.2)
    config.train.made.update(
      per_class=3, networks=2, matchings=2, network_steps=1, batch_size=4
    )
    config.connectivity.update(alphas=(0.5,), batch_stats=("average",))
    levels, rewound = (1,), "1step"
  per_class = config.train.made.per_class
  searches = {
    "distilled": {"train.made.kind": "distilled"},
    "means": {"train.made.kind": "class_means"},
    "real": {
      "train.subset.kind": "random",
      "train.subset.size": 10 * per_class,
      "train.subset.balanced": True,
    },
  }
  children = {
    "connectivity.children": 2,
    "connectivity.levels": (0, *levels),
  }
  config.experiments = (
    {"name": "all", **children},
    *(
      {"name": f"search-{name}", **fields} for name, fields in searches.items()
    ),
    *(
      {"name": name, "prune.masks_of": f"search-{name}", **children}
      for name in searches
    ),
    {"name": "random", "prune.criterion": "random", **children},
    {"name": "rewound", "pretrain.steps": rewound},
  )
  config.claims.contrasts.update(comparisons=CONTRASTS, levels=levels)
  return config
