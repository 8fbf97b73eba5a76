"""The paper's questions on small images: two hours on two cores.

  python -m launch.main --config=configs/cifar10_small.py \
    --workdir=runs/small --config.data.path=~/tensorflow_datasets

CIFAR-10 averaged to 16 x 16 pixels, a ResNet-8 at half width, and at t_r = 50
and 100 all examples or 3,200 random, easy or hard ones of them (6.4 %, as the
paper's), class-balanced; easy by EL2N from 10 networks at step 800. Dense
children of each W_r tell its instability and claim 3.

T is 1,500 steps, four epochs: training is short, and tickets beat the dense
network. With `:long` it is 4,000, where they no longer do; with `:labels` 40 %
of the labels are redrawn, in scoring and pre-training. `:smoke` takes seconds.
An .npz instead: --config.data.source=npz --config.data.path=FILE.
"""

from ml_collections import ConfigDict

from configs.defaults import get_defaults

SIZE = 3200


def get_small() -> ConfigDict:
  """Returns the training of the search and of the studies."""
  config = get_defaults()
  config.data.update(
    source="tfds", name="cifar10", resize=16, crop_pad=2, flip=True
  )
  config.model.update(name="resnet8", width=0.5)
  config.optim.update(
    steps="1500step", learning_rate=0.4, milestones=("750step", "1125step")
  )
  config.prune.update(levels=2, fraction=0.5)
  config.scores.update(networks=10, steps="800step")
  # As the rate, not the tickets': else it would fall at their milestones.
  config.scores.optim.update(learning_rate=0.1, milestones=())
  return config
