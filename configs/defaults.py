"""Every field of a config, with its unit and its default."""

from typing import Any

from ml_collections import ConfigDict, config_dict

RESNET_MEAN_OPENLTH = (0.485, 0.456, 0.406)  # ImageNet's
RESNET_STD_OPENLTH = (0.229, 0.224, 0.225)


def get_defaults() -> ConfigDict:
  """Returns the fields that every study starts from.

  Durations are "200step", "2ep" (epochs) or "25600ex" (examples). Fractions
  and accuracies are fractions, not percent. Nothing here is derived from
  another field, so that an override changes just what it names.
  """
  defaults = ConfigDict(
    {
      "name": "study",  # one name has one meaning in a workdir
      "seed": 0,
      "replicates": 4,
      # Named deltas: {"name": "all-20", "pretrain.steps": "20step"}.
      "experiments": (),
      "data": {
        "source": "mnist1d",  # mnist1d | npz | tfds
        "name": "cifar10",  # which TFDS data set
        "path": "",  # the .npz file, or TFDS's data_dir
        "cache_dir": "",  # of decoded TFDS arrays; "" = the user's cache
        "merge_valid": True,  # CINIC-10: train on its train and valid folders
        "valid_examples": 0,  # training examples set apart as split "valid"
        "generator_seed": 42,  # MNIST-1D
        "train_examples": 4000,  # MNIST-1D
        # MNIST-1D; unset = 10,000. Other sources bring their own test set.
        "test_examples": config_dict.placeholder(int),
        "mean": (),  # per channel, inputs in [0, 1]; () = the data set's
        "std": (),
        "batch_size": 128,  # examples
        "last_batch": "drop",  # of an epoch, if partial: drop | keep (padded)
        "order": "replicate",  # data order: fixed | replicate | level (anew)
        "augment_noise": "replicate",  # augmentation keys, likewise
        "crop_pad": 0,  # pixels of zero padding before a random crop
        "flip": False,
        "augment_order": "crop_flip",  # crop_flip | flip_crop
      },
      "model": {
        # lenet300100 | conv1d | vgg16 | resnetN | resnet1dN
        "name": "conv1d",
        "width": 1.0,  # multiplies hidden channels
        "bn_scale_init": "uniform",  # U(0, 1) | ones
        "dtype": "float32",  # of activations: float32 | bfloat16 | float16
      },
      "optim": {
        "steps": "2000step",  # T, the end of every training
        "learning_rate": 0.1,
        "schedule": "milestones",  # milestones | cosine
        "milestones": ("1000step", "1500step"),  # absolute
        "milestone_factor": 0.1,
        "warmup": "0step",  # of linear warm-up
        # Its step s has s / warmup of the rate (zero, as both of the paper's
        # code bases) or (s + 1) / warmup (first).
        "warmup_start": "first",
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 1e-4,  # added to the gradient before momentum
        "decay_on": "all",  # all | kernels
        "loss_scale": 1.0,  # for float16
      },
      "pretrain": {
        "steps": "0step",  # t_r
        "subset": {
          # none | all | random | easy | hard | ccs | keep_list
          "kind": "all",
          "size": 0,  # examples
          "score": "el2n",  # orders the examples; see "scores"
          "offset": 0,  # examples skipped at the easy or hard end
          "balanced": False,  # size // classes of each class
          "drop_hardest": 0.0,  # fraction, of ccs
          "file": "",  # of keep_list: .npy or .csv, source positions
        },
        "noise": {  # on the labels that pre-training sees
          "fraction": 0.0,  # of the examples, of redrawn and symmetric
          # redrawn over all classes | symmetric: over the others | matrix: by
          # class | file: given
          "kind": "redrawn",
          # Of kind matrix: a row for each class, the probabilities of what its
          # labels become.
          "matrix": (),
          "file": "",  # of kind file: .npy or .csv of noisy labels
          "scoring": True,  # the scoring networks see it too
        },
      },
      "scores": {  # how the training examples are scored
        "compute": (),  # also these, for the report
        "file": "",  # or scores from a .npy or .csv with its record beside it
        "networks": 10,  # trained independently; the score is their mean
        "steps": "300step",  # of their training, for scores that watch it
        "at_steps": (),  # the others look here; () = at scores.steps
        "bn_mode": "eval",  # eval | batch: BatchNorm in training mode, of el2n
        "observe": "evaluation",  # streams: evaluation | presentation
        "every": "1ep",  # between two evaluations of a stream
        "never_learned": "inf",  # in forgetting: inf | max | zero
        "window": 10,  # observations: of tdds and dual
        "checkpoints": 10,  # of vog
        "rewind_step": "0step",  # of barrier: t_r of the parents
      },
      "prune": {
        "levels": 12,  # level 0 is dense
        "criterion": "magnitude",  # magnitude | random
        "fraction": 0.2,  # of the survivors, removed at each level
        "densities": (),  # or the density of levels 1, 2, ...
        "allocation": "global",  # global | per_layer
        "rule": "threshold",  # threshold (the paper's) | exact
        # Layers left out: "head", "stem_conv/kernel". Under global allocation
        # and the paper's rule the others give up the fraction of all survivors,
        # these among them (as both of the paper's code bases do); under the
        # exact rule and per layer, of their own.
        "exclude": (),
      },
      "ticket": {
        "kind": "weight_rewind",  # weight_rewind | lr_rewind | finetune
        "optimizer": "fresh",  # fresh | rewound (W_r's momentum)
        "finetune_steps": "0step",
      },
      "controls": {
        "kinds": (),  # random_mask, reinit
        "levels": (),
      },
      "eval": {
        "splits": ("test",),  # after training
        "curve_steps": (),  # durations, absolute: test accuracy on the way
      },
      "connectivity": {  # paths between networks
        "children": 0,  # of a ticket, its own training included; 0 = none
        "differ": "both",  # children, in: order | augment | both | perturb
        "perturb_step": "0step",  # absolute
        "perturb_norm": 0.0,  # L2, of all weights in use together
        "levels": (0,),  # whose tickets have children; 0 = W_r
        "successive": False,  # join levels k and k + 1, and 0 and k
        "alphas": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),  # and 0, 1
        "extrapolate": False,  # allows alphas outside [0, 1]
        "splits": ("train", "test"),  # without augmentation
        "batch_stats": ("average",),  # average | recompute | endpoint
        "recompute_batches": 10,
        "thresholds": (0.1,),  # nats: an example below is connected
      },
      "curvature": {  # of the mean loss, without weight decay
        "levels": (),  # whose trained networks
        "matrices": ("hessian", "gauss_newton"),
        "examples": 500,  # of the training split
        "eigenvalues": 5,  # the largest
        "lanczos_steps": 40,
        "probes": 8,  # random vectors, of the trace and the spectral density
        "surviving": True,  # restricted to surviving weights
        "layers": False,  # also of each layer alone
      },
      "planes": {  # the loss around three networks of replicate 0
        "through": (),  # children: W_r and two of them | levels: three
        "levels": (),
        "points": 25,  # along each side
        "margin": 0.2,  # around the networks, of the larger side
        "examples": 1000,  # of the training split
        "snapshots": 12,  # of the training paths; 0 = none
        "recompute_batches": 5,  # of BatchNorm's statistics at each point
      },
      "execution": {  # recorded beside every number, part of no identity
        "mode": "auto",  # auto | threads | unroll | map | vmap
        "replicates_at_once": 0,  # 0 = all
        "memory_gib": 0.0,  # of each device, for replicates; 0 = what it has
        "devices": 0,  # that replicates are sharded over; 0 = all, see README
        # auto | fast | onednn | plain | packed | patches
        "convolution": "auto",
        "chunk_steps": 500,  # steps between two looks at the metrics
        "checkpoint_seconds": 60.0,  # of an item in progress, at chunk ends
        "eval_batch_size": 500,
        "mix": False,  # let one study mix modes that round differently
      },
      "claims": {
        # Claim 0: accuracy of each treatment less the baseline's at one level.
        "rewinding": {"treatments": (), "baseline": "", "level": 0},
        # Claim 1: ((treatment, baseline), ...), e.g. (("random-20", "all-20"),)
        # loses less than the margin.
        "little_data": {
          "comparisons": (),
          "level": 0,
          # Fraction of accuracy: a quarter of what rewinding gained on the
          # seeds that settings were chosen on, at least a quarter point.
          "margin": 0.0025,
        },
        # Claim 2: ((easy, random, all), ...); easy gains over both.
        "easy_data": {
          "comparisons": (),
          "level": 0,
          # Fraction of accuracy: less is too small to matter; unset = claim 1's
          "margin": config_dict.placeholder(float),
        },
        # Claim 3: the share of examples with a midpoint barrier below the
        # threshold (nats) goes with sparse accuracy; () = all experiments.
        "connected": {"threshold": 0.1, "level": 0, "experiments": ()},
        # Fraction of accuracy: matching the dense network; claim 0's none.
        "margin": 0.01,
        "resamples": 10_000,  # of variants and replicates: claim 3's interval
        "confidence": 0.95,  # of each claim's intervals, two-sided
      },
    }
  )
  # Unset fields are the experiment's own.
  defaults.pretrain.optim = _unset(defaults.optim)
  defaults.scores.optim = _unset(defaults.optim)
  defaults.scores.model = _unset(defaults.model)
  del defaults.pretrain.optim["steps"]
  return defaults


