"""Permutations of units between replicates, on MNIST-1D, in minutes.

  python -m launch.main --config=configs/around/permutations.py \
    --workdir=runs/permutations

Are two networks of different initialisation connected once the units of one
are permuted (Ainsworth et al. 2023, arXiv 2209.04836), is one permutation
enough for a whole training and for all levels of IMP (Sharma et al. 2024, arXiv
2404.06498), and does a mask that is carried to another network, permuted, serve
it better than as it is (Adnan et al. 2025, arXiv 2505.05143)? Declared: the
matched barrier is below the unmatched one at each width; the permuted mask is
better than the same mask as it is, at widths 1 and 4. 12 replicates in 6 pairs;
network, rate and steps of configs/mnist1d.py, t_r = 100. `:quick` has 4,
`:smoke` takes seconds.
"""

from configs.defaults import get_defaults, words

# Run once, after everything here stood.
CONFIRMING_SEEDS = (343,)
WIDTHS = (1.0, 2.0, 4.0, 8.0)
PRUNED = (1.0, 4.0)  # the others are dense only
KINDS = ("other_mask", "permuted_mask", "random_mask", "reinit")


def get_config(arg: str = ""):
  variants = words(arg, ("quick", "smoke"))
  config = get_defaults()
  config.name = "-".join(["permutations", *sorted(variants)])
  config.seed = CONFIRMING_SEEDS[0]
  config.replicates = 12
  config.optim.update(
    steps="1000step", learning_rate=0.4, milestones=("500step", "750step")
  )
  config.pretrain.steps = "100step"
  config.prune.update(levels=0, fraction=0.36, rule="exact")
  config.permutation.update(
    match=("weights", "activations"),
    steps=("100step", "300step"),
    alphas=(0.25, 0.5, 0.75),
    splits=("test",),
  )
  levels, joined, widths, pruned = 5, (0, 2, 4), WIDTHS, PRUNED
  if "quick" in variants:
    config.replicates = 4
  if "smoke" in variants:
    config.seed, config.replicates = 2, 2
    config.model.name = "lenet300100"  # compiles in no time
    config.data.update(train_examples=80, batch_size=16)
    config.optim.update(steps="4step", learning_rate=0.1, milestones=("3step",))
    config.pretrain.steps = "1step"
    config.permutation.update(
      steps=("2step",), examples=60, batch_stats=("average",), alphas=(0.5,)
    )
    levels, joined, widths, pruned = 1, (0, 1), (0.05, 0.1), (0.1,)
  compared = joined[-1]
  config.experiments = tuple(
    {
      "name": f"width-{width:g}",
      "model.width": width,
      **(
        {
          "prune.levels": levels,
          "controls.kinds": KINDS,
          "controls.levels": tuple(sorted({compared, levels})),
          "permutation.levels": joined,
          "permutation.joint_levels": joined,
          "permutation.found_on": ("own", "dense", "joint"),
        }
        if width in pruned
        else {}
      ),
    }
    for width in widths
  )
  config.claims.contrasts.update(
    comparisons=tuple(
      (f"width-{width:g}:permuted_mask", f"width-{width:g}:{other}")
      for width in pruned
      for other in ("other_mask", "random_mask", "reinit")
    ),
    levels=tuple(sorted({compared, levels})),
  )
  return config
