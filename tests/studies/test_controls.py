"""Every control of a level: what it keeps of the ticket, and what not."""

import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves, kept_counts
from imp_jax.stages.controls import CONTROLS
from imp_jax.study import prepare
from tests.tiny import run_tiny, tiny_config

CHANGES = dict(
  controls__kinds=("all",),
  controls__levels=(1, 2),
  claims__rewinding={"treatments": ()},
  experiments=({"name": "a", "pretrain.steps": "2step"},),
)


@pytest.fixture(scope="module")
def controls(tmp_path_factory):
  return run_tiny(tmp_path_factory.mktemp("controls"), **CHANGES)


def parts(ticket):
  """(masks, weights) of a ticket's prunable leaves, by path."""
  masks, params = flat_leaves(ticket.masks), flat_leaves(ticket.params)
  paths = [path for path in masks if path.endswith("kernel")]
  return (
    {path: np.asarray(masks[path]) for path in paths},
    {path: np.asarray(params[path]) for path in paths},
  )


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
  assert len(CONTROLS) == 7
  for kind in CONTROLS:
    own = results.table.query(f"experiment == 'a:{kind}' and split == 'test'")
    assert sorted(set(own["level"])) == [1, 2]
    assert np.isfinite(own["value"]).all()


def test_masks_are_imps_but_for_the_random_ones(controls):
  results, _ = controls
  for level in (1, 2):
    imp, _ = parts(results.ticket("a", level=level))
    kept = {path: int(mask.sum()) for path, mask in imp.items()}
    for kind in CONTROLS:
      ticket = results.ticket("a", level=level, kind=kind)
      masks, _ = parts(ticket)
      counts = kept_counts(ticket.masks, list(masks))
      same = all((masks[path] == imp[path]).all() for path in masks)
      assert same == (kind not in ("random_mask", "random_global")), kind
      assert sum(counts.values()) == sum(kept.values()), kind
      if kind != "random_global":
        assert counts == kept, kind
    # Drawn of all layers together, not of each its own count.
    everywhere, _ = parts(
      results.ticket("a", level=level, kind="random_global")
    )
    assert {p: int(m.sum()) for p, m in everywhere.items()} != kept


def test_each_alteration_keeps_what_it_says_of_w_r(controls):
  results, _ = controls
  for replicate in (0, 1):
    w_r = survivors(results, "imp", replicate=replicate)
    found = {
      kind: survivors(results, kind, replicate=replicate) for kind in CONTROLS
    }
    for path, own in w_r.items():
      shuffled = found["shuffled_weights"][path]
      np.testing.assert_array_equal(np.sort(shuffled), np.sort(own))
      np.testing.assert_array_equal(
        np.abs(found["random_signs"][path]), np.abs(own)
      )
      for kind in ("constant_magnitudes", "redrawn_magnitudes"):
        np.testing.assert_array_equal(
          np.sign(found[kind][path]), np.sign(own), err_msg=kind
        )
      assert len(np.unique(np.abs(found["constant_magnitudes"][path]))) == 1
    for kind in ("reinit", *list(CONTROLS)[3:]):
      assert any((found[kind][p] != w_r[p]).any() for p in w_r), kind
  one, other = (survivors(results, "random_signs", replicate=r) for r in (0, 1))
  assert any(
    one[p].shape != other[p].shape or (one[p] != other[p]).any() for p in one
  )


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


def test_an_unknown_control_is_refused(tmp_path):
  config = tiny_config(controls__kinds=("random_sign",), controls__levels=(1,))
  with pytest.raises(ValueError, match="did you mean 'random_signs'"):
    prepare(config, str(tmp_path / "new"))
  config = tiny_config(controls__kinds=("all",), controls__levels=(9,))
  with pytest.raises(
    ValueError, match="controls.levels must be a whole number"
  ):
    prepare(config, str(tmp_path / "new"))
  assert not (tmp_path / "new").exists()
