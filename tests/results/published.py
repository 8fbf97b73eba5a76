"""The text of the docs and the tables of results/, to be compared."""

import functools

import pandas as pd

from imp_jax.results import accuracy
from imp_jax.statistics.intervals import mean_interval
from tests.places import ROOT

RESULTS = ROOT / "results"


def numbers(study, name):
  return pd.read_csv(RESULTS / study / f"{name}.csv")


@functools.cache
def page(name):
  """The text of a page of docs/, lines joined, with an ASCII minus."""
  text = (ROOT / "docs" / f"{name}.md").read_text()
  return " ".join(text.split()).replace("−", "-")


def interval(row, *, scale=1.0, digits=2, sign=True):
  """ "+0.72 [+0.46, +0.89]" of estimate, low and high."""
  form = f"{'+' if sign else ''}.{digits}f"
  one, low, high = (format(scale * value, form) for value in row)
  return f"{one} [{low}, {high}]"


def difference(study, treatment, baseline, level=4):
  """A paired difference that no claim declared, in points."""
  found = accuracy.paired_differences(
    numbers(study, "results"), treatment, baseline, level
  )
  of_mean = mean_interval(found, confidence=0.95)
  return of_mean.mean, of_mean.low, of_mean.high
