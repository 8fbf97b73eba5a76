"""Claim 3's statistic: a correlation over variants × replicates."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.special
from jaxtyping import Float, Shaped

from imp_jax.statistics.intervals import LEAST_REPLICATES, Interval

# Bootstrap draws are part of a number's definition, so they are fixed.
SEED = 20220604
# Claim 3 fails where the correlation surely lies below this.
LEAST_CORRELATION = 0.2
METHODS = ("spearman", "pearson")
# Fewer variants never decide claim 3; see `cluster_correlation`.
LEAST_VARIANTS = 6
# Resamples are weighed this many numbers at a time: 16 MiB of float64.
_CHUNK = 2**21
# Statistics nearer than this are equal but for rounding.
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Correlation(Interval):
  """A correlation in [-1, 1] (`mean`) of so many points (`count`).

  Attributes:
    variants, replicates: clusters that have points.
    deep: variants with at least LEAST_REPLICATES points.
  """

  variants: int
  replicates: int
  deep: int


def cluster_correlation(
  x: Float[np.ndarray, " points"],
  y: Float[np.ndarray, " points"],
  variants: Shaped[np.ndarray, " points"],
  replicates: Shaped[np.ndarray, " points"],
  *,
  given: Float[np.ndarray, " points"] | None = None,
  method: str = "spearman",
  confidence: float = 0.95,
  resamples: int = 10_000,
) -> Correlation:
  """Returns the correlation of x and y and its two-way cluster interval.

  Points of one variant are alike, and so are points of one replicate, so both
  are resampled, each with replacement and independently of the other: a
  resample holds every pair (v, r) of a drawn variant and a drawn replicate
  that has data, as often as it was drawn (Owen 2007, "The pigeonhole
  bootstrap"). Ranks are taken anew in every resample. The interval is the
  bias-corrected percentile one (Efron 1981), without acceleration; where the
  correction is infinite, the percentile one.

  Args:
    x, y: one number per point; points with a NaN anywhere are left out.
    variants, replicates: the point's clusters, labels of any type.
    given: makes it the partial correlation, of ranks for Spearman.
    method: "spearman" (ties share their mean rank) or "pearson".
    confidence: two-sided level in (0, 1).
    resamples: bootstrap resamples.

  Returns:
    The interval; its mean is the correlation in [-1, 1], its count the number
    of points. NaN in (-inf, inf) where x or y is constant, or for fewer than 3
    points (4 where `given`). Resamples in which the correlation is undefined
    are left out of the percentiles; if fewer than half are defined, or there
    is only one variant or one replicate, the interval is (-inf, inf).

  Raises:
    ValueError: an unknown method.

  How far to trust it: on 6,400 simulated studies without a correlation (x and
  y each the sum of a variant's effect, a replicate's and noise, all normal; 400
  resamples), Spearman's lower bound of 95 % lay above 0 in so many percent of
  them, where 2.5 is nominal (a standard error is 0.1 to 0.4; `python -m
  launch.coverage`, results/coverage/correlation.csv):

    standard deviations of     variants × replicates
    variant, replicate, noise  4 × 8  6 × 4  6 × 8  9 × 8  12 × 12  18 × 8
    1, 1, 1                    1.3    1.0    1.1    1.5    1.9      2.2
    1, 0.5, 0.5                4.2    1.9    3.7    3.0    3.6      2.5
    1, 0.2, 0.2                9.4    3.9    5.5    4.0    3.9      3.2

  Where variants differ by much more than replicates do, their number alone
  counts. Four are too few; from LEAST_VARIANTS = 6 on the error is no larger
  than that of a mean of values of skewness 1 (`mean_interval`). Variants that
  share much, say two t_r of one subset, count as apart.

  And most studies end undecided. Without a correlation the upper bound lay
  below 0.2 in 4 to 21 % of those of 6 variants and more. With one (in the
  second row's studies, between the variants' effects on x and on y; 800 each, a
  standard error is up to 1.8), the lower bound lay above 0 in so many percent:

    correlation                4 × 8  6 × 4  6 × 8  9 × 8  12 × 12  18 × 8
    0.3                        9      5      12     10     19       16
    0.5                        14     10     18     25     35       39
    0.7                        26     19     30     44     66       74
    0.9                        36     35     51     66     89       92
  """
  if method not in METHODS:
    raise ValueError(f"method must be one of {METHODS}, got {method!r}")
  columns = [x, y] if given is None else [x, y, given]
  values = np.array(columns, np.float64)
  there = ~np.isnan(values).any(0)
  values, count = values[:, there], int(there.sum())
  clusters = [
    np.unique(labels[there], return_inverse=True)[1]
    for labels in (variants, replicates)
  ]
  sizes = [np.bincount(cluster) for cluster in clusters]
  many, others = map(len, sizes)
  low, high, estimate = -np.inf, np.inf, float("nan")
  if count > len(values):
    estimate = float(_correlations(values, np.ones((1, count)), method)[0])
  if not np.isnan(estimate) and min(many, others) > 1:
    resampled = _bootstrap(values, clusters, method, resamples)
    resampled = resampled[np.isfinite(resampled)]
    if 2 * len(resampled) >= resamples:
      low, high = _bias_corrected(resampled, estimate, confidence)
      # Of very strong correlations the correction may pass the estimate by.
      low, high = min(low, estimate), max(high, estimate)
  return Correlation(
    estimate,
    low,
    high,
    count,
    confidence,
    variants=many,
    replicates=others,
    deep=int((sizes[0] >= LEAST_REPLICATES).sum()),
  )


def connected_verdict(interval: Correlation) -> str:
  """Returns claim 3's verdict on a rank correlation.

  Args:
    interval: of Spearman's correlation between the share of connected
      examples and sparse accuracy.

  Returns:
    "holds" (lower bound > 0), "does not hold" (upper bound < 0.2) or
    "undecided", which fewer than LEAST_VARIANTS of LEAST_REPLICATES points each
    always are.
  """
  if interval.deep < LEAST_VARIANTS:
    return "undecided"
  if interval.low > 0:
    return "holds"
  return "does not hold" if interval.high < LEAST_CORRELATION else "undecided"


def _bootstrap(
  values: np.ndarray,
  clusters: Sequence[np.ndarray],
  method: str,
  resamples: int,
) -> np.ndarray:
  """The correlation in each resample; NaN where it is undefined."""
  rng = np.random.default_rng(SEED)
  times = [_times_drawn(rng, int(c.max()) + 1, resamples) for c in clusters]
  chunk = max(1, _CHUNK // values.shape[1])
  chunks = [
    _correlations(
      values,
      times[0][start : start + chunk, clusters[0]]
      * times[1][start : start + chunk, clusters[1]],
      method,
    )
    for start in range(0, resamples, chunk)
  ]
  return np.concatenate(chunks)


def _times_drawn(
  rng: np.random.Generator, count: int, resamples: int
) -> np.ndarray:
  """How often each of `count` is among as many draws: [resamples, count]."""
  drawn = rng.integers(0, count, (resamples, count))
  drawn += count * np.arange(resamples)[:, None]
  times = np.bincount(drawn.ravel(), minlength=resamples * count)
  return times.reshape(resamples, count).astype(np.float64)


def _correlations(
  values: np.ndarray, weights: np.ndarray, method: str
) -> np.ndarray:
  """The (partial) correlation of the first two rows under each weighting.

  Args:
    values: [2 or 3, points].
    weights: [resamples, points], how often each point counts.
    method: as `cluster_correlation`.
  """
  if method == "pearson" and np.isinf(values).any():
    return np.full(len(weights), np.nan)
  columns = [
    _ranks(row, weights) if method == "spearman" else (row - row.mean())[None]
    for row in values
  ]
  constant = [_is_constant(row, weights) for row in values]
  with np.errstate(all="ignore"):  # what is undefined is NaN
    total = weights.sum(1, keepdims=True)
    away = [c - (weights * c).sum(1, keepdims=True) / total for c in columns]
    scale = [np.sqrt((weights * a * a).sum(1)) for a in away]

    def between(i: int, j: int) -> np.ndarray:
      products = (weights * away[i] * away[j]).sum(1)
      return np.clip(products / (scale[i] * scale[j]), -1, 1)

    correlation = between(0, 1)
    if len(values) == 3:
      # Given what is constant, the correlation is the plain one.
      to_given = [np.where(constant[2], 0, between(i, 2)) for i in (0, 1)]
      left = np.prod([1 - r**2 for r in to_given], axis=0)
      partial = (correlation - to_given[0] * to_given[1]) / np.sqrt(left)
      correlation = np.where(left > _ROUNDING, np.clip(partial, -1, 1), np.nan)
  return np.where(constant[0] | constant[1], np.nan, correlation)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Mean ranks within each weighting, less 1/2: [resamples, points]."""
  distinct, group = np.unique(values, return_inverse=True)
  tied = weights @ (group[:, None] == np.arange(len(distinct)))
  return (np.cumsum(tied, 1) - tied / 2)[:, group]


def _is_constant(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
  least = np.where(weights > 0, values, np.inf).min(1)
  return least >= np.where(weights > 0, values, -np.inf).max(1)


def _bias_corrected(
  resampled: np.ndarray, estimate: float, confidence: float
) -> tuple[float, float]:
  """Efron's bias-corrected percentiles; ties with the estimate count half."""
  tied = np.abs(resampled - estimate) < _ROUNDING
  below = ((resampled < estimate) & ~tied).mean() + tied.mean() / 2
  tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
  shift = scipy.special.ndtri(below)
  if np.isfinite(shift):
    tails = scipy.special.ndtr(2 * shift + scipy.special.ndtri(tails))
  low, high = np.quantile(resampled, tails)
  return float(low), float(high)
