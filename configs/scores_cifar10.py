"""How hard is each CIFAR-10 image? EL2N, GraNd and forgetting, nothing else.

  python -m launch.main --config=configs/scores_cifar10.py \
    --workdir=runs/scores --config.data.path=~/tensorflow_datasets

16 ResNet-18s for 20 epochs, as the paper scored: a GPU's work, not run yet.
`:quick` trains 4 ResNet-8s for 2 epochs (7 to 30 minutes on two CPU cores),
`:smoke` takes seconds. Forgetting is counted as examples are presented; EL2N
and GraNd are taken at the end. Writes the scores in source order, how reliable
each is against the number of networks, and pictures of the easiest and hardest
images of each class.
An .npz instead: --config.data.source=npz --config.data.path=FILE.
"""

from configs.defaults import words
from configs.recipes import REDUCTIONS, get_recipe, study_name


def get_config(arg: str = ""):
  variants = words(arg, REDUCTIONS)
  config = get_recipe("cifar10", variants)
  config.name = study_name("scores-cifar10", variants)
  config.experiments = ()
  config.scores.compute = ("el2n", "grand", "forgetting")
  config.scores.update(observe="presentation", never_learned="max")
  if "quick" in variants:
    config.scores.model.update(name="resnet8", width=1.0)
    config.scores.update(networks=4, steps="2ep")
    config.data.last_batch = "keep"  # two presentations of every image
  if "smoke" in variants:
    config.scores.update(steps="8step", observe="evaluation", every="2step")
  return config
