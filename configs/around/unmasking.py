"""Modes, masks and displacements of W_r on MNIST-1D, in minutes.

  python -m launch.main --config=configs/around/unmasking.py \
    --workdir=runs/unmasking

After Paul et al. 2023 (arXiv 2210.03044): successive levels of IMP are
linearly connected if and only if both match the dense network, and SGD comes
back to the mode that it left, though a mask, or a random vector as long, throws
W_r off. Declared: with t_r = 100 training comes back after the pruning of level
2 and after a random displacement as long; with t_r = 0 it does not after
either. t_r = 20 lies between. 12 replicates; network, rate and steps of
configs/mnist1d.py. `:quick` has 4, `:smoke` takes seconds.
"""

from configs.defaults import get_defaults, words

# Run once, after everything here stood.
CONFIRMING_SEEDS = (344,)
STEPS = (0, 20, 100)


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke"))
  config = get_defaults()
  config.name = "-".join(["unmasking", *sorted(variants)])
  config.seed = CONFIRMING_SEEDS[0]
  config.replicates = 12
  config.optim.update(
    steps="1000step", learning_rate=0.4, milestones=("500step", "750step")
  )
  config.prune.update(levels=5, fraction=0.36, rule="exact")
  looked_at = dict(
    alphas=(0.25, 0.5, 0.75), splits=("test",), batch_stats=("recompute",)
  )
  config.displacement.update(
    scales=(0.5, 1.0, 2.0, 4.0), levels=(2, 4), **looked_at
  )
  config.connectivity.update(successive=True, **looked_at)
  steps = STEPS
  if "quick" in variants:
    config.replicates = 4
  if "smoke" in variants:
    config.seed, config.replicates = 2, 2
    config.model.update(name="lenet300100", width=0.05)  # compiles in no time
    config.data.update(train_examples=80, batch_size=16)
    config.optim.update(steps="4step", learning_rate=0.1, milestones=("3step",))
    config.prune.update(levels=2, fraction=0.2)
    config.displacement.update(
      scales=(1.0,), levels=(2,), alphas=(0.5,), batch_stats=("average",)
    )
    config.connectivity.update(alphas=(0.5,), batch_stats=("average",))
    steps = (0, 1)
  config.experiments = tuple(
    {"name": f"rewind-{step}", "pretrain.steps": f"{step}step"}
    for step in steps
  )
  return config
