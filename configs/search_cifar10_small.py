"""Where can the paper's claims be decided on small images? A search.

  python -m launch.search --config=configs/search_cifar10_small.py \
    --workdir=runs/search --out=results/search \
    --config.study.data.path=~/tensorflow_datasets

Learning rates of a ResNet-8 at half width on CIFAR-10 at 16 x 16 pixels, dense
first. An earlier one, by hand, had seeds 100 to 102. Variants: `labels` for
subsets at the rate that was chosen with noisy labels, `smoke` takes seconds.
An .npz instead: --config.study.data.source=npz --config.study.data.path=FILE.
"""

from ml_collections import ConfigDict

from configs.cifar10_small import SIZE, get_small
from configs.defaults import words
from configs.search_mnist1d import RATE
from configs.search_mnist1d import get_config as get_signals_search


def get_config(arg: str = "") -> ConfigDict:
  variants = words(arg, ("labels", "smoke"))
  study = get_small()
  study.name = "-".join(["search-cifar10-small", *sorted(variants)])
  study.seed = 220
  study.replicates = 3
  search = get_signals_search()
  search.study = study
  search.grid = tuple({RATE: rate} for rate in (0.1, 0.4, 0.8))
  search.rewind_shares = (1 / 30, 1 / 15)  # 50 and 100 steps
  search.confirming = ("cifar10_small",)
  if "labels" in variants:
    study.seed = 221
    study.replicates = 4
    study.pretrain.noise.fraction = 0.4
    search.grid = ({RATE: 0.4},)
    search.diets = tuple((kind, SIZE) for kind in ("random", "easy", "hard"))
    # What was pre-trained on such labels is not stable yet; what is asked is
    # which examples to take.
    search.update(rewind_shares=(1 / 15,), stable=0.3)
  if "smoke" in variants:
    study.replicates = 2
    study.model.width = 0.25
    study.data.update(batch_size=4)
    study.optim.steps = "4step"
    study.prune.levels = 1
    study.scores.update(networks=2, steps="2step")
    study.scores.model.width = 0.25
    search.grid = ({RATE: 0.4},)
    # Whatever it finds, every branch is run.
    search.update(unstable=-1.0, stable=2.0, accuracy_slack=1.0)
    search.rewind_shares = (0.5,)
    search.diets = (("random", 20),)
  return search
