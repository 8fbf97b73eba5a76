"""Probe: the curvature of the loss at trained networks."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

from imp_jax.core.artefacts import Artefact
from imp_jax.core.graph import Edge, Item, Node, Outcome, Stage
from imp_jax.core.index import Entry
from imp_jax.core.options import off, option, read
from imp_jax.core.ranges import choice, flag, in_range, several, whole
from imp_jax.engine.context import Context
from imp_jax.engine.spent import in_program
from imp_jax.landscape.curvature import (
  MATRICES,
  Sizes,
  curvature,
  layer_restrictions,
)
from imp_jax.models.settings import ModelSettings
from imp_jax.probes.facts import Extent, Facts
from imp_jax.stages.ticket import Ticket, View
from imp_jax.stages.train import trained_by

Curved = Sequence[tuple[Entry, Artefact]]

CURVATURE_COLUMNS = (
  "study",
  "experiment",
  "replicate",
  "level",
  "density",
  "matrix",
  "layer",
  "quantity",
  "value",
)
GROUP = "curvature"  # of a config
ALL = "all"  # the layer that stands for all of them together


@dataclasses.dataclass(frozen=True)
class CurvatureSettings:
  """Curvature of the mean loss, without weight decay, at trained tickets."""

  levels: tuple[int, ...] = option(
    (), several(whole(0)), "whose trained networks", looks=True
  )
  matrices: tuple[str, ...] = option(
    MATRICES, several(choice(MATRICES)), "of which matrices"
  )
  examples: int = option(
    500, whole(1), "the first so many training examples in canonical order"
  )
  eigenvalues: int = option(5, whole(1), "how many of the largest")
  lanczos_steps: int = option(40, whole(2, 10_000), "of Lanczos' method")
  probes: int = option(
    8, whole(2, 10_000), "random vectors, of the trace and the spectral density"
  )
  surviving: bool = option(True, flag, "restricted to surviving weights")
  layers: bool = option(False, flag, "also of each layer alone")


@dataclasses.dataclass(frozen=True)
class Curvature(Stage):
  """Curvature at a network. Edges: "network", and "masks" if restricted.

  Its artefact: the record has "curvature": {matrix: {layer: numbers}}, the
  arrays "MATRIX:LAYER:ritz" and ":weights" of the spectral density.

  Attributes: see `CurvatureSettings`.
  """

  NAME = "curvature"

  model: ModelSettings
  matrices: tuple[str, ...]
  examples: int
  eigenvalues: int
  lanczos_steps: int
  probes: int
  layers: bool

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    """Takes each matrix's curvature, in all and by layer."""
    return {item: self._curvature(context, item) for item in items}

  def _curvature(self, context: Context, item: Item) -> Artefact:
    # "fast" convolutions have no second derivative.
    model = context.model(self.model, "patches")
    sizes = Sizes(
      eigenvalues=self.eigenvalues,
      lanczos_steps=self.lanczos_steps,
      trace_probes=self.probes,
      density_probes=self.probes,
      batch_size=min(context.execution.eval_batch_size, self.examples),
    )
    train = context.dataset.train
    network = context.load_network(item, "network")
    masks = context.load_masks(item, network["params"])
    restrictions = {ALL: masks}
    if self.layers:
      restrictions |= layer_restrictions(masks, model.prunable(masks))
    record: dict[str, Any] = {}
    arrays = {}
    for matrix in self.matrices:
      for layer, restriction in restrictions.items():
        if not any(np.any(leaf) for leaf in jax.tree.leaves(restriction)):
          continue  # an emptied layer has no curvature
        context.stop_if_asked()
        with in_program():
          numbers = curvature(
            network["params"],
            network["batch_stats"],
            train.inputs[: self.examples],
            train.labels[: self.examples],
            model=model,
            matrix=matrix,
            restriction=restriction,
            key=context.key("curvature", item.replicate),
            sizes=sizes,
            name=f"{layer} of {item.node.label}, replicate {item.replicate}",
          )
        for name in ("ritz", "weights"):
          arrays[f"{matrix}:{layer}:{name}"] = numbers.pop(name)
        record.setdefault(matrix, {})[layer] = {
          name: np.asarray(value).tolist() for name, value in numbers.items()
        }
    return Artefact({"curvature": record}, arrays=arrays)


