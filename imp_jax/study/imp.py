"""Iterative magnitude pruning with rewinding, as the nodes of a study."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from imp_jax.core.graph import Edge, Node
from imp_jax.core.options import off
from imp_jax.data.settings import NOTHING_MADE, NoiseSettings
from imp_jax.probes.bound import BoundSettings, spectrum_node
from imp_jax.probes.connectivity import child_nodes, pair_nodes
from imp_jax.probes.paths import ExampleBarriers, midpoint_only
from imp_jax.pruning import CRITERIA
from imp_jax.scores.settings import ALL_EXAMPLES, ImportSettings
from imp_jax.stages.control_place import Place
from imp_jax.stages.control_settings import NUMBER_OF
from imp_jax.stages.controls import CONTROLS
from imp_jax.stages.evaluate import evaluation
from imp_jax.stages.labels import NoisyLabels
from imp_jax.stages.made import EXAMPLES, TEACHER, Made
from imp_jax.stages.prune import Prune
from imp_jax.stages.prune_adaptive import AdaptivePrune
from imp_jax.stages.prune_bounded import SPECTRUM, BoundedPrune
from imp_jax.stages.score import (
  BarrierScoreSettings,
  ImportedScore,
  NetworkScore,
  ScoringSettings,
  mean_score,
)
from imp_jax.stages.ticket import Ticket
from imp_jax.stages.train import Train
from imp_jax.stages.trunk import SeenSettings, Trunk
from imp_jax.study.experiment import Experiment, Parents, Study
from imp_jax.training.settings import optim_before


class _Level(NamedTuple):
  """One level of IMP.

  Attributes:
    number: 0 = dense.
    trained: its training.
    masks: of its weights.
    coarser: of the level before.
    before: the training that the masks were chosen after.
  """

  number: int
  trained: Node
  masks: Node | None = None
  coarser: Node | None = None
  before: Node | None = None


def experiment_tickets(experiment: Experiment) -> Iterator[Ticket]:
  """Yields the tickets of one experiment: IMP's levels, and their controls."""
  e, trunk, curve = experiment, experiment.trunk, experiment.eval.curve_steps
  pretrain, found, dense = _pretrain_node(e.name, trunk), None, None
  first = pretrain  # of what finds the masks
  if search := e.search:
    first = _pretrain_node(search.name, search.trunk)
    found = list(_levels(search.name, search.trunk, first, search.curve_steps))
    dense = found[0].trained
  for level in _levels(e.name, trunk, pretrain, curve, found):
    dense = dense or level.trained
    masks = level.masks
    yield _ticket(e, "imp", level.number, pretrain, level.trained, masks)
    if level.number in e.controls.levels and masks and level.before:
      rewound = _train_node(
        e.name, trunk, pretrain, masks, curve, level=level.number
      )
      place = Place(
        name=e.name,
        trunk=trunk,
        level=level.number,
        initial=_initial_node(e.name, trunk),
        fresh=_fresh_node(e.name, trunk, level.number),
        pretrain=pretrain,
        dense=dense,
        scored=dense if trunk.prune.source == "trained" else first,
        before=level.before,
        coarser=level.coarser,
        prune=masks,
        ticket=rewound,
        **{number: getattr(e.controls, number) for number in NUMBER_OF},
      )
      yield from _controls(e, place)


def _levels(
  name: str,
  trunk: Trunk,
  pretrain: Node,
  curve: Sequence[int],
  found: Sequence[_Level] | None = None,
) -> Iterator[_Level]:
  """The paper's algorithm: at each level train, prune what was trained, rewind.

  Args:
    name, trunk: the experiment's.
    pretrain: that ends at W_r.
    curve: absolute steps at which trainings are evaluated.
    found: levels of another one, whose masks are taken.
  """
  trained = _train_node(name, trunk, pretrain, None, curve, level=0)
  yield _Level(0, trained)
  masks, kind = None, trunk.ticket.kind
  for number in range(1, trunk.prune.levels + 1):
    coarser, before = masks, trained
    if found:
      masks, before = found[number].masks, found[number].before
    else:
      scored = trained if trunk.prune.source == "trained" else pretrain
      masks = _prune_node(name, trunk, scored, masks, number)
    weights = pretrain if kind == "weight_rewind" else trained
    trained = _train_node(
      name, trunk, weights, masks, curve, level=number, kind=kind
    )
    yield _Level(number, trained, masks, coarser, before)


