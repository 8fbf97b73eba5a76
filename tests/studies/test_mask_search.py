"""Masks that another experiment finds, and what levels are trained on."""

import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves
from imp_jax.study import prepare
from tests.tiny import run_tiny, tiny_config

FIELDS = dict(
  replicates=2,
  claims__rewinding={"treatments": ()},
  scores__networks=1,
)
SEARCH = {
  "name": "search",
  "pretrain.steps": "1step",
  "optim.learning_rate": 0.02,
  "train.subset.kind": "easy",
  "train.subset.size": 20,
  "train.noise.fraction": 0.5,
}
REPORT = {
  "name": "report",
  "pretrain.steps": "0step",
  "prune.masks_of": "search",
}


def leaves(tree):
  return {
    path: np.asarray(leaf)
    for path, leaf in flat_leaves(tree).items()
    if path.endswith("kernel")
  }


@pytest.fixture(scope="module")
def study(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("search")
  config = dict(
    FIELDS,
    controls__kinds=("random_mask", "trained_signs"),
    controls__levels=(2,),
    experiments=(SEARCH, REPORT, {"name": "plain", "pretrain.steps": "0step"}),
  )
  results, log = run_tiny(workdir, **config)
  assert not results.has_failures
  return results, log


def test_tickets_have_the_masks_that_the_search_found(study):
  results, _ = study
  for level in (1, 2):
    for replicate in (0, 1):
      masks = [
        leaves(results.ticket(name, level=level, replicate=replicate).masks)
        for name in ("report", "search", "plain")
      ]
      assert all((masks[0][p] == masks[1][p]).all() for p in masks[0])
      assert any((masks[0][p] != masks[2][p]).any() for p in masks[0])


def test_what_is_reported_is_trained_as_it_declares(study):
  """From its own W_r, on all the data, at its own rate."""
  results, _ = study
  plain, own = (results.ticket(n, level=0) for n in ("plain", "report"))
  for one, other in zip(
    leaves(plain.trained_params).values(),
    leaves(own.trained_params).values(),
    strict=True,
  ):
    np.testing.assert_array_equal(one, other)
  records = {
    entry.experiment: trained
    for entry, trained, *_ in results.tables.records
    if (entry.kind, entry.level, entry.replicate) == ("imp", 2, 0)
  }
  assert records["report"]["examples"] == 80
  assert records["search"]["examples"] == 20
  assert records["report"]["changed_labels"] == 0
  assert records["search"]["changed_labels"] > 0
  w_r = leaves(results.ticket("plain", level=0).params)
  start = leaves(own.params)
  assert all((start[p] == w_r[p]).all() for p in w_r)


def test_controls_of_what_is_reported_are_of_the_masks_that_were_found(study):
  results, _ = study
  assert {"report:random_mask", "report:trained_signs"} <= set(
    results.table["experiment"]
  )
  # The signs are those of the network that was pruned: the search's.
  before = leaves(results.ticket("search", level=1).trained_params)
  ticket = results.ticket("report", level=2, kind="trained_signs")
  masks, params = leaves(ticket.masks), leaves(ticket.params)
  for path, mask in masks.items():
    np.testing.assert_array_equal(
      np.sign(params[path][mask]), np.sign(before[path][mask])
    )


def test_a_search_at_the_same_settings_adds_nothing(tmp_path):
  """Every artefact is then the search's own."""
  same = {"pretrain.steps": "1step"}
  search = {"name": "search", **same}
  report = {"name": "report", "prune.masks_of": "search", **same}
  alone = tiny_config(**FIELDS, experiments=(search,))
  both = tiny_config(**FIELDS, experiments=(search, report))
  nodes = [set(prepare(c, str(tmp_path / "x")).nodes) for c in (alone, both)]
  assert nodes[0] == nodes[1]


def test_what_is_reported_may_be_run_alone(tmp_path):
  config = tiny_config(**FIELDS, experiments=(SEARCH, REPORT))
  plan = prepare(config, str(tmp_path / "x"), only=("report",))
  assert {t.experiment for t in plan.tickets} == {"report"}
  assert any("search level 1" in node.label for node in plan.nodes)
  assert not any(node.label.startswith("search level 2") for node in plan.nodes)
  for name in ("scores", "labels"):
    assert any(node.edge(name) for node in plan.nodes)


@pytest.mark.parametrize(
  "search,report,message",
  [
    ({}, {"prune.masks_of": "serch"}, "did you mean 'search'"),
    ({}, {"prune.masks_of": "report"}, "is the experiment itself"),
    ({}, {"prune.criterion": "random"}, "but its masks are those of 'search'"),
    ({"prune.criterion": "snip"}, {}, "looks at the training data"),
    ({"prune.adaptive": (0.2, 0.4)}, {}, "looks at the training data"),
    ({"train.subset.score": "barrier"}, {}, "it goes with no train.noise"),
    ({"model.width": 0.5}, {}, "whose network is another one"),
    ({"prune.levels": 1}, {}, "has 1 levels, but prune.levels is 2"),
    ({"train.subset.kind": "none"}, {}, "train.subset.kind='none' means no"),
    ({"train.subset.size": 0}, {}, "train.subset.size must be"),
    (
      {"train.noise.kind": "matrix"},
      {},
      "train.noise.fraction is for 'redrawn'",
    ),
  ],
)
def test_searches_that_cannot_be_are_refused(search, report, message, tmp_path):
  experiments = ({**SEARCH, **search}, {**REPORT, **report})
  config = tiny_config(**FIELDS, experiments=experiments)
  with pytest.raises(ValueError, match=message):
    prepare(config, str(tmp_path / "new"))
  assert not (tmp_path / "new").exists()


def test_masks_of_another_are_part_of_what_a_name_means(tmp_path):
  config = dict(FIELDS, experiments=(SEARCH, REPORT))
  run_tiny(tmp_path, **config)
  other = {**SEARCH, "name": "other", "pretrain.steps": "0step"}
  changed = {**REPORT, "prune.masks_of": "other"}
  config = tiny_config(**FIELDS, experiments=(SEARCH, other, changed))
  with pytest.raises(ValueError, match=r"report.prune.masks_of was search"):
    prepare(config, str(tmp_path))


def made_examples(folder, count=24, **changes):
  """An .npz of examples that are none of the data's."""
  rng = np.random.default_rng(0)
  arrays = {
    "train_image": rng.normal(size=(count, 40)).astype(np.float32),
    "train_label": np.arange(count) % 10,
  } | changes
  path = folder / "distilled.npz"
  np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
  return str(path)


def test_a_search_may_see_examples_of_another_file(tmp_path):
  """Its levels are trained on these; pre-training and reports are not."""
  file = made_examples(tmp_path)
  search = {"name": "search", "pretrain.steps": "1step", "train.file": file}
  report = {
    "name": "report",
    "pretrain.steps": "1step",
    "prune.masks_of": "search",
  }
  plain = {"name": "plain", "pretrain.steps": "1step"}
  results, _ = run_tiny(
    tmp_path / "w", **FIELDS, experiments=(search, report, plain)
  )
  assert not results.has_failures
  records = {
    (entry.experiment, entry.level): trained
    for entry, trained, *_ in results.tables.records
    if entry.replicate == 0
  }
  assert records["search", 1]["examples"] == 24
  # Every tenth class has 3 of the first four, 2 of the others.
  assert records["search", 1]["class_counts"] == [3] * 4 + [2] * 6
  assert records["report", 1]["examples"] == 80
  dense = [results.ticket(n, level=0) for n in ("search", "plain")]
  one, other = (leaves(ticket.params) for ticket in dense)
  assert all((one[p] == other[p]).all() for p in one)  # one W_r
  one, other = (leaves(ticket.trained_params) for ticket in dense)
  assert any((one[p] != other[p]).any() for p in one)
  # The content counts, not the path.
  (tmp_path / "moved").mkdir()
  again = made_examples(tmp_path / "moved")
  config = tiny_config(**FIELDS, experiments=({**search, "train.file": again},))
  plans = [
    prepare(config, str(tmp_path / "w2")),
    prepare(tiny_config(**FIELDS, experiments=(search,)), str(tmp_path / "w2")),
  ]
  assert set(plans[0].nodes) == set(plans[1].nodes)


@pytest.mark.parametrize(
  "changes,fields,message",
  [
    ({"train_label": None}, {}, "lacks train_label"),
    ({"train_label": np.full(24, 10)}, {}, r"must lie in 0..9, got 10..10"),
    (
      {"train_image": np.zeros((24, 39), np.float32)},
      {},
      r"float32 of shape \(39,\), the data's float32 of \(40,\)",
    ),
    ({}, {"train.noise.fraction": 0.5}, "train.file brings the examples"),
    ({}, {"train.file": "nowhere.npz"}, "nowhere.npz: no such file"),
  ],
)
def test_other_examples_that_cannot_be_are_refused(
  changes, fields, message, tmp_path
):
  file = made_examples(tmp_path, **changes)
  experiment = {"name": "a", "pretrain.steps": "1step", "train.file": file}
  config = tiny_config(**FIELDS, experiments=({**experiment, **fields},))
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    prepare(config, str(tmp_path / "new"))
  assert not (tmp_path / "new").exists()


def test_controls_that_score_look_at_the_search_s_networks(tmp_path):
  """One shot is pruned by what the search trained dense, at its own rate."""
  search = {
    "name": "search",
    "pretrain.steps": "1step",
    "optim.learning_rate": 0.5,
    "prune.criterion": "sanh_movement",
  }
  own = dict(FIELDS, prune__rule="exact")
  results, _ = run_tiny(
    tmp_path,
    **own,
    controls__kinds=("one_shot", "gradual"),
    controls__levels=(2,),
    experiments=(search, {**REPORT, "pretrain.steps": "1step"}),
  )
  assert not results.has_failures
  masks = [
    leaves(results.ticket(name, level=2, kind="one_shot").masks)
    for name in ("report", "search")
  ]
  assert all((masks[0][p] == masks[1][p]).all() for p in masks[0])
