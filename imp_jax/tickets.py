"""Tickets: the nodes that a study's experiments and scores are made of."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from imp_jax.connections import child_nodes, midpoint_only, pair_nodes
from imp_jax.nodes import (
  Evaluate,
  ExampleBarriers,
  ImportedScores,
  Node,
  Pretrain,
  Prune,
  RandomMask,
  Score,
  Scores,
  Train,
)
from imp_jax.settings import (
  NO_NOISE,
  BarrierScoreSettings,
  Experiment,
  ImportSettings,
  ScoringSettings,
  Study,
  SubsetSettings,
  optim_before,
)
from imp_jax.store import content_id


@dataclasses.dataclass(frozen=True)
class Ticket:
  """Where a row of results comes from: nodes, for any replicate.

  Attributes:
    metrics, pretrained_metrics: of the trained ticket, and of W_r.
  """

  experiment: str
  kind: str
  level: int
  pretrain: Node
  train: Node
  masks: Node | None
  metrics: Node
  pretrained_metrics: Node


def experiment_tickets(experiment: Experiment) -> Iterator[Ticket]:
  """Yields the tickets of one experiment: IMP's levels, then the controls.

  It reads as the paper's algorithm: pre-train, then at each level train,
  prune what was trained, and rewind.
  """
  e = experiment
  pretrain = _pretrain_node(e)
  trained = _train_node(e, pretrain, None, level=0)
  yield _ticket(e, "imp", 0, pretrain, trained, None)
  masks = None
  for level in range(1, e.prune.levels + 1):
    masks = _prune_node(e, trained, masks, level)
    weights = pretrain if e.ticket.kind == "weight_rewind" else trained
    trained = _train_node(e, weights, masks, level=level, kind=e.ticket.kind)
    yield _ticket(e, "imp", level, pretrain, trained, masks)
    if level in e.controls.levels:
      yield from _controls(e, pretrain, masks, level)


def _ticket(e, kind, level, pretrain, trained, masks) -> Ticket:
  metrics, before = (_evaluate_node(e, n) for n in (trained, pretrain))
  return Ticket(e.name, kind, level, pretrain, trained, masks, metrics, before)


def scoring_node(scoring: ScoringSettings) -> Node:
  """Returns the node of one score, averaged over its networks or imported."""
  score = scoring.score
  if isinstance(score, ImportSettings):
    return Node(ImportedScores(score), (), f"{score.name} from a file")
  if isinstance(score, BarrierScoreSettings):
    network = _example_barriers_node(scoring.parents, score)
  else:
    recipe = scoring.recipe
    company = "" if recipe is None else content_id(dataclasses.asdict(recipe))
    network = Node(
      Score(score),
      (),
      f"{score.name} per network",
      recipe=recipe,
      company=company,
    )
  return Node(
    Scores(scoring.networks),
    (("networks", network),),
    f"{score.name} over {scoring.networks} networks",
  )


def _example_barriers_node(parents: Experiment, score) -> Node:
  """Example barriers between the dense children of an experiment's W_r."""
  dense = next(experiment_tickets(parents)).train
  connectivity = parents.connectivity
  children = child_nodes(dense, connectivity.children, connectivity.noise)
  path = midpoint_only(connectivity.path, score.batch_stats, score.fingerprint)
  pairs = pair_nodes(children, path).values()
  return Node(
    ExampleBarriers(score),
    tuple((f"pair.{i}", node) for i, node in enumerate(pairs)),
    f"{score.name} per network",
  )


def score_nodes(study: Study) -> dict[str, Node]:
  """Returns every score of a study by name, each once.

  A name says what is noteworthy of a score: "el2n", "el2n-noise10",
  "el2n-file"; a second score of one name has its key's head beside it.
  """
  wanted = [e.pretrain.scoring for e in study.experiments]
  found: dict[str, Node] = {}
  for scoring in (*filter(None, wanted), *study.scores):
    node, name = scoring_node(scoring), _score_name(scoring)
    if node not in found.values():
      found[name if name not in found else f"{name}-{node.key[:6]}"] = node
  return found


