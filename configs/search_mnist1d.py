"""Where can the paper's claims be decided on MNIST-1D? A search.

  python -m launch.search --config=configs/search_mnist1d.py \
    --workdir=runs/search --out=results/search

Learning rate, width, depth, batch size, T and label noise, dense first. Its
seed, and those of earlier searches (0 to 2, 100 to 104), are no study's.
Variants: `depth` for residual networks, `diets` for subsets at the settings
that were chosen, `labels` for the same with noisy labels, `smoke` takes
seconds.
"""

from ml_collections import ConfigDict

from configs.defaults import get_defaults, words

RATE, WIDTH, BATCH = "optim.learning_rate", "model.width", "data.batch_size"
STEPS, MODEL = "optim.steps", "model.name"


def get_config(arg: str = "") -> ConfigDict:
  variants = words(arg, ("depth", "diets", "labels", "smoke"))
  study = get_defaults()
  study.name = "-".join(["search", *sorted(variants)])
  study.seed = 210
  study.replicates = 4
  study.optim.update(steps="1000step", learning_rate=0.4)
  study.prune.update(levels=5, fraction=0.36)
  search = ConfigDict(
    {
      "study": study,
      # Each point sets fields of the study.
      "grid": (
        *({RATE: rate} for rate in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)),
        *({RATE: rate, WIDTH: 2.0} for rate in (0.1, 0.4, 0.6, 0.8)),
        *({RATE: rate, WIDTH: 0.5} for rate in (0.2, 0.4)),
        *({RATE: rate, BATCH: 64} for rate in (0.2, 0.4)),
        *({RATE: rate, BATCH: 32} for rate in (0.1, 0.2)),
        {RATE: 0.4, STEPS: "500step"},
      ),
      "milestones": (0.5, 0.75),  # shares of T
      "rewind_shares": (0.02, 0.05, 0.1),  # t_r, shares of T
      "diets": (),  # (kind, size): also pre-trained on these, at every t_r
      # Error barriers between children, fractions: unstable at t_r = 0 from
      # here on, stable at the latest t_r below.
      "unstable": 0.1,
      "stable": 0.05,
      "accuracy_slack": 0.02,  # dense, below the network's best in the grid
      "confirming": ("mnist1d", "data_diet_mnist1d", "landscape_mnist1d"),
    }
  )
  if "depth" in variants:
    study.seed = 211
    search.grid = tuple(
      {MODEL: "resnet1d8", WIDTH: 0.5, RATE: rate} for rate in (0.1, 0.4, 0.8)
    )
  if variants & {"diets", "labels"}:
    study.seed = 212
    study.replicates = 6
    study.prune.levels = 4
    search.grid = ({RATE: 0.6, WIDTH: 2.0},)
    search.rewind_shares = (0.02, 0.05)
    study.scores.update(networks=10, steps="300step")
    study.scores.optim.learning_rate = 0.1
    search.diets = tuple((kind, 1000) for kind in ("random", "easy", "hard"))
  if "labels" in variants:
    study.seed = 213
    study.pretrain.noise.fraction = 0.4
    # What was pre-trained on such labels is not stable yet; what is asked is
    # which examples to take.
    search.update(rewind_shares=(0.05,), stable=0.3)
  if "smoke" in variants:
    study.replicates = 2
    study.model.width = 0.25
    study.data.update(train_examples=80, batch_size=16)
    study.scores.update(networks=2, steps="2step")
    study.prune.levels = 1
    search.grid = tuple({STEPS: "10step", RATE: r} for r in (0.1, 0.4))
    search.diets = (("random", 20),)
    # Whatever it finds, every branch is run.
    search.update(unstable=-1.0, stable=2.0, accuracy_slack=1.0)
    search.rewind_shares = (0.1, 0.5)
  return search
