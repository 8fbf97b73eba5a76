"""Files of scores for tests: data, a record, and how refusals read."""

import json
import os
import warnings

import numpy as np
import pytest

from imp_jax.data.dataset import make_dataset
from imp_jax.data.score_files import (
  save_scores,
)

RECORD = {"score": "el2n", "larger_is_harder": True}


def in_source_order(values, dataset):
  """The values as the source lists them; loops, to be plain."""
  order = sorted(
    range(len(values)), key=lambda i: dataset.train.source_index[i]
  )
  return np.asarray([values[i] for i in order])


def shuffled(arrays, order):
  inputs, labels = arrays["train"]
  return make_dataset("y", arrays | {"train": (inputs[order], labels[order])})


def saved(folder, values, dataset, name="s.npy", **record):
  path = str(folder / name)
  save_scores(path, values, dataset, RECORD | record)
  return path


def change_record(path, **changes):
  """Sets fields of the record beside a file; None takes one away."""
  file = os.path.splitext(path)[0] + ".json"
  with open(file) as f:
    record = json.load(f) | changes
  with open(file, "w") as f:
    json.dump({k: v for k, v in record.items() if v is not None}, f)


def refusal(fn, *args):
  """The one clear line with which bad input is refused."""
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    with pytest.raises((ValueError, OSError)) as error:
      fn(*args)
  line = str(error.value)
  assert len(line) > 10 and "\n" not in line, line
  return line
