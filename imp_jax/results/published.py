"""The paper's published curves, to draw beside ours."""

import importlib.resources
import json
from typing import Any

import numpy as np
import pandas as pd

_FILE = "published_cifar10_resnet20.csv"
# CIFAR-10's channel means, and ImageNet's, with which OpenLTH normalises it.
_CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
_OPENLTH_MEAN = (0.485, 0.456, 0.406)


_PUBLISHED = {
  "model.name": "resnet20",
  "model.width": 1.0,
  "model.num_classes": 10,
  "prune.fraction": 0.2,
  "prune.allocation": "global",
  "prune.criterion": "magnitude",
  "prune.source": "trained",
  "ticket.kind": "weight_rewind",
  "pretrain.noise.kind": "",  # none
}


def load_published() -> pd.DataFrame:
  """Returns the published CIFAR-10 / ResNet-20 curves (Paul et al. 2022).

  Returns:
    One row per kind, size (0 for "none"), rewind_step and level: mean and std
    (ddof = 1; the figures' bands are population deviations) of the final test
    accuracy of 4 replicates, as fractions. The file's head says more.
  """
  text = importlib.resources.files("imp_jax.results").joinpath(_FILE)
  with text.open() as file:
    return pd.read_csv(file, comment="#", keep_default_na=False)


def published_curves(experiments: pd.DataFrame) -> pd.DataFrame | None:
  """Returns `load_published()` if the study repeats what was published.

  Args:
    experiments: rows of experiments.csv. All of them train a ResNet-20 of full
      width on CIFAR-10, which is told by its 10 classes and by the
      normalisation: means within 0.001 of CIFAR-10's, or OpenLTH's constants;
      prune as the paper does, and see no label noise.
  """
  columns = {"model.mean", *_PUBLISHED}
  if not len(experiments) or not columns <= set(experiments.columns):
    return None
  same = all(
    set(experiments[c]) == {value} for c, value in _PUBLISHED.items()
  ) and all(map(_is_cifar10_mean, experiments["model.mean"]))
  return load_published() if same else None


def _is_cifar10_mean(mean: Any) -> bool:
  """Whether channel means, a list or its text in a csv, are CIFAR-10's."""
  mean = np.asarray(json.loads(mean) if isinstance(mean, str) else mean)
  return mean.shape == (3,) and bool(
    np.allclose(mean, _CIFAR10_MEAN, rtol=0, atol=1e-3)
    or np.allclose(mean, _OPENLTH_MEAN, rtol=0, atol=1e-6)
  )
