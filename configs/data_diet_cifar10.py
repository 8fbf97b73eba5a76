"""Which data does pre-training need? The paper's CIFAR-10 / ResNet-20 study.

  python -m launch.main --config=configs/data_diet_cifar10.py \\
    --workdir=runs/cifar10 --config.data.path=~/tensorflow_datasets

None, all, and 3,200 random, easy or hard examples (EL2N) at t_r = 200;
all-400; 20 levels, 4 replicates: a GPU's work, not run yet. Variants, joined by
commas: `:sizes` (the paper's eight subset sizes), `:steps` (t_r = 50 and 100
too), `:quick` (a small one, for a CPU), `:smoke` (seconds), `:composer` and
`:openlth`.
An .npz instead: --config.data.source=npz --config.data.path=FILE.
"""

from configs.diets import get_diet


def get_config(arg: str = ""):
  return get_diet("cifar10", arg)
