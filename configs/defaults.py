"""What every config begins with: the defaults, variants and presets."""

from ml_collections import ConfigDict

from imp_jax.study.options import get_defaults as get_defaults

RESNET_MEAN_OPENLTH = (0.485, 0.456, 0.406)  # ImageNet's
RESNET_STD_OPENLTH = (0.229, 0.224, 0.225)


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
