"""Simulates how often intervals miss and verdicts are false, as CSV files.

  python -m launch.coverage --out=results/coverage

Nothing is trained: samples are drawn, and the project's own intervals and
verdicts are taken of them. mean.csv has the errors of a mean's interval,
claims.csv those of claims 0 to 2, correlation.csv those of claim 3 and its
power. Seven minutes on one core; the same command makes the same files.
"""

import dataclasses
import functools
import itertools
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import flags

from imp_jax.command.cli import BadInput, run_program
from imp_jax.command.output import say
from imp_jax.statistics.correlation import (
  LEAST_VARIANTS,
  cluster_correlation,
  connected_verdict,
)
from imp_jax.statistics.intervals import (
  easy_data_verdict,
  holm_intervals,
  little_data_verdict,
  mean_interval,
  rewinding_verdict,
)

SEED = 20220605
REPLICATES = (3, 4, 6, 8, 12, 16, 24)
# Of mean 0, by name: what draws them, and their skewness. A lower bound errs on
# skewness 1 as an upper bound does on skewness -1.
DISTRIBUTIONS: dict[str, tuple[Callable[..., np.ndarray], float]] = {
  "normal": (lambda rng, size: rng.normal(size=size), 0.0),
  "t, 5 degrees of freedom": (lambda rng, size: rng.standard_t(5, size), 0.0),
  "Laplace": (lambda rng, size: rng.laplace(size=size), 0.0),
  **{
    f"gamma, shape {shape}": (
      functools.partial(
        lambda shape, rng, size: rng.gamma(shape, size=size) - shape, shape
      ),
      2 / shape**0.5,
    )
    for shape in (16, 4, 1)
  },
}
VERDICTS = ("holds", "does not hold", "undecided")
VERDICT_REPLICATES = (4, 8, 16, 24)
MARGIN = 0.0025  # any: the verdicts are of differences in units of it
SPREADS = (1.0, 4.0)  # standard deviations in margins
SHAPES = ((4, 8), (6, 4), (6, 8), (9, 8), (12, 12), (18, 8))
# Standard deviations of a variant's effect, of a replicate's and of noise.
STRUCTURES = ((1.0, 1.0, 1.0), (1.0, 0.5, 0.5), (1.0, 0.2, 0.2))
POWER_STRUCTURE = (1.0, 0.5, 0.5)
CORRELATIONS = (0.3, 0.5, 0.7, 0.9)

_OUT = flags.DEFINE_string("out", None, "The folder of the CSV files.")
_SAMPLES = flags.DEFINE_integer(
  "samples",
  20_000,
  "Samples of each cell of mean.csv and claims.csv.",
  lower_bound=1,
)
_STUDIES = flags.DEFINE_integer(
  "studies",
  6400,
  "Studies without a correlation, of each cell of correlation.csv.",
  lower_bound=1,
)
_POWER_STUDIES = flags.DEFINE_integer(
  "power_studies", 800, "Studies with a correlation, likewise.", lower_bound=1
)
_RESAMPLES = flags.DEFINE_integer(
  "resamples", 400, "Bootstrap resamples of each such study.", lower_bound=2
)
flags.mark_flag_as_required("out")


def mean_errors(
  samples: int,
  replicates: Sequence[int] = REPLICATES,
  distributions: Sequence[str] = tuple(DISTRIBUTIONS),
) -> pd.DataFrame:
  """Returns how often a mean's 95 % interval lies beside the true mean.

  Args:
    samples: of each distribution and number of replicates.
    replicates: numbers of them.
    distributions: names among DISTRIBUTIONS.

  Returns:
    One row per distribution, number of replicates and error ("low above", of
    the lower bound, and "high below"): the share of the samples with its
    standard error, and the nominal share.
  """
  rows = []
  for name, n in itertools.product(distributions, replicates):
    draw, skewness = DISTRIBUTIONS[name]
    values = draw(_rng("mean", name, n), (samples, n))
    bounds = np.array([(i.low, i.high) for i in map(mean_interval, values)])
    for error, wrong in (
      ("low above", bounds[:, 0] > 0),
      ("high below", bounds[:, 1] < 0),
    ):
      rows.append(
        {
          "distribution": name,
          "skewness": skewness,
          "replicates": n,
          "error": error,
          **_share(wrong),
          "nominal": 0.025,
          "samples": samples,
        }
      )
  return pd.DataFrame(rows)


def verdict_errors(
  samples: int, replicates: Sequence[int] = VERDICT_REPLICATES
) -> pd.DataFrame:
  """Returns how often claims 0 to 2 end with which verdict on normal noise.

  The truth is on the edge, where the verdicts named false are the most
  frequent. Claim 2's two differences share the noise of the easy examples:
  their correlation is 1/2.

  Args:
    samples: of each claim, truth, number of replicates and spread.
    replicates: numbers of them.

  Returns:
    One row per claim, truth, number of replicates, spread (a difference's
    standard deviation in margins) and verdict: the share of the samples with
    its standard error, and whether it is false.
  """
  cases = (
    (0, "no effect", 0.0, ("holds",)),
    (1, "loss = margin", -MARGIN, VERDICTS[:2]),
    (2, "no gains", 0.0, ("holds",)),
    (2, "gains = margin", MARGIN, ("does not hold",)),
  )
  rows = []
  for (claim, truth, mean, false), n, spread in itertools.product(
    cases, replicates, SPREADS
  ):
    rng = _rng("verdict", claim, truth, n, spread)
    easy, *others = rng.normal(size=(3, samples, n)) / np.sqrt(2)
    first, second = (
      mean + spread * MARGIN * (easy - other) for other in others
    )
    verdicts = np.array(
      [_verdict(claim, *pair) for pair in zip(first, second, strict=True)]
    )
    rows += [
      {
        "claim": claim,
        "truth": truth,
        "replicates": n,
        "spread": spread,
        "verdict": verdict,
        **_share(verdicts == verdict),
        "false": verdict in false,
        "samples": samples,
      }
      for verdict in VERDICTS
    ]
  return pd.DataFrame(rows)


