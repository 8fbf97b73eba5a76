"""Which initialisations will work? The paper's CINIC-10 / ResNet-56 figure.

  python -m launch.main --config=configs/landscape_cinic10.py \
    --workdir=runs/cinic10-landscape --config.data.path=~/tensorflow_datasets

The data diets of `data_diet_cinic10.py` (`:sizes` for every subset size,
`:steps` for smaller t_r), seven levels, two replicates; three dense children of
each W_r, whose midpoint barriers on the training images stand beside the
accuracy of level 7: a GPU's work, not run yet. The paper states no threshold;
0.5 nats is the one its shares can be compared at. `:quick` is a small one for a
CPU, `:smoke` takes seconds.
An .npz instead: --config.data.source=npz --config.data.path=FILE.
"""

from configs.diets import get_landscape


def get_config(arg: str = ""):
  return get_landscape("cinic10", arg)
