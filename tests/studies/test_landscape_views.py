"""Planes, trajectories and curvature in a study, against their definitions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from imp_jax.core.masks import flat_leaves, nested_leaves
from imp_jax.data.augment import normalise
from imp_jax.landscape.structure import host_vector
from imp_jax.training.step import metric_sums
from tests.tiny import copy_of, run_tiny
from tests.tiny_landscape import (
  STEPS,
  T_R,
  connected,
  looked_at,
  losses_and_hits,
  plan_of,
  recomputed,
)

PLANES = ("W_r, child 0, child 1", "level 0, level 1, level 2")


@pytest.fixture(scope="module")
def plan(landscape):
  return plan_of(landscape[0], **looked_at())


def plane_of(plan, between):
  """(arrays, parameters of a, b and c, node)."""
  (node,) = [
    v.node for v in plan.views if (v.kind, v.between) == ("plane", between)
  ]
  corners = [
    plan.store.load(node.edge(name).node.object_id(0, 0)).tree["params"]
    for name in "abc"
  ]
  return plan.store.load(node.object_id(0, 0)).arrays, corners, node


def loss_and_error(params, mnist):
  """Of the first 40 training examples, statistics anew from 2 batches of 16."""
  x = (mnist.train.inputs[:40] - mnist.mean[0]) / mnist.std[0]
  stats = recomputed(params, x[:32], 16)
  loss, hits = losses_and_hits(params, stats, x, mnist.train.labels[:40])
  return loss.mean(), 1 - hits.mean()


@pytest.mark.parametrize("between", PLANES)
def test_a_plane_is_the_loss_of_the_networks_on_it(plan, mnist, between):
  arrays, corners, _ = plane_of(plan, between)
  a, b, c = (host_vector(tree) for tree in corners)
  right = (b - a) / np.linalg.norm(b - a)
  up = (c - a) - ((c - a) @ right) * right
  up /= np.linalg.norm(up)
  places = [[(p - a) @ axis for axis in (right, up)] for p in (a, b, c)]
  np.testing.assert_allclose(arrays["corners"], places, atol=1e-9)
  assert arrays["loss"].shape == arrays["error"].shape == (3, 3)
  shapes = {p: leaf.shape for p, leaf in flat_leaves(corners[0]).items()}
  for i, y in enumerate(arrays["ys"]):
    for j, x in enumerate(arrays["xs"]):
      vector, flat = a + x * right + y * up, {}
      for path, shape in shapes.items():
        size = int(np.prod(shape))
        flat[path], vector = vector[:size].reshape(shape), vector[size:]
      loss, error = loss_and_error(nested_leaves(flat), mnist)
      assert arrays["loss"][i, j] == pytest.approx(loss, rel=1e-4)
      assert arrays["error"][i, j] == pytest.approx(error, abs=1e-9)
  assert np.ptp(arrays["loss"]) > 0.05


@pytest.mark.parametrize("between", PLANES)
def test_the_corners_are_the_networks_themselves(plan, mnist, between):
  """Of every corner that is a point of the grid; margin 0 makes it two."""
  arrays, corners, _ = plane_of(plan, between)
  found = 0
  for (x, y), params in zip(arrays["corners"], corners, strict=True):
    column = np.flatnonzero(np.isclose(arrays["xs"], x, atol=1e-9))
    row = np.flatnonzero(np.isclose(arrays["ys"], y, atol=1e-9))
    if len(column) and len(row):
      loss, error = loss_and_error(params, mnist)
      here = int(row[0]), int(column[0])
      assert arrays["loss"][here] == pytest.approx(loss, rel=1e-5)
      assert arrays["error"][here] == pytest.approx(error, abs=1e-9)
      found += 1
  assert found == 2


def test_planes_are_of_the_networks_they_name(landscape, plan):
  _, (w_r, first, second), _ = plane_of(plan, PLANES[0])
  results = landscape[1]
  ticket = results.ticket("all", level=0)
  chex.assert_trees_all_equal(w_r, ticket.params)
  chex.assert_trees_all_equal(first, ticket.trained_params)
  pair = {
    v.level: v.node
    for v in plan.views
    if (v.kind, v.between) == ("children", "0-1")
  }[0]
  child = pair.edge("b").node.object_id(0, 0)
  chex.assert_trees_all_equal(second, plan.store.load(child).tree["params"])
  _, corners, _ = plane_of(plan, PLANES[1])
  for level, corner in enumerate(corners):
    trained = results.ticket("all", level=level).trained_params
    chex.assert_trees_all_equal(corner, trained)


@pytest.mark.parametrize("between", PLANES)
def test_trajectories_go_from_w_r_to_the_corners(landscape, plan, between):
  arrays, corners, node = plane_of(plan, between)
  paths = [(e.name, e.node) for e in node.edges if e.name.startswith("path.")]
  trained = corners[-len(paths) :]
  assert len(paths) == (2 if between == PLANES[0] else 3)
  for i, ((name, trajectory), end) in enumerate(
    zip(paths, trained, strict=True)
  ):
    assert trajectory.stage.snapshots == (T_R, T_R + 1, STEPS)
    kept = plan.store.load(trajectory.object_id(0, 0)).tree["snapshots"]
    # Early ones lie closer: a quarter of the way is half of the snapshots.
    assert sorted(kept) == [f"{s:09d}" for s in (T_R, T_R + 1, STEPS)]
    level = 0 if between == PLANES[0] else i
    start = landscape[1].ticket("all", level=level).params
    chex.assert_trees_all_equal(kept[f"{T_R:09d}"], jax.device_get(start))
    chex.assert_trees_all_equal(kept[f"{STEPS:09d}"], end)
    path = arrays[name]
    assert path.shape == (3, 3)
    corner = arrays["corners"][i + 3 - len(paths)]
    np.testing.assert_allclose(path[-1], [*corner, 0], atol=1e-12)
    if between == PLANES[0]:
      assert path[0].tolist() == [0, 0, 0]
    a = host_vector(corners[0])
    away = host_vector(kept[f"{T_R + 1:09d}"]) - a
    x, y, off = path[1]
    assert x**2 + y**2 + off**2 == pytest.approx(away @ away, rel=1e-9)
    assert off > 0.01
    # All of it lies inside the picture.
    assert arrays["xs"][0] <= path[:, 0].min() + 1e-9
    assert path[:, 0].max() <= arrays["xs"][-1] + 1e-9
    assert path[:, 1].max() <= arrays["ys"][-1] + 1e-9


def test_a_snapshot_is_the_training_so_far(
  landscape, plan, tmp_path, monkeypatch
):
  """A training that ends there has its weights."""
  short = looked_at(
    name="short",
    optim__steps=f"{T_R + 1}step",
    connectivity__children=0,
    connectivity__successive=False,
    prune__levels=0,
    curvature__levels=(),
    planes__through=(),
    replicates=1,
  )
  results, log = run_tiny(copy_of(landscape, tmp_path), **short)
  assert log.total == 1  # W_r is there
  _, _, node = plane_of(plan, PLANES[0])
  trajectory = node.edge("path.0").node
  kept = plan.store.load(trajectory.object_id(0, 0)).tree["snapshots"]
  chex.assert_trees_all_equal(
    kept[f"{T_R + 1:09d}"], results.ticket("all", level=0).trained_params
  )


def test_curvature_is_of_the_surviving_weights(landscape, plan, conv1d, mnist):
  """Against the principal submatrix of jax.hessian, whole and of a layer."""
  _, results, _ = landscape
  ticket = results.ticket("all", level=2, replicate=1)
  vector, unravel = ravel_pytree(ticket.trained_params)
  x = normalise(jnp.asarray(mnist.train.inputs[:20]), mnist.mean, mnist.std)
  labels = jnp.asarray(mnist.train.labels[:20])

  def loss(vector):
    stats = jax.tree.map(jnp.asarray, ticket.trained_batch_stats)
    logits = conv1d.apply(unravel(vector), stats, x)
    return metric_sums(logits, labels)["loss"] / 20

  whole = np.asarray(jax.jit(jax.hessian(loss))(vector), np.float64)
  (view,) = [v for v in plan.views if v.kind == "curvature"]
  assert (view.level, view.experiment) == (2, "all")
  artefact = plan.store.load(view.node.object_id(0, 1))
  found = artefact.record["curvature"]["hessian"]
  masks = {p: np.asarray(m) for p, m in flat_leaves(ticket.masks).items()}
  layers = [p for p in masks if p.endswith("kernel")]
  assert set(found) == {"all", *layers}
  assert any((~m).any() for m in masks.values())
  for layer, numbers in found.items():
    used = {
      p: m if layer in ("all", p) else np.zeros_like(m)
      for p, m in masks.items()
    }
    kept = np.asarray(ravel_pytree(nested_leaves(used))[0], bool)
    values = np.linalg.eigvalsh(whole[np.ix_(kept, kept)])
    assert numbers["dimension"] == kept.sum() < len(vector)
    scale = np.abs(values).max()
    # 30 Lanczos steps: the ends of the spectrum, to a thousandth of its span.
    np.testing.assert_allclose(
      numbers["eigenvalues"][0], values[-1], atol=1e-3 * scale
    )
    np.testing.assert_allclose(
      numbers["eigenvalues"][1], values[-2], atol=1e-2 * scale
    )
    np.testing.assert_allclose(
      numbers["smallest"], values[0], atol=1e-2 * scale
    )
  # What is left out matters: the whole matrix has another end.
  beyond = np.linalg.eigvalsh(whole)[-1]
  assert beyond - found["all"]["eigenvalues"][0] > 1e-2 * beyond
  table = results.read_table("curvature").query(
    "replicate == 1 and matrix == 'hessian' and quantity == 'eigenvalue_1'"
  )
  assert set(table.level) == {2} and set(table.layer) == set(found)
  for row in table.itertuples():
    assert row.value == pytest.approx(found[row.layer]["eigenvalues"][0])
    assert row.density == pytest.approx(ticket.record["density"])


def test_names_are_text_whatever_they_look_like(tmp_path):
  """A number's, and that of nothing."""
  names = {"20", "null"}
  results, _ = run_tiny(
    tmp_path,
    **connected(
      prune__levels=1,
      connectivity__thresholds=(0.1,),
      experiments=({"name": "20"}, {"name": "null", "pretrain.steps": "0step"}),
    ),
  )
  for table in ("barriers", "geometry", "instability", "landscape"):
    assert set(results.read_table(table).experiment) == names


def test_a_studys_landscape_has_its_childrens_distance(landscape):
  """Down to the table of predictors, of the last level without a claim."""
  results = landscape[1]
  table = results.read_table("landscape")
  assert len(table)
  for row in table.itertuples():
    path = results.path(row.experiment, replicate=row.replicate)
    assert row.distance == pytest.approx(path.apart["distance"])
    assert (row.diet, row.base) == ("all", 0)
  found = results.read_table("predictors")
  assert set(found.scope) == {"all"} and table.level.max() in set(found.level)


def test_without_geometry_only_distances_are_missing(
  landscape, tmp_path, monkeypatch
):
  def fail(*_):
    raise RuntimeError("too far")

  monkeypatch.setattr("imp_jax.results.tables.geometry_table", fail)
  workdir = copy_of(landscape, tmp_path)
  results, log = run_tiny(workdir, written=True, **looked_at())
  assert log.total == 0 and len(log.warnings) == 1
  assert log.warnings[0].startswith("geometry.csv of study landscape")
  table = results.read_table("landscape")
  assert len(table) and table["distance"].isna().all()
  assert table["connected"].notna().all()
  assert "distance" not in set(results.read_table("predictors").predictor)
