"""Controls: IMP's tickets with other masks, other weights, another training."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

from imp_jax.core.graph import Edge, Node
from imp_jax.pruning import CRITERIA
from imp_jax.stages.control_masks import (
  OTHER,
  EarlyMask,
  ErkMask,
  GlobalRandomMask,
  OtherMask,
  PermutedMask,
  RandomMask,
  SmartRatioMask,
)
from imp_jax.stages.control_place import Control, Place
from imp_jax.stages.control_weights import AlteredWeights, DisplacedWeights
from imp_jax.stages.matched import match_node
from imp_jax.stages.prune import Prune
from imp_jax.stages.train import trained_by

DISPLACED = "displaced"  # the one whose mask is of the level before
# Of the dense training, at which a mask is looked at; evenly spread.
_SNAPSHOTS = 20
_MATCHED_ON = 1000  # of the training examples, for activations


def _random_mask(place: Place, stage: type[RandomMask], what: str) -> Control:
  exclude = place.trunk.prune.exclude
  # What is kept of an excluded layer is all of it, in any case.
  exclude = () if stage is RandomMask else exclude
  node = Node(
    stage(place.trunk.model, place.level, exclude),
    (Edge("masks", place.prune),),
    place.label(what),
  )
  return Control(masks=node)


def _other_mask(place: Place) -> Control:
  node = Node(
    OtherMask(place.trunk.model),
    (Edge("masks", place.prune, OTHER),),
    place.label("another replicate's masks"),
  )
  return Control(masks=node)


def _permuted_mask(place: Place) -> Control:
  trunk = place.trunk
  matched = match_node(
    [(place.dense, place.dense)],
    trunk.model,
    place.matching,
    other=OTHER,
    examples=_MATCHED_ON,
    fingerprint=trunk.stream.fingerprint,
    label=f"{place.name} matching of dense networks by {place.matching}",
  )
  node = Node(
    PermutedMask(trunk.model),
    (Edge("masks", place.prune, OTHER), Edge("permutation", matched)),
    place.label("another replicate's masks, permuted"),
  )
  return Control(masks=node)


def _one_shot(place: Place, what: str, inverted: bool = False) -> Control:
  """As many weights of each group, chosen after level 0's training alone."""
  stage = place.prune.stage
  assert isinstance(stage, Prune)
  edges = [Edge("weights", place.scored), Edge("like", place.prune)]
  if place.prune.edge("initial"):
    edges.append(Edge("initial", place.initial))
  once = dataclasses.replace(
    stage, fraction=0.0, density=None, rule="exact", inverted=inverted
  )
  return Control(masks=Node(once, tuple(edges), place.label(what)))


def _early_mask(place: Place) -> Control:
  """One-shot pruning, after as much of the training as the mask needs."""
  p, train = place.trunk.prune, trained_by(place.dense)
  span = train.stop - train.start
  steps = {
    train.start + span * i // _SNAPSHOTS for i in range(1, _SNAPSHOTS + 1)
  }
  watched = Node(
    dataclasses.replace(train, snapshots=tuple(sorted(steps))),
    place.dense.edges,
    f"{place.dense.label}, snapshots",
  )
  node = Node(
    EarlyMask(
      place.trunk.model,
      place.early_distance,
      p.allocation,
      p.exclude,
    ),
    (Edge("weights", watched), Edge("masks", place.prune)),
    place.label("early masks"),
  )
  return Control(masks=node)


def _altered(
  place: Place,
  how: str,
  other: str = "",
  share: float = 1.0,
  of: str = "pretrain",
) -> Control:
  """A network's survivors altered, maybe with something of another one's.

  Args:
    place: where.
    how: one of `ALTERATIONS`.
    other: which, an attribute of the place; "" = one that is drawn.
    share: of the survivors.
    of: the network, an attribute of the place: W_r, unless it is said.
  """
  edges = [Edge("weights", getattr(place, of)), Edge("masks", place.prune)]
  if other:
    edges.append(Edge("other", getattr(place, other)))
  what = how.replace("_", " ") + (f" ({other})" if other else "")
  what += f" of {of}" if of != "pretrain" else ""
  weights = Node(
    AlteredWeights(place.trunk.model, place.level, how, share),
    tuple(edges),
    place.label(what),
  )
  return Control(weights=weights, masks=place.prune)


def _flipped(place: Place, of: str = "pretrain") -> Control:
  return _altered(place, "flipped_signs", share=place.flipped, of=of)


def _trained_weights(place: Place) -> Control:
  """One step of learning-rate rewinding: the network before pruning goes on."""
  return Control(weights=place.before, masks=place.prune)


