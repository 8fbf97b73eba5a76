"""Which initialisations will work? MNIST-1D, in a quarter of an hour.

  python -m launch.main --config=configs/landscape_mnist1d.py \
    --workdir=runs/landscape

Two dense children of each W_r, which differ in the data's order: after no
pre-training, after t_r = 2 to 100 steps on all examples, after 10, 20 and 50 on
1,000 random, easy or hard ones, and after 50 at another learning rate or on
noisy labels; barriers between levels, curvature and planes of none and all-100.

Claim 3 is a correlation over variants as much as over replicates: 18 variants,
which span the range of connected shares, and 6 replicates. `:quick` has 4
replicates, `:smoke` takes seconds.
"""

from configs.defaults import get_defaults, words
from configs.recipes import everything, subset

# Run once, after everything here stood.
CONFIRMING_SEEDS = (322,)
STEPS, DIETS, SIZE = (2, 5, 10, 20, 50, 100), (10, 20, 50), 1000
LEVEL = 4  # 17 % of the weights, between the paper's two


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke"))
  config = get_defaults()
  config.name = "-".join(["landscape-mnist1d", *sorted(variants)])
  # The data diets' network and rate (configs/data_diet_mnist1d.py), where a
  # search saw 18 % of the examples connected at t_r = 0 and 92 % at 100.
  config.seed = CONFIRMING_SEEDS[0]
  config.replicates = 6
  config.model.width = 2.0
  config.optim.update(
    steps="1000step", learning_rate=0.6, milestones=("500step", "750step")
  )
  config.prune.update(levels=5, fraction=0.36)
  # The barrier as a score, from the networks of all-20: beside EL2N.
  config.scores.update(
    networks=10, steps="300step", compute=("el2n", "barrier")
  )
  config.scores.optim.learning_rate = 0.1
  config.scores.rewind_step = "20step"
  config.connectivity.update(children=2, differ="order")
  config.curvature.update(examples=300, lanczos_steps=30, probes=4)
  steps, diets, size, level = STEPS, DIETS, SIZE, LEVEL
  others = (
    everything("all-50-slow", "50step") | {"pretrain.optim.learning_rate": 0.1},
    everything("all-50-noisy", "50step") | {"pretrain.noise.fraction": 0.4},
  )
  if "quick" in variants:
    config.replicates = 4
  if "smoke" in variants:
    config.seed = 2
    config.replicates = 2
    config.model.width = 0.25
    config.data.update(train_examples=80, batch_size=16)
    config.optim.update(steps="4step", learning_rate=0.1, milestones=("3step",))
    config.scores.update(networks=2, steps="2step")
    config.prune.levels = 2
    config.connectivity.update(
      alphas=(0.5,),
      batch_stats=("average", "endpoint"),
      recompute_batches=2,
    )
    config.curvature.update(
      examples=20, layers=True, lanczos_steps=4, eigenvalues=2, probes=2
    )
    config.planes.update(
      points=3, examples=40, snapshots=3, recompute_batches=1
    )
    config.scores.rewind_step = "1step"
    steps, diets, size, level, others = (1,), (1,), 20, 1, ()
  levels = config.prune.levels
  looked_at = {
    "connectivity.successive": True,
    # Where pruning empties a channel its averaged statistics mislead.
    "connectivity.batch_stats": ("average", "recompute"),
    "curvature.levels": (0, levels // 2, levels),
    "planes.through": ("children", "levels"),
    "planes.levels": (0, levels // 2, levels),
  }
  config.experiments = (
    everything("none", "0step") | ({} if "smoke" in variants else looked_at),
    *(
      everything(f"all-{s}", f"{s}step") | (looked_at if s == steps[-1] else {})
      for s in steps
    ),
    *(
      subset(kind, size, f"{t_r}step", balanced=True)
      | {"name": f"{kind}-{t_r}"}
      for t_r in diets
      for kind in ("random", "easy", "hard")
    ),
    *others,
  )
  config.claims.connected.update(level=level, threshold=0.1)
  return config
