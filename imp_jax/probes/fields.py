"""Probe: receptive fields, where the units of the first dense layer look.

Redman et al. 2024 (arXiv 2412.06545): IMP makes them local, if the inputs are
not Gaussian, and raises the kurtosis of what they compute. Of the paper only
the abstract is known here: the statistics are `landscape.fields`' own.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_jax.core.artefacts import Artefact
from imp_jax.core.graph import Edge, Item, Node, Outcome, Stage
from imp_jax.core.masks import flat_leaves, leaf_shapes
from imp_jax.core.options import off, option, read
from imp_jax.core.ranges import in_range, several, whole
from imp_jax.data.settings import SplitSettings
from imp_jax.engine.context import Context
from imp_jax.landscape.fields import (
  adjacency,
  kurtosis,
  largest,
  neighbours,
  participation,
)
from imp_jax.models import Model, layers_in_order
from imp_jax.models.settings import ModelSettings, model_of
from imp_jax.probes.facts import Extent, Facts
from imp_jax.stages.ticket import Ticket, View
from imp_jax.stages.train import trained_by

GROUP = "fields"  # of a config
RUNS = (2, 3, 4)  # neighbours in a row
STATISTICS = (
  "units",
  "participation",
  *(f"adjacency_{run}" for run in RUNS),
  "neighbours",
  "kurtosis",
  "cavity",
)


@dataclasses.dataclass(frozen=True)
class FieldSettings:
  """Receptive fields of the first layer's units, which must be dense.

  Attributes:
    split: the test examples, over which pre-activations are taken.
  """

  levels: tuple[int, ...] = option(
    (), several(whole(0)), "whose trained networks", looks=True
  )
  shown: int = option(
    16, whole(1, 1000), "units whose weights are kept, of the largest norm"
  )
  split: SplitSettings | None = None


@dataclasses.dataclass(frozen=True)
class Fields(Stage):
  """What the first layer's units look at.

  Edges: "network", "masks" (without them it is dense), "next" (the masks of
  the level after; without them nothing is about to go).

  The record has "units" that have weights, the means over them of
  "participation" and "kurtosis", "adjacency_2", ..., "neighbours" (see
  `landscape.fields`; pre-activations are over the test examples), and "cavity":
  how much more kurtosis a weight gives its unit that is kept at the next level
  than one that goes, in the mean over weights. None stands for what is not
  defined. Array "rows": f32[shown, *input], weights of the units of the largest
  norm.
  """

  NAME = "fields"

  model: ModelSettings
  shown: int
  split: SplitSettings

  def run(self, context: Context, items: Sequence[Item]) -> dict[Item, Outcome]:
    model = context.model(self.model)
    split = context.dataset.splits[self.split.name]
    inputs = np.asarray(model.prepared(jnp.asarray(split.inputs))).reshape(
      len(split), -1
    )
    outcomes: dict[Item, Outcome] = {}
    for item in items:
      context.stop_if_asked()
      outcomes[item] = self._looked_at(context, item, model, inputs)
    return outcomes

  def _looked_at(
    self, context: Context, item: Item, model: Model, inputs: np.ndarray
  ) -> Artefact:
    params = context.load_network(item, "network")["params"]
    layer = layers_in_order(model)[0]

    def of_units(tree: Any) -> np.ndarray:
      return np.asarray(flat_leaves(tree)[layer]).T

    masks = of_units(context.load_masks(item, params))
    weights = np.where(masks, of_units(params), np.float32(0))
    own, without = kurtosis(weights, inputs)
    units = masks.any(axis=1)
    shape = (-1, *model.input_shape)
    record = {
      "units": int(units.sum()),
      "participation": _mean(participation(weights)),
      "kurtosis": _mean(own),
      "cavity": None,
      "neighbours": _number(neighbours(masks.reshape(shape))),
    } | {
      f"adjacency_{run}": _number(adjacency(masks.reshape(shape), run))
      for run in RUNS
    }
    if item.node.edge("next"):
      after = of_units(context.load_masks(item, params, "next"))
      gives = own[:, None] - without
      record["cavity"] = _difference(
        gives[masks & after], gives[masks & ~after]
      )
    rows = weights[largest(weights, self.shown)]
    return Artefact(record, arrays={"rows": rows.reshape(shape)})


def _number(value: float) -> float | None:
  return None if math.isnan(value) else float(value)


def _mean(values: np.ndarray) -> float | None:
  """The mean of those that are numbers."""
  there = values[np.isfinite(values)]
  return float(there.mean()) if len(there) else None


def _difference(one: np.ndarray, other: np.ndarray) -> float | None:
  means = _mean(one), _mean(other)
  return None if None in means else means[0] - means[1]  # pyright: ignore


def resolve(options: Any, facts: Facts) -> FieldSettings:
  """Returns whose fields are looked at.

  Args:
    options: the config's group.
    facts: of the experiment.

  Raises:
    ValueError: a field is out of its range, a level is not run, or the first
      layer is not dense.
  """
  f = options
  if not f.levels:
    return off(FieldSettings)
  for level in f.levels:
    in_range("fields.levels", level, 0, facts.levels)
  model = model_of(facts.training.model, facts.dataset.input_shape, "plain")
  layer = layers_in_order(model)[0]
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  (kernel,) = leaf_shapes(params, (layer,)).values()
  if len(kernel) != 2 or kernel[0] != math.prod(model.input_shape):
    raise ValueError(
      "fields looks at a first layer that is dense and takes the inputs: that "
      f"of model {model.name}, {layer}, has weights {kernel}"
    )
  test = facts.dataset.splits["test"]
  return read(
    FieldSettings,
    f,
    levels=tuple(sorted(set(f.levels))),
    split=SplitSettings("test", test.fingerprint),
  )


def extent(settings: FieldSettings, facts: Facts, batches: int) -> Extent:
  """Returns what one replicate's fields would compute.

  Args:
    settings: which.
    facts: of the experiment.
    batches: of one evaluation of the training examples.
  """
  del facts, batches
  return Extent(looks=len(settings.levels))


def views(
  probes: Mapping[str, Any], tickets: Mapping[int, Ticket]
) -> Iterator[View]:
  """Yields the fields of one experiment's networks.

  Args:
    probes: the settings of every probe, by group.
    tickets: IMP's, by level.
  """
  settings: FieldSettings = probes[GROUP]
  for level in settings.levels:
    ticket, after = tickets[level], tickets.get(level + 1)
    edges = [Edge("network", ticket.train)]
    if ticket.masks:
      edges.append(Edge("masks", ticket.masks))
    if after and after.masks:
      edges.append(Edge("next", after.masks))
    assert settings.split  # of settings that look
    stage = Fields(
      trained_by(ticket.train).model, settings.shown, settings.split
    )
    node = Node(
      stage,
      tuple(edges),
      f"{ticket.experiment} receptive fields at level {level}",
    )
    yield View(ticket.experiment, GROUP, level, "", GROUP, node)
