"""Tickets on trial: every control and criterion on MNIST-1D, in minutes.

  python -m launch.main --config=configs/trial_mnist1d.py \
    --workdir=runs/trial

On two CPU cores. IMP rewound to t_r = 100 where rewinding matters (network,
rate and steps of configs/mnist1d.py), 12 replicates, 41, 17 and 11 % of the
weights (with fewer, smart ratios have none for the convolutions); against its
ticket each control of these levels, other rewinding, other criteria after
training, and pruning at initialisation, whose masks have their own controls:
shuffled within layers, and under fresh weights. `:quick` has 4 replicates,
`:smoke` takes seconds.
"""

from configs.defaults import get_defaults, words
from imp_jax.stages.controls import CONTROLS

# Run once, after everything here stood.
CONFIRMING_SEEDS = (340,)
LEVELS = (2, 4, 5)
# Pruning at initialisation: criterion -> rounds at each level.
AT_INIT = {
  "magnitude": 1,
  "snip": 1,
  "grasp": 1,
  "ntk_sap": 20,
  "synflow": 100,
  "random": 1,
}
# All there were when it ran.
LATER = (
  "permuted_mask",
  "trained_weights",
  "trained_flipped",
  "sparse_signs",
  "sparse_signs_norm",
)
KINDS = tuple(kind for kind in CONTROLS if kind not in LATER)
TRAINED = ("magnitude_increase", "movement", "snip", "grasp")


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke"))
  config = get_defaults()
  config.name = "-".join(["trial-mnist1d", *sorted(variants)])
  config.seed = CONFIRMING_SEEDS[0]
  config.replicates = 12
  config.optim.update(
    steps="1000step", learning_rate=0.4, milestones=("500step", "750step")
  )
  # Exact counts: what is compared has equally many weights.
  config.prune.update(levels=5, fraction=0.36, rule="exact")
  steps, finetune, levels = "100step", "250step", LEVELS
  rounds, trained, kinds = AT_INIT, TRAINED, KINDS
  if "quick" in variants:
    config.replicates = 4
  if "smoke" in variants:
    config.seed = 2
    config.replicates = 2
    config.model.update(name="lenet300100", width=0.05)  # compiles in no time
    config.data.update(train_examples=80, batch_size=16)
    config.optim.update(steps="4step", learning_rate=0.1, milestones=("3step",))
    config.prune.update(levels=2, fraction=0.2, examples_per_class=2)
    config.controls.prunings = 2
    steps, finetune, levels = "1step", "2step", (2,)
    kinds = ("random_mask", "one_shot", "gradual")
    rounds, trained = {"snip": 1, "synflow": 2}, TRAINED[:1]
  rewound = {"pretrain.steps": steps}
  config.experiments = (
    {
      "name": "imp",
      **rewound,
      "controls.kinds": kinds,
      "controls.levels": levels,
    },
    {"name": "no-rewinding", "pretrain.steps": "0step"},
    {"name": "lr-rewinding", **rewound, "ticket.kind": "lr_rewind"},
    {
      "name": "fine-tuning",
      **rewound,
      "ticket.kind": "finetune",
      "ticket.finetune_steps": finetune,
    },
    {"name": "per-layer", **rewound, "prune.allocation": "per_layer"},
    {"name": "erk", **rewound, "prune.allocation": "erk"},
    *(
      {"name": f"{criterion}-trained", **rewound, "prune.criterion": criterion}
      for criterion in trained
    ),
    *(
      {
        "name": f"{criterion}-at-init",
        "pretrain.steps": "0step",
        "prune.source": "rewound",
        "prune.criterion": criterion,
        "prune.rounds": n,
        "controls.kinds": ("random_mask", "reinit"),
        "controls.levels": levels,
      }
      for criterion, n in rounds.items()
    ),
  )
  config.claims.trial.update(baseline="imp", levels=levels)
  return config
