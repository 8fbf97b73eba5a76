"""Which initialisations will work? The paper's question, CIFAR-10 / ResNet-20.

  python -m launch.main --config=configs/landscape_cifar10.py \
    --workdir=runs/cifar10-landscape --config.data.path=~/tensorflow_datasets

The data diets of `data_diet_cifar10.py` (`:sizes` for every subset size,
`:steps` for smaller t_r), eight levels, four replicates; three dense children
of each W_r, whose midpoint barriers on the training images stand beside the
accuracy of level 8: a GPU's work, not run yet. The paper did this for CINIC-10
(`landscape_cinic10.py`) and states no threshold; ours is 0.5 nats. `:quick` is
a small one for a CPU, `:smoke` takes seconds.
An .npz instead: --config.data.source=npz --config.data.path=FILE.
"""

from configs.diets import get_landscape


def get_config(arg: str = ""):
  return get_landscape("cifar10", arg)
