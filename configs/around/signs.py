"""Signs and what they carry: learning-rate rewinding, new initialisations.

  python -m launch.main --config=configs/around/signs.py --workdir=runs/signs

Learning-rate rewinding is said to win over weight rewinding because it keeps
the signs that were learned (Gadhikar and Burkholz 2024, arXiv 2402.19262), and
the signs of a sparse network, with its mask, are said to make a ticket of any
initialisation, if its normalisation is kept (Oh et al. 2025, arXiv 2504.05357).
Declared, at 26 and 17 % of the weights: learning-rate rewinding is better than
weight rewinding, on its own masks and on random ones; it loses less when 30 %
of the signs are flipped; W_r's magnitudes under the signs before pruning are as
good as the weights before pruning; the trained signs are better than fresh
weights, and better still with the normalisation. 24 replicates; network, rate
and steps of configs/mnist1d.py, t_r = 100. `:quick` has 4, `:smoke` takes
seconds.
"""

from configs.defaults import get_defaults, words

# Run once, after everything here stood.
CONFIRMING_SEEDS = (346,)
LEVELS = (3, 4)
KINDS = (
  "reinit",
  "trained_signs",
  "trained_weights",
  "flipped_signs",
  "trained_flipped",
  "sparse_signs",
  "sparse_signs_norm",
)
CONTRASTS = (
  ("lr", "imp"),
  ("random-lr", "random"),
  ("imp:flipped_signs", "imp"),
  ("imp:trained_flipped", "imp:trained_weights"),
  ("imp:trained_signs", "imp:trained_weights"),
  ("imp:sparse_signs", "imp:reinit"),
  ("imp:sparse_signs_norm", "imp:sparse_signs"),
  ("imp:sparse_signs_norm", "imp"),
)


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke"))
  config = get_defaults()
  config.name = "-".join(["signs", *sorted(variants)])
  config.seed = CONFIRMING_SEEDS[0]
  config.replicates = 24
  config.optim.update(
    steps="1000step", learning_rate=0.4, milestones=("500step", "750step")
  )
  config.pretrain.steps = "100step"
  config.prune.update(levels=4, fraction=0.36, rule="exact")
  config.controls.flipped = 0.3
  # For how many signs two successive levels share.
  config.connectivity.update(
    successive=True, alphas=(0.5,), splits=("test",), batch_stats=("recompute",)
  )
  levels = LEVELS
  if "quick" in variants:
    config.replicates = 4
  if "smoke" in variants:
    config.seed, config.replicates = 2, 2
    config.model.update(name="lenet300100", width=0.05)  # compiles in no time
    config.data.update(train_examples=80, batch_size=16)
    config.optim.update(steps="4step", learning_rate=0.1, milestones=("3step",))
    config.pretrain.steps = "1step"
    config.prune.update(levels=1, fraction=0.2)
    config.connectivity.batch_stats = ("average",)
    levels = (1,)
  config.experiments = (
    {"name": "imp", "controls.kinds": KINDS, "controls.levels": levels},
    {"name": "lr", "ticket.kind": "lr_rewind"},
    {"name": "random", "prune.criterion": "random"},
    {
      "name": "random-lr",
      "prune.criterion": "random",
      "ticket.kind": "lr_rewind",
    },
  )
  config.claims.contrasts.update(comparisons=CONTRASTS, levels=levels)
  return config