def correlation_verdicts(
  studies: int,
  power_studies: int,
  resamples: int,
  shapes: Sequence[tuple[int, int]] = SHAPES,
) -> pd.DataFrame:
  """Returns how often claim 3 ends with which verdict on simulated studies.

  x and y are each the sum of a variant's effect, a replicate's and noise, all
  normal; the variants' effects on x and on y have the true correlation, and
  nothing else is shared. What is said of fewer variants than LEAST_VARIANTS is
  what would be if they were enough.

  Args:
    studies, power_studies: without a correlation, of each structure; with one.
    resamples: of each study's bootstrap.
    shapes: (variants, replicates).

  Returns:
    One row per shape, structure, true correlation and verdict: the share of the
    studies with its standard error, and whether the variants are enough.
    Without a correlation "holds" is false.
  """
  cells = [(s, 0.0, studies) for s in STRUCTURES]
  cells += [(POWER_STRUCTURE, rho, power_studies) for rho in CORRELATIONS]
  rows = []
  for shape, (structure, rho, count) in itertools.product(shapes, cells):
    rng = _rng("correlation", shape, structure, rho)
    verdicts = np.array(
      [
        _connected(_study(rng, shape, structure, rho), resamples)
        for _ in range(count)
      ]
    )
    rows += [
      {
        "variants": shape[0],
        "replicates": shape[1],
        "variant_std": structure[0],
        "replicate_std": structure[1],
        "noise_std": structure[2],
        "correlation": rho,
        "verdict": verdict,
        **_share(verdicts == verdict),
        "enough": shape[0] >= LEAST_VARIANTS,
        "studies": count,
        "resamples": resamples,
      }
      for verdict in VERDICTS
    ]
  return pd.DataFrame(rows)


def _verdict(claim: int, first: np.ndarray, second: np.ndarray) -> str:
  """The verdict of claim 0, 1 or 2 on paired differences."""
  if claim == 0:
    return rewinding_verdict(mean_interval(first), MARGIN)
  if claim == 1:
    return little_data_verdict(mean_interval(first), MARGIN)
  both = holm_intervals(
    {"over random": first, "over all": second},
    thresholds=dict.fromkeys(("over random", "over all"), (0.0, MARGIN)),
  )
  return easy_data_verdict(*both.values(), margin=MARGIN)


def _study(
  rng: np.random.Generator,
  shape: tuple[int, int],
  structure: tuple[float, float, float],
  rho: float,
) -> list[np.ndarray]:
  """x, y, variants and replicates of a simulated study's points."""
  variants, replicates = shape
  effects = rng.normal(size=(2, variants, 1))
  effects[1] = rho * effects[0] + np.sqrt(1 - rho**2) * effects[1]
  x, y = (
    structure[0] * effects
    + structure[1] * rng.normal(size=(2, 1, replicates))
    + structure[2] * rng.normal(size=(2, variants, replicates))
  )
  return [a.ravel() for a in (x, y, *np.indices(shape))]


def _connected(study: list[np.ndarray], resamples: int) -> str:
  """Claim 3's verdict, as if there were enough variants."""
  interval = cluster_correlation(*study, resamples=resamples)
  enough = max(interval.variants, LEAST_VARIANTS)
  return connected_verdict(dataclasses.replace(interval, variants=enough))


def _share(true: np.ndarray) -> dict[str, float]:
  share = float(np.mean(true))
  error = np.sqrt(share * (1 - share) / len(true))
  return {"share": round(share, 6), "standard_error": round(float(error), 6)}


def _rng(*cell: Any) -> np.random.Generator:
  """Each cell's own draws, whatever else is simulated."""
  return np.random.default_rng([SEED, zlib.crc32(repr(cell).encode())])


def main(argv: Sequence[str]) -> int:
  if len(argv) > 1:
    raise BadInput(f"unknown arguments: {' '.join(argv[1:])}")
  out = Path(str(_OUT.value)).expanduser()
  try:
    out.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise BadInput(error) from None
  samples = int(_SAMPLES.value)
  tables = {
    "mean.csv": lambda: mean_errors(samples),
    "claims.csv": lambda: verdict_errors(samples),
    "correlation.csv": lambda: correlation_verdicts(
      int(_STUDIES.value), int(_POWER_STUDIES.value), int(_RESAMPLES.value)
    ),
  }
  for name, table in tables.items():
    table().to_csv(out / name, index=False)
    say(f"{out / name}")
  return 0


if __name__ == "__main__":
  run_program(main)
