"""Loads the data of a study from its config."""

from collections.abc import Mapping
from typing import Any

import jax

from imp_jax.data.dataset import Dataset, with_valid_split
from imp_jax.data.sources import load_dataset

# The fields of a config's group "data" that `load_dataset` takes.
WHICH = (
  "source",
  "name",
  "path",
  "merge_valid",
  "mean",
  "std",
  "generator_seed",
  "train_examples",
  "test_examples",
  "cache_dir",
  "resize",
  "subsample",
)


def load_study_data(data: Mapping[str, Any], seed: int) -> Dataset:
  """Returns the data that a study is of, on the host.

  Args:
    data: the config's group "data", or what config.json has of it.
    seed: the study's, by which "valid" is set apart.

  Raises:
    ValueError, OSError: they are not there, or damaged.
  """
  # A study that is older than a field has it not; the defaults are its data.
  fields = {field: data[field] for field in WHICH if field in data}
  fields |= {field: tuple(data[field]) for field in ("mean", "std")}
  dataset = load_dataset(fields.pop("source"), **fields)
  if data["valid_examples"]:
    dataset = with_valid_split(
      dataset, data["valid_examples"], jax.random.key(seed)
    )
  return dataset
