"""Every control of a level: what it keeps of the ticket, and what not."""

import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves, unpacked_leaves
from imp_jax.pruning.allocate import erk_counts, smart_ratio_counts
from imp_jax.stages.controls import CONTROLS
from imp_jax.study import prepare
from tests.tiny import run_tiny, tiny_config

CHANGES = dict(
  controls__kinds=("all",),
  controls__levels=(1, 2),
  claims__rewinding={"treatments": ()},
  optim__steps="8step",
  optim__learning_rate=0.5,
  optim__milestones=(),
  eval__curve_steps=(),
  experiments=({"name": "a", "pretrain.steps": "2step"},),
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return tmp_path_factory.mktemp("controls")


@pytest.fixture(scope="module")
def controls(workdir):
  return run_tiny(workdir, **CHANGES)


def parts(ticket):
  """(masks, weights) of a ticket's prunable leaves, by path."""
  masks, params = flat_leaves(ticket.masks), flat_leaves(ticket.params)
  paths = [path for path in masks if path.endswith("kernel")]
  return (
    {path: np.asarray(masks[path]) for path in paths},
    {path: np.asarray(params[path]) for path in paths},
  )


def trained(ticket):
  """Its weights after training, by path."""
  params = flat_leaves(ticket.trained_params)
  return {p: np.asarray(w) for p, w in params.items() if p.endswith("kernel")}


def survivors(results, kind, level=2, replicate=0):
  masks, params = parts(
    results.ticket("a", level=level, kind=kind, replicate=replicate)
  )
  return {path: params[path][masks[path]] for path in masks}


def test_all_of_them_are_trained_at_each_level(controls):
  results, log = controls
  assert not results.has_failures and not log.warnings
  named = set(results.table["experiment"])
  assert named == {"a", *(f"a:{kind}" for kind in CONTROLS)}
  assert len(CONTROLS) == 25
  for kind in CONTROLS:
    own = results.table.query(f"experiment == 'a:{kind}' and split == 'test'")
    # One shot at level 1 is the ticket itself.
    levels = [1, 2] if kind != "one_shot" else [2]
    assert sorted(set(own["level"])) == levels
    assert np.isfinite(own["value"]).all()


OF_OTHER_MASKS = (
  "random_mask",
  "random_global",
  "random_erk",
  "random_smart",
  "other_mask",
  "permuted_mask",
  "one_shot",
  "inverted",
  "early_mask",
  "gradual",
  "displaced",
)


# Whose weights are not W_r's, altered.
OF_OTHER_NETWORKS = (
  "trained_weights",
  "trained_flipped",
  "sparse_signs",
  "sparse_signs_norm",
)


def flat_masks(results, kind, level, replicate=0):
  ticket = results.ticket("a", level=level, kind=kind, replicate=replicate)
  return parts(ticket)[0]


def test_masks_are_imps_but_for_those_that_are_others(controls):
  results, _ = controls
  for level in (1, 2):
    imp = flat_masks(results, "imp", level)
    kept = {path: int(mask.sum()) for path, mask in imp.items()}
    for kind in CONTROLS:
      if kind == "one_shot" and level == 1:
        continue
      masks = flat_masks(results, kind, level)
      counts = {path: int(mask.sum()) for path, mask in masks.items()}
      same = all((masks[path] == imp[path]).all() for path in masks)
      if kind not in OF_OTHER_MASKS:
        assert same, kind
      elif level > 1 or kind != "early_mask":
        assert not same, kind  # of level 1 that one may be IMP's own
      if kind == "displaced":
        continue
      assert sum(counts.values()) == sum(kept.values()), kind
      per_layer = (
        "random_mask",
        *(k for k in CONTROLS if k not in OF_OTHER_MASKS),
      )
      if kind in per_layer:
        assert counts == kept, kind
    # Drawn of all layers together, not of each its own count.
    everywhere = flat_masks(results, "random_global", level)
    assert {p: int(m.sum()) for p, m in everywhere.items()} != kept


def test_random_masks_have_the_densities_they_are_named_after(controls):
  results, _ = controls
  imp = flat_masks(results, "imp", 2)
  shapes = {path: mask.shape for path, mask in imp.items()}
  keep = sum(int(mask.sum()) for mask in imp.values())
  sizes = {path: mask.size for path, mask in imp.items()}
  wanted = {
    "random_erk": erk_counts(shapes, sizes, keep),
    "random_smart": smart_ratio_counts(shapes, keep),
  }
  for kind, counts in wanted.items():
    masks = flat_masks(results, kind, 2)
    assert {p: int(m.sum()) for p, m in masks.items()} == counts, kind


def test_another_replicate_s_mask_is_that(controls):
  results, _ = controls
  for replicate, other in ((0, 1), (1, 0)):
    own = flat_masks(results, "other_mask", 2, replicate)
    theirs = flat_masks(results, "imp", 2, other)
    assert all((own[p] == theirs[p]).all() for p in own)


def test_one_shot_keeps_the_largest_of_the_dense_network(controls):
  """And the inverted control the smallest; IMP's counts, IMP's source."""
  results, _ = controls
  dense = trained(results.ticket("a", level=0))
  for kind, smallest in (("one_shot", False), ("inverted", True)):
    masks = flat_masks(results, kind, 2)
    scores = np.concatenate([np.abs(dense[p]).ravel() for p in masks])
    kept = np.concatenate([masks[p].ravel() for p in masks])
    if smallest:
      assert scores[kept].max() <= scores[~kept].min()
    else:
      assert scores[kept].min() >= scores[~kept].max()


def test_gradual_pruning_ends_at_the_level_and_never_regrows(controls, workdir):
  """It removes 1 - (1 - x)^3 of what IMP has, to whole weights."""
  results, _ = controls
  ticket = results.ticket("a", level=2, kind="gradual")
  masks, params = parts(ticket)[0], trained(ticket)
  assert all((params[p][~masks[p]] == 0).all() for p in masks)
  plan = prepare(tiny_config(**CHANGES), str(workdir))
  found = {
    int(node.label.split("step ")[1].split()[0]): node
    for node in plan.nodes
    if "gradual masks" in node.label and node.label.endswith("level 2")
  }
  # t_r = 2 of 8 steps: over three quarters of 6, a pruning at each.
  assert sorted(found) == [3, 4, 5, 6]
  whole = sum(mask.size for mask in masks.values())
  gone = whole - sum(int(mask.sum()) for mask in masks.values())
  parent = None
  for i, step in enumerate(sorted(found), start=1):
    key = found[step].object_id(plan.study.seed, 0)
    own = unpacked_leaves(plan.store.load(key).arrays)
    kept = sum(int(mask.sum()) for mask in own.values())
    assert whole - kept == round((1 - (1 - i / 4) ** 3) * gone)
    assert parent is None or not any((own[p] & ~parent[p]).any() for p in own)
    parent = own
  assert all((parent[p] == masks[p]).all() for p in masks)
  # It starts from W_r, and its history from t_r on.
  w_r = parts(results.ticket("a", level=0))[1]
  starts = parts(ticket)[1]
  assert all((starts[p] == np.where(masks[p], w_r[p], 0)).all() for p in masks)
  told = results.tables.get("training")
  steps = [
    sorted(set(told[(told["experiment"] == e) & (told["level"] == 2)]["step"]))
    for e in ("a:gradual", "a:random_mask")
  ]
  assert steps[0] == [3, 4, 5, 6, 8] and steps[1] == [8]


def test_weights_of_trained_networks_and_their_signs(controls):
  """The network before pruning, and the trained ticket's signs."""
  results, _ = controls
  for replicate in (0, 1):
    before, ticket, fresh = (
      results.ticket("a", level=level, kind=kind, replicate=replicate)
      for level, kind in ((1, "imp"), (2, "imp"), (2, "reinit"))
    )
    went_on, ended = trained(before), trained(ticket)
    masks, drawn = parts(fresh)
    for path, mask in masks.items():
      of = lambda kind, path=path, mask=mask: survivors(
        results, kind, replicate=replicate
      )[path]
      kept = went_on[path][mask]
      np.testing.assert_array_equal(of("trained_weights"), kept)
      flipped = of("trained_flipped")
      np.testing.assert_array_equal(np.abs(flipped), np.abs(kept))
      assert (flipped != kept).sum() == round(0.1 * len(kept))
      sparse = of("sparse_signs")
      np.testing.assert_array_equal(np.abs(sparse), np.abs(drawn[path][mask]))
      normed = of("sparse_signs_norm")
      for signed in (sparse, normed):
        np.testing.assert_array_equal(
          np.sign(signed), np.sign(ended[path][mask])
        )
      assert not np.array_equal(np.abs(normed), np.abs(ended[path][mask]))
    # Of the trained ticket, or as they are drawn.
    for kind, wanted in (
      ("sparse_signs", fresh.params),
      ("sparse_signs_norm", ticket.trained_params),
    ):
      found = results.ticket("a", level=2, kind=kind, replicate=replicate)
      for leaf in ("norm1/scale", "norm2/bias", "head/bias"):
        np.testing.assert_array_equal(
          flat_leaves(found.params)[leaf], flat_leaves(wanted)[leaf]
        )
    stats = results.ticket(
      "a", level=2, kind="sparse_signs_norm", replicate=replicate
    ).batch_stats
    for path, leaf in flat_leaves(ticket.trained_batch_stats).items():
      np.testing.assert_array_equal(flat_leaves(stats)[path], leaf)


def test_displaced_weights_lie_as_far_as_pruning_moves(controls):
  """Under the mask of the level before, by what level 2's takes from W_r."""
  results, _ = controls
  w_r = parts(results.ticket("a", level=0))[1]
  coarser, finer = (flat_masks(results, "imp", level) for level in (1, 2))
  masks, displaced = parts(results.ticket("a", level=2, kind="displaced"))
  moved, taken = [], []
  for path, mask in masks.items():
    np.testing.assert_array_equal(mask, coarser[path])
    moved.append((displaced[path] - w_r[path])[mask].astype(np.float64))
    taken.append(w_r[path][mask & ~finer[path]].astype(np.float64))
  assert all((move != 0).all() for move in moved)
  norms = [np.linalg.norm(np.concatenate(x)) for x in (moved, taken)]
  assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_each_alteration_keeps_what_it_says_of_w_r(controls):
  results, _ = controls
  others = (*OF_OTHER_MASKS, *OF_OTHER_NETWORKS, "reinit")
  kinds = [k for k in CONTROLS if k not in others]
  for replicate in (0, 1):
    w_r = survivors(results, "imp", replicate=replicate)
    found = {k: survivors(results, k, replicate=replicate) for k in kinds}
    for path, own in w_r.items():
      shuffled = found["shuffled_weights"][path]
      np.testing.assert_array_equal(np.sort(shuffled), np.sort(own))
      for kind in kinds:
        new = found[kind][path]
        if kind.endswith("_signs"):
          np.testing.assert_array_equal(np.abs(new), np.abs(own), kind)
        elif kind.endswith("_magnitudes"):
          np.testing.assert_array_equal(np.sign(new), np.sign(own), kind)
      assert len(np.unique(np.abs(found["constant_magnitudes"][path]))) == 1
      flips = (found["flipped_signs"][path] != own).sum()
      assert flips == round(0.1 * len(own))
    for kind in ("reinit", *kinds):
      changed = survivors(results, kind, replicate=replicate)
      assert any((changed[p] != w_r[p]).any() for p in w_r), kind
  one, other = (survivors(results, "random_signs", replicate=r) for r in (0, 1))
  assert any(
    one[p].shape != other[p].shape or (one[p] != other[p]).any() for p in one
  )


def test_signs_and_magnitudes_are_those_of_the_network_they_name(controls):
  """Of level 1's trained network, which level 2's masks were chosen after."""
  results, _ = controls
  before = trained(results.ticket("a", level=1))
  masks = flat_masks(results, "imp", 2)
  for path, mask in masks.items():
    then = before[path][mask]
    signs = survivors(results, "trained_signs")[path]
    magnitudes = survivors(results, "trained_magnitudes")[path]
    np.testing.assert_array_equal(np.sign(signs), np.sign(then))
    np.testing.assert_array_equal(np.abs(magnitudes), np.abs(then))


def test_controls_share_the_trunk(controls):
  """Eight trainings a level: of IMP and of each control; one pre-training."""
  _, log = controls
  pretrained = [n for n in log.nodes if "pre-training" in n]
  assert len(pretrained) == 1


def test_controls_may_be_added_to_a_finished_study(tmp_path):
  run_tiny(tmp_path, **(CHANGES | dict(controls__kinds=("reinit",))))
  _, log = run_tiny(
    tmp_path, **(CHANGES | dict(controls__kinds=("random_signs",)))
  )
  assert log.nodes and all(
    "random signs" in n or "level" in n for n in log.nodes
  )
  assert not any("pre-training" in n for n in log.nodes)


@pytest.mark.parametrize(
  "changes,message",
  [
    (dict(controls__kinds=("random_sign",)), "did you mean 'random_signs'"),
    (
      dict(controls__kinds=("other_mask",), replicates=1),
      "takes another replicate's mask, but replicates is 1",
    ),
    (
      dict(
        controls__kinds=("init_signs",),
        experiments=({"name": "a", "pretrain.steps": "0step"},),
      ),
      "at pretrain.steps=0 is W_r: it would be the ticket itself",
    ),
    (
      dict(controls__kinds=("one_shot",), controls__levels=(1, 2)),
      "of controls.levels=1 it would be the ticket itself",
    ),
    (
      dict(
        controls__kinds=("early_mask",),
        prune__densities=(0.9, 0.04),
        prune__rule="exact",
        controls__levels=(2,),
      ),
      "controls.early_distance is 0.1, but masks of",
    ),
    (
      dict(controls__kinds=("flipped_signs",), controls__flipped=1.5),
      "controls.flipped must be in",
    ),
    (
      dict(
        controls__kinds=("random_smart",),
        prune__densities=(0.9, 0.005),
        prune__rule="exact",
        controls__levels=(2,),
      ),
      "random masks by smart ratios of level 2: smart ratios keep 30 %",
    ),
  ],
)
def test_controls_that_cannot_be_are_refused(changes, message, tmp_path):
  config = tiny_config(**(CHANGES | changes))
  with pytest.raises(ValueError, match=message):
    prepare(config, str(tmp_path / "new"))
  assert not (tmp_path / "new" / "studies").exists()


def test_a_level_that_is_not_there_is_refused(tmp_path):
  config = tiny_config(controls__kinds=("all",), controls__levels=(9,))
  with pytest.raises(
    ValueError, match="controls.levels must be a whole number"
  ):
    prepare(config, str(tmp_path / "new"))
  assert not (tmp_path / "new").exists()


def test_all_are_all_that_can_be(tmp_path):
  """Without a convolution no smart ratios, alone no other's mask, ..."""
  config = tiny_config(
    **CHANGES
    | dict(
      model__name="lenet300100",
      model__width=0.05,
      replicates=1,
      experiments=({"name": "a", "pretrain.steps": "0step"},),
    )
  )
  plan = prepare(config, str(tmp_path))
  kinds = plan.study.experiments[0].controls.kinds
  assert set(CONTROLS) - set(kinds) == {
    "other_mask",
    "permuted_mask",
    "random_smart",
    "init_signs",
    "init_magnitudes",
  }


def test_a_control_s_number_is_part_of_what_its_name_means(tmp_path):
  """Also after a run without it; of a control that is not there it is none."""
  flips = dict(CHANGES, controls__kinds=("flipped_signs",), replicates=2)
  run_tiny(tmp_path, **flips, controls__flipped=0.2, controls__prunings=3)
  run_tiny(tmp_path, **dict(flips, controls__kinds=()), controls__flipped=0.2)
  config = tiny_config(
    **dict(flips, controls__levels=(2,)), controls__flipped=0.5
  )
  with pytest.raises(ValueError, match=r"controls.flipped was 0.2, now 0.5"):
    prepare(config, str(tmp_path))
  # Nothing was pruned gradually yet.
  both = dict(flips, controls__kinds=("flipped_signs", "gradual"))
  prepare(
    tiny_config(**both, controls__flipped=0.2, controls__prunings=5),
    str(tmp_path),
  )


def test_parts_of_one_control_and_its_ticket_draw_apart(tmp_path):
  """Masks of the criterion "random": of each level, part and kind its own."""
  results, _ = run_tiny(
    tmp_path,
    **CHANGES
    | dict(
      controls__kinds=("one_shot", "gradual"),
      controls__levels=(2,),
      prune__criterion="random",
      replicates=1,
    ),
  )
  imp, once, last = (
    flat_masks(results, kind, 2) for kind in ("imp", "one_shot", "gradual")
  )
  for one, other in ((imp, once), (imp, last), (once, last)):
    gone = sum(int((~m).sum()) for m in one.values())
    both = sum(int((~one[p] & ~other[p]).sum()) for p in one)
    assert 0 < both < 0.8 * gone  # of equal draws it would be all


def test_one_shot_at_level_1_is_a_control_of_tickets_that_do_not_rewind(
  tmp_path,
):
  """It rewinds weights, and its ticket the learning rate."""
  experiment = {"name": "a", "ticket.kind": "lr_rewind"}
  config = tiny_config(
    **CHANGES
    | dict(
      controls__kinds=("one_shot",),
      controls__levels=(1,),
      experiments=({**experiment, "pretrain.steps": "2step"},),
    )
  )
  tickets = prepare(config, str(tmp_path)).tickets
  assert [t.kind for t in tickets if t.level == 1] == ["imp", "one_shot"]
  one, other = (t.train for t in tickets if t.level == 1)
  assert one != other