def _unset(group: ConfigDict) -> dict[str, Any]:
  return {
    name: config_dict.placeholder(type(value)) for name, value in group.items()
  }


def words(arg: str, known: tuple[str, ...]) -> set[str]:
  """Returns the comma-separated words of a config's `arg`.

  Raises:
    ValueError: a word is not among `known`.
  """
  found = {word for word in arg.split(",") if word}
  if not found <= set(known):
    raise ValueError(
      f"unknown config variant {', '.join(sorted(found - set(known)))!r}; "
      f"known: {', '.join(known)}"
    )
  return found


def set_preset(config: ConfigDict, preset: str) -> None:
  """Sets the details in which the paper's two code bases differ."""
  data, optim = config.data, config.optim
  optim.warmup_start = "zero"
  if preset == "composer":
    data.update(
      last_batch="drop",
      augment_order="crop_flip",
      order="fixed",
      augment_noise="replicate",
    )
    config.model.dtype = "float16"
    optim.loss_scale = 1024.0  # static; the original's is dynamic
  elif preset == "openlth":
    data.update(
      last_batch="keep",
      augment_order="flip_crop",
      order="level",
      augment_noise="level",
      mean=RESNET_MEAN_OPENLTH,
      std=RESNET_STD_OPENLTH,
    )
    config.model.dtype = "float32"
    optim.update(steps="160ep", milestones=("80ep", "120ep"), loss_scale=1.0)
