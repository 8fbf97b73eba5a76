"""Probe: how much a network could be pruned at once, and how much it bears."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from imp_jax.core.artefacts import Artefact
from imp_jax.core.graph import Edge, Item, Node, Outcome, Stage
from imp_jax.core.index import Entry
from imp_jax.core.masks import flat_leaves, nested_leaves
from imp_jax.core.options import off, option, read
from imp_jax.core.ranges import above, between, in_range, several, whole
from imp_jax.engine.context import Context
from imp_jax.engine.replicates import stack_trees
from imp_jax.engine.trainer import evaluate_networks
from imp_jax.landscape.bound import bounded_fraction
from imp_jax.models.settings import ModelSettings
from imp_jax.probes.curvature import ALL, Curvature
from imp_jax.probes.facts import Extent, Facts
from imp_jax.stages.prune_bounded import MATRIX
from imp_jax.stages.ticket import Ticket, View
from imp_jax.stages.train import trained_by

GROUP = "bound"  # of a config
# Of the surviving weights, at which the network is evaluated.
FRACTIONS = tuple(round(0.05 * i, 2) for i in range(1, 20))
BOUND_COLUMNS = (
  "study",
  "experiment",
  "replicate",
  "level",
  "bound",
  "least",
  "most",
  "borne",
  "error",
)


@dataclasses.dataclass(frozen=True)
class BoundSettings:
  """The fraction that curvature allows to prune, and what networks bear."""

  levels: tuple[int, ...] = option(
    (), several(whole(0)), "whose trained networks", looks=True
  )
  epsilon: float = option(
    0.05, above(0, " nats"), "nats: the rise of the loss that is none"
  )
  tolerance: float = option(
    0.02, between("[0", "1)"), "the rise of training error that is borne"
  )
  examples: int = option(
    500, whole(1), "the first so many training examples, of the curvature"
  )
  lanczos_steps: int = option(64, whole(2, 10_000), "of the spectral density")
  probes: int = option(4, whole(2, 10_000), "random vectors, likewise")


@dataclasses.dataclass(frozen=True)
class Bound(Stage):
  """What a network bears, and what its curvature allows.

  Edges: "network", "curvature" (its Hessian's, on the surviving weights), and
  "masks" (without them it is dense).

  The record has "bound" (the fraction of surviving weights, as of
  `landscape.bound.bounded_fraction`), "bounds" (by each probe alone), "borne"
  (the largest of `FRACTIONS` up to which the training error has risen by at
  most `tolerance`; 0 if none), "error", and "errors" at each fraction. The
  smallest magnitudes go, of all layers together; BatchNorm keeps its running
  statistics.
  """

  NAME = "bound"

  model: ModelSettings
  epsilon: float
  tolerance: float
  fingerprint: str

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    return {item: self._bound(context, item) for item in items}

  def _bound(self, context: Context, item: Item) -> Artefact:
    model = context.model(self.model)
    network = context.load_network(item, "network")
    masks = context.load_masks(item, network["params"])
    paths = model.prunable(network["params"])
    params, kept = (
      {p: np.asarray(leaf) for p, leaf in flat_leaves(tree).items()}
      for tree in (network["params"], masks)
    )
    magnitudes = np.concatenate([np.abs(params[p][kept[p]]) for p in paths])
    curved = context.load(item, "curvature")
    assert curved is not None and curved.arrays is not None
    spectrum = [
      curved.arrays[f"{MATRIX}:{ALL}:{name}"] for name in ("ritz", "weights")
    ]
    allowed = [
      bounded_fraction(
        magnitudes,
        *parts,
        dimension=curved.record["curvature"][MATRIX][ALL]["dimension"],
        epsilon=self.epsilon,
      )
      for parts in (
        spectrum,
        *(
          [array[i : i + 1] for array in spectrum]
          for i in range(len(spectrum[0]))
        ),
      )
    ]
    ordered = np.sort(magnitudes)
    gone = [math.floor(f * len(ordered)) for f in (0, *FRACTIONS)]
    thresholds = [float(ordered[n - 1]) if n else 0.0 for n in gone]
    pruned = [
      params
      | {
        p: np.where(np.abs(params[p]) > t, params[p], np.float32(0))
        for p in paths
      }
      for t in thresholds
    ]
    found = evaluate_networks(
      stack_trees(
        [
          {"params": nested_leaves(p), "batch_stats": network["batch_stats"]}
          for p in pruned
        ]
      ),
      context.dataset.train,
      model=model,
      execution=context.execution,
    )
    error, *errors = 1 - found["correct"].mean(axis=1, dtype=np.float64)
    return Artefact(
      {
        "bound": allowed[0],
        "bounds": allowed[1:],
        "borne": borne(errors, float(error) + self.tolerance),
        "error": float(error),
        "errors": [float(e) for e in errors],
      }
    )


def borne(errors: Sequence[float], most: float) -> float:
  """Returns the last of `FRACTIONS` before the first error above `most`.

  Args:
    errors: at each of them.
    most: that is borne; 0 if the first is above it.
  """
  rounding = 2.0**-40  # of differences between shares of the examples
  found = 0.0
  for fraction, error in zip(FRACTIONS, errors, strict=True):
    if error > most + rounding:
      break
    found = fraction
  return found


def resolve(options: Any, facts: Facts) -> BoundSettings:
  """Returns of which networks the bound is taken, and how.

  Args:
    options: the config's group.
    facts: of the experiment.

  Raises:
    ValueError: a field is out of its range, or a level is not run.
  """
  b = options
  if not b.levels:
    return off(BoundSettings)
  for level in b.levels:
    in_range("bound.levels", level, 0, facts.levels)
  in_range("bound.examples", b.examples, 1, len(facts.dataset.train))
  return read(BoundSettings, b, levels=tuple(sorted(set(b.levels))))


def extent(settings: BoundSettings, facts: Facts, batches: int) -> Extent:
  """Returns what one replicate's bounds would compute.

  Args:
    settings: which, and how.
    facts: of the experiment.
    batches: of one evaluation of the training examples.
  """
  del facts
  b = settings
  each = b.probes * b.lanczos_steps + (len(FRACTIONS) + 1) * batches
  return Extent(looks=2 * len(b.levels), steps=len(b.levels) * each)


def views(
  probes: Mapping[str, Any], tickets: Mapping[int, Ticket]
) -> Iterator[View]:
  """Yields the bounds of one experiment's networks.

  Args:
    probes: the settings of every probe, by group.
    tickets: IMP's, by level.
  """
  settings: BoundSettings = probes[GROUP]
  for level in settings.levels:
    ticket = tickets[level]
    train = trained_by(ticket.train)
    edges = [Edge("network", ticket.train)]
    if ticket.masks:
      edges.append(Edge("masks", ticket.masks))
    curvature = spectrum_node(ticket.train, ticket.masks, settings)
    node = Node(
      Bound(
        train.model,
        settings.epsilon,
        settings.tolerance,
        train.stream.fingerprint,
      ),
      (*edges, Edge("curvature", curvature)),
      f"{ticket.experiment} pruning bound at level {level}",
    )
    yield View(ticket.experiment, "bound", level, "", "bound", node)


def spectrum_node(
  trained: Node, masks: Node | None, settings: BoundSettings
) -> Node:
  """Returns the node of a network's curvature, of which there is a bound.

  Args:
    trained: its training.
    masks: its weights'; None = it is dense.
    settings: how the spectrum is taken.
  """
  edges = [Edge("network", trained)]
  if masks:
    edges.append(Edge("masks", masks))
  stage = Curvature(
    model=trained_by(trained).model,
    matrices=(MATRIX,),
    examples=settings.examples,
    eigenvalues=1,
    lanczos_steps=settings.lanczos_steps,
    probes=settings.probes,
    layers=False,
  )
  return Node(stage, tuple(edges), f"spectrum of {trained.label}")


def bound_table(
  study: str, bounds: Sequence[tuple[Entry, Artefact]]
) -> pd.DataFrame:
  """Returns one row per network: fractions of its surviving weights.

  "bound" is what curvature allows to prune at once, "least" and "most" what
  single probes of its spectrum allow; "borne" is what the network bears, and
  "error" its training error.

  Args:
    study: its name.
    bounds: what was measured, and where.
  """
  rows = [
    (
      study,
      entry.experiment,
      entry.replicate,
      entry.level,
      record["bound"],
      min(record["bounds"]),
      max(record["bounds"]),
      record["borne"],
      record["error"],
    )
    for entry, artefact in bounds
    if (record := artefact.record)
  ]
  return pd.DataFrame(rows, columns=list(BOUND_COLUMNS))


def bound_lines(table: pd.DataFrame) -> list[str]:
  """Returns a line per experiment, and one of how both go together."""
  lines = []
  name: Any
  rows: Any
  for name, rows in table.groupby("experiment", sort=False):
    means = rows.groupby("level")[["bound", "borne"]].mean()
    told = "; ".join(
      f"level {level} {100 * row.bound:.0f} % ({100 * row.borne:.0f} %)"
      for level, row in zip(
        means.index, means.itertuples(index=False), strict=True
      )
    )
    lines.append(
      f"of the surviving weights of {name} curvature allows to prune at once, "
      f"and in brackets the network bears: {told}"
    )
  groups: Any = table.groupby("replicate")
  within = [
    own["bound"].corr(own["borne"], method="spearman")
    for _, own in groups
    if len(own) > 2
  ]
  if within:
    lines.append(
      "Spearman rho of both over levels and experiments of a replicate "
      f"{np.nanmean(within):+.2f}, mean over {len(within)}"
    )
  return lines