def resolve(options: Any, facts: Facts) -> CurvatureSettings:
  """Returns at which networks curvature is taken, and how.

  Args:
    options: the config's group.
    facts: of the experiment.

  Raises:
    ValueError: a field is out of its range, or a level is not run.
  """
  c = options
  if not c.levels:
    return off(CurvatureSettings)
  for level in c.levels:
    in_range("curvature.levels", level, 0, facts.levels)
  if not c.matrices:
    raise ValueError(
      f"curvature.matrices must name some of {', '.join(MATRICES)}"
    )
  in_range("curvature.examples", c.examples, 1, len(facts.dataset.train))
  in_range("curvature.eigenvalues", c.eigenvalues, 1, c.lanczos_steps)
  return read(CurvatureSettings, c, levels=tuple(sorted(set(c.levels))))


def extent(settings: CurvatureSettings, facts: Facts, batches: int) -> Extent:
  """Returns what one replicate's curvatures would compute.

  Args:
    settings: which, and how.
    facts: of the experiment.
    batches: of one evaluation of the training examples.
  """
  del facts, batches
  c = settings
  looks = len(c.levels) * len(c.matrices)
  return Extent(looks=looks, steps=looks * c.probes * c.lanczos_steps)


def views(
  probes: Mapping[str, Any], tickets: Mapping[int, Ticket]
) -> Iterator[View]:
  """Yields the curvatures that are taken of one experiment's networks.

  Args:
    probes: the settings of every probe, by group.
    tickets: IMP's, by level.
  """
  settings: CurvatureSettings = probes[GROUP]
  for level in settings.levels:
    ticket = tickets[level]
    train, masks = trained_by(ticket.train), ticket.masks
    edges = [Edge("network", ticket.train)]
    if settings.surviving and masks:
      edges.append(Edge("masks", masks))
    node = Node(
      Curvature(
        model=train.model,
        matrices=settings.matrices,
        examples=settings.examples,
        eigenvalues=settings.eigenvalues,
        lanczos_steps=settings.lanczos_steps,
        probes=settings.probes,
        layers=settings.layers,
      ),
      tuple(edges),
      f"{ticket.experiment} curvature at level {level}",
    )
    yield View(ticket.experiment, "curvature", level, "", "curvature", node)


def curvature_table(
  study: str,
  curved: Curved,
  densities: Mapping[tuple[str, int, int], float],
) -> pd.DataFrame:
  """Returns one row per network, matrix, layer ("all", or one) and quantity.

  Quantities: dimension (coordinates in use), eigenvalue_1 (the largest),
  eigenvalue_2, ..., smallest_eigenvalue, trace and trace_error (its standard
  error).

  Args:
    study: its name.
    curved: what was measured, and where.
    densities: kept fraction by (experiment, level, replicate).
  """
  rows = []
  for entry, artefact in curved:
    place = (entry.experiment, entry.level, entry.replicate)
    start = (
      study,
      entry.experiment,
      entry.replicate,
      entry.level,
      densities.get(place, float("nan")),
    )
    for matrix, layers in artefact.record["curvature"].items():
      for layer, numbers in layers.items():
        values = {
          "dimension": numbers["dimension"],
          **{
            f"eigenvalue_{i}": value
            for i, value in enumerate(numbers["eigenvalues"], start=1)
          },
          "smallest_eigenvalue": numbers["smallest"],
          "trace": numbers["trace"],
          "trace_error": numbers["trace_error"],
        }
        rows += [(*start, matrix, layer, *item) for item in values.items()]
  return pd.DataFrame(rows, columns=list(CURVATURE_COLUMNS))
