"""What IMP finds in a dense layer: receptive fields on MNIST-1D.

  python -m launch.main --config=configs/around/local_fields.py \
    --workdir=runs/local-fields

After Redman et al. 2024 (arXiv 2412.06545): IMP makes the first layer's units
local, and what they compute less Gaussian, if the inputs are not Gaussian.
Declared, at 17 and 7 % of the weights: IMP keeps more neighbouring inputs than
random masks, and than IMP on Gaussian inputs of one covariance, labelled by the
dense network ("taught"), but not than IMP on Gaussian inputs with each class's
mean and covariance ("gaussian"); kurtosis of pre-activations is above random
masks'; weights that are kept give their unit more of it than those that go,
which with random masks they do not; and IMP's masks are better than random
ones. 12 replicates. Network, optimiser and pruning of each layer by itself are
those of the MNIST-1D notebook on lottery tickets (Greydanus 2020), but for
fewer levels. `:quick` has 4, `:smoke` takes seconds.
"""

from configs.defaults import get_defaults, words

# Run once, after everything here stood.
CONFIRMING_SEEDS = (347,)
LEVELS = (4, 6)
CONTRASTS = (
  ("imp", "random", "adjacency_2"),
  ("imp", "taught", "adjacency_2"),
  ("imp", "gaussian", "adjacency_2"),
  ("imp", "random", "kurtosis"),
  ("imp", "random", "cavity"),
  ("imp", "random"),
)


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke"))
  config = get_defaults()
  config.name = "-".join(["local-fields", *sorted(variants)])
  config.seed = CONFIRMING_SEEDS[0]
  config.replicates = 12
  config.model.name = "mlp_skip"
  config.data.batch_size = 100
  config.optim.update(
    name="adamw",
    steps="1500step",
    learning_rate=0.02,
    milestones=(),
    weight_decay=0.0,
  )
  config.prune.update(
    levels=7, fraction=0.36, allocation="per_layer", rule="exact"
  )
  config.fields.update(levels=tuple(range(8)), shown=10)
  levels = LEVELS
  if "quick" in variants:
    config.replicates = 4
  if "smoke" in variants:
    config.seed, config.replicates = 2, 2
    config.model.width = 0.02
    config.data.update(train_examples=80, batch_size=16)
    config.optim.steps = "4step"
    config.prune.update(levels=2, fraction=0.2)
    config.fields.levels = (0, 1)
    levels = (1,)
  config.experiments = (
    {"name": "imp"},
    {"name": "random", "prune.criterion": "random"},
    {"name": "gaussian", "train.made.kind": "gaussian"},
    {"name": "taught", "train.made.kind": "gaussian_teacher"},
  )
  config.claims.contrasts.update(comparisons=CONTRASTS, levels=levels)
  return config
