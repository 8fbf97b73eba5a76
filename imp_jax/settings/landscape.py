"""The loss landscape: children, paths, curvature, planes."""

import dataclasses

from imp_jax.settings.training import SplitSettings


@dataclasses.dataclass(frozen=True)
class NoiseBetween:
  """In what alone the children of one parent differ.

  Attributes:
    differ: "order" of the data, "augment"ation, "both", or "perturb"; "" where
      there are no children.
    step, norm: of a perturbation: the absolute step after which the weights in
      use are moved by a random vector of this L2 norm; 0 otherwise.
  """

  differ: str
  step: int = 0
  norm: float = 0.0


@dataclasses.dataclass(frozen=True)
class PathSettings:
  """How a straight path between two networks is evaluated.

  Attributes:
    alphas: ascending, 0 and 1 among them: (1 - alpha) a + alpha b.
    splits: evaluated without augmentation.
    batch_stats: BatchNorm's statistics between the ends, each way in turn:
      "average", "recompute", "endpoint".
    recompute_batches: training batches that "recompute" sees; 0 without it.
    batch_size: of these batches.
  """

  alphas: tuple[float, ...]
  splits: tuple[SplitSettings, ...]
  batch_stats: tuple[str, ...]
  recompute_batches: int
  batch_size: int


@dataclasses.dataclass(frozen=True)
class ConnectivitySettings:
  """Which networks are joined by paths.

  Attributes:
    children: of each ticket at `levels`, its own training included; 0 = none.
    noise: in what they differ.
    levels: whose tickets have children; 0 = W_r itself.
    successive: whether the networks of levels k and k + 1, and 0 and k, are
      joined.
    path: how.
    thresholds: in nats: an example with a barrier below is connected.
  """

  children: int
  noise: NoiseBetween
  levels: tuple[int, ...]
  successive: bool
  path: PathSettings
  thresholds: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class CurvatureSettings:
  """Curvature of the loss at trained tickets; see `landscape.curvature`.

  Attributes:
    levels: whose networks; () = none.
    matrices: "hessian", "gauss_newton".
    examples: the first so many training examples in canonical order.
    eigenvalues: how many of the largest.
    lanczos_steps, probes: of Lanczos' method; random vectors of the trace and
      the spectral density.
    surviving: restricted to surviving weights (and all other parameters).
    layers: also of each prunable layer alone.
  """

  levels: tuple[int, ...]
  matrices: tuple[str, ...]
  examples: int
  eigenvalues: int
  lanczos_steps: int
  probes: int
  surviving: bool
  layers: bool


@dataclasses.dataclass(frozen=True)
class PlaneSettings:
  """The loss on planes through three networks of replicate 0.

  Attributes:
    through: each of "children" (W_r and its children 0 and 1) and "levels".
    levels: the three levels of "levels".
    points: along each side of the grid.
    margin: around the networks, as a share of the plane's larger side.
    examples: the first so many training examples in canonical order.
    snapshots: of the training paths that are projected; 0 = none.
    recompute_batches, batch_size: BatchNorm's statistics are recomputed at
      every point, as on paths.
  """

  through: tuple[str, ...]
  levels: tuple[int, ...]
  points: int
  margin: float
  examples: int
  snapshots: int
  recompute_batches: int
  batch_size: int
