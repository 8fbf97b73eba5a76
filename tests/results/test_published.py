"""The paper's published curves: its tables, out of the packaged file."""

import dataclasses
import json

import numpy as np
import pytest

from configs import cifar10_resnet20
from imp_jax.engine.imports import Imports
from imp_jax.results.published import load_published, published_curves
from imp_jax.results.tickets import experiments_table
from imp_jax.results.variants import variants
from imp_jax.study.extension import meaning_of
from imp_jax.study.resolve import resolve
from tests.results.tables import make_experiments
from tests.tiny import random_dataset

# Test accuracy in %, population std where the paper's reading has one; t_r =
# 200. (size, level): {kind: (mean, std)}.
SUBSETS = {
  (256, 8): {"easy": (89.62, 0.27), "random": (89.68, 0.16)},
  (1024, 10): {"easy": (90.10, 0.34), "random": (89.65, 0.52)},
  (3200, 8): {"easy": (90.92, 0.13), "random": (90.36, 0.21)},
  (3200, 12): {"easy": (89.38, None), "hard": (86.06, None)},
  (6400, 10): {"easy": (90.21, 0.12), "random": (89.09, 0.83)},
  (12800, 10): {"random": (89.62, 0.75), "hard": (88.21, None)},
  (25600, 12): {"easy": (89.19, None), "hard": (87.16, None)},
}
# Levels 0, 4, 8, 10, 12, 14, 16, by (kind, t_r).
BASELINES = {
  ("none", 0): [91.53, 90.20, 88.50, 87.17, 85.41, 83.26, 80.56],
  ("all", 200): [91.39, 90.81, 90.18, 89.62, 88.10, 85.57, 82.92],
  ("all", 400): [91.31, 91.31, 91.03, 90.50, 89.76, 87.70, 84.12],
}


def curve(kind, step, size=None):
  rows = load_published().query("kind == @kind and rewind_step == @step")
  if size is not None:
    rows = rows.query("size == @size")
  return rows.set_index("level")


def test_the_papers_table_is_reproduced():
  # A mean of 0.884975 is 88.4975 or, in the table, 88.50 %.
  for (kind, step), means in BASELINES.items():
    found = 100 * curve(kind, step)["mean"].loc[[0, 4, 8, 10, 12, 14, 16]]
    np.testing.assert_allclose(found, means, atol=0.00501)
  for (size, level), kinds in SUBSETS.items():
    for kind, (mean, std) in kinds.items():
      row = 100 * curve(kind, 200, size).loc[level]
      assert row["mean"] == pytest.approx(mean, abs=0.00501)
      if std is not None:  # back from ddof = 1 to the figures' ddof = 0
        assert row["std"] * np.sqrt(3 / 4) == pytest.approx(std, abs=0.0051)


def test_every_curve_is_there_once():
  table = load_published()
  assert list(table.columns) == [
    "kind",
    "size",
    "rewind_step",
    "level",
    "mean",
    "std",
  ]
  assert not table.duplicated(["kind", "size", "rewind_step", "level"]).any()
  counts = table.groupby(["kind", "size", "rewind_step"])["level"].nunique()
  assert len(counts) == 3 + 3 * 8 and set(counts) == {21}
  assert table.query("kind == 'all'")["size"].unique().tolist() == [50_000]
  assert table.query("kind == 'none'")["size"].unique().tolist() == [0]
  assert table["mean"].between(0.7, 0.92).all()
  assert table["std"].between(0, 0.03).all()


CIFAR10 = {
  "model__name": "resnet20",
  "model__width": 1.0,
  "model__num_classes": 10,
  "model__mean": [0.4914, 0.4822, 0.4465],
  "prune__fraction": 0.2,
  "prune__allocation": "global",
  "prune__criterion": "magnitude",
  "prune__source": "trained",
  "ticket__kind": "weight_rewind",
  "pretrain__noise__kind": "",
}


@pytest.mark.parametrize(
  "changes,published",
  [
    ({}, True),
    ({"model__mean": "[0.4914, 0.4822, 0.4465]"}, True),  # out of a csv
    ({"model__mean": [0.49125, 0.48209, 0.446521]}, True),  # measured
    ({"model__mean": [0.485, 0.456, 0.406]}, True),  # OpenLTH's
    ({"model__mean": [0.4789, 0.4723, 0.4305]}, False),  # CINIC-10's
    ({"model__mean": [0.4914]}, False),
    ({"model__width": 0.5}, False),
    ({"model__name": "resnet56"}, False),
    ({"model__num_classes": 100}, False),
    ({"prune__fraction": 0.36}, False),
    ({"prune__source": "rewound"}, False),
    ({"pretrain__noise__kind": "redrawn"}, False),
    ({"pretrain__noise__kind": "file"}, False),
  ],
)
def test_they_are_drawn_only_beside_what_they_are_of(changes, published):
  rows = [("none", 0, "none", 0, {}), ("all", 200, "all", 50_000, {})]
  found = published_curves(make_experiments(rows, **(CIFAR10 | changes)))
  assert (found is not None) == published
  mixed = make_experiments(
    [*rows, ("half", 200, "all", 50_000, {"model.width": 0.5})], **CIFAR10
  )
  assert published_curves(mixed) is None
  assert published_curves(mixed.drop(columns="model.width")) is None


def test_the_papers_own_config_is_what_they_are_drawn_beside(rng):
  """As its settings are written down, and not as a test writes them."""
  config = cifar10_resnet20.get_config()
  images = random_dataset(rng, train=200, shape=(32, 32, 3), classes=10)
  images = dataclasses.replace(
    images, mean=tuple(config.data.mean), std=tuple(config.data.std)
  )
  table = experiments_table(meaning_of(resolve(config, images, Imports())))
  assert published_curves(table) is not None


def test_an_experiment_older_than_an_option_is_told_with_its_default(rng):
  """Or it would be another base than those that are added later."""
  config = cifar10_resnet20.get_config()
  images = random_dataset(rng, train=200, shape=(32, 32, 3), classes=10)
  images = dataclasses.replace(
    images, mean=tuple(config.data.mean), std=tuple(config.data.std)
  )
  meaning = json.loads(
    json.dumps(meaning_of(resolve(config, images, Imports())))
  )
  before = experiments_table(meaning)
  oldest = next(iter(meaning["experiments"].values()))["trunk"]
  del oldest["prune"]["bound"], oldest["train"]["made"]
  after = experiments_table(meaning)
  assert variants(after)["base"].tolist() == variants(before)["base"].tolist()
  assert not after["train.made.kind"].isna().any()