def _controls(e: Experiment, place: Place) -> Iterator[Ticket]:
  """Tickets that differ from weight rewinding's in what `CONTROLS` say."""
  for kind, make in CONTROLS.items():
    rewound = e.trunk.ticket.kind == "weight_rewind"
    if kind == "one_shot" and place.level == 1 and rewound:
      continue  # the ticket itself
    if kind in e.controls.kinds:
      control = make(place)
      trained = control.trained or _train_node(
        f"{e.name} {kind}",
        e.trunk,
        control.weights or place.pretrain,
        control.masks,
        e.eval.curve_steps,
        level=place.level,
      )
      yield _ticket(
        e, kind, place.level, place.pretrain, trained, control.masks
      )


def scoring_node(scoring: ScoringSettings) -> Node:
  """Returns the node of one score, averaged over its networks or imported."""
  score = scoring.score
  if isinstance(score, ImportSettings):
    return Node(ImportedScore(score), (), f"{score.name} from a file")
  label = f"{score.name} per network"
  if isinstance(score, BarrierScoreSettings):
    network = _example_barriers_node(scoring, score, label)
  else:
    network = Node(
      NetworkScore(score, scoring.training),
      labels_edges(scoring.noise, score.fingerprint),
      label,
    )
  return mean_score(network, score, scoring.networks)


def _example_barriers_node(
  scoring: ScoringSettings, score: BarrierScoreSettings, label: str
) -> Node:
  """Example barriers between the dense children of a trunk's W_r."""
  parents: Parents = scoring.parents
  name, trunk = "barrier parents", parents.trunk
  pretrain = _pretrain_node(name, trunk)
  curve = parents.curve_steps
  dense = _train_node(name, trunk, pretrain, None, curve, level=0)
  joined = parents.children
  children = child_nodes(dense, joined.children, joined.noise)
  whole = joined.path(trunk.stream)
  path = midpoint_only(whole, score.batch_stats, score.fingerprint)
  pairs = pair_nodes(children, path).values()
  edges = tuple(Edge(f"pair.{i}", node) for i, node in enumerate(pairs))
  return Node(ExampleBarriers(score), edges, label)


def score_nodes(study: Study) -> dict[str, Node]:
  """Returns every score of a study by name, each once.

  A name says what is noteworthy of a score: "el2n", "el2n-noise10",
  "el2n-file"; a second score of one name has its key's head beside it.
  """
  found: dict[str, Node] = {}
  for scoring in study.scorings:
    node, name = scoring_node(scoring), _score_name(scoring)
    if node not in found.values():
      found[name if name not in found else f"{name}-{node.key[:6]}"] = node
  return found


def label_nodes(study: Study) -> dict[str, Node]:
  """Returns every noise on labels that a study sees, by name."""
  found: dict[str, Node] = {}

  def add(noise: NoiseSettings, fingerprint: str) -> None:
    for edge in labels_edges(noise, fingerprint):
      found[noise.name] = edge.node

  for trunk in study.trunks:
    for seen in (trunk.pretrain, trunk.train):
      add(seen.noise, trunk.stream.fingerprint)
  for scoring in study.scorings:
    add(scoring.noise, scoring.score.fingerprint)
  return found


def labels_edges(noise: NoiseSettings, fingerprint: str) -> tuple[Edge, ...]:
  """Returns the edge "labels" of a training with noise on them; () without.

  Args:
    noise: on the training labels.
    fingerprint: of the training examples.
  """
  if not noise.kind:
    return ()
  node = Node(NoisyLabels(noise, fingerprint), (), noise.name)
  return (Edge("labels", node, 0),)


def _score_name(scoring: ScoringSettings) -> str:
  score, noise = scoring.score, scoring.noise
  if isinstance(score, ImportSettings):
    return f"{score.name}-file"
  return f"{score.name}-{noise.name}" if noise.name else score.name


def _ticket(
  e: Experiment,
  kind: str,
  level: int,
  pretrain: Node,
  trained: Node,
  masks: Node | None,
) -> Ticket:
  metrics, before = (
    evaluation(node, e.trunk.model, e.eval) for node in (trained, pretrain)
  )
  return Ticket(e.name, kind, level, pretrain, trained, masks, metrics, before)


def _pretrain_node(name: str, trunk: Trunk) -> Node:
  p = trunk.pretrain
  edges = labels_edges(p.noise, trunk.stream.fingerprint)
  if p.scoring:
    edges = (*edges, Edge("scores", scoring_node(p.scoring), 0))
  whole = p.subset.kind in ("none", "all")
  return Node(
    Train(
      model=trunk.model,
      stream=trunk.stream,
      optim=optim_before(p.optim, p.steps),
      stop=p.steps,
      subset=ALL_EXAMPLES if whole else p.subset,
    ),
    edges,
    f"{name} pre-training",
  )