def _displaced(place: Place) -> Control:
  edges = [Edge("weights", place.pretrain), Edge("finer", place.prune)]
  if place.coarser:
    edges.append(Edge("masks", place.coarser))
  weights = Node(
    DisplacedWeights(place.trunk.model, place.level),
    tuple(edges),
    place.label("displaced weights"),
  )
  return Control(weights=weights, masks=place.coarser)


def _reinit(place: Place) -> Control:
  return Control(weights=place.fresh, masks=place.prune)


def _gradual(place: Place) -> Control:
  """Pruned while it is trained, down to the level's density.

  Over the first three quarters of the steps from t_r on, the share s of what
  the level has removed rises as 1 - (1 - x)^3 (Zhu and Gupta 2017, arXiv
  1710.01878); the optimiser goes on.
  """
  stage = place.prune.stage
  assert isinstance(stage, Prune)
  # What finds the masks may be another experiment: this one is pruned itself.
  train = dataclasses.replace(
    trained_by(place.ticket),
    movement=CRITERIA[stage.criterion].needs_movement,
  )
  span = 3 * (train.stop - train.start) // 4
  times = max(min(place.prunings, span), 1)
  ends = [train.start + span * i // times for i in range(1, times + 1)]
  weights, masks = place.pretrain, None
  start, optimizer = train.start, train.optimizer

  def part(stop: int) -> Node:
    # What it sees is the ticket's: its labels, scores, made examples.
    own = ("weights", "masks")
    edges = [edge for edge in place.ticket.edges if edge.name not in own]
    edges.append(Edge("weights", weights))
    if masks:
      edges.append(Edge("masks", masks))
    return Node(
      dataclasses.replace(
        train,
        start=start,
        stop=stop,
        optimizer=optimizer,
        curve_steps=tuple(s for s in train.curve_steps if start < s < stop),
      ),
      tuple(edges),
      place.label(f"gradual pruning to step {stop}"),
    )

  for i, end in enumerate(ends, start=1):
    weights = part(end)
    start, optimizer = end, "rewound"
    edges = [Edge("weights", weights), Edge("like", place.prune)]
    if place.prune.edge("initial"):
      edges.append(Edge("initial", place.initial))
    if masks:
      edges.append(Edge("masks", masks))
    masks = Node(
      dataclasses.replace(
        stage, fraction=0.0, density=None, rule="exact", progress=i / times
      ),
      tuple(edges),
      place.label(f"gradual masks at step {end}"),
    )
  return Control(masks=masks, trained=part(train.stop))


# name -> (where it stands) -> what is trained from t_r to the end, whatever the
# experiment's own ticket kind.
CONTROLS: Mapping[str, Callable[[Place], Control]] = {
  "random_mask": functools.partial(
    _random_mask, stage=RandomMask, what="random masks"
  ),
  "reinit": _reinit,
  "random_global": functools.partial(
    _random_mask, stage=GlobalRandomMask, what="random masks over all layers"
  ),
  "random_erk": functools.partial(
    _random_mask, stage=ErkMask, what="random masks by ERK"
  ),
  "random_smart": functools.partial(
    _random_mask, stage=SmartRatioMask, what="random masks by smart ratios"
  ),
  "other_mask": _other_mask,
  "permuted_mask": _permuted_mask,
  "one_shot": functools.partial(_one_shot, what="one-shot masks"),
  "inverted": functools.partial(
    _one_shot, what="inverted one-shot masks", inverted=True
  ),
  "early_mask": _early_mask,
  "gradual": _gradual,
  "shuffled_weights": functools.partial(_altered, how="shuffled_weights"),
  "constant_magnitudes": functools.partial(_altered, how="constant_magnitudes"),
  "redrawn_magnitudes": functools.partial(_altered, how="redrawn_magnitudes"),
  "init_magnitudes": functools.partial(
    _altered, how="redrawn_magnitudes", other="initial"
  ),
  "trained_magnitudes": functools.partial(
    _altered, how="redrawn_magnitudes", other="before"
  ),
  "random_signs": functools.partial(_altered, how="random_signs"),
  "flipped_signs": _flipped,
  "init_signs": functools.partial(_altered, how="other_signs", other="initial"),
  "trained_signs": functools.partial(
    _altered, how="other_signs", other="before"
  ),
  "trained_weights": _trained_weights,
  "trained_flipped": functools.partial(_flipped, of="before"),
  "sparse_signs": functools.partial(
    _altered, how="other_signs", other="ticket", of="fresh"
  ),
  "sparse_signs_norm": functools.partial(
    _altered, how="redrawn_magnitudes", of="ticket"
  ),
  DISPLACED: _displaced,
}
