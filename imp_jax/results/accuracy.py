"""Test accuracies out of results.csv: rows, matrices, paired differences."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

# Of what there is one value: columns of tables.
PLACE = ("experiment", "level", "replicate")


def test_accuracy(results: pd.DataFrame) -> pd.DataFrame:
  """Returns the rows of results.csv with test accuracies after training."""
  return results.query("metric == 'accuracy' and split == 'test'")


def accuracy_matrix(results: pd.DataFrame, experiment: str) -> pd.DataFrame:
  """Returns test accuracy, replicates by levels; NaN where there is none."""
  rows = test_accuracy(results).query("experiment == @experiment")
  return rows.pivot(index="replicate", columns="level", values="value")


def paired_differences(
  results: pd.DataFrame, treatment: str, baseline: str, level: int
) -> Float[np.ndarray, " replicates"]:
  """Returns treatment - baseline in test accuracy at one level.

  Args:
    results: rows of results.csv.
    treatment, baseline: experiments.
    level: of both.

  Returns:
    One fraction per replicate that has both, in the replicates' order; empty
    where none has.
  """
  values = test_accuracy(results).set_index(list(PLACE))["value"]
  return paired(values.sort_index(), treatment, baseline, level)


def paired(
  values: Any, treatment: str, baseline: str, level: int
) -> Float[np.ndarray, " replicates"]:
  """Returns treatment - baseline of any quantity, as `paired_differences`.

  Args:
    values: a series by `PLACE`, sorted.
    treatment, baseline, level: of both.
  """
  there = values.index.get_level_values("level") == level
  own = values[there].droplevel("level")
  names = set(own.index.get_level_values("experiment"))
  if not {treatment, baseline} <= names:
    return np.zeros(0)
  return np.asarray((own[treatment] - own[baseline]).dropna(), np.float64)


def sampling_error(accuracy: float, examples: int) -> float:
  """Returns the standard error of an accuracy, as a fraction.

  Of one network and of those that are compared with it, for they share the
  examples: replicates do not lower it. In a difference it counts only where
  the two networks do not agree.

  Args:
    accuracy: a fraction, on so many independent examples.
    examples: how many.
  """
  return float(np.sqrt(accuracy * (1 - accuracy) / examples))


def sampling_note(
  results: pd.DataFrame, experiments: pd.DataFrame | None
) -> str:
  """Returns what a reader should know of the test examples; "" if unknown.

  Args:
    results, experiments: rows of the CSV files of those names; the latter says
      how many test examples there are.
  """
  column = "eval.test_examples"
  accuracy = float(np.mean(test_accuracy(results)["value"]))
  if experiments is None or column not in experiments or accuracy != accuracy:
    return ""
  examples = int(experiments[column].iloc[0])
  error = sampling_error(accuracy, examples)
  return (
    f"{examples:,} test examples, a standard error of {100 * error:.2g} points "
    f"at {100 * accuracy:.0f} %"
  )


def mean_density(
  results: pd.DataFrame, experiments: Sequence[str], level: int
) -> float:
  """Returns the experiments' mean density at one level, a fraction."""
  rows = results[
    results.experiment.isin(experiments) & (results.level == level)
  ]
  return float(rows.density.mean())