def _train_node(
  name: str,
  trunk: Trunk,
  weights: Node,
  masks: Node | None,
  curve_steps: Sequence[int],
  *,
  level: int,
  kind: str = "weight_rewind",
) -> Node:
  start, stop = trunk.pretrain.steps, trunk.steps
  if kind == "finetune":
    start, stop = trunk.steps, trunk.steps + trunk.ticket.finetune_steps
  stream = trunk.stream
  per_level = "level" in (stream.order, stream.augment_noise)
  seen, p = trunk.train, trunk.prune
  movement = CRITERIA[p.criterion].needs_movement and not p.masks_of
  edges = [Edge("weights", weights)]
  if masks:
    edges.append(Edge("masks", masks))
  edges += labels_edges(seen.noise, stream.fingerprint)
  if seen.scoring:
    edges.append(Edge("scores", scoring_node(seen.scoring), 0))
  if seen.made != NOTHING_MADE:
    edges.append(Edge(EXAMPLES, _made_node(name, trunk, curve_steps)))
  return Node(
    Train(
      model=trunk.model,
      stream=stream,
      optim=trunk.optim,
      subset=seen.subset,
      start=start,
      stop=stop,
      run_number=level + 1 if per_level else 0,
      optimizer=trunk.ticket.optimizer,
      curve_steps=tuple(s for s in curve_steps if start < s < stop),
      movement=movement,
      external=seen.external,
    ),
    tuple(edges),
    f"{name} level {level}",
  )


def _made_node(name: str, trunk: Trunk, curve_steps: Sequence[int]) -> Node:
  """The examples that an experiment's levels are trained on."""
  made, edges = trunk.train.made, ()
  taught = made.kind == "gaussian_teacher"
  if taught:  # by what is trained on the data themselves
    on_data = dataclasses.replace(trunk, train=SeenSettings())
    pretrain = _pretrain_node(name, trunk)
    teacher = _train_node(name, on_data, pretrain, None, curve_steps, level=0)
    edges = (Edge(TEACHER, teacher),)
  model = trunk.model if taught else None
  if made.kind == "distilled":  # in float32, whatever is trained on them
    model = dataclasses.replace(trunk.model, dtype="float32")
  return Node(
    Made(made, trunk.stream.fingerprint, model),
    edges,
    f"{name} examples ({made.kind})",
  )


def _initial_node(name: str, trunk: Trunk) -> Node:
  """The network as it was drawn, which every experiment of a model shares."""
  optim = optim_before(trunk.optim, 0)
  return Node(
    Train(trunk.model, trunk.stream, optim, stop=0),
    (),
    f"{name} initialisation",
  )


def _fresh_node(name: str, trunk: Trunk, level: int) -> Node:
  """A network that is drawn anew, for a level's controls."""
  optim = optim_before(trunk.optim, 0)
  return Node(
    Train(trunk.model, trunk.stream, optim, stop=0, draw=level),
    (),
    f"{name} fresh weights",
  )


def _prune_node(
  name: str, trunk: Trunk, scored: Node, masks: Node | None, level: int
) -> Node:
  p = trunk.prune
  criterion = CRITERIA[p.criterion]
  needs_examples = criterion.needs_examples
  edges = [Edge("weights", scored)]
  if criterion.needs_initial:
    edges.append(Edge("initial", _initial_node(name, trunk)))
  if masks:
    edges.append(Edge("masks", masks))
  sees = needs_examples or (p.adaptive and not p.bound)
  stage = Prune(
    model=trunk.model,
    level=level,
    criterion=p.criterion,
    fraction=0.0 if p.densities or p.adaptive else p.fraction,
    density=p.densities[level - 1] if p.densities else None,
    allocation=p.allocation,
    rule=p.rule,
    exclude=p.exclude,
    examples_per_class=p.examples_per_class if needs_examples else 0,
    fingerprint=trunk.stream.fingerprint if sees else "",
    rounds=p.rounds,
  )
  plain = {f.name: getattr(stage, f.name) for f in dataclasses.fields(stage)}
  if p.adaptive and p.bound:
    stage = BoundedPrune(
      **plain,
      fractions=p.adaptive,
      share=p.bound,
      epsilon=p.epsilon,
    )
    how = off(BoundSettings)
    how = dataclasses.replace(how, examples=p.curved_examples)
    edges.append(Edge(SPECTRUM, spectrum_node(scored, masks, how)))
  elif p.adaptive:
    stage = AdaptivePrune(**plain, fractions=p.adaptive, tolerance=p.tolerance)
  return Node(stage, tuple(edges), f"{name} masks of level {level}")
