"""Receptive fields of a study's networks, and contrasts of what they show."""

import numpy as np
import pytest

from imp_jax.core.masks import flat_leaves
from imp_jax.landscape.fields import (
  adjacency,
  kurtosis,
  neighbours,
  participation,
)
from imp_jax.study import prepare
from tests.tiny import changed_config, run_tiny, tiny_config

FIELDS = dict(
  replicates=2,
  model__name="mlp_skip",
  model__width=0.02,  # ten units
  optim__steps="8step",
  optim__learning_rate=0.2,
  optim__milestones=(),
  eval__curve_steps=(),
  claims__rewinding={"treatments": ()},
  prune__levels=2,
  prune__fraction=0.6,
  prune__rule="exact",
  prune__allocation="per_layer",
  fields__levels=(0, 1, 2),
  fields__shown=4,
  claims__contrasts__comparisons=(("a", "b", "kurtosis"), ("a", "b")),
  claims__contrasts__levels=(1,),
  experiments=(
    {"name": "a", "pretrain.steps": "2step"},
    {
      "name": "b",
      "pretrain.steps": "2step",
      "prune.criterion": "random",
    },
  ),
)
LAYER = "hidden1/kernel"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return tmp_path_factory.mktemp("fields")


@pytest.fixture(scope="module")
def study(workdir):
  results, log = run_tiny(workdir, **FIELDS)
  assert not results.has_failures and not log.warnings
  return results, prepare(tiny_config(**FIELDS), str(workdir))


def test_the_table_is_of_the_stored_networks(study):
  results, plan = study
  table = results.tables.get("fields").set_index(
    ["experiment", "replicate", "level"]
  )
  assert len(table) == 2 * 2 * 3
  dataset = plan.dataset
  inputs = np.asarray(dataset.splits["test"].inputs)
  inputs = (inputs - dataset.mean[0]) / dataset.std[0]
  for (name, r, level), row in table.iterrows():
    ticket = results.ticket(name, replicate=r, level=level)
    weights = np.asarray(flat_leaves(ticket.trained_params)[LAYER]).T
    kept = weights != 0
    assert row["units"] == kept.any(axis=1).sum()
    np.testing.assert_allclose(
      row["participation"], np.nanmean(participation(weights)), rtol=1e-6
    )
    for run in (2, 3, 4):
      wanted = adjacency(kept, run)
      assert row[f"adjacency_{run}"] == pytest.approx(wanted, nan_ok=True)
    assert row["neighbours"] == pytest.approx(neighbours(kept))
    own, without = kurtosis(weights, inputs)
    assert row["kurtosis"] == pytest.approx(np.nanmean(own), rel=1e-4)
    if level == 2:  # nothing goes after the last
      assert np.isnan(row["cavity"])
      continue
    later = results.ticket(name, replicate=r, level=level + 1)
    after = np.asarray(flat_leaves(later.masks)[LAYER]).T
    gives = own[:, None] - without
    wanted = np.nanmean(gives[kept & after]) - np.nanmean(gives[kept & ~after])
    assert row["cavity"] == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def test_the_rows_are_the_largest_units_of_the_first_replicate(study):
  results, _ = study
  rows = results.tables.get("field_rows")
  assert set(rows["level"]) == {0, 1, 2}
  ticket = results.ticket("b", replicate=0, level=2)
  weights = np.asarray(flat_leaves(ticket.trained_params)[LAYER]).T
  own = rows[(rows["experiment"] == "b") & (rows["level"] == 2)]
  shown = np.zeros((4, 40))
  shown[own["unit"], own["input"]] = own["weight"]
  norms = np.sort(np.linalg.norm(weights, axis=1))[::-1]
  np.testing.assert_allclose(
    np.sort(np.linalg.norm(shown, axis=1))[::-1], norms[:4], rtol=1e-3
  )
  centres = (shown**2 @ np.arange(40)) / (shown**2).sum(axis=1)
  assert (np.diff(centres) >= -1e-3).all()


def test_contrasts_may_be_of_what_fields_show(study):
  results, _ = study
  table = results.tables.get("contrasts")
  assert list(table["quantity"]) == ["kurtosis", "accuracy"]
  fields = results.tables.get("fields").query("level == 1")
  means = fields.groupby("experiment")["kurtosis"].mean()
  row = table.iloc[0]
  assert row["difference"] == pytest.approx(means["a"] - means["b"])
  assert (row["found"], row["replicates"]) == ("not told apart", 2)


def test_barriers_of_two_ways_are_not_compared(tmp_path):
  children = {"connectivity.children": 2, "connectivity.levels": (1,)}
  plain = FIELDS | dict(
    connectivity__recompute_batches=1,
    claims__contrasts__comparisons=(("a", "b", "barrier"),),
    experiments=tuple(
      {**e, **children, "connectivity.batch_stats": (way,)}
      for e, way in zip(
        FIELDS["experiments"], ("average", "recompute"), strict=True
      )
    ),
  )
  with pytest.raises(
    ValueError, match="barriers of 'a' and 'b', but the first"
  ):
    prepare(tiny_config(**plain), str(tmp_path / "new"))


@pytest.mark.parametrize(
  "changes,message",
  [
    (
      dict(model__name="conv1d", model__width=1.0),
      r"first layer that is dense.* model conv1d, conv1/kernel, .*\(5, 1, 16\)",
    ),
    (
      dict(fields__levels=(0, 3)),
      "fields.levels must be a whole number in 0..2, got 3",
    ),
    (
      dict(fields__levels=(0, 2)),
      "contrasts compares kurtosis of 'a' at level 1, .* looked at .fields.lev",
    ),
    (
      dict(
        claims__contrasts__comparisons=(("a", "b", "cavity"),),
        claims__contrasts__levels=(2,),
      ),
      "compares cavity of 'a' at level 2",
    ),
    (
      dict(claims__contrasts__comparisons=(("a", "b", "barrier"),)),
      "compares barrier of 'a' at level 1, .*connectivity.children",
    ),
    (
      dict(claims__contrasts__comparisons=(("a", "b", "beauty"),)),
      "unknown claims.contrasts.comparisons 'beauty'; known: accuracy, barrier",
    ),
    (
      dict(claims__contrasts__comparisons=(("a:reinit", "b", "kurtosis"),)),
      "unknown claims.contrasts.comparisons of kurtosis 'a:reinit'",
    ),
    (
      dict(claims__contrasts__comparisons=(("a", "b", "kurtosis", "c"),)),
      r"is \(treatment, baseline, quantity\), got",
    ),
    (
      dict(claims__contrasts__comparisons=(("a", "b"), ("a", "b", "accuracy"))),
      r"comparisons has \('a', 'b'\) twice",
    ),
  ],
)
def test_what_cannot_be_looked_at_is_refused(changes, message, tmp_path):
  config = changed_config(tiny_config(**FIELDS), changes)
  with pytest.raises(ValueError, match=message):
    prepare(config, str(tmp_path / "new"))
  assert not (tmp_path / "new").exists()


def test_fields_may_be_looked_at_later(tmp_path):
  """Of networks that are there: nothing is trained again."""
  without = FIELDS | dict(
    fields__levels=(), claims__contrasts={"comparisons": (), "levels": ()}
  )
  run_tiny(tmp_path, **without)
  results, log = run_tiny(tmp_path, **(without | dict(fields__levels=(1,))))
  assert log.done == 0 and len(results.tables.get("fields")) == 4
