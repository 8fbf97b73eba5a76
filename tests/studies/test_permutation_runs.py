"""Replicates that are matched and joined, and masks that are carried over."""

import jax
import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves
from imp_jax.landscape.permutations import permuted, units_of
from imp_jax.stages.control_masks import OTHER
from imp_jax.stages.matched import PARTNER
from imp_jax.study import prepare
from tests.tiny import changed_config, run_tiny, tiny_config

FIELDS = dict(
  replicates=4,
  optim__steps="6step",
  optim__learning_rate=0.1,
  optim__milestones=(),
  eval__curve_steps=(),
  claims__rewinding={"treatments": ()},
  prune__levels=1,
  prune__fraction=0.5,
  prune__rule="exact",
  controls__kinds=("other_mask", "permuted_mask"),
  controls__levels=(1,),
  permutation__match=("weights", "activations"),
  permutation__found_on=("own", "dense", "joint"),
  permutation__levels=(0, 1),
  permutation__joint_levels=(0, 1),
  permutation__steps=("3step", "5step"),
  permutation__examples=40,
  permutation__alphas=(0.5,),
  permutation__splits=("test",),
  permutation__batch_stats=("average",),
  claims__contrasts__comparisons=(("a:permuted_mask", "a:other_mask"),),
  claims__contrasts__levels=(1,),
  experiments=({"name": "a", "pretrain.steps": "2step"},),
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return tmp_path_factory.mktemp("permutations")


@pytest.fixture(scope="module")
def study(workdir):
  results, log = run_tiny(workdir, **FIELDS)
  assert not results.has_failures and not log.warnings
  plan = prepare(tiny_config(**FIELDS), str(workdir))
  return results, plan


def network(ticket):
  return {
    "params": ticket.trained_params,
    "batch_stats": ticket.trained_batch_stats,
  }


def matchings(plan):
  return {n.label: n for n in plan.nodes if n.stage.NAME == "match"}


def found_by(plan, node, replicate):
  context = plan.context(lambda _: None)
  units = units_of(context.model(node.stage.model))
  artefact = plan.store.load(node.object_id(plan.study.seed, replicate))
  return {k: artefact.arrays[str(i)] for i, k in enumerate(units.sizes)}, units


def test_partners_and_others():
  assert [PARTNER.of(r) for r in range(4)] == [1, 0, 3, 2]
  assert [OTHER.of(r) for r in range(4)] == [1, 0, 1, 2]


def test_a_path_goes_to_the_partner_permuted(study):
  """The loss half way, from the saved networks and the saved permutation."""
  results, plan = study
  node = matchings(plan)["a matching by weights of level 1"]
  barriers = results.tables.get("barriers")
  data = results.dataset().splits["test"]
  for replicate in (0, 1, 2):
    tickets = [
      results.ticket("a", level=1, replicate=r)
      for r in (replicate, PARTNER.of(replicate))
    ]
    order, units = found_by(plan, node, replicate)
    one, found = network(tickets[0]), {}
    for kind, two in (
      ("replicates", network(tickets[1])),
      ("weights, own", permuted(network(tickets[1]), units, order)),
    ):
      middle = jax.tree.map(lambda x, y: (x + y) / 2, one, two)
      losses = []
      for n in (one, middle, two):
        logits = tickets[0].apply(n["params"], n["batch_stats"], data.inputs)
        each = jax.nn.log_softmax(logits)[np.arange(20), data.labels]
        losses.append(-float(each.mean()))
      wanted = losses[1] - (losses[0] + losses[2]) / 2
      (row,) = barriers.query(
        "kind == @kind and level == 1 and replicate == @replicate and "
        "pair == '' and metric == 'loss_midpoint_average'"
      ).itertuples()
      assert row.value == pytest.approx(wanted, abs=1e-5)
      found[kind] = row.value
    assert abs(found["replicates"] - found["weights, own"]) > 1e-3


def test_each_matching_is_of_the_networks_it_names(study):
  _, plan = study
  nodes = matchings(plan)
  by, own = "a matching by weights", {}
  for what in ("level 0", "level 1", "step 3", "step 5", "all at once"):
    node = nodes[f"{by} of {what}"]
    own[what] = [edge.node.label for edge in node.edges]
    assert [edge.replicate for edge in node.edges] == [
      None,
      PARTNER,
    ] * (len(node.edges) // 2)
  assert own["level 0"] == ["a level 0"] * 2
  assert own["step 3"] == ["a level 0 to step 3"] * 2
  assert len(own["all at once"]) == 8
  # The dense one serves the others too: of each way one matching of level 0.
  permutation = next(
    n
    for n in plan.nodes
    if n.label == "a pairs of replicates at level 1, weights, dense"
  )
  assert permutation.edge("permutation").node == nodes[f"{by} of level 0"]


def test_a_training_in_parts_is_the_dense_one(study, tmp_path):
  """At step 5 it is what a training of five steps comes to."""
  _, plan = study
  parts = {n.label: n for n in plan.nodes if "a level 0 to step" in n.label}
  spans = {
    label: (n.stage.start, n.stage.stop, n.stage.optimizer)
    for label, n in parts.items()
  }
  assert spans == {
    "a level 0 to step 3": (2, 3, "fresh"),
    "a level 0 to step 5": (3, 5, "rewound"),
  }
  alone = dict(
    optim__steps="5step",
    replicates=1,
    prune__levels=0,
    controls__kinds=(),
    controls__levels=(),
    permutation__match=(),
    claims__contrasts={"comparisons": (), "levels": ()},
  )
  shorter, _ = run_tiny(tmp_path, **FIELDS | alone)
  wanted = flat_leaves(shorter.ticket("a", level=0).trained_params)
  node = parts["a level 0 to step 5"]
  tree = plan.store.load(node.object_id(plan.study.seed, 0)).tree
  for path, leaf in flat_leaves(tree["params"]).items():
    np.testing.assert_array_equal(leaf, wanted[path], err_msg=path)


def test_a_mask_is_carried_over_as_its_units_are_matched(study):
  results, plan = study
  node = matchings(plan)["a matching of dense networks by activations"]
  moved = 0
  for replicate in range(4):
    other = results.ticket("a", level=1, replicate=OTHER.of(replicate))
    order, units = found_by(plan, node, replicate)
    wanted = flat_leaves(permuted(other.masks, units, order))
    for kind, masks in (
      ("permuted_mask", wanted),
      ("other_mask", flat_leaves(other.masks)),
    ):
      found = results.ticket("a", level=1, kind=kind, replicate=replicate)
      for path, mask in flat_leaves(found.masks).items():
        np.testing.assert_array_equal(mask, masks[path], err_msg=path)
    moved += any((o != np.arange(len(o))).any() for o in order.values())
    # Of its weights and of where they are nothing else has changed.
    own = results.ticket("a", level=0, replicate=replicate)
    ticket = results.ticket(
      "a", level=1, kind="permuted_mask", replicate=replicate
    )
    for path, w in flat_leaves(ticket.params).items():
      keep = np.asarray(wanted[path])
      assert (np.asarray(w)[keep] == flat_leaves(own.params)[path][keep]).all()
  assert moved == 4


def test_tables_have_every_way(study):
  results, _ = study
  table = results.tables.get("permutation")
  error = table[table["quantity"] == "error"]
  ways = {"replicates"} | {
    f"{by}, {on}"
    for by in ("weights", "activations")
    for on in ("own", "dense", "joint")
  }
  for level, step in ((0, ""), (0, "step 3"), (0, "step 5"), (1, "")):
    here = error[(error["level"] == level) & (error["step"] == step)]
    # The dense networks' own is theirs.
    same = {f"{by}, dense" for by in ("weights", "activations")}
    dense = (level, step) == (0, "")
    assert set(here["matched"]) == (ways - same if dense else ways)
    assert (here["pairs"] == 2).all()
  # Of 4 places 6 ways each, less 2; and all of them at once.
  assert set(error["confidence"].dropna()) == {1 - 0.05 / 22}
  assert set(error["found"]) == {"", "not told apart"}  # of two pairs
  (row,) = results.tables.get("contrasts").itertuples()
  assert (row.treatment, row.level, row.replicates) == ("a:permuted_mask", 1, 4)


@pytest.mark.parametrize(
  "changes,message",
  [
    (dict(replicates=3), "replicates must be even, got 3"),
    (dict(permutation__levels=(2,)), r"permutation.levels must be .* got 2"),
    (dict(permutation__levels=()), "must not be empty"),
    (dict(permutation__steps=("6step",)), r"permutation.steps must be .* 2..5"),
    (dict(permutation__steps=("1step",)), r"permutation.steps must be .* 2..5"),
    (dict(permutation__examples=900), r"permutation.examples must be .* 2..80"),
    (dict(permutation__joint_levels=()), "permutation.joint_levels goes with"),
    (
      dict(permutation__found_on=("own",)),
      "permutation.joint_levels goes with",
    ),
    (dict(permutation__joint_levels=(2,)), r"joint_levels must be .* got 2"),
    (dict(permutation__alphas=(0.5, 1.5)), "permutation.alphas must be in"),
    (dict(permutation__alphas=(0.5, 0.2)), "permutation.alphas must increase"),
    (
      dict(permutation__batch_stats=("recompute",)),
      "permutation.recompute_batches must be .* got 10",
    ),
    (
      dict(
        replicates=1, permutation__match=(), claims__contrasts__comparisons=()
      ),
      "claims.contrasts needs both comparisons and levels",
    ),
    (
      dict(claims__contrasts__comparisons=(("a:reinit", "a"),)),
      "unknown claims.contrasts.comparisons of a 'reinit'",
    ),
    (
      dict(claims__contrasts__comparisons=(("a:displaced", "a"),)),
      "'displaced' has the mask of the level before",
    ),
    (
      dict(claims__contrasts__comparisons=(("b", "a"),)),
      "unknown claims.contrasts.comparisons 'b'",
    ),
    (
      dict(controls__levels=(), controls__kinds=()),
      "unknown claims.contrasts.comparisons of a 'permuted_mask'",
    ),
  ],
)
def test_what_cannot_be_matched_is_refused(changes, message, tmp_path):
  config = changed_config(tiny_config(**FIELDS), changes)
  with pytest.raises(ValueError, match=message) as error:
    prepare(config, str(tmp_path / "new"))
  assert "\n" not in str(error.value)
  assert not (tmp_path / "new" / "studies").exists()


def test_what_is_matched_may_be_more_later(study, workdir):
  """Another way, other levels: what joint means does not change by them."""
  for changes in (
    dict(permutation__match=("weights",)),
    dict(permutation__levels=(1,)),
  ):
    prepare(tiny_config(**dict(FIELDS, **changes)), str(workdir))
  with pytest.raises(ValueError, match="already means something else"):
    changed = dict(FIELDS, permutation__joint_levels=(0,))
    prepare(tiny_config(**changed), str(workdir))


def test_another_s_mask_needs_another(tmp_path):
  config = tiny_config(
    **FIELDS
    | dict(
      replicates=1,
      permutation__match=(),
      claims__contrasts={"comparisons": (), "levels": ()},
      controls__kinds=("permuted_mask",),
    )
  )
  with pytest.raises(ValueError, match="is of two replicates, but replicates"):
    prepare(config, str(tmp_path / "new"))


def test_a_specification_that_does_not_hold_is_a_failure_that_names_its_layer(
  tmp_path, monkeypatch
):
  """Not a barrier: units that are none, of a model whose code is wrong."""
  import imp_jax.stages.matched as matched

  def wrong(model):
    units = units_of(model)
    leaves = dict(units.leaves)
    leaves["conv2/kernel"] = tuple(
      tuple((None, size) for _, size in axis) for axis in leaves["conv2/kernel"]
    )
    return type(units)(units.sizes, leaves, units.sites)

  monkeypatch.setattr(matched, "units_of", wrong)
  results, log = run_tiny(
    tmp_path,
    **FIELDS
    | dict(
      replicates=2,
      controls__kinds=(),
      controls__levels=(),
      claims__contrasts={"comparisons": (), "levels": ()},
      permutation__found_on=("own",),
      permutation__joint_levels=(),
      permutation__steps=(),
    ),
  )
  assert results.has_failures
  assert any("layer 'conv1' of model conv1d" in w for w in log.warnings)
  kinds = set(results.read_table("barriers")["kind"])
  assert kinds == {"replicates"}
