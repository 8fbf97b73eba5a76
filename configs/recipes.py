"""The paper's recipes: data, network, optimiser, scores; and reductions.

Paul et al. 2022; what the paper leaves unsaid is said here.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from configs.defaults import get_defaults, set_preset

REDUCTIONS = ("quick", "smoke")
PRESETS = ("composer", "openlth")


def get_recipe(name: str, variants: set[str]) -> ConfigDict:
  """Returns the paper's training on "cifar10", "cifar100" or "cinic10".

  Args:
    name: the TFDS data set.
    variants: of REDUCTIONS ("quick": minutes on two CPU cores; "smoke":
      seconds) and PRESETS (the two code bases behind the paper's figures).

  Raises:
    ValueError: two presets at once, or one that has nothing for the data set.
  """
  if set(PRESETS) <= variants:
    raise ValueError("composer and openlth are two presets: choose one")
  if name == "cinic10" and "openlth" in variants:
    raise ValueError(
      "the paper's CINIC-10 curves are composer's, not openlth's"
    )
  config = get_defaults()
  config.data.update(source="tfds", name=name, crop_pad=4, flip=True)
  # 160 epochs of 390 steps (batch 128, last partial batch dropped).
  config.optim.update(steps="62400step", milestones=("31200step", "46800step"))
  config.prune.levels = 20
  config.claims.margin = 0.005
  # EL2N's networks: 20 epochs of a ResNet-18, trained as by Paul et al. 2021
  # (arXiv 2107.07075). It still differs from theirs in that kernels begin
  # He-normal and the head's bias uniform, as all networks here; theirs are
  # LeCun-normal and 0.
  config.scores.update(networks=16, steps="20ep")
  config.scores.model.update(name="resnet18", bn_scale_init="ones")
  config.scores.optim.update(nesterov=True, weight_decay=5e-4)
  if name == "cifar10":
    config.model.name = "resnet20"
    # Given, so that every source of the images is normalised alike.
    config.data.update(
      mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
    )
  elif name == "cifar100":
    # The paper's recipe is unpublished; CIFAR-10's fits its dense accuracy.
    config.model.name = "resnet32"
    config.data.update(
      mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)
    )
  else:
    config.model.name = "resnet56"
    config.data.update(
      batch_size=256,
      mean=(0.4789, 0.4723, 0.4305),
      std=(0.2421, 0.2383, 0.2587),
    )
    config.optim.update(
      steps="31250step", milestones=("15625step", "23440step")
    )
    config.prune.levels = 16
    config.scores.update(networks=10, steps="8000step")
    # The authors' own ResNet-56, whose BatchNorm begins as all networks'.
    config.scores.model.update(name="resnet56", bn_scale_init="uniform")
    config.scores.optim.update(nesterov=False, weight_decay=1e-4)
  for preset in variants & set(PRESETS):
    set_preset(config, preset)
  if "quick" in variants:
    config.replicates = 2
    config.model.width = 0.5
    config.optim.update(steps="80step", milestones=("40step", "60step"))
    config.prune.levels = 2
    config.execution.chunk_steps = 20
    config.scores.update(networks=2, steps="40step")
    config.scores.model.update(name="resnet8", width=0.5)
    # Else the learning rate would fall at the reduced run's milestones.
    config.scores.optim.milestones = ()
  if "smoke" in variants:
    config.replicates = 2
    config.model.update(name="resnet8", width=0.25)  # compiles in seconds
    config.data.batch_size = 4
    config.optim.update(steps="3step", milestones=("2step",))
    config.prune.levels = 2
    config.execution.chunk_steps = 2
    config.scores.update(networks=2, steps="2step")
    config.scores.model.update(name="resnet8", width=0.25)
  return config


def study_name(name: str, variants: set[str]) -> str:
  """Returns a study's name: one meaning for each set of variants."""
  return "-".join([name, *sorted(variants)])


def subset(kind: str, size: int, steps: str, **fields: Any) -> dict[str, Any]:
  """Returns the experiment "kind-size": pre-training on a subset for t_r.

  Args:
    kind: of `pretrain.subset`.
    size: examples.
    steps: t_r, a duration.
    **fields: further ones of `pretrain.subset`.
  """
  own = {"kind": kind, "size": size, **fields}
  return {
    "name": f"{kind}-{size}",
    "pretrain.steps": steps,
    **{f"pretrain.subset.{field}": value for field, value in own.items()},
  }


def everything(name: str, steps: str) -> dict[str, Any]:
  """Returns the experiment that pre-trains on all examples for t_r."""
  return {
    "name": name,
    "pretrain.steps": steps,
    "pretrain.subset.kind": "all",
  }


def diets_at(t_r: int, size: int) -> Iterator[dict[str, Any]]:
  """Yields all examples, and subsets of each kind, pre-trained on for t_r.

  They are named by their kind and t_r, e.g. "easy-20".
  """
  duration = f"{t_r}step"
  yield everything(f"all-{t_r}", duration)
  for kind in ("random", "easy", "hard"):
    own = {"name": f"{kind}-{t_r}"}
    yield subset(kind, size, duration, balanced=True) | own


def claim_diets(
  claims: ConfigDict, steps: Sequence[int], level: int, margin: float
) -> None:
  """Declares claims 0 to 2 on "none" and what `diets_at` yields.

  One t_r for a verdict, for several would share out its confidence: for
  "enough" the latest, for "fewer steps" the earliest, where more steps on all
  the data would still gain.

  Args:
    claims: the config's group.
    steps: each t_r, ascending.
    level: at which they are decided.
    margin: of "enough", a fraction.
  """
  early, late = steps[0], steps[-1]
  claims.rewinding = {
    "treatments": (f"all-{late}",),
    "baseline": "none",
    "level": level,
  }
  claims.little_data = {
    "comparisons": ((f"random-{late}", f"all-{late}"),),
    "level": level,
    "margin": margin,
  }
  claims.easy_data.update(
    comparisons=((f"easy-{early}", f"random-{early}", f"all-{early}"),),
    level=level,
  )