def _score_name(scoring: ScoringSettings) -> str:
  score, noise = scoring.score, scoring.label_noise
  if isinstance(score, ImportSettings):
    return f"{score.name}-file"
  return f"{score.name}-{noise.name}" if noise.name else score.name


def nodes_in_order(
  tickets: Sequence[Ticket],
  scores: Sequence[Node],
  replicates: int,
  views: Mapping[Node, int] | None = None,
) -> dict[Node, int]:
  """Returns every node that is needed, each once, after its inputs.

  The values say how many replicates of it: the study's, one of a shared node,
  the networks of a score; of `views`, what is said there.
  """
  counts: dict[Node, int] = {}

  def visit(node, count):
    if counts.get(node, 0) >= count:
      return
    for _, source in node.inputs:
      if isinstance(node.settings, Scores):
        visit(source, node.settings.networks)
      else:
        visit(source, 1 if source.is_shared else count)
    counts[node] = count

  for node in scores:
    visit(node, 1)
  for ticket in tickets:
    for node in (ticket.train, ticket.metrics, ticket.pretrained_metrics):
      visit(node, replicates)
  for node, count in (views or {}).items():
    visit(node, count)
  return counts


def _pretrain_node(e) -> Node:
  p = e.pretrain
  inputs = (("scores", scoring_node(p.scoring)),) if p.scoring else ()
  return Node(
    Pretrain(
      model=e.model,
      stream=e.stream,
      optim=optim_before(p.optim, p.steps),
      steps=p.steps,
      draw=0,
      subset=p.subset,
      noise=p.noise,
    ),
    inputs,
    f"{e.name} pre-training",
  )


def _fresh_node(e, draw) -> Node:
  """Weights drawn anew, and not trained."""
  return Node(
    Pretrain(
      model=e.model,
      stream=e.stream,
      optim=optim_before(e.optim, 0),
      steps=0,
      draw=draw,
      subset=SubsetSettings("none", 0),
      noise=NO_NOISE,
    ),
    (),
    f"{e.name} fresh weights",
  )


def _train_node(e, weights, masks, *, level, kind="weight_rewind") -> Node:
  start, stop = e.pretrain.steps, e.steps
  if kind == "finetune":
    start, stop = e.steps, e.steps + e.ticket.finetune_steps
  per_level = "level" in (e.stream.order, e.stream.augment_noise)
  return Node(
    Train(
      model=e.model,
      stream=e.stream,
      optim=e.optim,
      start=start,
      stop=stop,
      run=level + 1 if per_level else 0,
      optimizer=e.ticket.optimizer,
      curve_steps=tuple(s for s in e.eval.curve_steps if start < s < stop),
    ),
    (("weights", weights), *((("masks", masks),) if masks else ())),
    f"{e.name} level {level}",
  )


def _evaluate_node(e, network) -> Node:
  return Node(
    Evaluate(e.model, e.stream, e.eval.splits),
    (("network", network),),
    f"{network.label}, evaluation",
  )


def _prune_node(e, trained, masks, level) -> Node:
  p = e.prune
  return Node(
    Prune(
      model=e.model,
      level=level,
      criterion=p.criterion,
      fraction=0.0 if p.densities else p.fraction,
      density=p.densities[level - 1] if p.densities else None,
      allocation=p.allocation,
      rule=p.rule,
      exclude=p.exclude,
    ),
    (("trained", trained), *((("masks", masks),) if masks else ())),
    f"{e.name} masks of level {level}",
  )


def _controls(e, pretrain, masks, level) -> Iterator[Ticket]:
  """Tickets that differ from weight rewinding's in the mask, or the weights.

  They train from t_r to the end, whatever the experiment's own ticket kind.
  """
  if "random_mask" in e.controls.kinds:
    random = Node(
      RandomMask(e.model, level),
      (("masks", masks),),
      f"{e.name} random masks of level {level}",
    )
    trained = _train_node(e, pretrain, random, level=level)
    yield _ticket(e, "random_mask", level, pretrain, trained, random)
  if "reinit" in e.controls.kinds:
    fresh = _fresh_node(e, level)
    trained = _train_node(e, fresh, masks, level=level)
    yield _ticket(e, "reinit", level, pretrain, trained, masks)
