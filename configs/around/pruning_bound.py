"""A bound on pruning by curvature, beside what networks bear, in minutes.

  python -m launch.main --config=configs/around/pruning_bound.py \
    --workdir=runs/pruning-bound

After Paul et al. 2023 (arXiv 2210.03044): how flat the loss is at the end of
training limits how much one level may prune. The formula is a reconstruction
(landscape/bound.py), and axes are no random subspace: the verdict is on this
statement. Declared: the bound falls from level 0 to level 5 with t_r = 100; it
is larger there than with t_r = 0 at level 2; and over levels and t_r it goes
with what networks bear. 12 replicates; network, rate and steps of
configs/mnist1d.py. `:quick` has 4, `:smoke` takes seconds.
"""

from configs.defaults import get_defaults, words

# Run once, after everything here stood.
CONFIRMING_SEEDS = (345,)
STEPS = (0, 20, 100)


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke"))
  config = get_defaults()
  config.name = "-".join(["pruning-bound", *sorted(variants)])
  config.seed = CONFIRMING_SEEDS[0]
  config.replicates = 12
  config.optim.update(
    steps="1000step", learning_rate=0.4, milestones=("500step", "750step")
  )
  config.prune.update(levels=5, fraction=0.36, rule="exact")
  config.bound.levels = (0, 1, 2, 3, 4, 5)
  steps = STEPS
  if "quick" in variants:
    config.replicates = 4
  if "smoke" in variants:
    config.seed, config.replicates = 2, 2
    config.model.update(name="lenet300100", width=0.05)  # compiles in no time
    config.data.update(train_examples=80, batch_size=16)
    config.optim.update(steps="4step", learning_rate=0.1, milestones=("3step",))
    config.prune.update(levels=1, fraction=0.2)
    config.bound.update(levels=(0, 1), examples=20, lanczos_steps=8, probes=2)
    steps = (0, 1)
  config.experiments = tuple(
    {"name": f"rewind-{step}", "pretrain.steps": f"{step}step"}
    for step in steps
  )
  return config
